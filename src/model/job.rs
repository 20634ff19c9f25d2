//! A job: what a producer enqueues, parsed from JSON into a value that needs no second look at its form.
//!
//! Labels (`app`, `intent`, `to`) may be absent here: that is not a question of form but the guard's
//! first rule, and it must be refused, and told, as such. Nothing in an error quotes the notification.

use std::{
    collections::{BTreeMap, HashSet},
    hash::Hash,
};

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AppId, AudienceName, DeviceId, Digest, JobId, JobKey, Malformed, MalformedCode, Notification, PlanName,
    ProducerId, UserId,
    malformed::{explain, not_json},
    object::{Object, object, object_or_none},
};

/// Largest job, in bytes. A job is text for one screen; 64 KiB holds it in every language.
pub const MAX_JOB_BYTES: usize = 64 * 1024;

/// A direct job that names no expiry is worth nothing after this long.
const DEFAULT_DIRECT_EXPIRY: SignedDuration = SignedDuration::from_hours(1);

/// Most labels a job may carry, and the longest of them in characters: they go into events and logs.
const MAX_LABELS: usize = 20;
const MAX_LABEL_CHARS: usize = 100;

/// What the job claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// For registered testers only; can never reach anyone else.
    Test,
    /// For the people the app serves.
    Production,
}

impl Intent {
    /// As written in a job.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Production => "production",
        }
    }
}

/// Which way a job goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Named recipients; latency matters.
    Direct,
    /// A named audience; safety matters.
    Campaign,
}

impl Lane {
    /// As shown in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Campaign => "campaign",
        }
    }
}

/// Whom a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// A named cohort, and the most devices that the producer expects in it.
    Audience {
        /// Which cohort.
        name: AudienceName,
        /// The producer's own upper bound.
        at_most: u64,
    },
    /// These people, on all their devices of the app. Each is named once.
    Users(Vec<UserId>),
    /// These devices. Each is named once.
    Devices(Vec<DeviceId>),
}

impl Recipients {
    /// The lane that this kind of recipient takes.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        match self {
            Self::Audience { .. } => Lane::Campaign,
            Self::Users(_) | Self::Devices(_) => Lane::Direct,
        }
    }
}

/// A job whose form is right.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    wire: Wire,
    to: Option<Recipients>,
    intent: Option<Intent>,
    app: Option<AppId>,
    digest: Digest,
    canonical: String, // the ledger's row needs the text that the digest is of
}

