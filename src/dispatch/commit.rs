//! The committer: makes what happened durable, many jobs at a time, and only then settles their messages.
//!
//! One task, so that whatever ends while a commit is under way shares the next one: at full load a commit
//! carries hundreds of jobs, at low load a job does not wait for company.
//!
//! **I7 nothing-lost**: the order is commit, then the copy to `dead` and the pointer to the ladder (both
//! confirmed by the broker), then the acknowledgement. A crash between any two repeats; it never loses.

use std::{sync::Arc, time::Duration};

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

/// Between two attempts to put refused jobs into `dead`. Each attempt waits by itself for a broker that is away.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);

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
        held: Option<JobKey>,
    ) -> Self {
        Self { finished: Some(finished), refused: Some(refused), receipt, held, ..Self::default() }
    }

    /// Nothing to record: on record already, or nothing left to do.
    pub(super) fn settled(receipt: Option<Receipt>, held: Option<JobKey>) -> Self {
        Self { receipt, held, ..Self::default() }
    }

    /// Not due yet: the pointer goes back to the ladder.
    pub(super) fn later(pointer: Pointer, receipt: Receipt, held: Option<JobKey>) -> Self {
        let deferral = Some(Deferral { pointer, rung: Rung::HalfMinute });
        Self { deferral, receipt: Some(receipt), held, ..Self::default() }
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
}

impl Committer {
    /// Runs until every sender is gone, all that they sent is recorded, and what follows from it is published.
    pub(super) async fn run(self, mut ended: mpsc::Receiver<Ended>) {
        let mut batch = Vec::with_capacity(COMMIT);
        let publications = TaskTracker::new();
        while ended.recv_many(&mut batch, COMMIT).await > 0 {
            let recorded = self.record(std::mem::take(&mut batch)).await;
            self.committed.notify_one();
            self.settle(recorded, &publications).await;
        }
        publications.close();
        publications.wait().await;
    }

    /// Records the batch and gives back what was recorded. If the ledger refuses the batch as a whole, each
    /// job is tried alone, so that one that cannot be recorded does not take the others with it.
    async fn record(&self, mut batch: Vec<Ended>) -> Vec<Ended> {
        let (mut finished, mut refused) = (Vec::new(), Vec::new());
        let mut takes = Vec::with_capacity(batch.len());
        for ended in &mut batch {
            takes.push((ended.finished.is_some(), ended.refused.is_some()));
            finished.extend(ended.finished.take());
            refused.extend(ended.refused.take());
        }
        if finished.is_empty() && refused.is_empty() {
            return batch;
        }
        let began = self.clock.monotonic();
        match self.patience.ask("commit", || self.ledger.commit_direct(&finished, &refused)).await {
            Ok(()) => {
                self.patience.metrics.committed(self.clock.monotonic().duration_since(began));
                batch
            }
            Err(NoAnswer::Stopping) => {
                tracing::warn!(
                    jobs = batch.len(),
                    "stopping before the ledger is back; the jobs are not on record"
                );
                Vec::new()
            }
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, jobs = batch.len(), "the ledger refused a commit; trying job by job");
                let (mut finished, mut refused) = (finished.into_iter(), refused.into_iter());
                let mut recorded = Vec::with_capacity(batch.len());
                for (ended, (is_finished, is_refused)) in batch.into_iter().zip(takes) {
                    let finished: Vec<_> = finished.by_ref().take(usize::from(is_finished)).collect();
                    let refused: Vec<_> = refused.by_ref().take(usize::from(is_refused)).collect();
                    if self.record_alone(&finished, &refused).await {
                        recorded.push(ended);
                    }
                }
                recorded
            }
        }
    }

    /// True if it is on record. What is not keeps its key, so that this process does not send it again.
    async fn record_alone(&self, finished: &[FinishedJob], refused: &[RefusedJob]) -> bool {
        let Err(why) = self.patience.ask("commit", || self.ledger.commit_direct(finished, refused)).await
        else {
            return true;
        };
        if let NoAnswer::Refused(error) = why {
            let job = finished.first().map(|job| tracing::field::display(&job.key));
            let event = refused.first().map(|refused| tracing::field::display(refused.event.id));
            tracing::error!(job, event, %error, "this cannot be recorded; its message stays in the queue");
        }
        false
    }

    /// Settles what is on record. What has to be published first does so on the side: acknowledgements and the next
    /// commit do not wait for a broker that takes no messages.
    async fn settle(&self, recorded: Vec<Ended>, publications: &TaskTracker) {
        let mut publication = Publication::default();
        let (mut receipts, mut held) = (Vec::new(), Vec::new());
        for ended in recorded {
            held.extend(ended.held);
            match (ended.dead, ended.deferral) {
                (None, None) => receipts.extend(ended.receipt),
                (Some(letter), _) => {
                    publication.dead.push(letter);
                    publication.refused.extend(ended.receipt);
                }
                (None, Some(deferral)) => {
                    publication.deferrals.push(deferral);
                    publication.deferred.extend(ended.receipt);
                }
            }
        }
        if !receipts.is_empty() {
            self.settle.ack(receipts).await;
        }
        if !publication.dead.is_empty() || !publication.deferrals.is_empty() {
            publications.spawn(publication.run(self.settle.clone(), self.patience.clone()));
        }
        for key in held {
            for parked in self.in_flight.leave(&key) {
                // Fails only when the lane is gone; then the broker delivers the copy again.
                self.again.send(parked).ok();
            }
        }
    }
}

/// What is to be published before it is acknowledged.
#[derive(Debug, Default)]
struct Publication {
    dead: Vec<DeadLetter>,
    refused: Vec<Receipt>,
    deferrals: Vec<Deferral>,
    deferred: Vec<Receipt>,
}

impl Publication {
    async fn run(self, settle: Settle, patience: Patience) {
        let (dead, deferred) = (put_in_dead(&settle, self.dead), put_on_ladder(&settle, self.deferrals));
        let refused = async {
            if dead.await {
                settle.ack(self.refused).await;
            }
        };
        let deferred = async {
            deferred.await;
            settle.ack(self.deferred).await;
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(refused, deferred) } => {}
            () = patience.over() => tracing::warn!("stopping before the broker is back; it delivers again what is not settled"),
        }
    }
}

/// The jobs are on record, and due: the sweeper finds them also without their pointers.
async fn put_on_ladder(settle: &Settle, deferrals: Vec<Deferral>) {
    if !deferrals.is_empty()
        && let Err(error) = settle.defer(deferrals).await
    {
        tracing::warn!(%error, "pointers are not on the ladder; the sweeper takes their jobs up");
    }
}

/// True once the copies are there. A message that is neither settled nor delivered again holds its place in the
/// prefetch for ever, so there is no giving up while the process runs. A refusal that is repeated after that has the
/// same event id.
pub(super) async fn put_in_dead(settle: &Settle, letters: Vec<DeadLetter>) -> bool {
    while !letters.is_empty() {
        match settle.dead(letters.clone()).await {
            Ok(()) => break,
            Err(SettleError::Closed) => return false,
            Err(error) => {
                tracing::warn!(%error, messages = letters.len(), "refused messages wait for the broker to take their copies");
                tokio::time::sleep(REFUSED_AGAIN).await;
            }
        }
    }
    true
}
