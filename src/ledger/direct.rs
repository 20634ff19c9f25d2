//! The direct lane's conversation with the ledger, in the order in which it happens.
//!
//! ```text
//! read_direct(asks)      one snapshot: halts, prior jobs with the same key, recipients' devices
//!   guard::clear         pure
//! open_direct(requests)  the intent is on record -> OpenJob (or NotStarted, with the reason)
//!   OpenJob::start       one Started for each device, once
//!   deliver::send        a permit each
//! commit_direct(...)     outcomes, refusals, events, audit: one transaction; then acknowledge
//! ```
//!
//! **Intent.** By default the intent on record is the unacknowledged message in the broker's quorum
//! queue: it is durable, and it comes back if the process dies, so repeats after a crash are at most what
//! was not committed, with the same ids. A job with `at_most_once` has its intent committed here first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;

use crate::{
    guard::{Cleared, FoundRecipient},
    model::{
        AppId, Device, DeviceId, Digest, Event, Job, JobKey, NotSent, Outcome, OutcomeCode, Recipients,
        RecordId,
    },
};

/// What the batch's read is asked about one job.
#[derive(Debug, Clone, Copy)]
pub struct DirectAsk<'a> {
    /// Which job.
    pub key: &'a JobKey,
    /// The app whose devices count; without one, recipients are not looked up.
    pub app: Option<&'a AppId>,
    /// Whom it names.
    pub to: Option<&'a Recipients>,
}

/// One batch's read: every answer is of the same snapshot.
#[derive(Debug)]
pub struct DirectRead {
    /// The database's clock.
    pub now: Timestamp,
    /// One answer for each ask, in order.
    pub answers: Vec<DirectAnswer>,
}

/// What the ledger knows about one job that arrived.
#[derive(Debug)]
pub struct DirectAnswer {
    /// The job that already has this key, if there is one (kept for 30 days).
    pub prior: Option<PriorJob>,
    /// The recipients with their devices, in the job's order.
    pub recipients: Vec<FoundRecipient>,
    /// True if a halt covers the job's app. Private to the ledger: [`super::Ledger::open_direct`] acts on it.
    pub(super) halted: bool,
}

/// A job that is already on record under the same key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorJob {
    /// The digest of what was enqueued then.
    pub digest: Digest,
    /// True if nothing more will be done for it.
    pub finished: bool,
}

/// A request to open a job for sending.
#[derive(Debug)]
pub struct OpenRequest<'a> {
    /// What the read said; by value, so that one read opens a job once.
    pub answer: DirectAnswer,
    /// The guard's proof.
    pub cleared: &'a Cleared,
    /// What is sent.
    pub job: &'a Job,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<&'a str>,
    /// When it arrived.
    pub received_at: Timestamp,
}

/// Why a job is not open. Each is told apart, because each has another consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// A halt covers it: defer.
    #[error("halted")]
    Halted,
    /// Its time is over on the database's clock: record as expired.
    #[error("expired")]
    Expired,
    /// Its `not_before` is ahead: record, and wait in the ledger.
    #[error("not yet")]
    NotYet,
    /// Another process opened the same key meanwhile: answered from the record.
    #[error("already on record")]
    AlreadyKnown,
    /// Another process put another job, or a campaign, on record under the same key meanwhile: refuse it.
    #[error("the id is another job's")]
    KeyTaken,
}

/// A job whose intent is on record: the unit of intent and outcome on the direct lane.
#[derive(Debug)]
pub struct OpenJob {
    key: JobKey,
    digest: Digest,
    /// Which try this is; the first is 1.
    tries: u32,
    targets: Vec<Target>,
    started: bool,
}

#[derive(Debug)]
struct Target {
    position: usize,
    device: Device,
}

impl OpenJob {
    /// Called by the engines only, once the intent is durable.
    pub(super) fn new(key: JobKey, digest: Digest, tries: u32, devices: Vec<(usize, Device)>) -> Self {
        let targets = devices.into_iter().map(|(position, device)| Target { position, device }).collect();
        Self { key, digest, tries, targets, started: false }
    }

    /// Which job.
    pub const fn key(&self) -> &JobKey {
        &self.key
    }

    /// Which try this is, counting from 1.
    pub const fn tries(&self) -> u32 {
        self.tries
    }

    /// One proof for each device that is to be rung now. A second call yields none: nobody is sent the
    /// same intent twice.
    pub fn start(&mut self) -> Vec<Started<'_>> {
        if std::mem::replace(&mut self.started, true) {
            return Vec::new();
        }
        let (key, digest) = (&self.key, &self.digest);
        let each = self.targets.iter();
        each.map(|Target { position, device }| Started {
            key,
            digest,
            position: *position,
            device,
            validity: None,
        })
        .collect()
    }
}

#[cfg(test)]
impl OpenJob {
    /// An open job, for tests of what needs one. Not in a release build: there only the engines make one.
    pub(crate) fn for_test(key: JobKey, digest: Digest, devices: Vec<Device>) -> Self {
        Self::new(key, digest, 1, devices.into_iter().enumerate().collect())
    }
}

