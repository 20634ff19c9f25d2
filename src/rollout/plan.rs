//! A plan as it stood when a campaign was submitted: what the ledger keeps, and what the digest of an approval covers.

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use super::{downstream::FrozenDownstream, health::FrozenHealth};
use crate::{
    audience::{Breakers, Gate, Plan, PlanPace, Policy, Probe, Rate, StageTake},
    model::StageNumber,
};

/// A plan, frozen. Serialised in the order of its fields, so that the same plan is the same text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenPlan {
    /// The plan's name.
    pub name: String,
    /// In order; never empty.
    pub stages: Vec<FrozenStage>,
    /// When phones are left alone: from and to, as `HH:MM`.
    pub quiet_hours: Option<(String, String)>,
    /// Keep off the quarter hours.
    pub avoid_quarter_hours: bool,
    /// What stops it at once. Written only where the plan says otherwise than usual, so that a plan without reads as ever.
    #[serde(default, skip_serializing_if = "FrozenBreakers::are_usual")]
    pub breakers: FrozenBreakers,
    /// What the providers' answers must look like. Written as the breakers are.
    #[serde(default, skip_serializing_if = "FrozenHealth::are_usual")]
    pub health: FrozenHealth,
    /// What our own systems must look like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downstream: Vec<FrozenDownstream>,
    /// How the rate follows a signal of our own systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace: Option<FrozenPace>,
}

/// How the rate follows a signal, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenPace {
    /// What it follows. Without, nothing is ever known, and the rate is `min`.
    pub signal: Option<FrozenSignal>,
    /// Notifications a second, over the whole fleet: never less.
    pub min: NonZeroU32,
    /// Never more.
    pub max: NonZeroU32,
}

/// A signal as it stood when a campaign was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenSignal {
    /// Its name, for people.
    pub name: String,
    /// Where its number is read.
    pub probe: Probe,
}

impl FrozenPace {
    fn of(pace: &PlanPace, policy: &Policy) -> Self {
        let signal = pace.signal().and_then(|name| {
            let probe = policy.signal(name)?.clone();
            Some(FrozenSignal { name: name.to_owned(), probe })
        });
        // A policy's rates are above zero.
        let rate = |rate: Rate| NonZeroU32::new(rate.per_second()).unwrap_or(NonZeroU32::MIN);
        Self { signal, min: rate(pace.min), max: rate(pace.max) }
    }
}

/// What stops a rollout at once, frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenBreakers {
    /// Rejections with the same reason, one after the other at one provider.
    pub rejections_in_a_row: u32,
    /// How long a provider takes nothing until it is down, in milliseconds.
    pub provider_down_after_ms: u64,
}

impl FrozenBreakers {
    fn of(breakers: &Breakers) -> Self {
        let down_after = u64::try_from(breakers.provider_down_after.as_millis()).unwrap_or(u64::MAX);
        Self { rejections_in_a_row: breakers.rejections_in_a_row, provider_down_after_ms: down_after }
    }

    fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for FrozenBreakers {
    fn default() -> Self {
        Self::of(&Breakers::default())
    }
}

/// A stage, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenStage {
    /// Whom it takes.
    pub take: FrozenTake,
    /// The watched wait after it, in milliseconds.
    pub bake_ms: u64,
    /// A person opens the next stage.
    pub manual_gate: bool,
    /// Health opens the next stage, once it passes. Otherwise time does, unless health fails.
    #[serde(default, skip_serializing_if = "is_false")]
    pub must_pass: bool,
    /// Most notifications a second, over the whole fleet.
    pub max_rate: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Whom a stage takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrozenTake {
    /// An internal audience, beside the campaign's own.
    Audience(String),
    /// Exactly so many devices more.
    Devices(u64),
    /// Up to this share of the audience, in buckets (hundredths of a percent).
    Buckets(u16),
}

impl fmt::Display for FrozenTake {
    /// As operators read it: `staff`, `1 %`, `5000 devices`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Audience(name) => f.write_str(name),
            Self::Devices(1) => f.write_str("1 device"),
            Self::Devices(count) => write!(f, "{count} devices"),
            Self::Buckets(share) => write!(f, "{} %", f64::from(*share) / 100.0),
        }
    }
}

impl FrozenPlan {
    /// The stage that follows this one.
    #[must_use]
    pub fn stage_after(&self, stage: StageNumber) -> Option<StageNumber> {
        let next = stage.checked_add(1)?;
        (usize::from(next) < self.stages.len()).then_some(next)
    }

    /// True if a person must open the stage that follows this one. So they must behind a stage that the plan does not have.
    #[must_use]
    pub fn has_manual_gate(&self, stage: StageNumber) -> bool {
        self.stages.get(usize::from(stage)).is_none_or(|stage| stage.manual_gate)
    }

    /// Most notifications a second of a stage, over the whole fleet, by the plan alone: its own limit, and that of the pace.
    #[must_use]
    pub fn max_rate(&self, stage: StageNumber) -> Option<NonZeroU32> {
        let own = self.stages.get(usize::from(stage)).and_then(|stage| NonZeroU32::new(stage.max_rate?));
        let pace = self.pace.as_ref().map(|pace| pace.max);
        own.into_iter().chain(pace).min()
    }

    /// The word for what opens the stage that follows this one, as the policy writes it.
    #[must_use]
    pub fn gate(&self, stage: StageNumber) -> &'static str {
        match (self.has_manual_gate(stage), self.must_pass(stage)) {
            (true, _) => "manual",
            (false, true) => "auto",
            (false, false) => "time",
        }
    }

    /// True if the stage that follows this one opens only when this one is seen to be sound.
    #[must_use]
    pub fn must_pass(&self, stage: StageNumber) -> bool {
        self.stages.get(usize::from(stage)).is_some_and(|stage| stage.must_pass)
    }

    /// The plan as it stands now, with the signal of `policy` that it follows.
    #[must_use]
    pub fn of(plan: &Plan, policy: &Policy) -> Self {
        let stages = plan.stages.iter().map(|stage| FrozenStage {
            take: match stage.take() {
                StageTake::Audience(name) => FrozenTake::Audience(name.as_str().to_owned()),
                StageTake::Devices(count) => FrozenTake::Devices(count),
                StageTake::Percent(share) => FrozenTake::Buckets(share.hundredths()),
            },
            bake_ms: stage.bake.map_or(0, |bake| u64::try_from(bake.as_millis()).unwrap_or(u64::MAX)),
            manual_gate: stage.gate == Gate::Manual,
            must_pass: stage.gate == Gate::Auto,
            max_rate: stage.max_rate.map(Rate::per_second),
        });
        let quiet = plan.quiet_hours.map(|hours| {
            let word = |time: jiff::civil::Time| time.strftime("%H:%M").to_string();
            (word(hours.from), word(hours.to))
        });
        Self {
            name: plan.name.as_str().to_owned(),
            stages: stages.collect(),
            quiet_hours: quiet,
            avoid_quarter_hours: plan.avoid_quarter_hours,
            breakers: FrozenBreakers::of(&plan.breakers),
            health: FrozenHealth::of(&plan.health),
            downstream: plan.downstream.iter().map(FrozenDownstream::of).collect(),
            pace: plan.pace.as_ref().map(|pace| FrozenPace::of(pace, policy)),
        }
    }

    /// As stored, and as the digest covers it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a plan has only string keys")
    }
}
