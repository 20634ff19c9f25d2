//! What APNs checks in a request.
//!
//! Apple documents the reasons, not the order in which it looks for them; the order here (path, provider
//! token, headers, body) is an assumption.

#![expect(clippy::result_large_err, reason = "the error is the answer itself, made once and moved twice")]

use std::borrow::Cow;

use http::{HeaderMap, Method, request::Parts};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{provider_token::ProviderTokens, reply::Reply};

/// Payload limits in bytes (Apple, "Generating a remote notification").
const MAX_PAYLOAD: usize = 4096;
const MAX_VOIP_PAYLOAD: usize = 5120;
const MAX_COLLAPSE_ID: usize = 64;
/// The `apns-push-type` values and what each appends to the app's bundle id in `apns-topic`.
const PUSH_TYPES: [(&str, &str); 11] = [
    ("alert", ""),
    ("background", ""),
    ("location", ".location-query"),
    ("voip", ".voip"),
    ("complication", ".complication"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("mdm", ""),
    ("liveactivity", ".push-type.liveactivity"),
    ("pushtotalk", ".voip-ptt"),
    ("widgets", ".push-type.widgets"),
    ("controls", ".push-type.controls"),
];

/// A request that passed every check.
#[derive(Debug)]
pub(super) struct ApnsRequest<'a> {
    pub(super) token: &'a str,
    /// The bundle id that the topic belongs to.
    pub(super) app: &'a str,
    pub(super) collapse_id: Option<&'a str>,
    pub(super) text: Option<Text<'a>>,
}

/// What a notification says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub(super) title: Cow<'a, str>,
    pub(super) body: Cow<'a, str>,
}

/// The path and the provider token. A connection is trusted once this has passed.
pub(super) fn check_sender<'a>(
    parts: &'a Parts,
    tokens: &ProviderTokens,
    now: Timestamp,
) -> Result<&'a str, Reply> {
    if parts.method != Method::POST {
        return Err(Reply::apns(405, "MethodNotAllowed"));
    }
    let token = parts.uri.path().strip_prefix("/3/device/");
    let token = token.filter(|token| !token.contains('/'));
    let token = token.ok_or_else(|| Reply::apns(404, "BadPath"))?;
    if token.is_empty() {
        return Err(Reply::apns(400, "MissingDeviceToken"));
    }
    tokens.check(parts.headers.get(http::header::AUTHORIZATION), now)?;
    Ok(token)
}

/// Headers and body.
pub(super) fn check_request<'a>(
    token: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
    topics: &[String],
) -> Result<ApnsRequest<'a>, Reply> {
    let bad = |reason: &'static str| Reply::apns(400, reason);
    if headers.len() != headers.keys_len() {
        return Err(bad("DuplicateHeaders"));
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    if !header("apns-id").is_none_or(is_message_id) {
        return Err(bad("BadMessageId"));
    }
    if header("apns-expiration").is_some_and(|at| at.parse::<u64>().is_err()) {
        return Err(bad("BadExpirationDate"));
    }
    let push_type = header("apns-push-type").unwrap_or("alert");
    let kind = PUSH_TYPES.iter().find(|(name, _)| *name == push_type);
    let (_, suffix) = kind.ok_or_else(|| bad("InvalidPushType"))?;
    match (header("apns-priority").unwrap_or("10"), push_type) {
        ("5", _) => {}
        ("1" | "10", other) if other != "background" => {}
        _ => return Err(bad("BadPriority")),
    }
    let collapse_id = header("apns-collapse-id");
    if collapse_id.is_some_and(|id| id.is_empty() || id.len() > MAX_COLLAPSE_ID) {
        return Err(bad("BadCollapseId"));
    }
    let topic = header("apns-topic").ok_or_else(|| bad("MissingTopic"))?;
    let app = topic.strip_suffix(suffix).ok_or_else(|| bad("BadTopic"))?;
    if !topics.iter().any(|allowed| allowed == app) {
        return Err(bad("TopicDisallowed"));
    }
    let limit = if push_type == "voip" { MAX_VOIP_PAYLOAD } else { MAX_PAYLOAD };
    if body.len() > limit {
        return Err(Reply::apns(413, "PayloadTooLarge"));
    }
    // Apple has no reason for a body that is not JSON; this is the nearest it documents.
    let text = read_text(body).map_err(|_| bad("PayloadEmpty"))?;
    Ok(ApnsRequest { token, app, collapse_id, text })
}

/// The canonical form: 32 hexadecimal digits as 8-4-4-4-12.
pub(super) fn is_message_id(id: &str) -> bool {
    id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()
}

