use std::time::Duration;

use super::*;

fn read(status: u16, word: &str) -> Answer {
    let body = serde_json::json!({ "reason": word }).to_string();
    read_body(status, body.as_bytes())
}

fn read_body(status: u16, body: &[u8]) -> Answer {
    let status = StatusCode::from_u16(status).expect("a status");
    read_answer(status, &HeaderMap::new(), body, Timestamp::UNIX_EPOCH)
}

#[test]
fn every_row_of_the_table_acts_as_it_says() {
    use Step::{CountForbidden, KeepToken, Reauthorize, Reconnect, Retire, Tell};
    let rows = [
        (400, "BadCollapseId", "rejected", Tell),
        (400, "BadExpirationDate", "rejected", Tell),
        (400, "BadMessageId", "rejected", Tell),
        (400, "BadPriority", "rejected", Tell),
        (400, "BadTopic", "rejected", Tell),
        (400, "DuplicateHeaders", "rejected", Tell),
        (400, "InvalidPushType", "rejected", Tell),
        (400, "MissingDeviceToken", "rejected", Tell),
        (400, "MissingTopic", "rejected", Tell),
        (400, "PayloadEmpty", "rejected", Tell),
        (404, "BadPath", "rejected", Tell),
        (405, "MethodNotAllowed", "rejected", Tell),
        (413, "PayloadTooLarge", "rejected", Tell),
        (400, "BadDeviceToken", "token_gone", Tell),
        (400, "DeviceTokenNotForTopic", "token_gone", Tell),
        (400, "TopicDisallowed", "credential_stop", Tell),
        (400, "IdleTimeout", "unavailable", Reconnect),
        (403, "BadCertificate", "credential_stop", Tell),
        (403, "BadCertificateEnvironment", "credential_stop", Tell),
        (403, "InvalidProviderToken", "credential_stop", Tell),
        (403, "MissingProviderToken", "credential_stop", Tell),
        (403, "BadEnvironmentKeyIdInToken", "credential_stop", Tell),
        (403, "BadEnvironmentKeyInToken", "credential_stop", Tell),
        (403, "ExpiredProviderToken", "credential_stop", Reauthorize),
        (403, "UnrelatedKeyIdInToken", "credential_stop", Reconnect),
        (403, "Forbidden", "rejected", CountForbidden),
        (410, "Unregistered", "token_gone", Tell),
        (410, "ExpiredToken", "token_gone", Tell),
        (429, "TooManyRequests", "throttled", Tell),
        (429, "TooManyProviderTokenUpdates", "throttled", KeepToken),
        (500, "InternalServerError", "unavailable", Tell),
        (503, "ServiceUnavailable", "unavailable", Tell),
        (503, "Shutdown", "unavailable", Retire),
        // Not listed: the status decides, the word is kept.
        (400, "Novel", "rejected", Tell),
        (403, "Novel", "credential_stop", Tell),
        (410, "Novel", "token_gone", Tell),
        (429, "Novel", "throttled", Tell),
        (418, "Novel", "rejected", Tell),
        (502, "Novel", "unavailable", Tell),
        (302, "Novel", "unknown", Tell),
    ];
    for (status, word, outcome, step) in rows {
        let answer = read(status, word);
        assert_eq!(answer.outcome.code().as_str(), outcome, "{status} {word}");
        assert_eq!(answer.step, step, "{status} {word}");
        assert_eq!(answer.outcome.reason().expect("a word").as_str(), word);
    }
}

#[test]
fn only_apples_own_410_is_certain_and_it_carries_its_time() {
    let gone = |status, body: &str| match read_body(status, body.as_bytes()).outcome {
        Outcome::TokenGone { since, certain, .. } => (since.map(Timestamp::as_millisecond), certain),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        gone(410, r#"{"reason":"Unregistered","timestamp":1700000000123}"#),
        (Some(1_700_000_000_123), true)
    );
    assert_eq!(gone(410, r#"{"reason":"ExpiredToken"}"#), (None, true));
    assert_eq!(gone(410, r#"{"reason":"Novel"}"#), (None, false));
    assert_eq!(gone(400, r#"{"reason":"BadDeviceToken"}"#), (None, false));
    assert_eq!(gone(400, r#"{"reason":"DeviceTokenNotForTopic"}"#), (None, false));
}

#[test]
fn throttles_know_their_scope() {
    let scope = |word| match read(429, word).outcome {
        Outcome::Throttled { scope, .. } => scope,
        other => panic!("{other:?}"),
    };
    assert_eq!(scope("TooManyRequests"), ThrottleScope::Device);
    assert_eq!(scope("TooManyProviderTokenUpdates"), ThrottleScope::Project);
}

#[test]
fn garbage_acts_by_its_status_and_does_not_prove_more_than_it_says() {
    for garbage in [&b""[..], b"<html>", b"{", b"[1]", b"{\"reason\":7}", &[0xff; 64]] {
        let answer = read_body(500, garbage);
        assert_eq!(
            answer.outcome,
            Outcome::Unavailable { retry_after: None, reason: Reason::new("500") },
            "{garbage:?}"
        );
        assert!(!answer.proves);
    }
    assert!(read(400, "BadDeviceToken").proves, "the token was looked at, so the key was good");
    for word in ["ExpiredProviderToken", "InvalidProviderToken", "Forbidden"] {
        assert!(!read(403, word).proves, "{word}");
    }
}

#[test]
fn a_wait_that_apple_asks_for_is_kept() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("30"));
    let body = br#"{"reason":"ServiceUnavailable"}"#;
    let answer = read_answer(StatusCode::SERVICE_UNAVAILABLE, &headers, body, Timestamp::UNIX_EPOCH);
    assert_eq!(answer.outcome.retry_after(), Some(Duration::from_secs(30)));
}

#[test]
fn the_authorization_and_the_id_are_never_indexed() {
    let requests = Requests::new(Authority::from_static("localhost"), HeaderValue::from_static("t"));
    let ask = Ask {
        token: "abc",
        message_id: Uuid::from_u128(7),
        collapse_id: "c",
        priority: Priority::Normal,
        expires_at: Timestamp::UNIX_EPOCH,
    };
    let mut authorization = HeaderValue::from_static("bearer x");
    authorization.set_sensitive(true);
    let request = requests.build(&ask, authorization).expect("a request");
    assert_eq!(request.uri(), "https://localhost/3/device/abc");
    assert!(request.headers()[AUTHORIZATION].is_sensitive());
    assert!(request.headers()[&APNS_ID].is_sensitive());
    assert_eq!(request.headers()[&APNS_PRIORITY], "5");
    assert_eq!(request.headers()[&APNS_EXPIRATION], "0");
    assert_eq!(request.headers()[&APNS_ID], "00000000-0000-0000-0000-000000000007");
}