/// A job as it stands on the wire (version 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Job")]
struct Wire {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    v: u64,
    /// The idempotency key, unique within the producer for 30 days.
    id: JobId,
    /// Which app the recipients have installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(required)]
    app: Option<String>,
    /// `test` or `production`. A job without it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(required, extend("enum" = ["test", "production"]))]
    intent: Option<String>,
    /// Whom it is for: exactly one of `users`, `devices`, or `audience` with `at_most`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object_or_none")]
    #[schemars(required)]
    to: Option<WireTo>,
    /// What the phone shows.
    #[serde(deserialize_with = "object")]
    notification: Notification,
    /// Nothing is sent after this. Required for an audience; one hour for named recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    expires_at: Option<Timestamp>,
    /// Nothing is sent before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    not_before: Option<Timestamp>,
    /// Rather never than twice: a send whose fate is unknown is not repeated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    at_most_once: bool,
    /// Which plan a campaign follows; the audience's default otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<PlanName>,
    /// The producer's own marks; shown, never acted on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Recipients")]
struct WireTo {
    /// A named cohort.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audience: Option<AudienceName>,
    /// The most devices that the producer expects in the audience.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<u64>,
    /// Named people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    users: Option<Vec<UserId>>,
    /// Named devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceId>>,
}

impl Job {
    /// Reads a job (DESIGN of the format: README, "Enqueue").
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        use MalformedCode as Code;
        if bytes.len() > MAX_JOB_BYTES {
            let problem = format!("{} bytes; at most {MAX_JOB_BYTES} are accepted", bytes.len());
            return Err(Malformed::new(Code::TooLarge, "job", problem));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let problem = format!("not UTF-8 at byte {}; encode the job as UTF-8", error.valid_up_to());
            Malformed::new(Code::NotUtf8, "job", problem)
        })?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let wire: Wire = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| explain(&error, text, "job"))
            .and_then(|Object(wire)| reader.end().map(|()| wire).map_err(|error| not_json(&error, "job")))?;
        let id = wire.id.clone();
        Self::check(wire).map_err(|malformed| malformed.of_id(&id))
    }

    fn check(wire: Wire) -> Result<Self, Malformed> {
        use MalformedCode as Code;
        if wire.v != 1 {
            let problem = format!("version {} is not known; this service reads version 1", wire.v);
            return Err(Malformed::new(Code::UnknownVersion, "v", problem));
        }
        if wire.notification.body.trim().is_empty() {
            let problem = "is empty; a notification needs a text";
            return Err(Malformed::new(Code::InvalidValue, "notification.body", problem));
        }
        let too_long = |(key, value): (&String, &String)| {
            key.chars().count() > MAX_LABEL_CHARS || value.chars().count() > MAX_LABEL_CHARS
        };
        if wire.labels.len() > MAX_LABELS || wire.labels.iter().any(too_long) {
            let problem = format!("at most {MAX_LABELS} labels of {MAX_LABEL_CHARS} characters are accepted");
            return Err(Malformed::new(Code::InvalidValue, "labels", problem));
        }
        let to = wire.to.clone().map(recipients).transpose()?;
        if matches!(to, Some(Recipients::Audience { .. })) && wire.expires_at.is_none() {
            let problem = "is required for an audience: say after which instant the message is worthless";
            return Err(Malformed::new(Code::MissingField, "expires_at", problem));
        }
        if let (Some(start), Some(end)) = (wire.not_before, wire.expires_at)
            && start >= end
        {
            let problem = "is not before expires_at, so the job could never be sent";
            return Err(Malformed::new(Code::InvalidValue, "not_before", problem));
        }
        let app = wire.app.as_deref().map(AppId::parse).transpose();
        let app = app.map_err(|error| Malformed::new(Code::InvalidValue, "app", error.to_string()))?;
        let intent = wire.intent.as_deref().and_then(|word| match word {
            "test" => Some(Intent::Test),
            "production" => Some(Intent::Production),
            _ => None,
        });
        let canonical = serde_json::to_string(&wire).expect("a parsed job has only string keys");
        Ok(Self { digest: Digest::of(canonical.as_bytes()), wire, to, intent, app, canonical })
    }

    /// The same job under another id.
    #[must_use]
    pub fn renamed(&self, id: JobId) -> Self {
        Self::check(Wire { id, ..self.wire.clone() })
            .expect("only the id differs from a job that was checked")
    }

    /// Other words to the same recipients, under another id and until another time; its labels and its `at_most_once` stay. It
    /// is read as a job that arrives is.
    pub fn reworded(
        &self,
        id: JobId,
        notification: Notification,
        expires_at: Timestamp,
    ) -> Result<Self, Malformed> {
        let (expires_at, wire) = (Some(expires_at), self.wire.clone());
        let job = Self::check(Wire { id, notification, expires_at, not_before: None, ..wire })?;
        Self::parse(job.canonical.as_bytes())
    }

    /// The producer's idempotency key.
    pub const fn id(&self) -> &JobId {
        &self.wire.id
    }

    /// The job's key, once its producer is known.
    pub fn key(&self, producer: &ProducerId) -> JobKey {
        JobKey { producer: producer.clone(), id: self.wire.id.clone() }
    }

    /// The app, if the job names one.
    pub const fn app(&self) -> Option<&AppId> {
        self.app.as_ref()
    }

    /// The intent, if the job states one that exists.
    pub const fn intent(&self) -> Option<Intent> {
        self.intent
    }

    /// The intent as the job wrote it, known or not.
    pub fn claimed_intent(&self) -> Option<&str> {
        self.wire.intent.as_deref()
    }

    /// Whom it is for, if the job says so.
    pub const fn to(&self) -> Option<&Recipients> {
        self.to.as_ref()
    }

    /// The lane that its recipients ask for; a job for nobody is taken as direct, and refused.
    pub fn lane(&self) -> Lane {
        self.to.as_ref().map_or(Lane::Direct, Recipients::lane)
    }

    /// What the phone shows.
    pub const fn notification(&self) -> &Notification {
        &self.wire.notification
    }

    /// The expiry as the job wrote it.
    pub const fn stated_expiry(&self) -> Option<Timestamp> {
        self.wire.expires_at
    }

    /// The instant after which nothing is sent, for a job that arrived at `received`.
    pub fn expires_at(&self, received: Timestamp) -> Timestamp {
        self.wire
            .expires_at
            .unwrap_or_else(|| received.checked_add(DEFAULT_DIRECT_EXPIRY).unwrap_or(Timestamp::MAX))
    }

    /// The instant before which nothing is sent.
    pub const fn not_before(&self) -> Option<Timestamp> {
        self.wire.not_before
    }

    /// True if a send whose fate is unknown must not be repeated.
    pub const fn at_most_once(&self) -> bool {
        self.wire.at_most_once
    }

    /// The plan that the job asks for.
    pub const fn plan(&self) -> Option<&PlanName> {
        self.wire.plan.as_ref()
    }

    /// The producer's own marks.
    pub const fn labels(&self) -> &BTreeMap<String, String> {
        &self.wire.labels
    }

    /// The digest of the canonical job: the same content has the same digest, however it was spaced.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The canonical JSON: what the ledger keeps, and what [`Job::parse`] reads back to an equal job.
    pub fn canonical_json(&self) -> &str {
        &self.canonical
    }
}

fn recipients(to: WireTo) -> Result<Recipients, Malformed> {
    let invalid = |field: &str, problem: &str| Malformed::new(MalformedCode::InvalidValue, field, problem);
    match to {
        WireTo { audience: Some(name), at_most: Some(at_most), users: None, devices: None } => {
            Ok(Recipients::Audience { name, at_most })
        }
        WireTo { audience: Some(_), at_most: None, users: None, devices: None } => Err(Malformed::new(
            MalformedCode::MissingField,
            "to.at_most",
            "is required for an audience: the most devices that you expect in it",
        )),
        WireTo { audience: None, at_most: None, users: Some(users), devices: None } => match once(users) {
            users if users.is_empty() => Err(invalid("to.users", "is empty; name at least one recipient")),
            users => Ok(Recipients::Users(users)),
        },
        WireTo { audience: None, at_most: None, users: None, devices: Some(devices) } => {
            match once(devices) {
                devices if devices.is_empty() => {
                    Err(invalid("to.devices", "is empty; name at least one recipient"))
                }
                devices => Ok(Recipients::Devices(devices)),
            }
        }
        _ => Err(invalid("to", "needs exactly one of: users; devices; audience with at_most")),
    }
}

/// Each recipient once, in the order of first mention: a person named twice is rung once.
fn once<T: Clone + Eq + Hash>(items: Vec<T>) -> Vec<T> {
    let mut seen = HashSet::with_capacity(items.len());
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

/// The JSON Schema (draft 2020-12) of a job.
#[must_use]
pub fn job_schema() -> serde_json::Value {
    schemars::schema_for!(Wire).to_value()
}

#[cfg(test)]
mod tests;
