//! Intake: bytes become a job, or a malformed one that is told to its producer.
//!
//! Two sources behind one enum: RabbitMQ, and an in-process one for the embedded mode. The way of a message:
//!
//! ```text
//! Intake::batch   what is there, up to a number; not calling it is the pause
//!   …             guard, ledger, deliver: whatever the arrival asks for is made durable
//! Settle::dead    a copy with the reasons goes to `dead`            (confirmed)
//! Settle::defer   a pointer into the ledger goes on the retry ladder (confirmed)
//! Settle::ack     only then is the message acknowledged
//! ```
//!
//! - **I7 nothing-lost**: nothing is acknowledged here; whoever has made the consequence durable says so
//!   through [`Settle`]. A message whose connection is lost is delivered again, and its old receipt is void.
//! - Nothing is ever returned to its queue by a `nack`: that would spend the queue's delivery limit on a ledger that
//!   is away. Whoever cannot work stops calling [`Intake::batch`]; the prefetch bounds what is held meanwhile.

mod dead;
mod embedded;
mod health;
mod ladder;
mod rabbitmq;
mod registrations;
mod settle;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use dead::{KEPT_BODY_BYTES, header_names, headers};
pub use embedded::{
    EmbeddedClosed, EmbeddedConfig, EmbeddedIntake, EmbeddedProducer, EmbeddedRecord, EmbeddedSettle,
};
pub use health::BrokerHealth;
pub use ladder::Ladder;
pub use rabbitmq::{
    BrokerError, ConfigError, ControlSpeaker, Enqueued, Heard, RabbitMqConfig, RabbitMqIntake,
    RabbitMqSettle, control, enqueue, enqueue_all, names, probe, say_once,
};
pub use registrations::{RegistrationDelivery, Registrations};
pub use settle::{QueueDepth, Settle, SettleError};

use crate::{
    clock::Clock,
    ledger::Pointer,
    model::{FindingNote, Lane, ProducerId},
    pace::Rung,
};

/// Where jobs come from.
#[derive(Debug)]
pub enum Intake {
    /// From RabbitMQ.
    RabbitMq(RabbitMqIntake),
    /// From this process itself.
    Embedded(EmbeddedIntake),
}

impl Intake {
    /// Begins to consume from RabbitMQ, within a tokio runtime. A broker that is away is no error: it is tried
    /// again until `cancel`, and [`Intake::health`] tells how it stands.
    #[must_use]
    pub fn rabbitmq(config: RabbitMqConfig, clock: Clock, cancel: CancellationToken) -> Self {
        Self::RabbitMq(RabbitMqIntake::start(config, clock, cancel))
    }

    /// An intake of this process's own, and the handle that feeds it and shows what became of the jobs.
    #[must_use]
    pub fn embedded(
        config: EmbeddedConfig,
        clock: Clock,
        cancel: CancellationToken,
    ) -> (Self, EmbeddedProducer) {
        let (intake, producer) = EmbeddedIntake::start(config, clock, cancel);
        (Self::Embedded(intake), producer)
    }

    /// Waits until something is there, then takes what is there, up to `max`, without waiting for more. `None` once
    /// cancelled: what was not taken by then stays with the broker.
    pub async fn batch(&mut self, max: usize) -> Option<Vec<Arrival>> {
        match self {
            Self::RabbitMq(intake) => intake.batch(max).await,
            Self::Embedded(intake) => intake.batch(max).await,
        }
    }

    /// Where registrations of devices arrive. `None` in the embedded mode, where they are imported.
    #[must_use]
    pub fn registrations(&self) -> Option<Registrations> {
        match self {
            Self::RabbitMq(intake) => Some(intake.registrations()),
            Self::Embedded(_) => None,
        }
    }

    /// Says what became of the arrivals.
    #[must_use]
    pub fn settle(&self) -> Settle {
        match self {
            Self::RabbitMq(intake) => Settle::RabbitMq(intake.settle()),
            Self::Embedded(intake) => Settle::Embedded(intake.settle()),
        }
    }

