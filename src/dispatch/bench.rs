//! What the direct lane does for the guard, without a ledger: whom a batch reaches is counted, and here everything that is
//! asked for is given at once; then the batch is judged, on another thread and watched.

use std::{convert::Infallible, sync::Arc};

use jiff::Timestamp;

use super::{
    days::Days,
    reach::{Reached, Rings, rung},
    watched::{Asking, Question, Watched},
};
use crate::{
    audience::Policy,
    clock::Clock,
    guard::{DirectReach, FoundRecipient, Past, Verdict},
    metrics::Metrics,
    model::{Job, JobKey},
};

/// The counts and the guard of one process, as the direct lane keeps them.
#[derive(Debug)]
pub struct LaneBench {
    policy: Arc<Policy>,
    reached: Reached,
    days: Days,
    guard: Watched,
}

/// A job as the lane has it when its guard is asked.
#[derive(Debug)]
pub struct LaneJob(Question);

impl LaneJob {
    /// A job of so many recipients that arrived then.
    #[must_use]
    pub fn new((key, job): (JobKey, Job), recipients: Vec<FoundRecipient>, received_at: Timestamp) -> Self {
        let max_recipients = recipients.len();
        let (past, reach) = (Past::default(), DirectReach::default());
        let asking = Asking::All;
        Self(Question { asking, key, job, recipients, max_recipients, received_at, past, reach })
    }

    fn rings(&self) -> Rings<'_> {
        (&self.0.key, &self.0.job, &self.0.recipients)
    }
}

impl LaneBench {
    /// Of a process that has counted nothing.
    #[must_use]
    pub fn new(policy: Arc<Policy>, clock: &Clock) -> Self {
        let guard = Watched::new(Arc::clone(&policy), Metrics::new());
        Self { policy, reached: Reached::default(), days: Days::new(clock), guard }
    }

    /// Counts a batch the lane's way, and answers how many of its jobs met a limit.
    #[must_use]
    pub fn count(&self, batch: &[LaneJob], now: Timestamp) -> usize {
        let jobs: Vec<_> = batch.iter().map(|job| Some(job.rings())).collect();
        let counted = self.reached.counted(&self.policy, &jobs);
        let (asides, asks) = self.reached.set_aside(&counted, now);
        let given = asks.iter().map(|ask| ask.want).collect();
        let Ok(reach) = self.reached.settle::<Infallible>(counted, asides, (&asks, Ok(given)), now);
        let over_day = self.days.count_freely(&rung(&self.policy, &jobs, &reach), now);
        reach.iter().zip(over_day).filter(|(reach, over_day)| reach.over_text.is_some() || *over_day).count()
    }

    /// Has a batch judged the lane's way: it is handed over, and comes back in order. Answers how many of its jobs were not
    /// cleared, too; all, if the guard did not come back.
    pub async fn judge(&self, batch: Vec<LaneJob>, now: Timestamp) -> (Vec<LaneJob>, usize) {
        let jobs = batch.len();
        let questions = batch.into_iter().map(|LaneJob(question)| question).collect();
        let Ok(answered) = self.guard.ask(questions, now).await else { return (Vec::new(), jobs) };
        let stopped = answered.iter().filter(|(_, verdict)| !matches!(verdict, Verdict::Clear(..))).count();
        (answered.into_iter().map(|(question, _)| LaneJob(question)).collect(), stopped)
    }
}
