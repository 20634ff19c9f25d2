//! Rollouts: how a campaign widens. Pure: the plan as it was frozen, the order in which devices are taken, the
//! packing of frozen lists, the waits between retries.
//!
//! - **I6 once**: [`freeze`] puts each device into one stage; a person whom an earlier stage has is left out later.
//! - **I8 approved-is-what-is-sent**: the plan is frozen with the audience, and the digest covers both.

pub mod freeze;
mod next;
pub mod packed;
mod plan;
mod quiet;

pub use next::{End, OTHER_POLICY_FOR, RolloutFacts, StageFacts, Step, Why, next};
pub use plan::{FrozenPlan, FrozenStage, FrozenTake};
pub use quiet::quiet_until;

use std::time::Duration;

/// The waits before the first, the second and every later retry of what was deferred, unless a provider asks for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryWaits(pub [Duration; 3]);

impl Default for RetryWaits {
    /// 1, 5 and 15 minutes: Google asks for backoff from 10 s on, Apple for 15 minutes once it is unwell.
    fn default() -> Self {
        Self([1, 5, 15].map(Duration::from_mins))
    }
}

impl RetryWaits {
    /// The wait before the `tries`-th retry, counting from 1.
    #[must_use]
    pub const fn before(self, tries: u32) -> Duration {
        let [first, second, later] = self.0;
        match tries {
            0 | 1 => first,
            2 => second,
            _ => later,
        }
    }
}
