//! Gauges that nobody moves by an event: read every two seconds.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock, deliver::Deliver, intake::Settle, ledger::Ledger, metrics::Metrics, model::Provider,
};

/// How often they are read.
const GAUGES_EVERY: Duration = Duration::from_secs(2);

/// Gauges that are read, not told.
pub(super) struct Gauges {
    pub(super) ledger: Arc<Ledger>,
    pub(super) deliver: Arc<Deliver>,
    pub(super) settle: Settle,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl Gauges {
    /// Until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    self.read().await;
                    tokio::time::sleep(GAUGES_EVERY).await;
                } => {}
            }
        }
    }

    async fn read(&self) {
        // First, because an alert waits for it.
        // While the ledger is away the last reading stands; `dependency_up` says that it is old.
        if let Ok(halts) = self.ledger.halts().await {
            let scopes: Vec<_> = halts.iter().map(|halt| halt.scope.to_string()).collect();
            self.metrics.set_halted(&scopes);
        }
        for provider in Provider::ALL {
            self.metrics.set_in_flight(provider, self.deliver.in_flight(provider));
        }
        for (app, provider, expires_at) in self.deliver.credential_expiry() {
            let left = expires_at.duration_since(self.clock.now());
            self.metrics.set_credential_expiry(&app, provider, left.as_secs());
        }
        if let Ok(depths) = self.settle.queue_depths().await {
            for depth in depths {
                self.metrics.set_queue_messages(depth.queue, depth.ready);
            }
        }
        if let Ok(Some(head)) = self.ledger.audit_head().await {
            self.metrics.set_audit_head(head.sequence);
        }
    }
}
