//! The permit: proof of clearance *and* of a recorded intent, for one device, for one send.

use crate::{
    guard::{Cleared, NotAdmitted},
    ledger::Started,
    model::{Device, DeviceId, NotSent},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use uuid::Uuid;

/// Permission to send one notification to one device, once.
///
/// It can be made only from both proofs, borrows from the ledger's, and has no `Clone`, `Default` or serde.
#[derive(Debug)]
#[must_use = "a permit that is not sent must be recorded as NotSent"]
pub struct Permit<'s> {
    started: Started<'s>,
    /// Set when a halt covers it.
    halted: Option<&'s AtomicBool>,
}

/// The two proofs do not belong together, or the guard's does not cover the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitRefused {
    /// The proofs speak of two jobs.
    #[error("the guard cleared another job than the ledger opened")]
    OtherJob,
    /// The guard's clearance does not reach this device.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
}

impl<'s> Permit<'s> {
    /// Joins the two proofs. Refuses when they are of two jobs, or when the clearance does not cover the device.
    pub fn new(cleared: &Cleared, started: Started<'s>) -> Result<Self, PermitRefused> {
        if cleared.digest() != started.digest() || cleared.key() != started.key() {
            return Err(PermitRefused::OtherJob);
        }
        cleared.admits(started.device())?;
        Ok(Self { started, halted: None })
    }

    /// The same, void as soon as `halted` is set: on the direct lane, whose intents have no validity of their own.
    pub fn unless(self, halted: &'s AtomicBool) -> Self {
        Self { halted: Some(halted), ..self }
    }

    /// The device that this permit is for.
    pub const fn device(&self) -> &'s Device {
        self.started.device()
    }

    /// Why the request must not be written any more, if so: asked right before it is, and worth asking before a wait (I5).
    pub fn is_valid(&self, now: Instant) -> Result<(), NotSent> {
        if self.halted.is_some_and(|halted| halted.load(Ordering::Acquire)) {
            return Err(NotSent::Halted);
        }
        self.started.validity().map_or(Ok(()), |validity| validity.at(now))
    }

    /// When the intent stops being one to act on, whatever becomes of this process meanwhile; `None` for as long as the
    /// message lives.
    pub fn until(&self) -> Option<Instant> {
        self.started.validity().map(|validity| validity.until)
    }

    /// The id of the message: the same for every resend.
    #[must_use]
    pub fn message_id(&self) -> Uuid {
        let device: DeviceId = self.device().id;
        self.started.key().message_id(device)
    }
}
