//! Bad input and attack.

use serde_json::json;

use super::*;

/// What somebody may try to smuggle through a text.
const TEXTS: [&str; 7] = [
    "'; drop table operator; --",
    "$1 $2 %s %n {} ${jndi:ldap://x}",
    "../../../../etc/passwd",
    "<script>alert(1)</script>",
    "\u{202e}gnol",
    "zły tekst 🐑",
    "\\u0000 \\x1b[2J",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_is_kept_as_it_came_or_refused_and_nothing_breaks() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, eve) = office.token("eve", &["halt", "promote", "approve:customers"]).await;
    for text in TEXTS {
        let halt = json!({ "scope": "audience:customers", "reason": text });
        office.post(&eve, "halts", &halt).await.ok();
        let listed = office.get(&eve, "halts").await.ok();
        assert_eq!(listed["halts"][0]["reason"], json!(text));
        let (_, token) = office.token(text, &["halt"]).await;
        assert_eq!(office.get(&token, "whoami").await.ok()["operator"], json!(text));
        office.post(&eve, "halts", &json!({ "scope": text, "reason": "x" })).await.refused(400, "malformed");
        let path = format!("rollouts/{}/pause", text.replace(['/', '?', '#', '%'], "_"));
        let answer = office.post(&eve, &path, &json!({ "reason": text })).await;
        assert!([400, 404].contains(&answer.status), "{answer:?}");
    }
    for text in ["\u{1b}[2J", "a\u{0}b", "two\nlines", "\u{9b}31m"] {
        let new = json!({ "operator": text, "scopes": [], "days": 1 });
        office.post(&office.root, "operators", &new).await.refused(400, "malformed");
        let approve = json!({ "digest": text, "count": 1, "audience": text });
        let unknown = "rollouts/6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11/approve";
        office.post(&eve, unknown, &approve).await.refused(404, "not_found");
    }
    let unknown = "rollouts/6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11/abort";
    for wrong in ["", "   ", "two\nlines", &"ż".repeat(1_001)] {
        office.post(&eve, unknown, &json!({ "reason": wrong })).await.refused(400, "malformed");
    }
    let megabyte = json!({ "reason": "x".repeat(1_000_000) });
    office.post(&eve, unknown, &megabyte).await.refused(413, "too_large");
    for body in ["", "{", "[]", "null", "{\"scope\":\"all\"}", "{\"scope\":\"all\",\"reason\":7}", "\u{0}"] {
        let answer = office.asked((Method::POST, "halts"), &eve, None, Some(body.to_owned())).await;
        answer.refused(400, "malformed");
    }
    let unknown = json!({ "scope": "all", "reason": "x", "force": true });
    office.post(&eve, "halts", &unknown).await.refused(400, "malformed");
    office.asked((Method::PUT, "halts"), &eve, None, None).await.refused(405, "wrong_method");
    office.get(&eve, "nowhere").await.refused(404, "not_found");
    let halts = office.ledger.halts().await.expect("an answer");
    assert_eq!(halts.len(), 1, "nothing but what was asked for: {halts:?}");
    assert!(office.ledger.audit_verify(None).await.expect("an answer").is_ok());
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_halt_passes_while_everything_else_is_limited_and_a_right_token_passes_a_guesser() {
    let office = Office::open("api.requests_per_second = 1\n").await;
    let (_, eve) = office.token("eve", &["halt"]).await;
    let mut limited = None;
    for _ in 0..20 {
        let answer = office.get(&eve, "whoami").await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a limit is reached");
    limited.refused(429, "too_many");
    assert!(limited.retry_after.is_some_and(|seconds| seconds >= 1), "{limited:?}");
    for n in 0..30 {
        let halt = json!({ "scope": format!("app:{APP}"), "reason": format!("storm {n}") });
        office.post(&eve, "halts", &halt).await.ok();
    }
    // Somebody guesses, from the same address.
    let guesses = async {
        let mut refused = Vec::new();
        for n in 0..15 {
            refused.push(office.get(&format!("bw_{n:016x}_guess"), "whoami").await);
        }
        refused
    };
    let refused = guesses.await;
    assert!(refused[..5].iter().all(|answer| answer.status == 401), "{refused:?}");
    refused.last().expect("fifteen").refused(429, "too_many");
    office.get("", "whoami").await.refused(429, "too_many");
    let halt = json!({ "scope": "all", "reason": "still heard" });
    office.post(&eve, "halts", &halt).await.ok();
    assert!(
        office.serving.metric("bellwether_api_requests_total", &["verb=\"setHalt\"", "code=\"ok\""]).await
            >= 31.0
    );
    assert!(office.serving.stop().await.success());
}
