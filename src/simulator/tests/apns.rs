use std::time::Duration;

use http::Method;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    super::{Environment, NewPhone, Platform},
    Client, DEADLINE, alert, provider_token, push, signed_by, start, start_with, tls, with,
};

const ID: &str = "6f8b1a9e-0b0f-4f0e-9c6e-2f6f5c0f7a11";

#[tokio::test]
async fn a_correct_push_is_accepted_recorded_and_shown() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let request = with(push(&simulator, "ios"), "apns-id", ID);
    let answer = client.send(request).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.headers["apns-id"], ID);

    let record = simulator.record();
    let seen = record.first().expect("one request");
    assert_eq!((seen.number, seen.connection, seen.stream), (1, 1, 1));
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/3/device/ios"));
    assert_eq!(seen.header("apns-topic"), Some("pl.example.bank"));
    assert_eq!(seen.header("authorization"), Some("valid"));
    assert_eq!(seen.body.as_bytes(), alert("Hello"));
    assert_eq!((seen.status, &*seen.reason, seen.taken), (Some(200), "Accepted", true));

    let phone = simulator.phone("ios").expect("registered");
    assert_eq!((phone.requests, phone.accepted, phone.screen.len()), (1, 1, 1));
    assert_eq!((&*phone.screen[0].title, &*phone.screen[0].body), ("Bank", "Hello"));
    assert_eq!(phone.screen[0].slot.as_deref(), Some(ID));
}

#[tokio::test]
async fn a_request_without_an_id_is_given_one() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let answer = client.send(push(&simulator, "ios")).await.expect("an answer");
    let id = answer.headers["apns-id"].to_str().expect("text").to_owned();
    assert!(uuid::Uuid::try_parse(&id).is_ok(), "{id}");
    let other = client.send(push(&simulator, "ios")).await.expect("an answer");
    assert_ne!(other.headers["apns-id"].to_str().expect("text"), id);
}

#[tokio::test]
async fn path_method_headers_and_body_are_checked_at_the_wire() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let push = || push(&simulator, "ios");
    let path = |path: &str| {
        let mut request = push();
        *request.uri_mut() = format!("https://localhost{path}").parse().expect("a URI");
        request
    };
    let mut get = push();
    *get.method_mut() = Method::GET;
    let mut big = push();
    *big.body_mut() = alert(&"x".repeat(70_000));
    for (request, status, reason) in [
        (get, 405, "MethodNotAllowed"),
        (path("/3/devices/ios"), 404, "BadPath"),
        (path("/3/device/ios/more"), 404, "BadPath"),
        (path("/3/device/"), 400, "MissingDeviceToken"),
        (with(push(), "apns-id", "1"), 400, "BadMessageId"),
        (with(push(), "apns-topic", "com.example.other"), 400, "TopicDisallowed"),
        (big, 413, "PayloadTooLarge"),
    ] {
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.told(), (status, reason.to_owned()));
    }
    assert_eq!(simulator.summary().phones_reached, 0);
}

#[tokio::test]
async fn each_wrong_token_has_its_answer() {
    let simulator = start_with(|config| config.topics.push("pl.example.other".to_owned())).await;
    let phone = |token: &str| NewPhone::new(Platform::Ios, token);
    simulator.register([
        NewPhone { environment: Environment::Sandbox, ..phone("sandbox") },
        NewPhone { registered_with: Some("pl.example.other".to_owned()), ..phone("other") },
        NewPhone { gone_since_ms: Some(1_790_000_000_123), ..phone("gone") },
    ]);
    let client = Client::apns(&simulator).await;
    for (token, status, reason) in [
        ("nobody", 400, "BadDeviceToken"),
        ("android", 400, "BadDeviceToken"),
        ("sandbox", 400, "BadDeviceToken"),
        ("other", 400, "DeviceTokenNotForTopic"),
        ("gone", 410, "Unregistered"),
    ] {
        let answer = client.send(push(&simulator, token)).await.expect("an answer");
        assert_eq!(answer.told(), (status, reason.to_owned()), "{token}");
        assert!(answer.headers.contains_key("apns-id"));
        if status == 410 {
            assert_eq!(answer.json()["timestamp"], 1_790_000_000_123_i64);
        }
    }
}

