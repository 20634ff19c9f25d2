//! The outbox relay: publishes what the ledger wrote down to be told.
//!
//! An event is written in the transaction of what it tells and published afterwards, so that it is told if
//! and only if it happened. It may be told twice, with the same id.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::patience::Patience;
use crate::{intake::Settle, ledger::Ledger};

/// What the relay works with. Not the lane: it outlives it, to tell what the last commit wrote.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) ledger: Arc<Ledger>,
    pub(super) settle: Settle,
    /// There may be something in the outbox.
    pub(super) committed: Arc<Notify>,
    /// Over when the last commit is made.
    pub(super) patience: Patience,
}

/// Events of one round.
const ROUND: i64 = 500;

/// How long a round waits for company: nobody waits for an event as for a notification, and a round costs the same
/// whatever it carries.
const GATHER: Duration = Duration::from_millis(50);

/// Looks even when nobody called: another process may have died between commit and publication.
const LOOK_ANYWAY: Duration = Duration::from_secs(2);

/// Runs until the lane has stopped and the outbox is empty (or cannot be emptied now; it stays on record).
pub(super) async fn run(relay: Relay) {
    loop {
        let published = tokio::select! {
            published = round(&relay) => published,
            // A broker that is away keeps nobody from stopping: the events stay in the outbox.
            () = relay.patience.over() => return,
        };
        if published == ROUND {
            continue;
        }
        if relay.patience.until.is_cancelled() {
            return;
        }
        tokio::select! {
            () = relay.committed.notified() => gather(&relay).await,
            () = relay.patience.until.cancelled() => {}
            () = tokio::time::sleep(LOOK_ANYWAY) => {}
        }
    }
}

/// Lets a few commits' events come together, unless the lane has ended.
async fn gather(relay: &Relay) {
    tokio::select! {
        () = relay.patience.until.cancelled() => {}
        () = tokio::time::sleep(GATHER) => {}
    }
}

/// Publishes one round of events; returns how many.
async fn round(relay: &Relay) -> i64 {
    let batch = match relay.patience.answer(relay.ledger.outbox_batch(ROUND)).await {
        Ok(batch) => batch,
        Err(error) => {
            tracing::debug!(%error, "the outbox cannot be read now");
            return 0;
        }
    };
    if batch.is_empty() {
        return 0;
    }
    let ids: Vec<_> = batch.iter().map(|event| event.seq).collect();
    let events = batch.into_iter().map(|event| (event.routing_key, event.event.into())).collect();
    if let Err(error) = relay.settle.publish_events(events).await {
        tracing::warn!(%error, events = ids.len(), "events wait in the outbox until the broker takes them");
        return 0;
    }
    match relay.patience.answer(relay.ledger.outbox_done(&ids)).await {
        Ok(()) => i64::try_from(ids.len()).unwrap_or(ROUND),
        Err(error) => {
            tracing::warn!(%error, events = ids.len(), "events will be told again, with the same ids");
            0
        }
    }
}
