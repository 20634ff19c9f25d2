//! The committer: makes what happened durable, many jobs at a time, and only then settles their messages.
//!
//! One task, so that whatever ends while a commit is under way shares the next one: at full load a commit
//! carries hundreds of jobs, at low load a job does not wait for company.
//!
//! **I7 nothing-lost**: the order is commit, then the copy to `dead` and the pointer to the ladder (both
//! confirmed by the broker), then the acknowledgement. A crash between any two repeats; it never loses.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::{
    in_flight::InFlight,
    judge::Refusal,
    patience::{NoAnswer, Patience},
};
use crate::{
    clock::Clock,
    intake::{DeadLetter, Deferral, Delivery, Receipt, Settle, SettleError},
    ledger::{FinishedJob, Ledger, Pointer, RefusedJob},
    model::JobKey,
    pace::Rung,
};

/// Most jobs of one commit: above this, one more job saves nothing and delays the rest.
const COMMIT: usize = 500;

/// The end of an arrival: what is recorded, what is published, which message is settled.
#[derive(Debug, Default)]
pub(super) struct Ended {
    finished: Option<FinishedJob>,
    refused: Option<RefusedJob>,
    dead: Option<DeadLetter>,
    deferral: Option<Deferral>,
    receipt: Option<Receipt>,
    /// The key that this process holds for it.
    held: Option<JobKey>,
}

impl Ended {
    /// A try is over; what is not final goes to the ladder.
    pub(super) fn finished(
        finished: FinishedJob,
        deferral: Option<Deferral>,
        receipt: Option<Receipt>,
        held: Option<JobKey>,
    ) -> Self {
        Self { finished: Some(finished), deferral, receipt, held, ..Self::default() }
    }

    /// Refused at the door.
    pub(super) fn refused(refusal: Refusal, receipt: Receipt, held: Option<JobKey>) -> Self {
        let Refusal { refused, dead } = refusal;
        Self { refused: Some(refused), dead: Some(dead), receipt: Some(receipt), held, ..Self::default() }
    }

    /// Cleared once, refused when it was due again: the job ends, and its producer is told why.
    pub(super) fn refused_after_all(
        finished: FinishedJob,
        refused: RefusedJob,
        receipt: Option<Receipt>,
    ) -> Self {
        Self { finished: Some(finished), refused: Some(refused), receipt, ..Self::default() }
    }

    /// Nothing to record: on record already, or nothing left to do.
    pub(super) fn settled(receipt: Option<Receipt>, held: Option<JobKey>) -> Self {
        Self { receipt, held, ..Self::default() }
    }

    /// Not due yet: the pointer goes back to the ladder.
    pub(super) fn later(pointer: Pointer, receipt: Receipt) -> Self {
        let deferral = Some(Deferral { pointer, rung: Rung::HalfMinute });
        Self { deferral, receipt: Some(receipt), ..Self::default() }
    }
}

/// What the committer works with.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) ledger: Arc<Ledger>,
    pub(super) settle: Settle,
    pub(super) patience: Patience,
    pub(super) clock: Clock,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) committed: Arc<Notify>,
    /// Parked copies whose first is now on record.
    pub(super) again: mpsc::UnboundedSender<Delivery>,
    /// Publications under way.
    pub(super) settling: TaskTracker,
}

impl Committer {
    /// Runs until every sender is gone and all that they sent is recorded.
    pub(super) async fn run(self, mut ended: mpsc::Receiver<Ended>) {
        let mut batch = Vec::with_capacity(COMMIT);
        while ended.recv_many(&mut batch, COMMIT).await > 0 {
            self.commit(std::mem::take(&mut batch)).await;
        }
        self.settling.close();
        self.settling.wait().await;
    }

    async fn commit(&self, batch: Vec<Ended>) {
        let Some(recorded) = self.record(batch).await else { return };
        self.committed.notify_one();
        self.settle(recorded).await;
    }

