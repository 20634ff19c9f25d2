//! Is this notification sound? An anytime-valid test of how many of it the providers reject. Pure.
//!
//! Each provider of each stage is a stratum of its own: a payload may be wrong for one of them only, and what is good in a small
//! stage says nothing of another provider in a large one. Of a stratum count `S`, what was rejected, and `F`, what was accepted.
//! Whatever says nothing of the notification (throttles, dead tokens, a provider that is away, an unknown fate) counts as
//! neither.
//!
//! # The arithmetic
//!
//! Under the hypothesis that a rejection comes with probability `p0` or less, for any `p > p0` the product
//!
//! ```text
//! (p/p0)^S × ((1-p)/(1-p0))^F
//! ```
//!
//! is a non-negative supermartingale that begins at 1: its expectation falls with each outcome, whenever one looks. So does
//! every mixture `E(S,F)` of such products with weights that sum to 1. Ville's inequality then bounds the probability that `E`
//! *ever* reaches `1/α` by `α`: one may look after every outcome, as often as one likes, and stop at once. (A test for a
//! sample size that was fixed beforehand, asked again and again, raises many times the false alarms that it promises.) All
//! strata of a rollout share its `α`: each is halted at `E ≥ strata/α`.
//!
//! The mixture is over 32 values of `p`, evenly spaced by their log-odds between `p0` and a half: a small harm that
//! needs many outcomes and a great one that shows after a few are each near to one of them, at the cost of a factor of
//! 32 at most.
//!
//! The mirror image refutes that the share is `p1` or more, by values of `p` between one in a hundred thousand and `p1`: a stratum *passes* at
//! `1/β`. It needs no share of `β`, because a stage passes only if every stratum does. What neither fails nor passes is
//! inconclusive, and never a pass.
//!
//! - I. Waudby-Smith, A. Ramdas: *Estimating means of bounded random variables by betting*, JRSS-B 86 (2024).
//! - J. Ville: *Étude critique de la notion de collectif* (1939); A. Ramdas et al.: *Game-theoretic statistics and safe
//!   anytime-valid inference*, Statistical Science 38 (2023).

mod frozen;

use std::fmt;

pub use frozen::FrozenHealth;

use super::{BreakerKind, Tripped};
use crate::model::{Provider, Reason};

/// Values of `p` in a mixture.
const POINTS: usize = 32;

/// The greatest harm that a mixture has a value for: half of all notifications are rejected.
const WORST: f64 = 0.5;

/// The best health that a mixture has a value for: one in a hundred thousand.
const BEST: f64 = 1e-5;

/// The far end of a mixture against `p0`.
fn worse_than(p0: f64) -> f64 {
    if p0 < WORST / 2.0 { WORST } else { p0.midpoint(1.0) }
}

/// What was seen of one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Rejected for what it is.
    pub rejected: u64,
    /// Accepted.
    pub accepted: u64,
}

/// As a breaker's reason has it: `9-of-12-rejected`.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rejected, accepted } = self;
        write!(f, "{rejected}-of-{}-rejected", rejected + accepted)
    }
}

/// What the test says of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is not sound, and how that shows.
    Fail(Failure),
    /// Every stratum with outcomes is sound.
    Pass,
    /// Neither is certain.
    Inconclusive,
}

/// A stratum that is not sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Of which provider.
    pub provider: Provider,
    /// What was seen of it.
    pub seen: Seen,
}

/// As operators see it, as the cause of a halt.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, seen } = self;
        let tripped = Tripped {
            kind: BreakerKind::Health,
            provider: *provider,
            reason: Reason::new(&seen.to_string()),
        };
        tripped.fmt(f)
    }
}

/// A sum of products `w × (p/q)^S × ((1-p)/(1-q))^F`, kept as logarithms: of each term the gain by a rejection and the loss by
/// an acceptance, or the other way around.
#[derive(Debug, Clone)]
struct Mixture {
    terms: Vec<(f64, f64)>,
}