#[tokio::test]
async fn provider_tokens_are_checked_in_signature_key_team_and_age() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let credentials = simulator.credentials();
    let stranger = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key").serialize_pem();
    let (key, kid, team) = (&credentials.apns_key_pem, &credentials.apns_key_id, &credentials.team);
    let fresh = provider_token(&simulator, 0);
    let padded = format!("{fresh}==");
    for (token, reason) in [
        (signed_by(&stranger, kid, team, 0), "InvalidProviderToken"),
        (signed_by(key, "OTHERKEY00", team, 0), "InvalidProviderToken"),
        (signed_by(key, kid, "OTHERTEAM0", 0), "InvalidProviderToken"),
        (provider_token(&simulator, 3_660), "ExpiredProviderToken"),
        (provider_token(&simulator, -300), "InvalidProviderToken"),
        (fresh.replace("bearer ", "basic "), "InvalidProviderToken"),
        (padded, "InvalidProviderToken"),
    ] {
        let request = with(push(&simulator, "ios"), "authorization", &token);
        let answer = client.send(request).await.expect("an answer");
        assert_eq!(answer.told(), (403, reason.to_owned()), "{token}");
    }
    let mut none = push(&simulator, "ios");
    none.headers_mut().remove("authorization");
    let answer = client.send(none).await.expect("an answer");
    assert_eq!(answer.told(), (403, "MissingProviderToken".to_owned()));

    let record = simulator.record();
    let shown = record[0].header("authorization").expect("a header");
    assert!(shown.starts_with("sha256:") && shown.len() == 23, "{shown}");
    let old = with(push(&simulator, "ios"), "authorization", &provider_token(&simulator, 3_500));
    assert_eq!(client.send(old).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn provider_tokens_renewed_too_soon_are_refused_if_asked_for() {
    let wait = Duration::from_mins(20);
    let simulator = start_with(|config| config.provider_token_interval = Some(wait)).await;
    let client = Client::apns(&simulator).await;
    let first = provider_token(&simulator, 10);
    let send = |token: &str| client.send(with(push(&simulator, "ios"), "authorization", token));
    assert_eq!(send(&first).await.expect("an answer").status, 200);
    let second = send(&provider_token(&simulator, 5)).await.expect("an answer");
    assert_eq!(second.told(), (429, "TooManyProviderTokenUpdates".to_owned()));
    assert_eq!(send(&first).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn one_stream_is_offered_until_a_provider_token_was_accepted() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    client.until_streams(1).await;
    let wrong = with(push(&simulator, "ios"), "authorization", "bearer x");
    assert_eq!(client.send(wrong).await.expect("an answer").status, 403);
    assert_eq!(client.sender.current_max_send_streams(), 1);
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    client.until_streams(1000).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
}

/// A frame (RFC 9113, section 4.1), written by hand: `h2` would keep to the limit.
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    let end_headers = if kind == 1 { 4 } else { 0 };
    [&[0, 0, length, kind, end_headers, 0, 0, 0, stream], payload].concat()
}

#[tokio::test]
async fn a_second_stream_before_the_first_provider_token_is_refused() {
    let simulator = start().await;
    let mut socket = tls(&simulator, &simulator.apns_endpoint()).await;
    // :method POST, :scheme https, :path / (RFC 7541, appendix A).
    let head = [0x83, 0x87, 0x84];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let sent = [preface, frame(4, 0, &[]), frame(1, 1, &head), frame(1, 3, &head)].concat();
    socket.write_all(&sent).await.expect("it listens");
    let refused = async {
        let mut head = [0; 9];
        loop {
            socket.read_exact(&mut head).await.expect("a frame");
            let mut payload = vec![0; usize::from(head[2])];
            socket.read_exact(&mut payload).await.expect("its payload");
            if head[3] == 3 {
                return (head[8], payload);
            }
        }
    };
    let refused_stream = vec![0, 0, 0, 7];
    let refused = tokio::time::timeout(DEADLINE, refused).await.expect("in time");
    assert_eq!(refused, (3, refused_stream));
}

#[tokio::test]
async fn a_repeat_with_the_same_id_or_collapse_id_replaces_on_the_screen() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    for (header, value, body) in [
        ("apns-id", ID, "1"),
        ("apns-id", ID, "2"),
        ("apns-collapse-id", "news", "3"),
        ("apns-collapse-id", "news", "4"),
    ] {
        let mut request = with(push(&simulator, "ios"), header, value);
        *request.body_mut() = alert(body);
        assert_eq!(client.send(request).await.expect("an answer").status, 200);
    }
    let phone = simulator.phone("ios").expect("registered");
    let shown: Vec<_> = phone.screen.iter().map(|shown| (&*shown.body, shown.times)).collect();
    assert_eq!(shown, [("2", 2), ("4", 2)]);
    let summary = simulator.summary();
    assert_eq!((summary.phones_reached, summary.accepted, summary.shown), (1, 4, 2));
    assert_eq!((summary.max_accepted_per_phone, summary.max_shown_per_phone), (4, 2));
}