    /// Records the batch and gives back what was recorded. If the ledger refuses the batch as a whole, each
    /// job is tried alone, so that one that cannot be recorded does not take the others with it.
    async fn record(&self, mut batch: Vec<Ended>) -> Option<Vec<Ended>> {
        let (mut finished, mut refused) = (Vec::new(), Vec::new());
        for ended in &mut batch {
            finished.extend(ended.finished.take());
            refused.extend(ended.refused.take());
        }
        if finished.is_empty() && refused.is_empty() {
            return Some(batch);
        }
        let began = self.clock.monotonic();
        match self.patience.ask("commit", || self.ledger.commit_direct(&finished, &refused)).await {
            Ok(()) => {
                self.patience.metrics.committed(self.clock.monotonic().duration_since(began));
                Some(batch)
            }
            Err(NoAnswer::Stopping) => None,
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, jobs = batch.len(), "the ledger refused a commit; trying job by job");
                self.record_alone(batch, finished, refused).await
            }
        }
    }

    async fn record_alone(
        &self,
        batch: Vec<Ended>,
        finished: Vec<FinishedJob>,
        refused: Vec<RefusedJob>,
    ) -> Option<Vec<Ended>> {
        let mut failed = Vec::new();
        for job in finished {
            let alone =
                self.patience.ask("commit", || self.ledger.commit_direct(std::slice::from_ref(&job), &[]));
            if let Err(NoAnswer::Refused(error)) = alone.await {
                tracing::error!(job = %job.key, %error, "a job cannot be recorded; its message stays in the queue");
                failed.push(job.key);
            }
        }
        for job in refused {
            let alone =
                self.patience.ask("commit", || self.ledger.commit_direct(&[], std::slice::from_ref(&job)));
            if let Err(NoAnswer::Refused(error)) = alone.await {
                tracing::error!(event = %job.event.id, %error, "a refusal cannot be recorded");
            }
        }
        let is_failed = |ended: &Ended| ended.held.as_ref().is_some_and(|key| failed.contains(key));
        let (lost, recorded): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_failed);
        // Nothing is on record for these: a copy is a new job, whenever the broker delivers it.
        for ended in lost {
            self.free(ended.held.as_ref());
        }
        Some(recorded)
    }

    /// Settles what is on record. What needs nothing published is acknowledged at once; the rest goes to a task of
    /// its own, so that a broker that takes no messages for a while does not hold up the next commit.
    async fn settle(&self, recorded: Vec<Ended>) {
        let mut plain = Vec::new();
        let (mut published, mut dead, mut deferrals) = (Vec::new(), Vec::new(), Vec::new());
        for ended in recorded {
            let receipts =
                if ended.dead.is_some() || ended.deferral.is_some() { &mut published } else { &mut plain };
            receipts.extend(ended.receipt);
            dead.extend(ended.dead);
            deferrals.extend(ended.deferral);
            self.free(ended.held.as_ref());
        }
        if !dead.is_empty() || !deferrals.is_empty() {
            self.settling.spawn(publish_and_acknowledge(self.settle.clone(), dead, deferrals, published));
        }
        self.settle.ack(plain).await;
    }

    /// Frees the key; copies that were parked behind it are looked at again, now that it is on record.
    fn free(&self, held: Option<&JobKey>) {
        for parked in held.map(|key| self.in_flight.leave(key)).unwrap_or_default() {
            // Fails only when the lane is gone; then the broker delivers the copy again.
            self.again.send(parked).ok();
        }
    }
}

/// If the broker does not take the copies, the originals stay unacknowledged and are delivered again: a refusal
/// repeats, with the same event id. A pointer that is lost is found by the sweeper.
async fn publish_and_acknowledge(
    settle: Settle,
    dead: Vec<DeadLetter>,
    deferrals: Vec<Deferral>,
    receipts: Vec<Receipt>,
) {
    let published = async {
        if !dead.is_empty() {
            settle.dead(dead).await?;
        }
        if !deferrals.is_empty() {
            settle.defer(deferrals).await?;
        }
        Ok::<(), SettleError>(())
    };
    match published.await {
        Ok(()) => settle.ack(receipts).await,
        Err(error) => {
            tracing::warn!(%error, messages = receipts.len(), "not settled; the broker delivers them again");
        }
    }
}
