//! Housekeeping: the audit's head is told, and what is older than promised is forgotten.

use std::{sync::Arc, time::Duration};

use super::patience::Patience;
use crate::ledger::{AuditHead, Ledger};

/// How often the head of the audit goes out: whoever keeps it can date a rewritten past to the minute.
const TELL_HEAD_EVERY: Duration = Duration::from_mins(1);

/// Heads told between two rounds of forgetting: an hour.
const HEADS_A_ROUND: u32 = 60;

/// Runs until the end of patience. Every process does it; twice does no harm.
pub(super) async fn run(ledger: Arc<Ledger>, patience: Patience) {
    let mut told = None;
    for round in (0..HEADS_A_ROUND).cycle() {
        if round == 0 {
            forget(&ledger, &patience).await;
        }
        tell_head(&ledger, &patience, &mut told).await;
        tokio::select! {
            () = patience.until.cancelled() => return,
            () = tokio::time::sleep(TELL_HEAD_EVERY) => {}
        }
    }
}

async fn forget(ledger: &Ledger, patience: &Patience) {
    // Many statements, each of which holds by itself.
    let forgotten = tokio::select! {
        forgotten = async { ledger.forget_old(ledger.now().await?).await } => forgotten,
        () = patience.over() => return,
    };
    if let Err(error) = forgotten {
        tracing::warn!(%error, "what is older than promised is still kept; the next round is in an hour");
    }
}

/// Tells the head, unless it is the one that was told last.
async fn tell_head(ledger: &Ledger, patience: &Patience, told: &mut Option<AuditHead>) {
    let head = async {
        match ledger.audit_head().await? {
            head if head == *told => Ok(head),
            _ => ledger.tell_audit_head().await,
        }
    };
    match patience.answer(head).await {
        Ok(head) => *told = head,
        Err(error) => tracing::debug!(%error, "the audit's head is told in a minute"),
    }
}