    /// How the broker stands; follows every change.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<BrokerHealth> {
        match self {
            Self::RabbitMq(intake) => intake.health(),
            Self::Embedded(intake) => intake.health(),
        }
    }

    /// Ends the intake, after its cancellation and after everything held has been settled. What is settled later
    /// fails, and what was never acknowledged is delivered again.
    pub async fn close(self) {
        match self {
            Self::RabbitMq(intake) => intake.close().await,
            Self::Embedded(intake) => drop(intake),
        }
    }
}

/// A queue that producers' messages arrive by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkQueue {
    /// Jobs for named recipients.
    Direct,
    /// Jobs for a named audience.
    Campaign,
    /// Registrations and removals of devices.
    Devices,
}

impl WorkQueue {
    /// The routing key that leads there, and the word for it in headers.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Direct => names::DIRECT_KEY,
            Self::Campaign => names::CAMPAIGN_KEY,
            Self::Devices => names::DEVICES_KEY,
        }
    }

    /// The queue's name on the broker.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => names::DIRECT,
            Self::Campaign => names::CAMPAIGN,
            Self::Devices => names::DEVICES,
        }
    }
}

impl From<Lane> for WorkQueue {
    fn from(lane: Lane) -> Self {
        match lane {
            Lane::Direct => Self::Direct,
            Lane::Campaign => Self::Campaign,
        }
    }
}

/// One thing that arrived.
#[derive(Debug)]
pub enum Arrival {
    /// A message from a producer.
    Message(Delivery),
    /// A pointer that comes down the retry ladder.
    Due(Pointer, Receipt),
}

/// A message as it arrived, not yet looked at.
#[derive(Debug)]
pub struct Delivery {
    /// The queue's lane.
    pub lane: Lane,
    /// Who enqueued it: the broker's word, or the queue's single producer; `Err` says what to do about it.
    pub producer: Result<ProducerId, NoProducer>,
    /// What was enqueued; of a body above [`KEPT_BODY_BYTES`], its beginning. What is cut off is still above
    /// [`crate::model::MAX_JOB_BYTES`], so that no beginning of a message is taken for a job.
    pub body: Bytes,
    /// How many bytes were enqueued.
    pub size: usize,
    /// W3C trace context from the headers, if it has the right form.
    pub traceparent: Option<String>,
    /// When it was taken from the queue.
    pub received_at: Timestamp,
    /// How to settle it.
    pub receipt: Receipt,
}

impl Delivery {
    /// The copy that goes to `dead`.
    #[must_use]
    pub fn dead_letter(&self, reason: DeadReason) -> DeadLetter {
        DeadLetter {
            body: self.body.clone(),
            size: self.size,
            producer: self.producer.as_ref().ok().cloned(),
            queue: self.lane.into(),
            reason,
            traceparent: self.traceparent.clone(),
        }
    }
}

/// The message does not say who enqueued it in a way that the broker vouches for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the message has no user_id that names a producer (1 to 128 visible ASCII characters); publish with the AMQP property user_id set to the connection's user, or configure the queue as single-producer"
)]
pub struct NoProducer;

/// Names a message to be settled. It is void after a reconnection: the broker delivers the message again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt {
    /// Which channel (counted over the process's life); 0 for the in-process intake.
    pub(super) channel: u64,
    /// The delivery tag on that channel.
    pub(super) tag: u64,
}

/// A message that goes to `dead`, with the reasons in its headers.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The message as it arrived, or its beginning.
    pub body: Bytes,
    /// How many bytes arrived.
    pub size: usize,
    /// Who enqueued it, if known.
    pub producer: Option<ProducerId>,
    /// The queue that it arrived by.
    pub queue: WorkQueue,
    /// Coded reasons: `refused` or `malformed`, and the findings.
    pub reason: DeadReason,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// Why a message is dead.
#[derive(Debug, Clone)]
pub enum DeadReason {
    /// The guard refused it.
    Refused(Vec<FindingNote>),
    /// It was no job, or no registration.
    Malformed {
        /// The kind of mistake.
        code: &'static str,
        /// Which field.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

/// A deferral: where the ledger has the job, and on which rung its pointer rests.
#[derive(Debug, Clone)]
pub struct Deferral {
    /// Where.
    pub pointer: Pointer,
    /// How long.
    pub rung: Rung,
}
