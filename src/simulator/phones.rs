//! The phones behind the tokens, and what their screens show.
//!
//! A phone shows a notification once per *slot*. APNs: the `apns-collapse-id`, else the `apns-id` (a
//! repeat with the same id replaces the first; Apple does not document this, so it is this
//! simulator's assumption). FCM: `android.notification.tag`, else every message is an item of its own;
//! `collapse_key` replaces only what a phone that is off has not received yet, and these are on.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::Provider;

/// The operating system behind a token, and with it the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Reached over APNs.
    Ios,
    /// Reached over FCM.
    Android,
}

impl Platform {
    fn provider(self) -> Provider {
        match self {
            Self::Ios => Provider::Apns,
            Self::Android => Provider::Fcm,
        }
    }
}

/// The APNs world that a token belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Apps from the store.
    #[default]
    Production,
    /// Apps run from a developer's machine.
    Sandbox,
}

/// A phone to register. Fields that are not listed are ignored, so that a file made for
/// `bellwether device import` can be registered as it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NewPhone {
    /// The token that a sender names it by.
    pub token: String,
    /// iOS or Android.
    pub platform: Platform,
    /// The APNs topic or FCM project it is registered with; the simulator's first, unless given.
    #[serde(default)]
    pub registered_with: Option<String>,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// Milliseconds since 1970 at which the app was removed.
    #[serde(default)]
    pub gone_since_ms: Option<i64>,
}

impl NewPhone {
    /// A phone that has the app, with what the simulator takes for granted.
    pub fn new(platform: Platform, token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            platform,
            registered_with: None,
            environment: Environment::Production,
            gone_since_ms: None,
        }
    }
}

/// One item on a screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// What a later notification must repeat to replace it; none if nothing can.
    pub slot: Option<Arc<str>>,
    /// Its heading; empty if it has none.
    pub title: Arc<str>,
    /// Its text; empty if it has none.
    pub body: Arc<str>,
    /// How many accepted notifications ended in this item: more than 1 means replaced.
    pub times: u32,
    /// Microseconds since 1970 of the latest of them.
    pub at_micros: i64,
}

/// A phone and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phone {
    /// Who reaches it.
    pub provider: Provider,
    /// APNs topic or FCM project.
    pub registered_with: Arc<str>,
    /// APNs only.
    pub environment: Environment,
    /// Milliseconds since 1970 at which the app was removed.
    pub gone_since_ms: Option<i64>,
    /// Correct requests that named it.
    pub requests: u32,
    /// Notifications that it received, shown or not.
    pub accepted: u32,
    /// What it shows.
    pub screen: Vec<Shown>,
}

/// What a notification puts on a screen.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    /// See [`Shown::slot`].
    pub(super) slot: Option<&'a str>,
    /// Title and body, or nothing for a notification that only wakes the app.
    pub(super) text: Option<(&'a str, &'a str)>,
}

/// Why a phone cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// No such token with this provider and in this environment.
    Unknown,
    /// The provider could never have given out such a token.
    Malformed,
    /// The token belongs to another topic or project.
    Elsewhere,
    /// The app was removed.
    Gone { since_ms: i64 },
}

/// All phones by token.
#[derive(Debug, Default)]
pub(super) struct Phones {
    by_token: HashMap<Arc<str>, Phone>,
    // 200,000 phones show the same few texts; each is kept once.
    texts: HashSet<Arc<str>>,
    /// Notifications that reached a phone.
    rung: u64,
}

impl Phones {
    pub(super) fn register(&mut self, phone: NewPhone, default: &str) {
        let registered_with = self.text(phone.registered_with.as_deref().unwrap_or(default));
        let fresh = Phone {
            provider: phone.platform.provider(),
            registered_with,
            environment: phone.environment,
            gone_since_ms: phone.gone_since_ms,
            requests: 0,
            accepted: 0,
            screen: Vec::new(),
        };
        self.by_token.insert(phone.token.into(), fresh);
    }

    pub(super) fn get(&self, token: &str) -> Option<&Phone> {
        self.by_token.get(token)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Phone)> {
        self.by_token.iter()
    }

    /// Notifications that reached a phone since it started, whatever was forgotten meanwhile.
    pub(super) const fn rung(&self) -> u64 {
        self.rung
    }

    pub(super) fn len(&self) -> usize {
        self.by_token.len()
    }

    /// Marks a token as gone; answers whether there is one.
    pub(super) fn mark_gone(&mut self, token: &str, since_ms: i64) -> bool {
        let phone = self.by_token.get_mut(token);
        phone.map(|phone| phone.gone_since_ms = Some(since_ms)).is_some()
    }

