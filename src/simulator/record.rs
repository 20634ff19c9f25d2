//! What the simulator saw: every request, or only their counts.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{Phone, Provider, phones::Phones};

/// How much is kept of each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum RecordDetail {
    /// Everything, for tests.
    #[default]
    Full,
    /// Counts and screens, for hundreds of thousands of phones and for measuring.
    Compact,
}

/// One request as it arrived, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedRequest {
    /// 1 for the first.
    pub number: u64,
    /// When it had been read: microseconds since 1970.
    pub at_micros: i64,
    /// The same on a monotonic clock: microseconds since the simulator started.
    pub elapsed_micros: u64,
    /// Who was asked.
    pub provider: Provider,
    /// Which connection, counted from 1; 0 for OAuth, where connections are not counted.
    pub connection: u64,
    /// Which stream on it; 0 for OAuth.
    pub stream: u32,
    /// The HTTP method.
    pub method: String,
    /// The `:path`.
    pub path: String,
    /// All headers in order. `authorization` is replaced: "valid", or the start of its SHA-256.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced. Empty for OAuth: it is a credential.
    pub body: String,
    /// The device token, if the request passed every check.
    pub token: Option<String>,
    /// The answer's status; none if there was no answer.
    pub status: Option<u16>,
    /// The answer's reason, "Accepted", or what happened instead of an answer.
    pub reason: Cow<'static, str>,
    /// Whether the phone received the notification.
    pub taken: bool,
}

impl RecordedRequest {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// How often one answer was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnswerCount {
    /// Who answered.
    pub provider: Provider,
    /// None if there was no answer.
    pub status: Option<u16>,
    /// See [`RecordedRequest::reason`].
    pub reason: Cow<'static, str>,
    /// How often.
    pub count: u64,
}

/// Counts over everything since the start or the last reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// All requests, OAuth included.
    pub requests: u64,
    /// HTTP/2 connections accepted.
    pub connections: u64,
    /// Phones registered.
    pub phones: u64,
    /// Distinct phones that received a notification.
    pub phones_reached: u64,
    /// Notifications received by phones, repeats included.
    pub accepted: u64,
    /// Items on all screens.
    pub shown: u64,
    /// The most notifications that one phone received.
    pub max_accepted_per_phone: u32,
    /// The most items on one screen.
    pub max_shown_per_phone: u64,
    /// By provider, status and reason.
    pub answers: Vec<AnswerCount>,
}

/// A phone's screen, by token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhoneScreen {
    /// Its token.
    pub token: Arc<str>,
    /// The phone.
    #[serde(flatten)]
    pub phone: Phone,
}

/// Everything that one lock keeps consistent.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) phones: Phones,
    pub(super) requests: Vec<Arc<RecordedRequest>>,
    pub(super) count: u64,
    answers: BTreeMap<(Provider, Option<u16>, Cow<'static, str>), u64>,
}

impl Record {
    /// Counts a request and answers its number.
    pub(super) fn count(
        &mut self,
        provider: Provider,
        status: Option<u16>,
        reason: Cow<'static, str>,
    ) -> u64 {
        self.count += 1;
        *self.answers.entry((provider, status, reason)).or_default() += 1;
        self.count
    }

    /// Forgets requests, counts and screens; phones stay registered.
    pub(super) fn reset(&mut self) {
        self.phones.wipe();
        self.requests = Vec::new();
        self.count = 0;
        self.answers.clear();
    }

    pub(super) fn summary(&self, connections: u64) -> Summary {
        let mut summary = Summary {
            requests: self.count,
            connections,
            phones: u64::try_from(self.phones.len()).unwrap_or(u64::MAX),
            phones_reached: 0,
            accepted: 0,
            shown: 0,
            max_accepted_per_phone: 0,
            max_shown_per_phone: 0,
            answers: self.answers.iter().map(count_of).collect(),
        };
        for (_, phone) in self.phones.iter() {
            let shown = u64::try_from(phone.screen.len()).unwrap_or(u64::MAX);
            summary.phones_reached += u64::from(phone.accepted > 0);
            summary.accepted += u64::from(phone.accepted);
            summary.shown += shown;
            summary.max_accepted_per_phone = summary.max_accepted_per_phone.max(phone.accepted);
            summary.max_shown_per_phone = summary.max_shown_per_phone.max(shown);
        }
        summary
    }

    /// Phones that received anything, by token.
    pub(super) fn screens(&self) -> Vec<PhoneScreen> {
        let reached = self.phones.iter().filter(|(_, phone)| phone.accepted > 0);
        let mut screens: Vec<_> = reached
            .map(|(token, phone)| PhoneScreen { token: Arc::clone(token), phone: phone.clone() })
            .collect();
        screens.sort_unstable_by(|a, b| a.token.cmp(&b.token));
        screens
    }
}

fn count_of(
    ((provider, status, reason), count): (&(Provider, Option<u16>, Cow<'static, str>), &u64),
) -> AnswerCount {
    AnswerCount { provider: *provider, status: *status, reason: reason.clone(), count: *count }
}
