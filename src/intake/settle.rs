//! Says what became of arrivals, and publishes what follows from them.

use bytes::Bytes;

use super::{DeadLetter, Deferral, EmbeddedSettle, RabbitMqSettle, Receipt};

/// Settles arrivals. Cheap to clone. Everything may be repeated: a repeat acknowledges nothing twice, and publishes
/// a copy of what was published, which receivers know by its ids.
#[derive(Debug, Clone)]
pub enum Settle {
    /// To RabbitMQ.
    RabbitMq(RabbitMqSettle),
    /// Within this process.
    Embedded(EmbeddedSettle),
}

/// Something could not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The broker did not confirm in time: it is away, blocked, or refuses because a queue is full.
    #[error("{unconfirmed} messages are not confirmed by the broker after {waited:?}")]
    Unconfirmed {
        /// How many of those given.
        unconfirmed: usize,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// Nothing is bound where the message was to go, not even after declaring the topology again.
    #[error("the broker has no queue for {to:?}; declare the topology, or run with amqp.declare = true")]
    Unroutable {
        /// The exchange and the routing key.
        to: String,
    },
    /// The intake was closed before.
    #[error("the intake is closed")]
    Closed,
}

impl SettleError {
    /// Whether the same call may succeed later without anybody mending anything.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Unconfirmed { .. } => true,
            Self::Unroutable { .. } | Self::Closed => false,
        }
    }
}

/// How many messages are ready in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// The queue's name.
    pub queue: &'static str,
    /// Messages that nobody holds.
    pub ready: u32,
}

impl Settle {
    /// Acknowledges what has become durable. Void receipts are ignored: the broker delivers those messages again.
    pub async fn ack(&self, receipts: Vec<Receipt>) {
        match self {
            Self::RabbitMq(settle) => settle.ack(receipts).await,
            Self::Embedded(settle) => settle.ack(&receipts),
        }
    }

    /// Puts copies with their reasons in `dead`; they are there when this returns.
    pub async fn dead(&self, letters: Vec<DeadLetter>) -> Result<(), SettleError> {
        match self {
            Self::RabbitMq(settle) => settle.dead(letters).await,
            Self::Embedded(settle) => {
                settle.dead(letters);
                Ok(())
            }
        }
    }

    /// Puts pointers on the retry ladder; they are there when this returns.
    pub async fn defer(&self, deferrals: Vec<Deferral>) -> Result<(), SettleError> {
        match self {
            Self::RabbitMq(settle) => settle.defer(deferrals).await,
            Self::Embedded(settle) => {
                settle.defer(deferrals);
                Ok(())
            }
        }
    }

    /// Tells events, each under its routing key, to whoever is bound; nobody need be.
    pub async fn publish_events(&self, events: Vec<(String, Bytes)>) -> Result<(), SettleError> {
        match self {
            Self::RabbitMq(settle) => settle.publish_events(events).await,
            Self::Embedded(settle) => {
                settle.publish_events(events);
                Ok(())
            }
        }
    }

    /// How many messages wait in the work queues and in `dead`.
    pub async fn queue_depths(&self) -> Result<Vec<QueueDepth>, SettleError> {
        match self {
            Self::RabbitMq(settle) => settle.queue_depths().await,
            Self::Embedded(settle) => Ok(settle.queue_depths()),
        }
    }
}
