//! A provider that asks everyone of an app to be slower is heard by the whole fleet.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    ledger::Ledger,
    model::{AppId, Outcome, Provider, ThrottleScope},
};

/// Hundreds of requests may be answered so at once: the ledger is told no more often than this, and takes no more.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Lowers the rate's row, so that every process has less with its next lease. What this process does at once is the
/// sender's own affair: it pauses.
#[derive(Debug)]
pub(super) struct Throttles {
    ledger: Arc<Ledger>,
    clock: Clock,
    told: Mutex<HashMap<(AppId, Provider), Instant>>,
}

impl Throttles {
    pub(super) fn new(ledger: Arc<Ledger>, clock: Clock) -> Self {
        Self { ledger, clock, told: Mutex::default() }
    }

    /// Looks at an outcome. A throttle of one device is that device's alone.
    pub(super) fn note(&self, app: &AppId, provider: Provider, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Throttled { scope: ThrottleScope::Topic | ThrottleScope::Project, .. })
        {
            return;
        }
        let now = self.clock.monotonic();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (app.clone(), provider);
        if told.get(&key).is_some_and(|last| now.duration_since(*last) < TELL_EVERY) {
            return;
        }
        told.insert(key, now);
        drop(told);
        let (ledger, app) = (Arc::clone(&self.ledger), app.clone());
        tokio::spawn(async move {
            // Without the ledger nothing is leased either; the next throttle says it again.
            match ledger.lower_rate(provider, &app).await {
                Ok(()) => tracing::warn!(%app, %provider, "the provider asks everyone to be slower"),
                Err(error) => tracing::warn!(%app, %provider, %error, "a throttle is not on record"),
            }
        });
    }
}
