//! The sweeper: finds work in the ledger that no message will bring.
//!
//! A job with `not_before` waits in the ledger, not in a queue; and a pointer can be lost with its broker.
//! Whatever is overdue is taken up from the record. Two processes may find the same job: the claim in the
//! ledger lets one have it.

use std::{sync::Arc, time::Duration};

use super::direct::DirectLane;

/// How often it looks: a job with `not_before` starts at most this and the grace late.
const EVERY: Duration = Duration::from_secs(1);

/// How long a due job is left to its pointer.
const GRACE: Duration = Duration::from_secs(2);

/// Jobs of one sweep.
const SWEEP: i64 = 200;

/// Runs until the lane stops.
pub(super) async fn run(lane: Arc<DirectLane>) {
    loop {
        tokio::select! {
            () = lane.stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if !lane.in_force.is() {
            continue;
        }
        match lane.patience.answer(lane.ledger.overdue_direct(GRACE, SWEEP)).await {
            Ok(due) => lane.deferred(due.into_iter().map(|pointer| (pointer, None)).collect()).await,
            Err(error) => tracing::debug!(%error, "the ledger cannot be swept now"),
        }
    }
}
