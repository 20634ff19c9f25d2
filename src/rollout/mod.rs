//! Rollouts: how a campaign widens. Pure: the state machine ([`machine`]), what is due next ([`next()`]), the plan as it
//! was frozen, what our own systems say of it ([`downstream`]), the order in which devices are taken, the packing of frozen lists, the waits between retries.
//!
//! - **I4 widening-needs-two**: the machine counts distinct people, and none who asked for it.
//! - **I6 once**: [`freeze`] puts each device into one stage; a person whom an earlier stage has is left out later.
//! - **I8 approved-is-what-is-sent**: the plan is frozen with the audience, and the digest covers both.

mod breaker;
#[cfg(test)]
mod check;
pub mod downstream;
pub mod freeze;
pub mod health;
pub mod machine;
mod next;
pub mod packed;
mod plan;
mod quiet;

pub use breaker::{BreakerKind, Breakers, Tripped};
pub use health::FrozenHealth;
pub use machine::{Electorate, Ending, Pause, Refused, Rollout, RolloutEvent};
pub use next::{End, Judged, OTHER_POLICY_FOR, RolloutFacts, StageFacts, Step, VoidBecause, Why, next};
pub use plan::{FrozenBreakers, FrozenPace, FrozenPlan, FrozenSignal, FrozenStage, FrozenTake};
pub use quiet::{Nights, quiet_until};

use std::time::Duration;

/// The waits before the first retry of what was deferred, the second, and every later one, unless the provider asks
/// for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryWaits([Duration; Self::COUNT]);

impl RetryWaits {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// These waits.
    #[must_use]
    pub const fn of(waits: [Duration; Self::COUNT]) -> Self {
        Self(waits)
    }

    /// The wait before the `tries`-th retry, counting from 1.
    #[must_use]
    pub fn before(&self, tries: u32) -> Duration {
        let place = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        self.0[place.min(Self::COUNT - 1)]
    }
}

impl Default for RetryWaits {
    /// Google asks for a minute after a 429, Apple for 15 after a 5xx.
    fn default() -> Self {
        Self([Duration::from_mins(1), Duration::from_mins(5), Duration::from_mins(15)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_wait_is_every_later_one() {
        let minutes = [0, 1, 2, 3, 4, 99].map(|tries| RetryWaits::default().before(tries).as_secs() / 60);
        assert_eq!(minutes, [1, 1, 5, 15, 15, 15]);
    }
}
