//! What FCM HTTP v1 checks in a request: path, project, bearer token, and every field of the message.
//!
//! Names and types are refused as Google's JSON parser does it, values as FCM does
//! (<https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>).

#![expect(clippy::result_large_err, reason = "the error is the answer itself, made once and moved twice")]

use http::{Method, request::Parts};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{oauth::AccessTokens, reply::Reply};

type Object = Map<String, Value>;

/// Bytes of notification and data together.
const MAX_PAYLOAD: usize = 4096;
/// Four weeks, in seconds.
const MAX_TTL: f64 = 2_419_200.0;

/// The fields of each object that is looked into; what is under other fields passes.
const KNOWN: [(&str, &[&str]); 7] = [
    ("", &["message", "validate_only"]),
    (
        "message",
        &[
            "name",
            "data",
            "notification",
            "android",
            "webpush",
            "apns",
            "fcm_options",
            "token",
            "topic",
            "condition",
        ],
    ),
    ("message.notification", &["title", "body", "image"]),
    (
        "message.android",
        &[
            "collapse_key",
            "priority",
            "ttl",
            "restricted_package_name",
            "data",
            "notification",
            "fcm_options",
            "direct_boot_ok",
            "bandwidth_constrained_ok",
            "restricted_satellite_ok",
        ],
    ),
    (
        "message.android.notification",
        &[
            "title",
            "body",
            "icon",
            "color",
            "sound",
            "tag",
            "click_action",
            "body_loc_key",
            "body_loc_args",
            "title_loc_key",
            "title_loc_args",
            "channel_id",
            "ticker",
            "sticky",
            "event_time",
            "local_only",
            "notification_priority",
            "default_sound",
            "default_vibrate_timings",
            "default_light_settings",
            "vibrate_timings",
            "visibility",
            "notification_count",
            "light_settings",
            "image",
            "bypass_proxy_notification",
            "proxy",
        ],
    ),
    ("message.apns", &["headers", "payload", "fcm_options", "live_activity_token"]),
    ("message.fcm_options", &["analytics_label"]),
];

/// A message that passed every check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FcmMessage {
    pub(super) token: String,
    pub(super) tag: Option<String>,
    /// Title and body, or nothing for a message that only wakes the app.
    pub(super) text: Option<(String, String)>,
}

/// Path, project and bearer token.
pub(super) fn check_sender(
    parts: &Parts,
    project: &str,
    tokens: &AccessTokens,
    now: Timestamp,
) -> Result<(), Reply> {
    let asked = parts.uri.path().strip_prefix("/v1/projects/");
    let asked = asked.and_then(|rest| rest.strip_suffix("/messages:send"));
    let asked = asked.filter(|_| parts.method == Method::POST);
    let asked = asked.ok_or_else(Reply::google_no_such_path)?;
    if !tokens.admits(parts.headers.get(http::header::AUTHORIZATION), now) {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access \
                       token, login cookie or other valid authentication credential.";
        return Err(Reply::google(401, "UNAUTHENTICATED", message));
    }
    if asked != project {
        return Err(Reply::google(404, "NOT_FOUND", "Requested entity was not found."));
    }
    Ok(())
}

/// The body.
pub(super) fn check_message(body: &[u8]) -> Result<FcmMessage, Reply> {
    let parsed: Value = serde_json::from_slice(body)
        .map_err(|_| Reply::google(400, "INVALID_ARGUMENT", "Invalid JSON payload received."))?;
    let Value::Object(mut envelope) = parsed else {
        return Err(Reply::fcm_field("", "Invalid value: not an object", true));
    };
    check_names(&mut envelope, "")?;
    let message = object(&envelope, "", "message")?;
    let message = message.ok_or_else(|| Reply::fcm_field("message", "Missing message", false))?;
    let notification = object(message, "message", "notification")?;
    let android = object(message, "message", "android")?;
    let data = object(message, "message", "data")?;
    let mut size = check_data(data, "message.data")?;
    let mut shown = (None, None);
    let mut tag = None;
    if let Some(notification) = notification {
        let path = "message.notification";
        shown = (text(notification, path, "title")?, text(notification, path, "body")?);
        size += Value::Object(notification.clone()).to_string().len();
    }
    if let Some(android) = android {
        check_android(android)?;
        size += check_data(object(android, "message.android", "data")?, "message.android.data")?;
        let path = "message.android.notification";
        if let Some(own) = object(android, "message.android", "notification")? {
            shown = (text(own, path, "title")?.or(shown.0), text(own, path, "body")?.or(shown.1));
            tag = text(own, path, "tag")?.map(str::to_owned);
        }
    }
    if size > MAX_PAYLOAD {
        return Err(Reply::fcm_field("message", "Message is too big", false));
    }
    let token = text(message, "message", "token")?.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| {
        // Topics and conditions hide how many phones ring; nothing that is simulated here sends to one.
        Reply::fcm_field("message", "Recipient of the message is not set: token expected.", false)
    })?;
    let text = match shown {
        (None, None) => None,
        (title, body) => Some((title.unwrap_or_default().to_owned(), body.unwrap_or_default().to_owned())),
    };
    Ok(FcmMessage { token: token.to_owned(), tag, text })
}

