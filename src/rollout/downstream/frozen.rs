//! A guard as it stood when a campaign was submitted.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Number;
use crate::audience::{Beyond, Downstream, Probe, WhenBlind};

/// A `[[downstream]]` of a plan, frozen. Serialised in the order of its fields, so that the same guard is the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenDownstream {
    /// For people; what was seen of it is kept by it.
    pub name: String,
    /// Where its number is read.
    pub probe: Probe,
    /// On which side of its bounds a number does harm.
    pub beyond: Beyond,
    /// Beyond this the rollout waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Number>,
    /// Beyond this it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halt: Option<Number>,
    /// For how long, in milliseconds.
    pub hold_ms: u64,
    /// What happens when there is no number.
    pub no_data: WhenBlind,
}

impl FrozenDownstream {
    /// The guard as it stands now.
    #[must_use]
    pub fn of(guard: &Downstream) -> Self {
        // A policy's numbers are finite; one that was not would be no bound.
        Self {
            name: guard.name.clone(),
            probe: guard.probe.clone(),
            beyond: guard.beyond,
            pause: guard.pause.and_then(Number::new),
            halt: guard.halt.and_then(Number::new),
            hold_ms: u64::try_from(guard.hold.as_millis()).unwrap_or(u64::MAX),
            no_data: guard.no_data,
        }
    }

    /// For how long its number must be beyond a bound.
    #[must_use]
    pub fn hold(&self) -> SignedDuration {
        SignedDuration::from_millis(i64::try_from(self.hold_ms).unwrap_or(i64::MAX))
    }
}
