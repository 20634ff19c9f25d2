//! What it costs to count whom direct jobs reach, without a ledger: here everything that is asked for is given at once.

use std::convert::Infallible;

use jiff::Timestamp;

use super::{Reached, Rings, rung};
use crate::{
    audience::Policy,
    clock::Clock,
    dispatch::days::Days,
    guard::{DirectReach, FoundRecipient},
    model::{Job, JobKey},
};

/// The counts of one process, as the direct lane keeps them.
#[derive(Debug)]
pub struct ReachBench {
    reached: Reached,
    days: Days,
}

impl ReachBench {
    /// Of a process that has counted nothing.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self { reached: Reached::default(), days: Days::new(clock) }
    }

    /// Counts a batch the lane's way. No limit is ever met.
    #[must_use]
    pub fn count(
        &self,
        policy: &Policy,
        jobs: &[(&JobKey, &Job, &[FoundRecipient])],
        now: Timestamp,
    ) -> Vec<DirectReach> {
        let jobs: Vec<Option<Rings<'_>>> = jobs.iter().copied().map(Some).collect();
        let counted = self.reached.counted(policy, &jobs);
        let (asides, asks) = self.reached.set_aside(&counted, now);
        let given = asks.iter().map(|ask| ask.want).collect();
        let Ok(mut reach) = self.reached.settle::<Infallible>(counted, asides, (&asks, Ok(given)), now);
        let rung = rung(policy, &jobs, &reach);
        for ((rung, over), reach) in rung.iter().zip(self.days.count_freely(&rung, now)).zip(&mut reach) {
            reach.over_day = rung.as_ref().filter(|_| over).map(|rung| rung.limit);
        }
        reach
    }
}
