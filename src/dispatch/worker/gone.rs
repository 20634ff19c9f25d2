//! Tokens that their provider called dead, on their way to being marked so.

use std::time::{Duration, Instant};

use super::Shared;
use crate::model::{Device, Outcome};

/// So many are marked at once, or as many as there are after so long: a statement over the registry's partitions costs as much
/// for one as for some.
const MANY: usize = 500;
const WITHIN: Duration = Duration::from_secs(2);

/// What is not marked yet.
#[derive(Debug)]
pub(super) struct Gone {
    waiting: Vec<(Device, Outcome)>,
    /// Since when the first of them waits.
    since: Instant,
}

impl Gone {
    pub(super) const fn none(now: Instant) -> Self {
        Self { waiting: Vec::new(), since: now }
    }

    pub(super) fn note(&mut self, gone: Vec<(Device, Outcome)>, now: Instant) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.extend(gone);
    }

    /// Marks what has waited long enough, or is many enough.
    pub(super) async fn mark_some(&mut self, shared: &Shared) {
        let waited = shared.clock.monotonic().duration_since(self.since);
        if self.waiting.len() >= MANY || waited >= WITHIN {
            self.mark_all(shared).await;
        }
    }

    /// Marks everything. What the ledger does not take now is tried again: should it be lost with this process, the provider
    /// says so again next time.
    pub(super) async fn mark_all(&mut self, shared: &Shared) {
        if self.waiting.is_empty() {
            return;
        }
        match shared.patience.answer(shared.ledger.mark_gone(&self.waiting)).await {
            Ok(()) => self.waiting.clear(),
            Err(error) => {
                self.since = shared.clock.monotonic();
                tracing::debug!(%error, "dead tokens are not marked yet");
            }
        }
    }
}
