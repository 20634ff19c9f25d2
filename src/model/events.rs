//! What the service tells whoever binds to `bellwether.events`: refusals, ends of jobs, halts, audit heads.
//!
//! Events carry ids, rules, fields and counts; never a token, a text of a notification or a secret.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AppId, AudienceName, CampaignId, DeviceId, Digest, JobId, MalformedCode, Pause, ProducerId, RolloutState,
};

/// One event, as it is published. Its `id` is derived from what it tells: a repeat has the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// Names this event; a receiver that has seen it may drop the repeat.
    pub id: Uuid,
    /// When it was recorded.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// W3C trace context of the job, if it brought one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// What is told.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What an event tells. `type` says which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all_fields = "snake_case")]
pub enum EventBody {
    /// The guard refused a job; no phone was rung.
    #[serde(rename = "job.refused")]
    JobRefused {
        /// Who enqueued it.
        producer: ProducerId,
        /// The producer's id for it.
        job: JobId,
        /// The app it named.
        #[serde(skip_serializing_if = "Option::is_none")]
        app: Option<AppId>,
        /// SHA-256 of the canonical job, in hex.
        #[schemars(with = "String")]
        digest: Digest,
        /// Why: each finding of the guard.
        findings: Vec<FindingNote>,
    },
    /// The guard holds a campaign: it waits until a person has accepted each finding that holds it, or expires.
    #[serde(rename = "job.held")]
    JobHeld {
        /// Who asked for it.
        producer: ProducerId,
        /// The producer's id for it.
        job: JobId,
        /// The campaign that waits.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// SHA-256 of the canonical job, in hex.
        #[schemars(with = "String")]
        digest: Digest,
        /// Why: each finding of the guard, in the order of their numbers.
        findings: Vec<FindingNote>,
    },
    /// What arrived was no job; no phone was rung.
    #[serde(rename = "job.malformed")]
    JobMalformed {
        /// Who enqueued it, if the broker said.
        #[serde(skip_serializing_if = "Option::is_none")]
        producer: Option<ProducerId>,
        /// The producer's id for it, if that could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
        /// The kind of mistake.
        code: MalformedCode,
        /// Which field.
        field: String,
        /// What is wrong, and what would mend it.
        problem: String,
    },
    /// A registration was refused; the registry is as it was.
    #[serde(rename = "device.refused")]
    DeviceRefused {
        /// Who published it.
        producer: ProducerId,
        /// The app it named.
        app: AppId,
        /// The phone's id, if the message said whose it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        device: Option<DeviceId>,
        /// The message's version of the phone.
        version: i64,
        /// Why.
        findings: Vec<FindingNote>,
    },
    /// What arrived was no registration; the registry is as it was.
    #[serde(rename = "device.malformed")]
    DeviceMalformed {
        /// Who published it, if the broker said.
        #[serde(skip_serializing_if = "Option::is_none")]
        producer: Option<ProducerId>,
        /// The kind of mistake.
        code: MalformedCode,
        /// Which field.
        field: String,
        /// What is wrong, and what would mend it.
        problem: String,
    },
    /// A direct job came to its end: nothing more will be tried.
    #[serde(rename = "job.finished")]
    JobFinished {
        /// Who enqueued it.
        producer: ProducerId,
        /// The producer's id for it.
        job: JobId,
        /// Recipients that have no device of the app.
        unreachable: u32,
        /// Devices by outcome.
        outcomes: std::collections::BTreeMap<String, u32>,
    },
    /// A direct text reached as many people as it may; what came after is refused. Told once a window.
    #[serde(rename = "broadcast.stopped")]
    BroadcastStopped {
        /// Whose text.
        producer: ProducerId,
        /// To whose phones.
        app: AppId,
        /// Names the text; not the text.
        #[schemars(with = "String")]
        text: Digest,
        /// Whether the producer has declared it.
        declared: bool,
        /// Most people …
        max_users: u64,
        /// … within so many seconds.
        within_seconds: u64,
        /// Nobody who was counted was sent it before this.
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Timestamp,
    },
    /// A producer's direct jobs reached as many devices as they may in a day; whoever was not rung yet is refused. Told once a
    /// day.
    #[serde(rename = "producer.stopped")]
    ProducerStopped {
        /// Which producer.
        producer: ProducerId,
        /// Most distinct devices.
        devices_per_day: u64,
        /// When the day began.
        #[schemars(with = "String", extend("format" = "date-time"))]
        since: Timestamp,
    },
    /// A campaign's rollout changed its state.
    #[serde(rename = "rollout.changed")]
    RolloutChanged {
        /// Which campaign.
        campaign: CampaignId,
        /// Whose devices.
        app: AppId,
        /// Whom it is for.
        audience: AudienceName,
        /// Where it stands now.
        state: RolloutState,
        /// What it waits for, if it is paused.
        #[serde(skip_serializing_if = "Option::is_none")]
        pause: Option<Pause>,
        /// Why, if that needs a word.
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<String>,
        /// How many distinct people have approved it, while it waits for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        approvals_given: Option<u32>,
        /// How many must, while it waits for them.
        #[serde(skip_serializing_if = "Option::is_none")]
        approvals_needed: Option<u32>,
        /// The stage that was opened last, counting from 1.
        #[serde(skip_serializing_if = "Option::is_none")]
        stage: Option<u32>,
        /// Which run is valid.
        epoch: u32,
        /// Devices frozen so far.
        frozen: u64,
    },
    /// A halt was set.
    #[serde(rename = "halt.set")]
    HaltSet {
        /// What is halted: `all`, `app:<id>`, `audience:<name>` or `campaign:<id>`.
        scope: String,
        /// By whom.
        by: String,
        /// Why.
        reason: String,
    },
    /// A halt was lifted.
    #[serde(rename = "halt.cleared")]
    HaltCleared {
        /// What was halted.
        scope: String,
        /// By whom.
        by: String,
    },
    /// The newest entry of the audit chain: whoever keeps it can tell later if the past was rewritten.
    #[serde(rename = "audit.head")]
    AuditHead {
        /// The entry's number.
        sequence: i64,
        /// The entry's hash, in hex.
        hash: String,
    },
}

