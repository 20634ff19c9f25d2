//! The ledger: who was sent what, with which result. The only truth about jobs, devices and halts.
//!
//! - **I7 nothing-lost**: a broker message is acknowledged only after [`Ledger::commit_direct`] has
//!   answered for it.
//! - **I2 no-send-without-permit**: [`Started`] is the ledger's half of a permit. It borrows from the
//!   [`OpenJob`] whose intent is on record, one for each device, and can be taken once.
//!
//! Two engines, one enum: PostgreSQL for real use, SQLite for the demo, tests and trying out. Both pass the same
//! conformance suite.

mod direct;

pub use direct::{
    DeferredJob, DirectAnswer, DirectAsk, DirectRead, FinishedJob, NotDue, NotStarted, OpenJob, OpenRequest,
    Pointer, PriorJob, RefusedJob, Started, TargetOutcome,
};
