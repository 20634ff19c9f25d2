//! The coordinator: freezes audiences, opens stages, follows what was deferred, ends rollouts.
//!
//! Every process with the role stands by; one rules, by a lease in the ledger whose term fences the one before. All
//! state is in the ledger, so another takes over in the middle of anything, within five seconds: a lease, and the pause of
//! whoever stands by. What is done next is decided by [`crate::rollout::next()`]; here it is only carried out.
//!
//! - A write under a term that is over changes nothing: the ledger answers `Deposed`, and this process stands by again.
//! - While the ledger is away nothing is decided; the lease may end meanwhile, and whoever is first rules next.

mod feedback;
mod guards;
mod reign;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use self::{feedback::Paces, guards::Guards, reign::Reign};
use super::{
    control::Control,
    in_force::InForce,
    patience::Patience,
    probe::Probes,
    webhook::{Teller, Webhook},
};
use crate::{
    audience::Policy,
    clock::Clock,
    ledger::{Deposed, Ledger, LedgerError, Ruling},
    metrics::Metrics,
    rollout::RetryWaits,
};

/// How long a lease to rule lasts. With [`STANDBY`], how long campaigns stand still after their coordinator died.
const LEASE: Duration = Duration::from_secs(4);

/// How often whoever rules renews the lease: three renewals may fail before it ends.
const RENEW: Duration = Duration::from_secs(1);

/// How often whoever stands by asks.
const STANDBY: Duration = Duration::from_millis(500);

/// What the coordinator is built from.
#[derive(Debug)]
pub struct CoordinatorParts {
    /// All its state.
    pub ledger: Arc<Ledger>,
    /// The rules of the house.
    pub policy: Arc<Policy>,
    /// Whether they are in force.
    pub in_force: InForce,
    /// Where it tells that there is work, and hears it.
    pub control: Control,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Where people are told that something waits for them.
    pub webhook: Option<Webhook>,
    /// Where the numbers of our own systems are read.
    pub probes: Option<Probes>,
    /// The waits before what was deferred is sent again.
    pub retry: RetryWaits,
    /// This process, as other processes and operators see it.
    pub holder: String,
    /// Set when the process is to stop.
    pub stop: CancellationToken,
}

/// A process that rules, or stands by.
#[derive(Debug)]
pub struct Coordinator {
    ledger: Arc<Ledger>,
    policy: Arc<Policy>,
    in_force: InForce,
    control: Control,
    metrics: Metrics,
    clock: Clock,
    webhook: Option<Webhook>,
    probes: Option<Probes>,
    retry: RetryWaits,
    holder: String,
    stop: CancellationToken,
    patience: Patience,
}

/// True once another term rules. What the ledger does not take while it is away is read again.
fn is_deposed(noted: Result<(), Deposed>) -> bool {
    match noted {
        Ok(()) => false,
        Err(Deposed::Deposed) => true,
        Err(Deposed::Ledger(error)) => {
            tracing::debug!(%error, "what our own systems say is not noted until the ledger answers");
            false
        }
    }
}

impl Coordinator {
    /// Stands by and rules in turn, until it is told to stop; then gives the rule up at once.
    pub async fn run(parts: CoordinatorParts) {
        let CoordinatorParts { ledger, policy, in_force, control, metrics, clock, webhook, .. } = parts;
        let CoordinatorParts { probes, retry, holder, stop, .. } = parts;
        let patience = Patience::until(stop.clone(), metrics.clone());
        let coordinator = Self {
            ledger,
            policy,
            in_force,
            control,
            metrics,
            clock,
            webhook,
            probes,
            retry,
            holder,
            stop,
            patience,
        };
        while !coordinator.stop.is_cancelled() && coordinator.in_force.comes(&coordinator.stop).await {
            match coordinator.ask_to_rule(None).await {
                Ok(Some(ruling)) => coordinator.rule(ruling).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "who rules cannot be asked now"),
            }
            tokio::select! {
                () = coordinator.stop.cancelled() => {}
                () = tokio::time::sleep(STANDBY) => {}
            }
        }
    }

    async fn ask_to_rule(&self, current: Option<&Ruling>) -> Result<Option<Ruling>, LedgerError> {
        let asked = self.clock.monotonic();
        self.patience.answer(self.ledger.rule(&self.holder, current, LEASE, asked)).await
    }

    /// One reign: until another term rules, the lease is over, or the process stops.
    async fn rule(&self, ruling: Ruling) {
        tracing::info!(term = ruling.term, holder = self.holder, "this process coordinates the campaigns");
        self.metrics.set_coordinating(true);
        let (latest, follow) = tokio::sync::watch::channel(ruling);
        let guards = Guards { coordinator: self, ruling: follow.clone() };
        let paces = Paces::new(self, follow.clone());
        let mut reign = Reign::new(self, follow);
        let teller = Teller::new(&self.ledger, self.webhook.as_ref(), &self.metrics, &self.clock);
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.in_force.goes() => {}
            () = self.renew(&latest) => {}
            () = reign.run() => {}
            () = teller.run() => {}
            () = guards.run() => {}
            () = Box::pin(paces.run()) => {}
        }
        let ruling = latest.borrow().clone();
        self.metrics.set_coordinating(false);
        self.metrics.set_rollouts(&[]);
        self.metrics.set_pace_limits([]);
        // Whoever rules next says so.
        self.metrics.set_oldest_notice(Duration::ZERO);
        tracing::info!(term = ruling.term, "this process coordinates no more");
        // Also after being deposed: the ledger knows whose term it is.
        if let Err(error) = self.patience.answer(self.ledger.abdicate(&ruling)).await {
            tracing::debug!(%error, "the rule was not given up; its lease ends by itself");
        }
    }

    /// Renews the lease for as long as that is possible. What was decided under it is fenced by its term.
    async fn renew(&self, latest: &tokio::sync::watch::Sender<Ruling>) {
        loop {
            tokio::time::sleep(RENEW).await;
            let current = latest.borrow().clone();
            match self.ask_to_rule(Some(&current)).await {
                Ok(Some(renewed)) if renewed.term == current.term => {
                    latest.send_replace(renewed);
                }
                Ok(_) => return,
                Err(error) if self.clock.monotonic() >= current.until => {
                    tracing::warn!(%error, term = current.term, "the lease to coordinate is over, and the ledger is away");
                    return;
                }
                Err(error) => tracing::debug!(%error, "the lease to coordinate is not renewed yet"),
            }
        }
    }
}