    /// Wipes screens and counts; the phones stay registered.
    pub(super) fn wipe(&mut self) {
        for phone in self.by_token.values_mut() {
            (phone.requests, phone.accepted) = (0, 0);
            phone.screen = Vec::new();
        }
    }

    /// Counts a request for a phone and says whether it can be reached.
    pub(super) fn reach(
        &mut self,
        provider: Provider,
        token: &str,
        registered_with: &str,
        environment: Environment,
    ) -> Result<(), Unreachable> {
        let phone = self.by_token.get_mut(token).filter(|phone| phone.provider == provider);
        let phone = phone.ok_or(Unreachable::Unknown)?;
        phone.requests += 1;
        if provider == Provider::Apns && phone.environment != environment {
            return Err(Unreachable::Unknown);
        }
        if *phone.registered_with != *registered_with {
            return Err(Unreachable::Elsewhere);
        }
        match phone.gone_since_ms {
            Some(since_ms) => Err(Unreachable::Gone { since_ms }),
            None => Ok(()),
        }
    }

    /// Puts a notification on the screen of a phone that was reached.
    pub(super) fn show(&mut self, token: &str, picture: &Picture<'_>, at_micros: i64) {
        let text = picture.text.map(|(title, body)| (self.text(title), self.text(body)));
        let Some(phone) = self.by_token.get_mut(token) else { return };
        phone.accepted += 1;
        self.rung += 1;
        let Some((title, body)) = text else { return };
        let same = |shown: &&mut Shown| shown.slot.is_some() && shown.slot.as_deref() == picture.slot;
        if let Some(shown) = phone.screen.iter_mut().find(same) {
            *shown = Shown { slot: shown.slot.take(), title, body, times: shown.times + 1, at_micros };
        } else {
            let slot = picture.slot.map(Arc::from);
            phone.screen.push(Shown { slot, title, body, times: 1, at_micros });
        }
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, NewPhone, Phones, Picture, Platform, Provider, Unreachable};

    const IOS: Provider = Provider::Apns;

    fn phones(phone: NewPhone) -> Phones {
        let mut phones = Phones::default();
        phones.register(phone, "pl.example.bank");
        phones
    }

    fn texts(phones: &Phones) -> Vec<(String, u32)> {
        let screen = &phones.get("t").expect("registered").screen;
        screen.iter().map(|shown| (shown.body.to_string(), shown.times)).collect()
    }

    #[test]
    fn the_same_slot_replaces_and_no_slot_never_does() {
        let mut phones = phones(NewPhone::new(Platform::Ios, "t"));
        for (slot, body) in [(Some("a"), "1"), (Some("b"), "2"), (Some("a"), "3"), (None, "4")] {
            phones.show("t", &Picture { slot, text: Some(("", body)) }, 0);
        }
        phones.show("t", &Picture { slot: None, text: Some(("", "4")) }, 0);
        let expected = [("3", 2), ("2", 1), ("4", 1), ("4", 1)];
        assert_eq!(texts(&phones), expected.map(|(body, times)| (body.to_owned(), times)));
    }

    #[test]
    fn a_silent_notification_is_received_but_not_shown() {
        let mut phones = phones(NewPhone::new(Platform::Ios, "t"));
        phones.show("t", &Picture { slot: Some("a"), text: None }, 0);
        assert_eq!((phones.get("t").expect("registered").accepted, texts(&phones)), (1, vec![]));
    }

    #[test]
    fn a_token_is_known_only_where_it_was_registered() {
        let mut phones = phones(NewPhone::new(Platform::Ios, "t"));
        let mut reach = |provider, topic, environment| phones.reach(provider, "t", topic, environment);
        assert_eq!(reach(IOS, "pl.example.bank", Environment::Production), Ok(()));
        let sandbox = reach(IOS, "pl.example.bank", Environment::Sandbox);
        assert_eq!(sandbox, Err(Unreachable::Unknown));
        let other = reach(IOS, "pl.example.other", Environment::Production);
        assert_eq!(other, Err(Unreachable::Elsewhere));
        let fcm = reach(Provider::Fcm, "pl.example.bank", Environment::Production);
        assert_eq!(fcm, Err(Unreachable::Unknown));
        assert!(phones.mark_gone("t", 5));
        let mut reach = |topic| phones.reach(IOS, "t", topic, Environment::Production);
        assert_eq!(reach("pl.example.bank"), Err(Unreachable::Gone { since_ms: 5 }));
    }
}
