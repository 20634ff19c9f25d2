//! The in-process intake of the embedded mode: a bounded queue, a retry ladder in tokio's time, and a record of what
//! became of the jobs. Nothing survives the process.

use std::{
    collections::{HashSet, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::{sync::CancellationToken, time::DelayQueue};

use super::{
    Arrival, BrokerHealth, DeadLetter, Deferral, Delivery, KEPT_BODY_BYTES, Ladder, QueueDepth, Receipt,
    names,
};
use crate::{
    clock::Clock,
    ledger::Pointer,
    model::{Lane, ProducerId},
};

/// How the in-process intake behaves.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// How many jobs wait before [`EmbeddedProducer::enqueue`] does.
    pub capacity: usize,
    /// How long deferred jobs rest.
    pub ladder: Ladder,
    /// How many dead letters, and how many events, are remembered; the oldest go first.
    pub remembered: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        Self {
            capacity: 1_000, // about a second of the direct lane: enough to batch, little to lose
            ladder: Ladder::default(),
            remembered: 10_000, // what a person looks at, at a few MB
        }
    }
}

/// The intake is gone: what is enqueued now would be lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the in-process intake is closed")]
pub struct EmbeddedClosed;

/// What became of the jobs so far.
#[derive(Debug, Default)]
pub struct EmbeddedRecord {
    outstanding: HashSet<Receipt>,
    resting: usize,
    dead: VecDeque<DeadLetter>,
    events: VecDeque<(String, Bytes)>,
}

impl EmbeddedRecord {
    /// Jobs that are enqueued and not acknowledged, or rest on the ladder. Zero: everything is done.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.outstanding.len() + self.resting
    }

    /// The dead letters, oldest first.
    #[must_use]
    pub const fn dead(&self) -> &VecDeque<DeadLetter> {
        &self.dead
    }

    /// The events with their routing keys, oldest first.
    #[must_use]
    pub const fn events(&self) -> &VecDeque<(String, Bytes)> {
        &self.events
    }
}

#[derive(Debug)]
struct Enqueued {
    producer: ProducerId,
    body: Bytes,
    lane: Lane,
    receipt: Receipt,
}

#[derive(Debug)]
struct Shared {
    config: EmbeddedConfig,
    record: watch::Sender<EmbeddedRecord>,
    ladder: Mutex<DelayQueue<Pointer>>,
    /// A pointer was put on an empty ladder, which nobody's waker is registered with.
    deferred: Notify,
    next_tag: Mutex<u64>,
}

impl Shared {
    /// A receipt that nobody had; its message is outstanding from now on.
    fn issue(&self) -> Receipt {
        let mut next = self.next_tag.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let receipt = Receipt { channel: 0, tag: *next };
        self.record.send_modify(|record| {
            record.outstanding.insert(receipt);
        });
        receipt
    }

    fn void(&self, receipts: &[Receipt]) {
        self.record.send_modify(|record| {
            for receipt in receipts {
                record.outstanding.remove(receipt);
            }
        });
    }

    fn ladder(&self) -> MutexGuard<'_, DelayQueue<Pointer>> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The consuming end.
#[derive(Debug)]
pub struct EmbeddedIntake {
    jobs: mpsc::Receiver<Enqueued>,
    /// Keeps the queue open when every producer is gone: the ladder may still hold pointers.
    _open: mpsc::Sender<Enqueued>,
    shared: Arc<Shared>,
    health: watch::Sender<BrokerHealth>,
    clock: Clock,
    cancel: CancellationToken,
}

impl EmbeddedIntake {
    pub(super) fn start(
        config: EmbeddedConfig,
        clock: Clock,
        cancel: CancellationToken,
    ) -> (Self, EmbeddedProducer) {
        let (sender, jobs) = mpsc::channel(config.capacity.max(1));
        let shared = Arc::new(Shared {
            config,
            record: watch::Sender::default(),
            ladder: Mutex::default(),
            deferred: Notify::new(),
            next_tag: Mutex::new(0),
        });
        let producer = EmbeddedProducer { sender: sender.clone(), shared: Arc::clone(&shared) };
        let health = watch::Sender::new(BrokerHealth::Connected);
        (Self { jobs, _open: sender, shared, health, clock, cancel }, producer)
    }

    pub(super) async fn batch(&mut self, max: usize) -> Option<Vec<Arrival>> {
        let first = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return None,
            pointer = next_due(&self.shared) => self.due(pointer),
            job = self.jobs.recv() => self.message(job?),
        };
        let mut batch = vec![first];
        while batch.len() < max
            && let Ok(job) = self.jobs.try_recv()
        {
            batch.push(self.message(job));
        }
        Some(batch)
    }

