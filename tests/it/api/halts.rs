//! Halts, as people set, see and lift them: an emergency stop is never refused for how it is asked.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, routing::post};

use super::*;

/// Empties the budget of this token.
async fn limited(office: &Office, token: &str) {
    for _ in 0..50 {
        if office.get(token, "whoami").await.status == 429 {
            return;
        }
    }
    panic!("no limit is reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_campaign_is_halted_by_its_job_while_everything_else_is_limited() {
    let office = Office::open("api.requests_per_second = 1\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production"]).await;
    let (_, eve) = office.token("eve", &["halt"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    limited(&office, &eve).await;
    let named = json!({ "scope": "campaign:spring/spring", "reason": "wrong text" });
    let set = office.post(&eve, "halts", &named).await.ok();
    assert_eq!(set, json!({ "scope": format!("campaign:{campaign}"), "rollouts": 1 }));
    for unknown in ["campaign:spring/none", "campaign:none/spring"] {
        let halt = json!({ "scope": unknown, "reason": "wrong text" });
        office.post(&eve, "halts", &halt).await.refused(404, "not_found");
    }
    for wrong in ["campaign:", "campaign:spring", "campaign:/spring", "campaign:spring/", "app:a/b"] {
        let halt = json!({ "scope": wrong, "reason": "wrong text" });
        office.post(&eve, "halts", &halt).await.refused(400, "malformed");
    }
    let (_, lena) = office.token("lena", &["halt"]).await;
    let lifted = office.post(&lena, "halts/lift", &json!({ "scope": "campaign:spring/spring" })).await.ok();
    assert_eq!(lifted, json!({ "scope": format!("campaign:{campaign}"), "lifted": true }));
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_halt_never_fails_over_its_reason() {
    let office = Office::open("").await;
    let (_, eve) = office.token("eve", &["halt"]).await;
    for (said, kept) in [
        ("two\nlines \u{1b}[2J".to_owned(), "two lines  [2J".to_owned()),
        ("a\u{0}b".to_owned(), "a b".to_owned()),
        (" ".to_owned(), "no reason given".to_owned()),
        ("ż".repeat(1_001), format!("{}…", "ż".repeat(999))),
        ("x".repeat(1_000_000), format!("{}…", "x".repeat(999))),
    ] {
        let halt = json!({ "scope": "audience:customers", "reason": said });
        office.post(&eve, "halts", &halt).await.ok();
        let listed = office.get(&eve, "halts").await.ok();
        assert_eq!(listed["halts"][0]["reason"], json!(kept));
    }
    assert!(office.ledger.audit_verify(None).await.expect("an answer").is_ok());
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_the_command_asks_for_a_halt_in_one_request_with_a_reason_that_fits() {
    let stage = Stage::set().await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&said);
    let set = async move |Json(body): Json<Value>| {
        heard.lock().expect("nobody panicked").push(body);
        Json(json!({ "scope": "campaign:6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11", "rollouts": 1 }))
    };
    // Whoever asks for anything else is answered 404.
    let router = Router::new().route("/api/v1/halts", post(set));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let reason = format!("line\n{}", "ż".repeat(30_000));
    let mut command = stage.command(&["halt", "--campaign", "marketing/spring", "--reason", &reason]);
    command.env("BELLWETHER_URL", url).env("BELLWETHER_TOKEN", "bw_x");
    let output = within("a command", command.output()).await.expect("the program runs");
    assert!(output.status.success(), "{output:?}");
    let reason = format!("line {}…", "ż".repeat(994));
    let asked = json!([{ "scope": "campaign:marketing/spring", "reason": reason }]);
    assert_eq!(Value::Array(said.lock().expect("nobody panicked").clone()), asked);
}
