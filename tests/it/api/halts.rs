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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_halted_is_shown_by_the_api_and_without_it() {
    let office = Office::open("").await;
    let (_, eve) = office.token("eve", &["halt"]).await;
    let none = office.as_person(&eve, &["halts"]).await;
    assert_eq!(String::from_utf8_lossy(&none.stdout), "nothing is halted\n");
    let halt = ["halt", "--audience", "customers", "--reason", "wrong\ntext"];
    assert!(office.as_person(&eve, &halt).await.status.success());
    let shown = office.as_person(&eve, &["halts"]).await;
    let line = String::from_utf8(shown.stdout).expect("text");
    assert!(
        line.starts_with("audience:customers since 2") && line.ends_with(", by eve: wrong text\n"),
        "{line}"
    );
    let json = ["--output", "json", "halts"];
    let (api, ledger) = (office.as_person(&eve, &json).await, office.stage.run(&json).await);
    let listed: Value = serde_json::from_slice(&api.stdout).expect("JSON");
    assert_eq!(listed[0]["by"], json!("eve"));
    assert_eq!(api.stdout, ledger.stdout);
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_reach_the_api_is_told_the_way_past_it() {
    let stage = Stage::set().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let told = async |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("BELLWETHER_URL", &url).env("BELLWETHER_TOKEN", "bw_x");
        let output = within("a command", command.output()).await.expect("the program runs");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let halt = told(&["halt", "--campaign", "spring/spring", "--reason", "wrong text"]).await;
    let command = "`bellwether halt --ledger --campaign spring/spring --reason TEXT --by YOU`";
    assert!(halt.contains(command) && halt.contains("cannot be reached"), "{halt}");
    let lift = told(&["unhalt", "--all"]).await;
    assert!(lift.contains("`bellwether unhalt --ledger --all --by YOU`"), "{lift}");
    for looks in [
        &["rollout", "list"][..],
        &["rollout", "show", "spring/spring"],
        &["rollout", "status", "spring/spring"],
        &["rollout", "watch", "spring/spring"],
        &["halts"],
    ] {
        let said = told(looks).await;
        assert!(said.contains("`env -u BELLWETHER_URL bellwether …`"), "{looks:?}: {said}");
    }
    let steers = told(&["rollout", "start", "spring/spring"]).await;
    assert!(!steers.contains("env -u"), "it goes by the API alone: {steers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_without_the_ledger_is_said_not_to_be_one() {
    let stage = Stage::set().await;
    let mut command = stage.command(&["halt", "--ledger", "--all", "--by", "anna", "--reason", "wrong text"]);
    command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    let output = within("a command", command.output()).await.expect("the program runs");
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && told.contains("the halt is NOT set"), "{told}");
    assert!(told.contains("nothing new is sent"), "{told}");
}
