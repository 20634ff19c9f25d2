//! Rollouts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GuardView, HaltView, RelatedView};
use crate::model::{Pause, RolloutState};

/// A line of text, as a schema has it: no control characters.
const LINE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// The same with something in it.
const SAID: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$";

/// `GET /api/v1/rollouts`: the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutList {
    /// One page of them.
    pub rollouts: Vec<RolloutSummary>,
}

/// A rollout in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutSummary {
    /// The campaign's id (UUID).
    pub campaign: String,
    /// Its producer; of one that a person submitted, the producer on whose behalf.
    pub producer: String,
    /// The job's id.
    pub job: String,
    /// Whose devices.
    pub app: String,
    /// Whom it is for.
    pub audience: String,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it is paused, if it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pause: Option<Pause>,
    /// Why it stands there, if that needs words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<String>,
    /// The stage that was opened last, counting from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<u32>,
    /// How many stages its plan has.
    pub stages: u32,
    /// Devices frozen so far.
    pub frozen: u64,
    /// Which run is valid.
    pub epoch: u32,
    /// When it arrived.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub received_at: Timestamp,
    /// When its state changed last.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub changed_at: Timestamp,
    /// Nothing is sent after this.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub finished_at: Option<Timestamp>,
}

/// `GET /api/v1/rollouts/{campaign}`, and the answer to every verb: a rollout, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutView {
    /// In one line.
    #[serde(flatten)]
    pub summary: RolloutSummary,
    /// The plan's name.
    pub plan: String,
    /// What an approval is bound to now; absent until it is frozen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Who submitted it by hand.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub requester: Option<String>,
    /// How many distinct people must approve it.
    pub approvals_needed: u32,
    /// Who approved it, and what became of that.
    pub approvals: Vec<ApprovalView>,
    /// Who may not approve it: they asked for it.
    pub barred: Vec<String>,
    /// What it waits for, in words; absent when it is over.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<Waits>,
    /// Every stage, in order; without counts until it is frozen.
    pub stages_view: Vec<StageView>,
    /// What the guard had to say of it when it arrived.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub findings: Vec<FindingView>,
    /// Who has said of this test that it looked right on a phone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proven: Option<ProvenView>,
    /// How its rate follows a signal, if its plan says so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pace: Option<PaceView>,
    /// What is left beside the stages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub late_tail: Option<TailView>,
    /// Requests that ended after a worker had heard of its halt: they were on the wire.
    pub after_halt: u64,
    /// Halts in force that cover it: nothing of it starts until they are lifted. Absent of one that is over.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub halts: Vec<HaltView>,
    /// What it came of, and what came of it: retries, corrections, supersessions.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub related: Vec<RelatedView>,
    /// What each of its plan's guards says now. Absent before it is started, and of one that is over.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub guards: Vec<GuardView>,
}

/// Who has looked at a test, and what they say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvenView {
    /// Who.
    pub by: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// What they say.
    pub reason: String,
}

/// What the guard had to say, and who answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FindingView {
    /// By which it is accepted.
    pub number: u32,
    /// The rule's id.
    pub rule: String,
    /// It holds the campaign until somebody has accepted it; otherwise it is a note.
    pub holds: bool,
    /// The path of the field that it is about.
    pub field: String,
    /// Why.
    pub reason: String,
    /// What would mend it.
    pub fix: String,
    /// Who has accepted it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted_by: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub accepted_at: Option<Timestamp>,
    /// Why they answer for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accepted_reason: Option<String>,
}

impl FindingView {
    /// It holds the campaign still.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.holds && self.accepted_by.is_none()
    }
}

/// How a rate follows a signal of our own systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaceView {
    /// Which signal; without one the rate is `min`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<String>,
    /// Notifications a second over the whole fleet: never less.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// What it is now.
    pub per_second: u32,
    /// What the signal said last; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub headroom: Option<f64>,
}

/// What a rollout waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waits {
    /// For what, in words.
    pub why: String,
    /// Until when, if that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub until: Option<Timestamp>,
    /// True if a person must do something.
    pub on_people: bool,
}

/// One person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// Who.
    pub by: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Of what.
    pub digest: String,
    /// What they said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// How long it may wait for the start.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub until: Timestamp,
    /// When it ceased to hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub voided_at: Option<Timestamp>,
    /// Why it ceased to hold.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub voided_by: Option<String>,
}

/// A stage of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageView {
    /// Counting from 1.
    pub stage: u32,
    /// Whom it takes, in words: `staff`, `1 %`, `5000 devices`.
    pub takes: String,
    /// Its devices, once it is frozen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub devices: Option<u64>,
    /// Devices with a final outcome.
    pub done: u64,
    /// How often each outcome was recorded.
    pub outcomes: BTreeMap<String, u64>,
    /// The watched wait after it, in milliseconds.
    pub bake_ms: u64,
    /// A person opens the stage after it.
    pub manual_gate: bool,
    /// What opens the stage after it: `auto` (health that passes), `manual` (a person) or `time` (the watched wait).
    #[serde(default)]
    pub gate: String,
    /// What the providers' answers say of it, once there are some.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<StageHealth>,
    /// Most notifications a second, over the whole fleet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_rate: Option<u32>,
    /// When it was opened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub opened_at: Option<Timestamp>,
    /// When its last first-time chunk was done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub sent_at: Option<Timestamp>,
}

/// What is left beside the stages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TailView {
    /// So many devices.
    pub devices: u64,
    /// When the first of them is due.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub due_at: Timestamp,
}

/// `POST /api/v1/rollouts/{campaign}/approve`: exactly this, by typing what it comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    /// The digest that the approver was shown.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub digest: String,
    /// The count of devices, as they typed it.
    #[serde(deserialize_with = "super::whole::number")]
    pub count: u64,
    /// The audience, as they typed it.
    pub audience: String,
    /// The peak of app opens a second that they accept; needed where the preview has an `accept_peak`, and at least that.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "super::whole::optional")]
    pub accept_peak: Option<u64>,
    /// What they say to it; at most 1,000 characters.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 1000), regex(pattern = LINE))]
    pub reason: Option<String>,
}

/// The body of the other verbs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonBody {
    /// Why; at most 1,000 characters. An early `promote` needs one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(length(max = 1000), regex(pattern = LINE))]
    pub reason: Option<String>,
}

/// The body of `reject` and `abort`, which need a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyBody {
    /// Why; at most 1,000 characters.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
}

/// `POST /api/v1/rollouts/{campaign}/accept-finding`: which, and why it is all right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptBody {
    /// Its number.
    #[schemars(range(min = 1))]
    pub finding: u32,
    /// Why; at most 1,000 characters.
    #[schemars(length(max = 1000), regex(pattern = SAID))]
    pub reason: String,
}

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubmittedView {
    /// The campaign's id (UUID).
    pub campaign: String,
    /// True if it was on record already.
    pub known: bool,
    /// True if the guard held it when it arrived: a person must accept what it found.
    #[serde(default)]
    pub held: bool,
}

/// What the providers' answers say of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageHealth {
    /// It is sound.
    Pass,
    /// Rejections are no chance any more.
    Fail,
    /// Neither is certain.
    Inconclusive,
}

impl StageHealth {
    /// For people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Pass => "sound",
            Self::Fail => "not sound",
            Self::Inconclusive => "too few to tell",
        }
    }
}