    pub(super) fn settle(&self) -> EmbeddedSettle {
        EmbeddedSettle { shared: Arc::clone(&self.shared) }
    }

    pub(super) fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.health.subscribe()
    }

    fn due(&self, pointer: Pointer) -> Arrival {
        let receipt = self.shared.issue();
        self.shared.record.send_modify(|record| record.resting -= 1);
        Arrival::Due(pointer, receipt)
    }

    fn message(&self, job: Enqueued) -> Arrival {
        let Enqueued { producer, body, lane, receipt } = job;
        Arrival::Message(Delivery {
            lane,
            producer: Ok(producer),
            size: body.len(),
            body: body.slice(..body.len().min(KEPT_BODY_BYTES)),
            traceparent: None,
            received_at: self.clock.now(),
            receipt,
        })
    }
}

/// The next pointer whose wait is over. Nothing is lost if this is dropped while it waits.
async fn next_due(shared: &Shared) -> Pointer {
    loop {
        let expired = poll_fn(|context| match shared.ladder().poll_expired(context) {
            Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
            // An empty ladder registers no waker: `deferred` wakes instead.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            biased;
            pointer = expired => return pointer,
            () = shared.deferred.notified() => {}
        }
    }
}

/// Feeds the in-process intake, and shows what became of the jobs.
#[derive(Debug, Clone)]
pub struct EmbeddedProducer {
    sender: mpsc::Sender<Enqueued>,
    shared: Arc<Shared>,
}

impl EmbeddedProducer {
    /// Enqueues a job in the name of `producer`; waits while the queue is full.
    pub async fn enqueue(&self, producer: ProducerId, body: Bytes, lane: Lane) -> Result<(), EmbeddedClosed> {
        let room = self.sender.reserve().await.map_err(|_| EmbeddedClosed)?;
        let receipt = self.shared.issue();
        room.send(Enqueued { producer, body, lane, receipt });
        Ok(())
    }

    /// What became of the jobs so far; `wait_for` on it waits until something has.
    #[must_use]
    pub fn record(&self) -> watch::Receiver<EmbeddedRecord> {
        self.shared.record.subscribe()
    }
}

/// Settles what came from the in-process intake.
#[derive(Debug, Clone)]
pub struct EmbeddedSettle {
    shared: Arc<Shared>,
}

impl EmbeddedSettle {
    pub(super) fn ack(&self, receipts: &[Receipt]) {
        self.shared.void(receipts);
    }

    pub(super) fn dead(&self, letters: Vec<DeadLetter>) {
        let most = self.shared.config.remembered;
        self.shared.record.send_modify(|record| remember(&mut record.dead, letters, most));
    }

    pub(super) fn publish_events(&self, events: Vec<(String, Bytes)>) {
        let most = self.shared.config.remembered;
        self.shared.record.send_modify(|record| remember(&mut record.events, events, most));
    }

    pub(super) fn defer(&self, deferrals: Vec<Deferral>) {
        self.shared.record.send_modify(|record| record.resting += deferrals.len());
        let mut ladder = self.shared.ladder();
        for Deferral { pointer, rung } in deferrals {
            ladder.insert(pointer, self.shared.config.ladder.wait(rung));
        }
        drop(ladder);
        self.shared.deferred.notify_one();
    }

    pub(super) fn queue_depths(&self) -> Vec<QueueDepth> {
        let record = self.shared.record.borrow();
        let depth = |queue, count| QueueDepth { queue, ready: u32::try_from(count).unwrap_or(u32::MAX) };
        // Both lanes share one queue here; what is held counts too, which a broker tells apart.
        vec![
            depth(names::DIRECT, record.outstanding.len()),
            depth(names::CAMPAIGN, 0),
            depth(names::DEAD, record.dead.len()),
        ]
    }
}

fn remember<T>(kept: &mut VecDeque<T>, more: Vec<T>, most: usize) {
    kept.extend(more);
    kept.drain(..kept.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{
        model::{JobId, JobKey},
        pace::Rung,
    };

    fn cards() -> ProducerId {
        ProducerId::parse("cards").expect("a producer")
    }

    fn start(config: EmbeddedConfig) -> (EmbeddedIntake, EmbeddedProducer, CancellationToken) {
        let cancel = CancellationToken::new();
        let clock = Clock::manual(Timestamp::UNIX_EPOCH, 1);
        let (intake, producer) = EmbeddedIntake::start(config, clock, cancel.clone());
        (intake, producer, cancel)
    }

    fn pointer(job: &str) -> Pointer {
        Pointer { key: JobKey { producer: cards(), id: JobId::parse(job).expect("an id") }, tries: 1 }
    }

    async fn enqueue(producer: &EmbeddedProducer, count: usize) {
        for _ in 0..count {
            let body = Bytes::from_static(b"{}");
            producer.enqueue(cards(), body, Lane::Direct).await.expect("the intake is open");
        }
    }

    fn receipts(batch: &[Arrival]) -> Vec<Receipt> {
        let receipt = |arrival: &Arrival| match arrival {
            Arrival::Message(delivery) => delivery.receipt,
            Arrival::Due(_, receipt) => *receipt,
        };
        batch.iter().map(receipt).collect()
    }

    #[tokio::test]
    async fn a_batch_takes_what_is_there_and_no_more_than_asked() {
        let (mut intake, producer, _cancel) = start(EmbeddedConfig::default());
        enqueue(&producer, 5).await;
        let first = intake.batch(3).await.expect("not cancelled");
        let second = intake.batch(10).await.expect("not cancelled");
        assert_eq!((first.len(), second.len()), (3, 2));
        assert_eq!(producer.record().borrow().unsettled(), 5);
        let settle = intake.settle();
        settle.ack(&receipts(&first));
        settle.ack(&receipts(&first));
        settle.ack(&receipts(&second)[..1]);
        assert_eq!(producer.record().borrow().unsettled(), 1);
    }

    #[tokio::test]
    async fn a_pointer_comes_down_when_its_rung_says_and_not_behind_a_longer_one() {
        let mut waits = [Duration::from_hours(1); Rung::ALL.len()];
        waits[0] = Duration::from_millis(1);
        let config = EmbeddedConfig { ladder: Ladder::of(waits), ..EmbeddedConfig::default() };
        let (mut intake, producer, _cancel) = start(config);
        let settle = intake.settle();
        let mut batch = Box::pin(intake.batch(10));
        assert!(futures_util::poll!(batch.as_mut()).is_pending(), "nothing is there");
        let deferral = |job, rung| Deferral { pointer: pointer(job), rung };
        settle.defer(vec![deferral("later", Rung::HalfMinute)]);
        assert!(futures_util::poll!(batch.as_mut()).is_pending(), "its wait is not over");
        settle.defer(vec![deferral("sooner", Rung::FiveSeconds)]);
        assert_eq!(producer.record().borrow().unsettled(), 2);
        let first = batch.await.expect("not cancelled");
        assert!(matches!(&first[..], [Arrival::Due(due, _)] if *due == pointer("sooner")), "{first:?}");
        assert_eq!(producer.record().borrow().unsettled(), 2, "it is not settled by coming down");
        settle.ack(&receipts(&first));
        assert_eq!(producer.record().borrow().unsettled(), 1, "the other still rests");
    }

    #[tokio::test]
    async fn cancelling_ends_the_batches_and_dropping_the_intake_closes_the_queue() {
        let (mut intake, producer, cancel) = start(EmbeddedConfig::default());
        enqueue(&producer, 1).await;
        cancel.cancel();
        assert!(intake.batch(1).await.is_none());
        drop(intake);
        assert_eq!(producer.enqueue(cards(), Bytes::new(), Lane::Direct).await, Err(EmbeddedClosed));
        assert_eq!(producer.record().borrow().unsettled(), 1, "what was refused is not counted");
    }

    #[tokio::test]
    async fn a_full_queue_makes_its_producer_wait() {
        let config = EmbeddedConfig { capacity: 1, ..EmbeddedConfig::default() };
        let (mut intake, producer, _cancel) = start(config);
        enqueue(&producer, 1).await;
        let mut second = Box::pin(enqueue(&producer, 1));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert_eq!(intake.batch(10).await.expect("not cancelled").len(), 1);
        second.await;
    }

    #[tokio::test]
    async fn the_record_forgets_the_oldest_first() {
        let config = EmbeddedConfig { remembered: 2, ..EmbeddedConfig::default() };
        let (intake, producer, _cancel) = start(config);
        let event = |key: &str| (key.to_owned(), Bytes::new());
        intake.settle().publish_events(vec![event("a"), event("b"), event("c")]);
        let record = producer.record();
        let record = record.borrow();
        assert!(record.events().iter().map(|(key, _)| key.as_str()).eq(["b", "c"]));
    }
}
