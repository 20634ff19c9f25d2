//! The bounds of the health test, as they stood when a campaign was submitted.

use serde::{Deserialize, Serialize};

use crate::audience::Health;

/// A share between 0 and 1, in billionths: the same share is the same text, and so the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Billionths(u32);

impl Billionths {
    const WHOLE: f64 = 1e9;

    /// Rounded, and never 0 or the whole: a policy has no such share either.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what fits")]
    fn of(share: f64) -> Self {
        Self((share * Self::WHOLE).round().clamp(1.0, Self::WHOLE - 1.0) as u32)
    }

    /// The share.
    #[must_use]
    pub fn share(self) -> f64 {
        // Also where a row was tampered with, the arithmetic stays within its bounds.
        (f64::from(self.0) / Self::WHOLE).clamp(1e-9, 1.0 - 1e-9)
    }
}

/// What the providers' answers must look like, frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrozenHealth {
    /// A share of rejections that is healthy.
    pub p0: Billionths,
    /// How likely a healthy rollout may be halted, at most.
    pub alpha: Billionths,
    /// A share of rejections that is not.
    pub p1: Billionths,
    /// How likely an unhealthy stratum may pass, at most.
    pub beta: Billionths,
}

impl FrozenHealth {
    /// As the policy has them now.
    #[must_use]
    pub fn of(health: &Health) -> Self {
        Self {
            p0: Billionths::of(health.p0),
            alpha: Billionths::of(health.alpha),
            p1: Billionths::of(health.p1),
            beta: Billionths::of(health.beta),
        }
    }

    /// True for those of a plan that does not say so.
    pub(in crate::rollout) fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for FrozenHealth {
    fn default() -> Self {
        Self::of(&Health::default())
    }
}