/// The ledger's proof: an intent for this device is on record, not expired, not halted.
///
/// It has no `Clone`, no `Default` and no serde, and it cannot outlive the job that was opened.
#[derive(Debug)]
#[must_use = "an intent on record that is never sent must be recorded as NotSent"]
pub struct Started<'s> {
    pub(super) key: &'s JobKey,
    pub(super) digest: &'s Digest,
    pub(super) position: usize,
    pub(super) device: &'s Device,
    /// `None` on the direct lane: the intent there is the unacknowledged message, which nobody can take away.
    pub(super) validity: Option<&'s Validity>,
}

/// How long an intent may be acted on: until the claim's deadline, unless a halt comes first. Asked right before every
/// request (I5).
#[derive(Debug, Clone)]
pub struct Validity {
    /// By the monotonic clock: one second before another worker may take the chunk.
    pub until: Instant,
    /// Set when a halt or a new epoch covers the rollout.
    pub stopped: Arc<AtomicBool>,
}

impl Validity {
    /// Why the request must not be written any more, if so.
    pub fn at(&self, now: Instant) -> Result<(), NotSent> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(NotSent::Halted);
        }
        if now >= self.until { Err(NotSent::ClaimLost) } else { Ok(()) }
    }
}

impl<'s> Started<'s> {
    /// Which job.
    pub const fn key(&self) -> &'s JobKey {
        self.key
    }

    /// The digest of the job whose intent was recorded.
    pub const fn digest(&self) -> Digest {
        *self.digest
    }

    /// The device to ring.
    pub const fn device(&self) -> &'s Device {
        self.device
    }

    /// The device's place in the job's packed outcomes.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// How long the intent may be acted on; `None` for as long as the message lives.
    pub const fn validity(&self) -> Option<&'s Validity> {
        self.validity
    }
}

/// What became of one device of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOutcome {
    /// The device's place in the job.
    pub position: usize,
    /// Its row.
    pub record: RecordId,
    /// Its id.
    pub device: DeviceId,
    /// What became of it.
    pub outcome: Outcome,
}

/// One try of a job that is over: to be committed, then acknowledged.
#[derive(Debug)]
pub struct FinishedJob {
    /// Which job.
    pub key: JobKey,
    /// What was enqueued.
    pub job: Job,
    /// The policy under which it was cleared.
    pub policy: Digest,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<String>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// Which try, counting from 1; 0 for a job that could not be opened yet (halted, or its `not_before` is
    /// ahead): it is stored without outcomes, and its recipients are looked up when it is due.
    pub tries: u32,
    /// Every device that this try was for.
    pub outcomes: Vec<TargetOutcome>,
    /// Recipients that have no device of the app.
    pub unreachable: u32,
    /// When the devices that are not final are due again; `None` if all are final.
    pub due_at: Option<Timestamp>,
    /// Devices whose token is to be marked gone (by their place in `outcomes`), judged by the burst breaker.
    pub gone: Vec<usize>,
}

impl FinishedJob {
    /// True if nothing is left to do.
    pub fn is_final(&self) -> bool {
        let at_most_once = self.job.at_most_once();
        // A job that waits for its hour has no outcomes yet, and is not over.
        self.due_at.is_none()
            && self.outcomes.iter().all(|target| target.outcome.code().is_final(at_most_once))
    }

    /// How many devices ended (or rest) with each outcome, for the summary event.
    pub fn counts(&self) -> std::collections::BTreeMap<OutcomeCode, u32> {
        let mut counts = std::collections::BTreeMap::new();
        for target in &self.outcomes {
            *counts.entry(target.outcome.code()).or_default() += 1;
        }
        counts
    }
}

/// A job that was refused (or was none): told by an event, chained into the audit.
#[derive(Debug)]
pub struct RefusedJob {
    /// What is told.
    pub event: Event,
}

/// What lies on the retry ladder: not the job, only where the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// Which job.
    pub key: JobKey,
    /// How many tries are over: a pointer that is behind the record is stale, and dropped.
    pub tries: u32,
}

/// A deferred job that is due, read back under a claim.
#[derive(Debug)]
pub struct DeferredJob {
    /// What was enqueued.
    pub job: Job,
    /// Which job.
    pub key: JobKey,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<String>,
    /// The devices still to do, with their places; those that are gone since are left out and recorded.
    pub recipients: Vec<FoundRecipient>,
    /// How many tries are over.
    pub tries: u32,
    /// The open job, once [`crate::guard::recheck`] has cleared it again.
    pub(super) open: OpenJob,
}

impl DeferredJob {
    /// The devices still to do, with their places.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &Device)> {
        self.open.targets.iter().map(|target| (target.position, &target.device))
    }

    /// The intent of the next try is on record (by the claim): the job, open, given the guard's fresh proof.
    #[must_use]
    pub fn open(self, _cleared: &Cleared) -> OpenJob {
        self.open
    }
}

/// Why a pointer leads nowhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDue {
    /// Nothing is left to do for it, or the pointer is behind the record: drop it.
    #[error("nothing is left to do")]
    Done,
    /// Not due yet, or another process holds it, or a halt covers it: ask again later.
    #[error("not due yet")]
    Later,
    /// Its time is over: recorded as expired; drop it.
    #[error("expired")]
    Expired,
}
