//! Intake: bytes become a job, or a malformed one that is told to its producer.
//!
//! Two sources behind one enum: RabbitMQ, and an in-process one for the embedded mode.
//!
//! - **I7 nothing-lost**: nothing is acknowledged here; whoever has made the consequence durable says so
//!   through [`Settle`].

use bytes::Bytes;
use jiff::Timestamp;

use crate::{
    ledger::Pointer,
    model::{FindingNote, Lane, ProducerId},
    pace::Rung,
};

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
    /// What was enqueued.
    pub body: Bytes,
    /// W3C trace context from the headers, if it has the right form.
    pub traceparent: Option<String>,
    /// When it was taken from the queue.
    pub received_at: Timestamp,
    /// How to settle it.
    pub receipt: Receipt,
}

/// The message does not say who enqueued it in a way that the broker vouches for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the message has no user_id; publish with the AMQP property user_id set to the connection's user, or configure the queue as single-producer"
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
    /// The message as it arrived.
    pub body: Bytes,
    /// Who enqueued it, if known.
    pub producer: Option<ProducerId>,
    /// The lane that it arrived on.
    pub lane: Lane,
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
    /// It was no job.
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
