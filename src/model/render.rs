//! Renders a notification into what each provider takes.
//!
//! Once per (job, language): the bytes are shared between devices, and only the token differs. The guard
//! measures the same bytes that are sent.

use std::{collections::HashMap, fmt};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Device, JobKey, Locale, Notification, Platform, Priority};

/// FCM keeps a message for at most four weeks.
/// <https://firebase.google.com/docs/cloud-messaging/concept-options#ttl>
const FCM_MAX_TTL_SECONDS: i64 = 28 * 24 * 3600;

/// A notification that cannot be rendered: a field that the service sets itself, or that breaks the
/// provider's own rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RenderError {
    /// The path of the field.
    pub field: String,
    /// What is wrong and what would mend it.
    pub problem: String,
}

/// A job's notification, rendered for every language and both providers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    default: Payload,
    localized: HashMap<Locale, Payload>,
    collapse_id: String,
    priority: Priority,
    expires_at: Timestamp,
}

/// One language's bytes. Its `Debug` form does not show them (I12).
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    apns: Bytes,
    fcm_head: Bytes,
    fcm_tail: Bytes,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes for APNs)", self.apns.len())
    }
}

impl Payload {
    /// The whole body for APNs.
    #[must_use]
    pub const fn apns(&self) -> &Bytes {
        &self.apns
    }

    /// The body for FCM: what stands before the token, and what after it.
    #[must_use]
    pub const fn fcm(&self) -> (&Bytes, &Bytes) {
        (&self.fcm_head, &self.fcm_tail)
    }

    /// Size of the payload as `platform`'s provider counts it, in bytes. For FCM the envelope around it
    /// is counted too, which is on the safe side by about 30 bytes; the token is not.
    #[must_use]
    pub fn size(&self, platform: Platform) -> usize {
        match platform {
            Platform::Ios => self.apns.len(),
            Platform::Android => self.fcm_head.len() + self.fcm_tail.len(),
        }
    }
}

impl Message {
    /// Renders `notification` for the job `key`, which is worthless after `expires_at`. `now` bounds how
    /// long FCM is asked to keep it.
    pub fn render(
        notification: &Notification,
        key: &JobKey,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<Self, RenderError> {
        check_passed_through(notification)?;
        let collapse_id = notification.collapse_id.clone().unwrap_or_else(|| key.collapse_tag());
        let ttl = expires_at.duration_since(now).as_secs().clamp(0, FCM_MAX_TTL_SECONDS);
        let render = |locale: Option<&Locale>| payload(notification, locale, &collapse_id, ttl);
        let localized =
            notification.localized.keys().map(|locale| (locale.clone(), render(Some(locale)))).collect();
        let default = render(None);
        Ok(Self { default, localized, collapse_id, priority: notification.priority, expires_at })
    }

    /// The bytes for a device: the nearest language to its own.
    #[must_use]
    pub fn for_device(&self, device: &Device) -> &Payload {
        let mut wanted = device.language.clone();
        while let Some(locale) = wanted {
            if let Some(payload) = self.localized.get(&locale) {
                return payload;
            }
            wanted = locale.parent();
        }
        &self.default
    }

    /// Every language's bytes; the default text has no locale.
    pub fn payloads(&self) -> impl Iterator<Item = (Option<&Locale>, &Payload)> {
        let localized = self.localized.iter().map(|(locale, payload)| (Some(locale), payload));
        std::iter::once((None, &self.default)).chain(localized)
    }

    /// What replaces what on the phone: `apns-collapse-id`, and FCM's `tag`.
    #[must_use]
    pub fn collapse_id(&self) -> &str {
        &self.collapse_id
    }

    /// How urgently.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.priority
    }

