use serde_json::{Value, json};

use super::*;

fn read(status: u16, body: &Value) -> Answer {
    read_bytes(status, body.to_string().as_bytes())
}

fn read_bytes(status: u16, body: &[u8]) -> Answer {
    let status = StatusCode::from_u16(status).expect("a status");
    read_answer(status, &HeaderMap::new(), body, Timestamp::UNIX_EPOCH)
}

/// An error with an `FcmError` and whatever else.
fn error(code: &str, more: &[Value]) -> Value {
    let kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
    let mut details = more.to_vec();
    details.push(json!({"@type": kind, "errorCode": code}));
    json!({"error": {"code": 0, "message": "m", "status": "STATUS", "details": details}})
}

fn bare(status: &str, details: &[Value]) -> Value {
    json!({"error": {"code": 0, "message": "m", "status": status, "details": details}})
}

fn violation(field: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.BadRequest",
           "fieldViolations": [{"field": field, "description": "d"}]})
}

fn quota(subject: &str, description: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure",
           "violations": [{"subject": subject, "description": description}]})
}

#[test]
fn every_row_of_the_table_acts_as_it_says() {
    use Step::{Reauthorize, Repeat, Tell};
    let rows = [
        (400, error("INVALID_ARGUMENT", &[]), "rejected", "INVALID_ARGUMENT", Tell),
        (400, error("INVALID_ARGUMENT", &[violation("message.data")]), "rejected", "INVALID_ARGUMENT", Tell),
        (
            400,
            error("INVALID_ARGUMENT", &[violation("message.token")]),
            "token_gone",
            "INVALID_ARGUMENT",
            Tell,
        ),
        (
            400,
            bare("INVALID_ARGUMENT", &[violation("message.token")]),
            "token_gone",
            "INVALID_ARGUMENT",
            Tell,
        ),
        (400, bare("INVALID_ARGUMENT", &[]), "rejected", "INVALID_ARGUMENT", Tell),
        (401, error("THIRD_PARTY_AUTH_ERROR", &[]), "rejected", "THIRD_PARTY_AUTH_ERROR", Tell),
        (401, bare("UNAUTHENTICATED", &[]), "credential_stop", "UNAUTHENTICATED", Reauthorize),
        (403, error("SENDER_ID_MISMATCH", &[]), "token_gone", "SENDER_ID_MISMATCH", Tell),
        (403, bare("PERMISSION_DENIED", &[]), "credential_stop", "PERMISSION_DENIED", Tell),
        (404, error("UNREGISTERED", &[]), "token_gone", "UNREGISTERED", Tell),
        (404, bare("NOT_FOUND", &[]), "credential_stop", "NOT_FOUND", Tell),
        (429, error("QUOTA_EXCEEDED", &[]), "throttled", "QUOTA_EXCEEDED", Tell),
        (429, bare("RESOURCE_EXHAUSTED", &[]), "throttled", "RESOURCE_EXHAUSTED", Tell),
        (500, error("INTERNAL", &[]), "unknown", "INTERNAL", Tell),
        (500, bare("INTERNAL", &[]), "unknown", "INTERNAL", Tell),
        (503, error("UNAVAILABLE", &[]), "unknown", "UNAVAILABLE", Tell),
        (502, json!({}), "unknown", "502", Tell),
        (500, error("UNSPECIFIED_ERROR", &[]), "rejected", "UNSPECIFIED_ERROR", Repeat),
        // Not listed: the status decides, the word is kept.
        (400, error("NOVEL", &[]), "rejected", "NOVEL", Tell),
        (404, error("NOVEL", &[]), "credential_stop", "NOVEL", Tell),
        (409, error("NOVEL", &[]), "rejected", "NOVEL", Tell),
        (599, error("NOVEL", &[]), "unknown", "NOVEL", Tell),
        (302, bare("", &[]), "unknown", "302", Tell),
    ];
    for (status, body, outcome, word, step) in rows {
        let answer = read(status, &body);
        assert_eq!(answer.outcome.code().as_str(), outcome, "{status} {body}");
        assert_eq!(answer.outcome.reason().expect("a word").as_str(), word, "{status} {body}");
        assert_eq!(answer.step, step, "{status} {body}");
    }
}

#[test]
fn a_token_that_could_be_our_own_mistake_is_not_certainly_gone() {
    let certain = |status, body: &Value| match read(status, body).outcome {
        Outcome::TokenGone { certain, .. } => certain,
        other => panic!("{other:?}"),
    };
    assert!(certain(404, &error("UNREGISTERED", &[])));
    assert!(certain(400, &error("INVALID_ARGUMENT", &[violation("message.token")])));
    assert!(!certain(403, &error("SENDER_ID_MISMATCH", &[])), "a wrong project looks the same");
}

#[test]
fn the_quota_decides_whom_a_throttle_speaks_for() {
    let scope = |details: &[Value]| match read(429, &error("QUOTA_EXCEEDED", details)).outcome {
        Outcome::Throttled { scope, .. } => scope,
        other => panic!("{other:?}"),
    };
    assert_eq!(scope(&[quota("device", "Device message rate exceeded.")]), ThrottleScope::Device);
    assert_eq!(scope(&[quota("topic", "Topic message rate exceeded.")]), ThrottleScope::Topic);
    assert_eq!(scope(&[quota("project:bank-prod", "Message rate exceeded.")]), ThrottleScope::Project);
    assert_eq!(scope(&[quota("project:devices-r-us", "Message rate exceeded.")]), ThrottleScope::Project);
    assert_eq!(scope(&[]), ThrottleScope::Project, "unsaid, it is taken to be the whole project");
}

#[test]
fn a_200_is_accepted_whatever_its_body_and_garbage_acts_by_its_status() {
    assert_eq!(
        read(200, &json!({"name": "projects/p/messages/1"})).outcome,
        Outcome::Accepted { provider_id: Some("projects/p/messages/1".into()) }
    );
    assert_eq!(read_bytes(200, b"<html>").outcome, Outcome::Accepted { provider_id: None });
    for garbage in [&b""[..], b"{", b"[]", b"{\"error\":1}", b"{\"error\":{\"details\":[1,null,{}]}}"] {
        assert_eq!(read_bytes(404, garbage).outcome.code().as_str(), "credential_stop", "{garbage:?}");
        assert_eq!(read_bytes(400, garbage).outcome.code().as_str(), "rejected", "{garbage:?}");
    }
    let odd =
        json!({"error": {"details": [7, {"@type": 3}, error("UNREGISTERED", &[])["error"]["details"][0]]}});
    assert_eq!(read(404, &odd).outcome.code().as_str(), "token_gone", "one odd detail hides no other");
}
