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

/// The wait before the `tries`-th retry of what was deferred, counting from 1, unless the provider asks for more.
#[must_use]
pub const fn retry_backoff(tries: u32) -> Duration {
    Duration::from_mins(match tries {
        0 | 1 => 1,
        2 => 5,
        _ => 15,
    })
}
