//! Guards: the numbers of our own systems that a plan watches.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A guard of a plan, before it is needed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewGuard {
    /// Its name.
    pub name: String,
    /// On which side of its bounds a number does harm: `above` or `below`.
    pub side: String,
    /// Beyond this the rollout waits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pause: Option<f64>,
    /// Beyond this it ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub halt: Option<f64>,
    /// For how long, in seconds.
    pub for_seconds: f64,
    /// What happens while there is no number: `pause` or `halt`.
    pub no_data: String,
    /// How long it takes at the most to see a harm, in seconds.
    pub lag_seconds: f64,
    /// Of what that is made, in words.
    pub lag: String,
    /// How many phones ring meanwhile, by stage.
    pub rung_meanwhile: Vec<RungMeanwhile>,
}

/// How many phones of a stage ring while a guard has not seen a harm yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RungMeanwhile {
    /// Counting from 1.
    pub stage: u32,
    /// At the stage's highest rate.
    pub devices: u64,
    /// True if that is the whole stage.
    pub all: bool,
}

/// What a guard says of a rollout now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GuardView {
    /// Its name.
    pub name: String,
    /// In a word.
    pub state: GuardState,
    /// What it does about that, now or once it has lasted: `pause` or `halt`; absent while all is well.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub does: Option<String>,
    /// The last number that was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub value: Option<f64>,
    /// When that was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub read_at: Option<Timestamp>,
    /// Since when it is beyond a bound.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub beyond_since: Option<Timestamp>,
    /// Since when there is no number, or none that is new enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub blind_since: Option<Timestamp>,
    /// All of it, in words.
    pub told: String,
}

/// What a guard says, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuardState {
    /// The number is within every bound.
    Fine,
    /// It is beyond one, and not for long enough yet; nothing widens.
    Waiting,
    /// It was beyond one for long enough.
    Breached,
    /// There is no number.
    Blind,
}
