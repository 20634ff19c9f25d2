//! What a provider would not take is refused before the first phone, not after the thousandth.
//!
//! The rendered bytes are measured, in every language, for both providers: a text that fits in English may
//! not fit in Tamil.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::{Message, Notification, Platform},
};

const REFUSE: (Rule, Severity) = (Rule::PayloadLimits, Severity::Refuse);

/// Both providers: 4,096 bytes.
/// <https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification>
/// <https://firebase.google.com/docs/cloud-messaging/concept-options#notifications_and_data_messages>
const MAX_PAYLOAD: usize = 4_096;

/// `apns-collapse-id`.
/// <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>
const MAX_COLLAPSE_ID: usize = 64;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let notification = case.job.notification();
    let mut findings: Vec<_> = collapse_id(notification).into_iter().chain(data_keys(notification)).collect();
    match case.message() {
        Ok(message) => findings.extend(sizes(message)),
        Err(error) => {
            findings.push(Finding::new(REFUSE, &error.field, &error.problem, "leave it to the service"));
        }
    }
    findings
}

fn sizes(message: &Message) -> impl Iterator<Item = Finding> {
    message.payloads().flat_map(|(locale, payload)| {
        Platform::ALL.into_iter().filter_map(move |platform| {
            let size = payload.size(platform);
            if size <= MAX_PAYLOAD {
                return None;
            }
            let field =
                locale.map_or("notification".to_owned(), |locale| format!("notification.localized.{locale}"));
            let reason = format!("{size} bytes for {}; {MAX_PAYLOAD} are allowed", platform.provider());
            Some(Finding::new(REFUSE, field, reason, "shorten the text, or let the app fetch the rest"))
        })
    })
}

fn collapse_id(notification: &Notification) -> Option<Finding> {
    let id = notification.collapse_id.as_deref()?;
    let reason = match id.len() {
        0 => "is empty".to_owned(),
        length if length > MAX_COLLAPSE_ID => {
            format!("{length} bytes; {MAX_COLLAPSE_ID} are allowed")
        }
        // It goes into an HTTP header.
        _ if !id.chars().all(|c| c.is_ascii_graphic()) => {
            "has characters other than visible ASCII".to_owned()
        }
        _ => return None,
    };
    let fix = "write 1 to 64 visible ASCII characters, or leave it out";
    Some(Finding::new(REFUSE, "notification.collapse_id", reason, fix).matching(id))
}

/// FCM refuses a message whose data has a reserved key.
/// <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages#resource:-message>
fn data_keys(notification: &Notification) -> impl Iterator<Item = Finding> {
    let ours = notification.data.keys().map(|key| ("notification.data", key));
    let passed = notification.fcm.get("data").and_then(|data| data.as_object());
    let passed = passed.into_iter().flat_map(|data| data.keys()).map(|key| ("notification.fcm.data", key));
    ours.chain(passed).filter(|(_, key)| is_reserved(key)).map(|(field, key)| {
        let reason = "a key that FCM reserves: from, message_type, google.…, gcm.…";
        Finding::new(REFUSE, field, reason, "choose another key").matching(key)
    })
}

fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || ["google.", "gcm."].iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_text_that_no_provider_takes_is_refused_for_each() {
        assert!(Sample::direct().body(&"ą".repeat(1_800)).is_clear());
        let findings = Sample::direct().body(&"ą".repeat(2_048)).findings(Rule::PayloadLimits);
        for (finding, provider) in findings.iter().zip(["apns", "fcm"]) {
            assert_eq!(finding.field, "notification");
            let told = format!("bytes for {provider}; 4096 are allowed");
            assert!(finding.reason.ends_with(&told), "{}", finding.reason);
        }
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn every_language_is_measured() {
        let sample = Sample::direct()
            .change(|job| job["notification"]["localized"] = json!({"ta": {"body": "அ".repeat(1_400)}}));
        for finding in sample.findings(Rule::PayloadLimits) {
            assert_eq!(finding.field, "notification.localized.ta");
        }
        assert_eq!(sample.findings(Rule::PayloadLimits).len(), 2);
    }

    #[test]
    fn a_collapse_id_fits_its_header() {
        let id = |id: &str| Sample::direct().change(|job| job["notification"]["collapse_id"] = json!(id));
        assert!(id(&"x".repeat(64)).is_clear());
        for bad in [&"x".repeat(65), "", "a\r\nb", "ę", "a b"] {
            assert_eq!(id(bad).refused_by(Rule::PayloadLimits), "notification.collapse_id", "{bad:?}");
        }
    }

    #[test]
    fn keys_that_fcm_reserves_are_refused() {
        for key in ["from", "message_type", "google.c.a", "gcm.notification.x"] {
            let data = Sample::direct().change(|job| job["notification"]["data"] = json!({key: "v"}));
            assert_eq!(data.refused_by(Rule::PayloadLimits), "notification.data");
            let fcm = Sample::direct().change(|job| job["notification"]["fcm"] = json!({"data": {key: "v"}}));
            assert_eq!(fcm.refused_by(Rule::PayloadLimits), "notification.fcm.data");
        }
        let fine = json!({"from_account": "v", "googled": "v"});
        assert!(Sample::direct().change(|job| job["notification"]["data"] = fine).is_clear());
    }

    #[test]
    fn what_cannot_be_rendered_is_refused_by_its_field() {
        let sample = Sample::direct().change(|job| job["notification"]["fcm"] = json!({"topic": "all"}));
        assert_eq!(sample.refused_by(Rule::PayloadLimits), "notification.fcm.topic");
    }
}
