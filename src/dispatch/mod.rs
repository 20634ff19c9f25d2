//! Dispatch: the way of a notification, as functions that can be read from top to bottom.
//!
//! Here the parts meet: what intake brings, the guard judges, the ledger opens, deliver sends and the ledger
//! records. No part decides here; each step carries out what a pure one answered.
//!
//! [`direct`] is the lane of named recipients.

mod burst;
mod commit;
pub mod control;
mod deferred;
pub mod direct;
mod in_flight;
mod judge;
mod keeping;
mod pacer;
mod patience;
mod relay;
mod send;
mod sweep;
mod tries;
pub mod worker;

pub use direct::{DirectLane, Parts};
pub use worker::{Worker, WorkerParts};
