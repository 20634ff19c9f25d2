//! `a2`, the crate that the field would name first, as an oracle for what both of us say.

use a2::{
    DefaultNotificationBuilder, NotificationBuilder as _, NotificationOptions,
    request::payload::PayloadLike as _, response::ErrorReason,
};
use serde_json::Value;

use super::*;

#[test]
fn our_payload_says_what_a2_says() {
    for (title, body, category) in [
        (Some("Twoja karta"), "Płatność 12,50 zł", Some("card")),
        (None, "Only a body", None),
        (Some("\"quoted\" \\ and \u{1F600}"), "line\nbreak", Some("a.b")),
    ] {
        let mut theirs = DefaultNotificationBuilder::new().set_body(body).set_sound("default").set_badge(3);
        let mut notification = json!({"body": body, "apns": {"aps": {"badge": 3}}});
        if let Some(title) = title {
            theirs = theirs.set_title(title);
            notification["title"] = json!(title);
        }
        if let Some(category) = category {
            theirs = theirs.set_category(category);
            notification["category"] = json!(category);
        }
        let theirs = theirs.build("token", NotificationOptions::default()).to_json_string().expect("JSON");
        let mut theirs: Value = serde_json::from_str(&theirs).expect("JSON");
        if title.is_none() && theirs["aps"]["alert"].is_string() {
            // Apple takes a bare string for a body without a title; we always send the object.
            theirs["aps"]["alert"] = json!({"body": theirs["aps"]["alert"]});
        }
        // Fields that a2 writes with their default, and that we leave out.
        let aps = theirs["aps"].as_object_mut().expect("an object");
        if aps.get("mutable-content") == Some(&json!(0)) {
            aps.remove("mutable-content");
        }

        let notification = serde_json::from_value(notification).expect("a notification");
        let now = Timestamp::UNIX_EPOCH;
        let ours = Message::render(&notification, &key(), now, now).expect("it renders");
        let (_, payload) = ours.payloads().next().expect("the default text");
        let ours: Value = serde_json::from_slice(payload.apns()).expect("JSON");
        assert_eq!(ours, theirs);
    }
}

#[test]
fn every_reason_that_a2_knows_is_kept_and_acts() {
    // It does not know InvalidPushType, ExpiredToken, UnrelatedKeyIdInToken, BadEnvironmentKeyIdInToken; we do.
    for (status, word) in [
        (400, "BadCollapseId"),
        (400, "BadDeviceToken"),
        (400, "BadExpirationDate"),
        (400, "BadMessageId"),
        (400, "BadPriority"),
        (400, "BadTopic"),
        (400, "DeviceTokenNotForTopic"),
        (400, "DuplicateHeaders"),
        (400, "IdleTimeout"),
        (400, "MissingDeviceToken"),
        (400, "MissingTopic"),
        (400, "PayloadEmpty"),
        (400, "TopicDisallowed"),
        (403, "BadCertificate"),
        (403, "BadCertificateEnvironment"),
        (403, "ExpiredProviderToken"),
        (403, "Forbidden"),
        (403, "InvalidProviderToken"),
        (403, "MissingProviderToken"),
        (404, "BadPath"),
        (405, "MethodNotAllowed"),
        (410, "Unregistered"),
        (413, "PayloadTooLarge"),
        (429, "TooManyRequests"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (503, "Shutdown"),
    ] {
        let body = json!({"reason": word, "timestamp": 1_700_000_000_000_i64}).to_string();
        let theirs = serde_json::from_str::<ErrorReason>(&format!("\"{word}\""));
        assert!(theirs.is_ok(), "a2 does not know {word}");
        let status = http::StatusCode::from_u16(status).expect("a status");
        let answer =
            apns::read_answer(status, &http::HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH);
        assert_eq!(answer.outcome.reason().expect("a word").as_str(), word);
    }
}
