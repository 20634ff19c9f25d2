//! The content of a notification, and which text a device gets.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Locale, object::objects};

/// How urgently the provider should deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// At once, waking the phone (APNs 10, FCM HIGH).
    #[default]
    High,
    /// When it suits the phone's battery (APNs 5, FCM NORMAL).
    Normal,
}

/// What a person reads. Its `Debug` form does not show it (I12).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text below it.
    pub body: String,
}

/// The content of a job, in every language it comes in. Its `Debug` form does not show it (I12).
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notification {
    /// The first line, in the app's default language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text below it, in the app's default language.
    pub body: String,
    /// The same in other languages, by language tag; `de-AT` falls back to `de`, then to the default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "objects")]
    pub localized: BTreeMap<Locale, Text>,
    /// What kind of message it is: APNs category, Android channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Where a tap leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// Strings for the app itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// A later notification with the same id replaces this one on the phone; at most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse_id: Option<String>,
    /// How urgently.
    #[serde(default)]
    pub priority: Priority,
    /// Passed to APNs beneath what the service itself sets: further keys of the payload.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub apns: serde_json::Map<String, serde_json::Value>,
    /// Passed to FCM beneath what the service itself sets: further keys of `message`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub fcm: serde_json::Map<String, serde_json::Value>,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(…)")
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification").field("locales", &self.localized.keys()).finish_non_exhaustive()
    }
}

impl Notification {
    /// The text for a device that speaks `language`: the nearest of `de-AT`, `de`, default.
    #[must_use]
    pub fn locale_for(&self, language: Option<&Locale>) -> Option<&Locale> {
        let mut wanted = language.cloned();
        while let Some(locale) = wanted {
            if let Some((known, _)) = self.localized.get_key_value(&locale) {
                return Some(known);
            }
            wanted = locale.parent();
        }
        None
    }

    /// Title and body in `locale`; the default text for `None` or a locale that the notification has not.
    #[must_use]
    pub fn text(&self, locale: Option<&Locale>) -> (Option<&str>, &str) {
        match locale.and_then(|locale| self.localized.get(locale)) {
            Some(text) => (text.title.as_deref(), &text.body),
            None => (self.title.as_deref(), &self.body),
        }
    }

    /// Every text a person could read, with the path of its field: what the guard looks at.
    pub fn texts(&self) -> impl Iterator<Item = (String, &str)> {
        let default = [("title", self.title.as_deref()), ("body", Some(self.body.as_str()))]
            .into_iter()
            .filter_map(|(field, text)| Some((format!("notification.{field}"), text?)));
        let localized = self.localized.iter().flat_map(|(locale, text)| {
            [("title", text.title.as_deref()), ("body", Some(text.body.as_str()))].into_iter().filter_map(
                move |(field, text)| Some((format!("notification.localized.{locale}.{field}"), text?)),
            )
        });
        default.chain(localized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notification() -> Notification {
        serde_json::from_value(serde_json::json!({
            "title": "t", "body": "b",
            "localized": {"de": {"title": "T", "body": "B"}, "pl": {"body": "P"}}
        }))
        .expect("a notification")
    }

    #[test]
    fn the_nearest_language_is_chosen() {
        let notification = notification();
        let text = |tag: &str| {
            let locale = Locale::parse(tag).expect("a locale");
            notification.text(notification.locale_for(Some(&locale))).1
        };
        assert_eq!((text("de-AT"), text("de"), text("fr"), text("pl-PL")), ("B", "B", "b", "P"));
    }

    #[test]
    fn the_text_is_never_printed() {
        let printed = format!("{:?}", Notification { title: Some("secret".into()), ..notification() });
        assert!(!printed.contains("secret"), "{printed}");
    }

    #[test]
    fn every_text_is_listed_for_the_guard() {
        let fields: Vec<_> = notification().texts().map(|(field, _)| field).collect();
        assert_eq!(
            fields,
            [
                "notification.title",
                "notification.body",
                "notification.localized.de.title",
                "notification.localized.de.body",
                "notification.localized.pl.body"
            ]
        );
    }
}
