//! Registrations of devices as they arrive: a way of their own, so that neither waits for the other.

use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{DeadLetter, DeadReason, NoProducer, Receipt, WorkQueue, rabbitmq::Inbox};
use crate::model::ProducerId;

/// Where registrations arrive. Ends with its intake; what it gave is settled there.
#[derive(Debug)]
pub struct Registrations {
    pub(super) inbox: Arc<Inbox<RegistrationDelivery>>,
    pub(super) cancel: CancellationToken,
}

impl Registrations {
    /// Waits until something is there, then takes what is there, up to `max`, in the queue's order. `None` once
    /// cancelled: what was not taken by then stays with the broker.
    pub async fn batch(&mut self, max: usize) -> Option<Vec<RegistrationDelivery>> {
        self.inbox.batch(max, &self.cancel).await
    }
}

/// A message of the devices' queue, not yet looked at.
#[derive(Debug)]
pub struct RegistrationDelivery {
    /// Who published it: the broker's word, or the queue's single producer; `Err` says what to do about it.
    pub producer: Result<ProducerId, NoProducer>,
    /// What was published; of a body above [`super::KEPT_BODY_BYTES`], its beginning.
    pub body: Bytes,
    /// How many bytes were published.
    pub size: usize,
    /// W3C trace context from the headers, if it has the right form.
    pub traceparent: Option<String>,
    /// How to settle it.
    pub receipt: Receipt,
}

impl RegistrationDelivery {
    /// The copy that goes to `dead`.
    #[must_use]
    pub fn dead_letter(&self, reason: DeadReason) -> DeadLetter {
        DeadLetter {
            body: self.body.clone(),
            size: self.size,
            producer: self.producer.as_ref().ok().cloned(),
            queue: WorkQueue::Devices,
            reason,
            traceparent: self.traceparent.clone(),
        }
    }
}