/// Refuses unknown names, and turns `lowerCamelCase` ones into the names that are looked up later:
/// Google's parser takes both.
fn check_names(object: &mut Object, path: &str) -> Result<(), Reply> {
    let known = KNOWN.iter().find(|(of, _)| *of == path).map_or(&[][..], |(_, names)| *names);
    if object.keys().any(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())) {
        *object = std::mem::take(object).into_iter().map(|(k, v)| (snake(&k), v)).collect();
    }
    for (name, value) in object.iter_mut() {
        if !known.contains(&name.as_str()) {
            let what = format!(
                "Invalid JSON payload received. Unknown name \"{name}\" at '{path}': Cannot find field."
            );
            return Err(Reply::fcm_field(path, &what, true));
        }
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        if let (Value::Object(value), true) = (value, KNOWN.iter().any(|(of, _)| *of == below)) {
            check_names(value, &below)?;
        }
    }
    Ok(())
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn check_android(android: &Object) -> Result<(), Reply> {
    let path = "message.android";
    text(android, path, "collapse_key")?;
    let priority = text(android, path, "priority")?.unwrap_or("NORMAL");
    if !["NORMAL", "HIGH", "normal", "high"].contains(&priority) {
        return Err(wrong_type(path, "priority", "TYPE_ENUM"));
    }
    let ttl = text(android, path, "ttl")?.unwrap_or("0s");
    let seconds = ttl.strip_suffix('s').filter(|digits| is_duration(digits));
    let seconds = seconds.and_then(|digits| digits.parse::<f64>().ok());
    match seconds {
        None => Err(wrong_type(path, "ttl", "type.googleapis.com/google.protobuf.Duration")),
        Some(seconds) if seconds > MAX_TTL => {
            let what = "Invalid time to live: it must be between 0 and 2419200 seconds.";
            Err(Reply::fcm_field("message.android.ttl", what, false))
        }
        Some(_) => Ok(()),
    }
}

/// Digits, and up to nine behind a point (`google.protobuf.Duration`).
fn is_duration(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction) && fraction.len() <= 9
}

/// Data is text by text; answers how many bytes.
fn check_data(data: Option<&Object>, path: &str) -> Result<usize, Reply> {
    let mut size = 0;
    for (key, value) in data.into_iter().flatten() {
        let Value::String(value) = value else { return Err(wrong_type(path, key, "TYPE_STRING")) };
        if matches!(key.as_str(), "from" | "message_type")
            || key.starts_with("google")
            || key.starts_with("gcm")
        {
            let what = format!("Invalid data payload key: {key}");
            return Err(Reply::fcm_field(&format!("{path}[{key}]"), &what, false));
        }
        size += key.len() + value.len();
    }
    Ok(size)
}

fn object<'a>(of: &'a Object, path: &str, name: &str) -> Result<Option<&'a Object>, Reply> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(wrong_type(path, name, "an object")),
    }
}

fn text<'a>(of: &'a Object, path: &str, name: &str) -> Result<Option<&'a str>, Reply> {
    match of.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(wrong_type(path, name, "TYPE_STRING")),
    }
}

fn wrong_type(path: &str, name: &str, expected: &str) -> Reply {
    let field = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    Reply::fcm_field(&field, &format!("Invalid value at '{field}' ({expected})"), true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{FcmMessage, check_message};

    fn check(message: &Value) -> Result<FcmMessage, String> {
        let body = json!({ "message": message }).to_string();
        check_message(body.as_bytes()).map_err(|reply| {
            assert_eq!(reply.status, 400);
            String::from_utf8_lossy(&reply.body).into_owned()
        })
    }

    #[test]
    fn a_message_is_read_with_its_tag_and_the_android_text_before_the_common_one() {
        let message = check(&json!({
            "token": "t", "data": { "k": "v" }, "notification": { "title": "T", "body": "B" },
            "android": { "ttl": "3.5s", "priority": "high", "collapseKey": "c",
                         "notification": { "body": "A", "tag": "g", "channelId": "x" } },
            "apns": { "payload": { "any": 1 } },
        }));
        let text = Some(("T".to_owned(), "A".to_owned()));
        let expected = FcmMessage { token: "t".into(), tag: Some("g".into()), text };
        assert_eq!(message, Ok(expected));
        let silent = check(&json!({ "token": "t", "data": { "k": "v" } }));
        assert_eq!(silent.expect("a data message").text, None);
    }

    #[test]
    fn each_mistake_is_an_invalid_argument_that_names_the_field() {
        let big = "x".repeat(4097);
        for (message, field) in [
            (json!({ "token": "t", "tokne": 1 }), "tokne"),
            (json!({ "token": 1 }), "message.token"),
            (json!({ "token": "" }), "message"),
            (json!({ "topic": "all" }), "message"),
            (json!({ "token": "t", "notification": { "titel": "" } }), "message.notification"),
            (json!({ "token": "t", "data": { "k": 1 } }), "message.data.k"),
            (json!({ "token": "t", "data": { "google.k": "1" } }), "message.data[google.k]"),
            (json!({ "token": "t", "data": { "k": big } }), "Message is too big"),
            (json!({ "token": "t", "android": { "ttl": "3600" } }), "message.android.ttl"),
            (json!({ "token": "t", "android": { "ttl": "-1s" } }), "message.android.ttl"),
            (json!({ "token": "t", "android": { "ttl": "2419201s" } }), "message.android.ttl"),
            (json!({ "token": "t", "android": { "priority": "10" } }), "message.android.priority"),
        ] {
            let error = check(&message).expect_err("a mistake");
            assert!(error.contains("INVALID_ARGUMENT"), "{message}: {error}");
            assert!(error.contains("fieldViolations"), "{message}: {error}");
            assert!(error.contains(field), "{message}: {error}");
        }
        assert!(check_message(b"{").is_err());
    }
}
