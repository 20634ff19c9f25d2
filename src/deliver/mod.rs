//! Deliver: one notification to one device, over APNs or FCM.
//!
//! **I2 no-send-without-permit**: `Deliver::send` takes a [`Permit`] and a [`crate::pace::Slot`] by value, and sends to the
//! permit's device, never to a token passed apart.

mod permit;

pub use permit::{Permit, PermitRefused};

use crate::model::Outcome;

/// What became of a permit.
#[derive(Debug)]
#[must_use = "a permit that was not taken can be sent again, and must be recorded either way"]
pub enum Sent<'s> {
    /// The permit is spent: this is the outcome.
    Done(Outcome),
    /// The provider did not take the stream (GOAWAY, `REFUSED_STREAM`) or none could be opened: the same
    /// permit may be sent again.
    NotTaken(Permit<'s>),
}