impl Mixture {
    /// Against `q`, by values from there to `far`, which itself is one of them.
    fn against(q: f64, far: f64) -> Self {
        let log_odds = |p: f64| (p / (1.0 - p)).ln();
        let (from, to) = (log_odds(q), log_odds(far));
        #[expect(clippy::cast_precision_loss, reason = "some dozen points")]
        let step = (to - from) / POINTS as f64;
        let term = |point: f64| {
            let p = 1.0 / (1.0 + (-(from + step * point)).exp());
            ((p / q).ln(), ((1.0 - p) / (1.0 - q)).ln())
        };
        #[expect(clippy::cast_precision_loss, reason = "some dozen points")]
        let terms = (1..=POINTS).map(|point| term(point as f64)).collect();
        Self { terms }
    }

    /// The natural logarithm of the evidence.
    #[expect(clippy::cast_precision_loss, reason = "counts of devices are far below 2^53")]
    fn evidence(&self, seen: Seen) -> f64 {
        let (rejected, accepted) = (seen.rejected as f64, seen.accepted as f64);
        let logs = || self.terms.iter().map(|(gain, loss)| rejected * gain + accepted * loss);
        // By the largest: none overflows, and what underflows beside it does not matter.
        let largest = logs().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logs().map(|log| (log - largest).exp()).sum();
        largest + sum.ln() - (self.terms.len() as f64).ln()
    }
}

/// The test of one rollout.
#[derive(Debug, Clone)]
pub struct HealthTest {
    harm: Mixture,
    health: Mixture,
    /// Logarithms of the evidence that decides.
    fails_at: f64,
    passes_at: f64,
}

impl HealthTest {
    /// With these bounds, over so many stages.
    #[must_use]
    pub fn new(bounds: &FrozenHealth, stages: usize) -> Self {
        let FrozenHealth { p0, alpha, p1, beta } = *bounds;
        let strata = (stages.max(1) * Provider::ALL.len()) as u64;
        #[expect(clippy::cast_precision_loss, reason = "some dozen strata")]
        let strata = strata as f64;
        Self {
            harm: Mixture::against(p0.share(), worse_than(p0.share())),
            health: Mixture::against(p1.share(), BEST.min(p1.share() / 2.0)),
            fails_at: (strata / alpha.share()).ln(),
            passes_at: -beta.share().ln(),
        }
    }

    /// True if a stratum is not sound.
    #[must_use]
    pub fn fails(&self, seen: Seen) -> bool {
        self.harm.evidence(seen) >= self.fails_at
    }

    /// True if more speaks against a stratum than for it: no reason to stop, and none to hurry.
    #[must_use]
    pub fn is_doubtful(&self, seen: Seen) -> bool {
        seen.rejected > 0 && self.harm.evidence(seen) > 0.0
    }

    /// True if a stratum is sound.
    #[must_use]
    pub fn passes(&self, seen: Seen) -> bool {
        self.health.evidence(seen) >= self.passes_at
    }

    /// What a stage's strata come to.
    #[must_use]
    pub fn verdict(&self, strata: &[(Provider, Seen)]) -> Verdict {
        if let Some((provider, seen)) = strata.iter().copied().find(|(_, seen)| self.fails(*seen)) {
            return Verdict::Fail(Failure { provider, seen });
        }
        let mut with_outcomes = strata.iter().filter(|(_, seen)| *seen != Seen::default()).peekable();
        if with_outcomes.peek().is_some() && with_outcomes.all(|(_, seen)| self.passes(*seen)) {
            return Verdict::Pass;
        }
        Verdict::Inconclusive
    }

    /// How many must be accepted, and none rejected, for a stratum to pass.
    #[must_use]
    pub fn passes_after(&self) -> u64 {
        let passes = |accepted| self.passes(Seen { accepted, rejected: 0 });
        let mut enough = 1_u64;
        while !passes(enough) {
            enough *= 2;
        }
        let mut too_few = enough / 2;
        while too_few + 1 < enough {
            let middle = too_few.midpoint(enough);
            if passes(middle) { enough = middle } else { too_few = middle }
        }
        enough
    }
}

#[cfg(test)]
mod tests;
