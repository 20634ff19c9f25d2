//! Dispatch: the way of a notification, as functions that can be read from top to bottom.
//!
//! Here the parts meet: what intake brings, the guard judges, the ledger opens, deliver sends and the ledger
//! records. No part decides here; each step carries out what a pure one answered.
//!
//! [`direct`] is the lane of named recipients, and the door for campaigns: what it clears for an audience it puts on
//! record, and no more. [`registrations`] keeps whose phone is whose. [`coordinator`] freezes a campaign's audience and opens its stages. [`control`] is what
//! processes tell each other at once; [`outlook`] says what a rollout waits for.

mod bench;
mod burst;
mod campaigns;
mod commit;
pub mod control;
pub mod coordinator;
mod days;
mod deferred;
pub mod direct;
mod halts;
mod in_flight;
pub mod in_force;
mod judge;
mod keeping;
pub mod mend;
pub mod outlook;
mod outward;
mod pacer;
mod patience;
mod probe;
mod reach;
pub mod registrations;
mod relay;
mod send;
mod slots;
pub mod submit;
mod sweep;
mod throttles;
mod tries;
pub(crate) mod watched;
mod webhook;
pub mod worker;

use tokio_util::sync::CancellationToken;

use self::patience::Patience;

pub use bench::{LaneBench, LaneJob};
pub use coordinator::{Coordinator, CoordinatorParts};
pub use direct::{DirectLane, Parts};
pub use halts::measure;
pub use probe::{NoNumber, Probes, ProbesUnusable};
pub use registrations::RegistrationParts;
pub use submit::{Findings, Prospect, RetryRefused, prospect, retry, submit, submit_on_behalf};
pub use watched::Watched;
pub use webhook::{Webhook, WebhookUnusable};
pub use worker::{Worker, WorkerParts};

/// Publishes what the ledger holds to be told, and keeps house, in a process that takes no jobs. Ends when `ended` is set
/// and what could be published has been.
pub async fn tell_and_keep(
    ledger: std::sync::Arc<crate::ledger::Ledger>,
    settle: crate::intake::Settle,
    metrics: crate::metrics::Metrics,
    stop: CancellationToken,
    ended: CancellationToken,
) {
    let relay = relay::Relay {
        ledger: std::sync::Arc::clone(&ledger),
        settle,
        committed: std::sync::Arc::default(),
        patience: Patience::until(ended, metrics.clone()),
    };
    tokio::join!(relay::run(relay), keeping::run(ledger, Patience::until(stop, metrics)));
}