    /// The instant after which it is worthless.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

fn check_passed_through(notification: &Notification) -> Result<(), RenderError> {
    let taken = |field: String, problem: &str| Err(RenderError { field, problem: problem.to_owned() });
    let object_or_absent = |value: Option<&Value>| value.is_none_or(Value::is_object);
    if !object_or_absent(notification.apns.get("aps")) {
        return taken("notification.apns.aps".into(), "must be an object");
    }
    for field in ["notification", "data", "android"] {
        if !object_or_absent(notification.fcm.get(field)) {
            return taken(format!("notification.fcm.{field}"), "must be an object");
        }
    }
    if !object_or_absent(notification.fcm.get("android").and_then(|android| android.get("notification"))) {
        return taken("notification.fcm.android.notification".into(), "must be an object");
    }
    for field in ["token", "topic", "condition"] {
        if notification.fcm.contains_key(field) {
            let problem = "says who receives; recipients stand in `to` and nowhere else";
            return taken(format!("notification.fcm.{field}"), problem);
        }
    }
    if let Some(key) = notification.data.keys().find(|key| key.as_str() == "aps") {
        return taken(format!("notification.data.{key}"), "is reserved by APNs; choose another key");
    }
    Ok(())
}

fn payload(notification: &Notification, locale: Option<&Locale>, collapse_id: &str, ttl: i64) -> Payload {
    // The token goes first, so that everything behind it is one shared run of bytes.
    let mut tail = b"\"".to_vec();
    write_json(&mut tail, &fcm_message(notification, locale, collapse_id, ttl));
    tail[1] = b','; // where the object began
    tail.push(b'}');
    let mut apns = Vec::new();
    write_json(&mut apns, &apns_payload(notification, locale));
    Payload {
        apns: apns.into(),
        fcm_head: Bytes::from_static(b"{\"message\":{\"token\":\""),
        fcm_tail: tail.into(),
    }
}

/// As bytes: through a formatter the same text costs twice as much.
fn write_json(bytes: &mut Vec<u8>, value: &Value) {
    bytes.reserve(512); // most payloads, at once
    serde_json::to_writer(bytes, value).expect("a value has only string keys, and a vector takes every byte");
}

/// Apple: Generating a remote notification.
/// <https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification>
fn apns_payload(notification: &Notification, locale: Option<&Locale>) -> Value {
    let (title, body) = notification.text(locale);
    let mut root = notification.apns.clone();
    for (key, value) in &notification.data {
        root.insert(key.clone(), json!(value));
    }
    if let Some(link) = &notification.link {
        root.insert("link".into(), json!(link));
    }
    let aps = object_at(&mut root, "aps");
    let mut alert = Map::new();
    if let Some(title) = title {
        alert.insert("title".into(), json!(title));
    }
    alert.insert("body".into(), json!(body));
    aps.insert("alert".into(), alert.into());
    aps.entry("sound").or_insert_with(|| json!("default"));
    if let Some(category) = &notification.category {
        aps.insert("category".into(), json!(category));
    }
    root.into()
}

/// Google: REST resource projects.messages.
/// <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>
fn fcm_message(notification: &Notification, locale: Option<&Locale>, collapse_id: &str, ttl: i64) -> Value {
    let (title, body) = notification.text(locale);
    let mut message = notification.fcm.clone();
    let shown = object_at(&mut message, "notification");
    if let Some(title) = title {
        shown.insert("title".into(), json!(title));
    }
    shown.insert("body".into(), json!(body));
    if !notification.data.is_empty() || notification.link.is_some() {
        let data = object_at(&mut message, "data");
        for (key, value) in &notification.data {
            data.insert(key.clone(), json!(value));
        }
        if let Some(link) = &notification.link {
            data.insert("link".into(), json!(link));
        }
    }
    let android = object_at(&mut message, "android");
    let priority = match notification.priority {
        Priority::High => "HIGH",
        Priority::Normal => "NORMAL",
    };
    android.insert("priority".into(), json!(priority));
    android.insert("ttl".into(), json!(format!("{ttl}s")));
    if let Some(key) = &notification.collapse_id {
        // Only when the job asks for it: a device keeps four collapse keys.
        android.insert("collapse_key".into(), json!(key));
    }
    let shown = object_at(android, "notification");
    shown.insert("tag".into(), json!(collapse_id));
    if let Some(category) = &notification.category {
        shown.insert("channel_id".into(), json!(category));
    }
    message.into()
}

/// The object at `key`, made if absent; [`check_passed_through`] has seen that it is nothing else.
fn object_at<'m>(map: &'m mut Map<String, Value>, key: &str) -> &'m mut Map<String, Value> {
    map.entry(key)
        .or_insert_with(|| Map::new().into())
        .as_object_mut()
        .expect("checked before rendering: an object or absent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobId, ProducerId};

    fn message(notification: &Value) -> Result<Message, RenderError> {
        let notification = serde_json::from_value(notification.clone()).expect("a notification");
        let key = JobKey {
            producer: ProducerId::parse("cards").expect("a producer"),
            id: JobId::parse("j-1").expect("an id"),
        };
        let now = Timestamp::UNIX_EPOCH;
        Message::render(&notification, &key, now + jiff::SignedDuration::from_secs(600), now)
    }

    fn bodies(message: &Message) -> (Value, Value) {
        let (head, tail) = message.default.fcm();
        let fcm = [head.as_ref(), b"tok", tail.as_ref()].concat();
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).expect("JSON");
        (read(message.default.apns()), read(&fcm))
    }

    #[test]
    fn both_providers_get_their_own_shape() {
        let message = message(&json!({
            "title": "Zażółć", "body": "\"gęślą\" jaźń", "link": "https://bank.example.pl/x",
            "data": {"k": "v"}, "category": "news", "collapse_id": "c1",
            "apns": {"aps": {"badge": 3, "alert": "not this"}},
            "fcm": {"android": {"notification": {"color": "#ff0000", "tag": "not this"}}}
        }))
        .expect("renders");
        let (apns, fcm) = bodies(&message);
        assert_eq!(
            apns,
            json!({
                "aps": {"alert": {"title": "Zażółć", "body": "\"gęślą\" jaźń"}, "badge": 3,
                        "sound": "default", "category": "news"},
                "k": "v", "link": "https://bank.example.pl/x"
            })
        );
        assert_eq!(
            fcm,
            json!({"message": {
                "token": "tok",
                "notification": {"title": "Zażółć", "body": "\"gęślą\" jaźń"},
                "data": {"k": "v", "link": "https://bank.example.pl/x"},
                "android": {"priority": "HIGH", "ttl": "600s", "collapse_key": "c1",
                    "notification": {"color": "#ff0000", "tag": "c1", "channel_id": "news"}}
            }})
        );
    }

    #[test]
    fn without_a_collapse_id_a_resend_still_replaces_but_no_collapse_key_is_spent() {
        let message = message(&json!({"body": "b"})).expect("renders");
        let (_, fcm) = bodies(&message);
        assert_eq!(message.collapse_id().len(), 32);
        assert_eq!(fcm["message"]["android"]["notification"]["tag"], message.collapse_id());
        assert_eq!(fcm["message"]["android"].get("collapse_key"), None);
    }

    #[test]
    fn nothing_passed_through_can_choose_the_recipient_or_break_the_shape() {
        for (field, notification) in [
            ("notification.fcm.topic", json!({"body": "b", "fcm": {"topic": "all"}})),
            ("notification.fcm.token", json!({"body": "b", "fcm": {"token": "x"}})),
            ("notification.fcm.android", json!({"body": "b", "fcm": {"android": 1}})),
            ("notification.apns.aps", json!({"body": "b", "apns": {"aps": "x"}})),
            ("notification.data.aps", json!({"body": "b", "data": {"aps": "x"}})),
        ] {
            assert_eq!(message(&notification).expect_err("must be refused").field, field);
        }
    }
}
