//! What an approver is shown before they approve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PreviewGuard, RolloutView};

/// `GET /api/v1/rollouts/{campaign}/preview`: the text as phones show it, the audience in words and numbers, what each
/// stage comes to, and what it would do to our own systems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// How it stands.
    pub rollout: RolloutView,
    /// What the job claims to be: `test` or `production`.
    pub intent: String,
    /// Each text, the default one first; empty once its text is forgotten.
    pub texts: Vec<PhoneText>,
    /// Whom it is for.
    pub audience: AudienceInWords,
    /// What each stage comes to.
    pub stages: Vec<PreviewStage>,
    /// How many people will open the app at once.
    pub opens: Opens,
    /// Which numbers of our own systems stop it, and how late.
    #[serde(default)]
    pub guards: Vec<PreviewGuard>,
    /// What the guard has to say.
    pub findings: Vec<PreviewFinding>,
    /// How the policy in force differs from the one that it was cleared under; empty if it does not. A line a difference,
    /// as `diff -u` writes it.
    pub drift: Vec<String>,
}

/// `bellwether campaign plan`: what a plan would come to, before there is a campaign.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanPreview {
    /// Whom it would be for.
    pub audience: String,
    /// Whose devices.
    pub app: String,
    /// The plan's name.
    pub plan: String,
    /// The devices that the audience has now.
    pub devices: u64,
    /// What each stage would come to, about.
    pub stages: Vec<PreviewStage>,
    /// How many people would open the app at once.
    pub opens: Opens,
    /// Which numbers of our own systems would stop it, and how late.
    pub guards: Vec<PreviewGuard>,
}

/// A text in one language, as phones show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhoneText {
    /// BCP 47; absent for the default text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub locale: Option<String>,
    /// On a locked iPhone.
    pub ios: Truncated,
    /// In Android's notification drawer, not opened.
    pub android: Truncated,
}

/// A text, cut where a phone cuts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Truncated {
    /// The title.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The body, in lines.
    pub body: Vec<String>,
    /// True if something was cut off.
    pub cut: bool,
}

/// An audience as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AudienceInWords {
    /// Its name.
    pub name: String,
    /// `test`, `internal` or `production`.
    pub class: String,
    /// What its file says of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
    /// Its conditions, one a line.
    pub selects: Vec<String>,
    /// Devices that it was frozen to, our own people beside it included.
    pub frozen: u64,
    /// Most devices that the producer and the policy allow.
    pub at_most: u64,
}

/// What a stage comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewStage {
    /// Counting from 1.
    pub stage: u32,
    /// Whom it takes, in words.
    pub takes: String,
    /// Its devices.
    pub devices: u64,
    /// Notifications a second, at most.
    pub rate: f64,
    /// How long the sending takes at that rate, in seconds.
    pub sending_seconds: f64,
    /// How long it is watched, in seconds.
    pub bake_seconds: f64,
    /// What opens the next one: `auto` (health that passes), `manual` (a person) or `time` (the watched wait).
    pub gate: String,
    /// App opens a second at the most: an estimate.
    #[serde(default)]
    pub peak_per_second: f64,
    /// The highest `max_rate` at which its opens stay within what our own systems take; absent where they do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_within: Option<u32>,
}

/// How many people will open the app at once: an estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Opens {
    /// Opens a second at the peak.
    pub peak_per_second: f64,
    /// In which stage, counting from 1.
    pub stage: u32,
    /// What was assumed, in words.
    pub assumed: String,
    /// How many opens our own systems take a second; absent if nobody has declared it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capacity: Option<u32>,
    /// The peak, rounded up, where it is above the capacity: an approval says that it accepts as much.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub accept_peak: Option<u64>,
}

/// What the guard has to say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewFinding {
    /// Which rule.
    pub rule: String,
    /// Where in the job.
    pub field: String,
    /// What it found.
    pub problem: String,
}