/// A finding of the guard as it is told: without the matched text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingNote {
    /// The rule's id, such as `test-to-production`.
    pub rule: String,
    /// `clear`, `hold` or `refuse`.
    pub verdict: String,
    /// The path of the field that it is about.
    pub field: String,
    /// Where in the field, as byte offsets.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub span: Option<(usize, usize)>,
    /// Why.
    pub reason: String,
    /// What would mend it.
    pub fix: String,
}

impl FindingNote {
    /// A person must look first.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.verdict == "hold"
    }
}

impl Event {
    /// Makes an event whose id follows from what it tells and of what. `subject` distinguishes events of
    /// the same content that are not the same (a job's digest, an audit number).
    #[must_use]
    pub fn new(at: Timestamp, traceparent: Option<String>, subject: &[u8], body: EventBody) -> Self {
        let content = serde_json::to_vec(&body).expect("an event has only string keys");
        let digest = Digest::of_parts(&[b"event", subject, &content]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        Self { id: uuid::Builder::from_custom_bytes(bytes).into_uuid(), at, traceparent, body }
    }

    /// The routing key on the topic exchange: `job.refused.<producer>`, `audit.head`, …
    #[must_use]
    pub fn routing_key(&self) -> String {
        let of = |kind: &str, producer: &str| format!("{kind}.{producer}");
        match &self.body {
            EventBody::JobRefused { producer, .. } => of("job.refused", producer.as_str()),
            EventBody::JobHeld { producer, .. } => of("job.held", producer.as_str()),
            EventBody::JobMalformed { producer, .. } => {
                of("job.malformed", producer.as_ref().map_or("unknown", ProducerId::as_str))
            }
            EventBody::DeviceRefused { producer, .. } => of("device.refused", producer.as_str()),
            EventBody::DeviceMalformed { producer, .. } => {
                of("device.malformed", producer.as_ref().map_or("unknown", ProducerId::as_str))
            }
            EventBody::JobFinished { producer, .. } => of("job.finished", producer.as_str()),
            EventBody::BroadcastStopped { producer, .. } => of("broadcast.stopped", producer.as_str()),
            EventBody::ProducerStopped { producer, .. } => of("producer.stopped", producer.as_str()),
            EventBody::RolloutChanged { app, .. } => of("rollout.changed", app.as_str()),
            EventBody::HaltSet { .. } => "halt.set".into(),
            EventBody::HaltCleared { .. } => "halt.cleared".into(),
            EventBody::AuditHead { .. } => "audit.head".into(),
        }
    }

    /// The event as it is published.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an event has only string keys")
    }

    /// The JSON Schema (draft 2020-12) of every event.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_has_the_same_id_and_another_subject_another() {
        let event = |at: i64, subject: &[u8]| {
            let body = EventBody::AuditHead { sequence: 1, hash: "ab".into() };
            Event::new(Timestamp::from_second(at).expect("an instant"), None, subject, body)
        };
        assert_eq!(event(1, b"x").id, event(2, b"x").id);
        assert_ne!(event(1, b"x").id, event(1, b"y").id);
    }
}