fn read_text(body: &[u8]) -> serde_json::Result<Option<Text<'_>>> {
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow)]
        aps: Aps<'a>,
    }
    #[derive(Deserialize)]
    struct Aps<'a> {
        #[serde(borrow)]
        alert: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Alert<'a> {
        #[serde(borrow, default)]
        title: Cow<'a, str>,
        #[serde(borrow, default)]
        body: Cow<'a, str>,
    }
    let payload: Payload<'_> = serde_json::from_slice(body)?;
    let Some(alert) = payload.aps.alert else { return Ok(None) };
    if alert.get().starts_with('"') {
        let body = serde_json::from_str::<String>(alert.get())?.into();
        return Ok(Some(Text { title: Cow::Borrowed(""), body }));
    }
    let alert: Alert<'_> = serde_json::from_str(alert.get())?;
    Ok(Some(Text { title: alert.title, body: alert.body }))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::{MAX_PAYLOAD, check_request, read_text};

    const ID: &str = "6f8b1a9e-0b0f-4f0e-9c6e-2f6f5c0f7a11";
    const BODY: &[u8] = br#"{"aps":{"alert":{"title":"T","body":"B"}},"k":1}"#;

    fn reason(change: impl FnOnce(&mut HeaderMap), body: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("apns-id", ID),
            ("apns-topic", "pl.example.bank"),
            ("apns-push-type", "alert"),
            ("apns-priority", "10"),
            ("apns-expiration", "1790000000"),
            ("apns-collapse-id", "c"),
        ] {
            headers.insert(name, value.parse().expect("a header"));
        }
        change(&mut headers);
        let topics = ["pl.example.bank".to_owned()];
        let checked = check_request("t", &headers, body, &topics);
        checked.err().map(|reply| format!("{} {}", reply.status, reply.reason))
    }

    fn with(name: &'static str, value: &str) -> Option<String> {
        let value = value.parse().expect("a header");
        reason(|headers| drop(headers.insert(name, value)), BODY)
    }

    #[test]
    fn a_correct_request_passes_and_each_wrong_header_has_its_reason() {
        assert_eq!(reason(|_| {}, BODY), None);
        for (name, value, expected) in [
            ("apns-id", "6f8b1a9e0b0f4f0e9c6e2f6f5c0f7a11", "BadMessageId"),
            ("apns-expiration", "soon", "BadExpirationDate"),
            ("apns-priority", "7", "BadPriority"),
            ("apns-push-type", "loud", "InvalidPushType"),
            ("apns-push-type", "background", "BadPriority"),
            ("apns-push-type", "voip", "BadTopic"),
            ("apns-topic", "pl.example.other", "TopicDisallowed"),
            ("apns-collapse-id", &"c".repeat(65), "BadCollapseId"),
        ] {
            assert_eq!(with(name, value), Some(format!("400 {expected}")), "{name}: {value}");
        }
        let id = ID.parse().expect("a header");
        let twice = reason(|headers| assert!(headers.append("apns-id", id)), BODY);
        assert_eq!(twice.as_deref(), Some("400 DuplicateHeaders"));
        let none = reason(|headers| drop(headers.remove("apns-topic")), BODY);
        assert_eq!(none.as_deref(), Some("400 MissingTopic"));
    }

    #[test]
    fn a_payload_has_an_aps_object_and_at_most_4096_bytes() {
        let padded = |length: usize| {
            let frame = r#"{"aps":{},"p":""}"#.len();
            format!(r#"{{"aps":{{}},"p":"{}"}}"#, "x".repeat(length - frame))
        };
        assert_eq!(reason(|_| {}, padded(MAX_PAYLOAD).as_bytes()), None);
        let over = reason(|_| {}, padded(MAX_PAYLOAD + 1).as_bytes());
        assert_eq!(over.as_deref(), Some("413 PayloadTooLarge"));
        for body in ["", "{", "{}", r#"{"aps":1}"#, r#"{"aps":{"alert":{"title":1}}}"#] {
            let wrong = reason(|_| {}, body.as_bytes());
            assert_eq!(wrong.as_deref(), Some("400 PayloadEmpty"), "{body}");
        }
    }

    #[test]
    fn an_alert_is_read_in_both_its_forms() {
        let read = |body: &'static [u8]| {
            let text = read_text(body).expect("a payload");
            text.map(|text| (text.title.into_owned(), text.body.into_owned()))
        };
        let pair = |title: &str, body: &str| Some((title.to_owned(), body.to_owned()));
        assert_eq!(read(BODY), pair("T", "B"));
        assert_eq!(read(r#"{"aps":{"alert":"\u0119ś"}}"#.as_bytes()), pair("", "ęś"));
        assert_eq!(read(br#"{"aps":{"content-available":1}}"#), None);
    }
}
