//! The composition root: builds the parts from the configuration, starts them, drains them.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    api::health::{self, Health},
    audience::Policy,
    clock::Clock,
    config::Config,
    deliver::{AppSenders, Deliver, DeliverConfig},
    dispatch::{DirectLane, Parts},
    intake::{Intake, RabbitMqConfig, Settle},
    ledger::Ledger,
    metrics::Metrics,
    model::{AppId, Environment, Provider},
    pace::Ceilings,
};

/// How often gauges that nobody moves by an event are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Runs the service until `stop` is set, then drains it.
pub async fn serve(config: Config, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    let policy = Arc::new(Policy::load(&config.policy)?);
    let ledger = open_ledger(&config, &stop).await?;
    let deliver = Arc::new(Deliver::new(deliver_config(&config, &policy)?, clock.clone())?);
    let metrics = Metrics::new();
    let intake = Intake::rabbitmq(rabbitmq_config(&config), clock.clone(), stop.clone());
    let listener = TcpListener::bind(config.health_listen).await.with_context(|| {
        format!("cannot listen on {}; choose another listen.health", config.health_listen)
    })?;
    let listen = listener.local_addr().context("the listener has no address")?;
    tracing::info!(%listen, policy = %policy.hash(), version = env!("CARGO_PKG_VERSION"), "serving");
    let settle = intake.settle();
    // The health listener outlives the drain, so that /readyz can say "stopping" and metrics stay readable.
    let drained = CancellationToken::new();
    let health = Health {
        ledger: Arc::clone(&ledger),
        broker: settle.health(),
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    let health = tokio::spawn(health::serve(listener, health, drained.clone()));
    let gauges =
        Gauges { ledger: Arc::clone(&ledger), deliver: Arc::clone(&deliver), settle, metrics: metrics.clone() };
    let gauges = tokio::spawn(gauges.run(drained.clone()));
    let lane = Parts {
        intake,
        ledger,
        deliver: Arc::clone(&deliver),
        ceilings: ceilings(&policy),
        policy,
        max_recipients: config.direct.max_recipients.get(),
        metrics,
        clock,
        stop,
    };
    DirectLane::run(lane).await;
    deliver.drain().await;
    drained.cancel();
    ended("gauges", gauges).await;
    ended("health", health).await;
    tracing::info!("drained");
    Ok(())
}

async fn ended<T>(task: &'static str, handle: JoinHandle<T>) {
    if let Err(error) = handle.await {
        tracing::error!(task, %error, "a task died");
    }
}

/// Opens the ledger, waiting for one that is away: a machine that boots starts everything at once.
async fn open_ledger(config: &Config, stop: &CancellationToken) -> anyhow::Result<Arc<Ledger>> {
    let url = config.ledger_url.expose_secret();
    loop {
        let opened = match Ledger::connect(url, config.ledger_connections).await {
            Ok(ledger) => ledger.schema_is_current().await.map(|current| (ledger, current)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((ledger, true)) => return Ok(Arc::new(ledger)),
            Ok((_, false)) => {
                anyhow::bail!("the ledger's schema is not this version's; run `bellwether migrate`")
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the ledger is away; waiting for it");
                tokio::select! {
                    () = stop.cancelled() => anyhow::bail!("stopped while waiting for the ledger"),
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
            Err(error) => return Err(error).context("cannot open the ledger"),
        }
    }
}

/// Gauges that are read, not told.
struct Gauges {
    ledger: Arc<Ledger>,
    deliver: Arc<Deliver>,
    settle: Settle,
    metrics: Metrics,
}

impl Gauges {
    async fn run(self, stop: CancellationToken) {
        loop {
            self.read().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(GAUGES_EVERY) => {}
            }
        }
    }

    async fn read(&self) {
        for provider in Provider::ALL {
            self.metrics.set_in_flight(provider, self.deliver.in_flight(provider));
        }
        for (app, provider, left) in self.deliver.credential_expiries() {
            let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            self.metrics.set_credential_expiry(&app, provider, seconds);
        }
        if let Ok(depths) = self.settle.queue_depths().await {
            for (queue, messages) in depths {
                self.metrics.set_queue_messages(&queue, messages);
            }
        }
        // While the ledger is away the last reading stands; `dependency_up` says that it is old.
        if let Ok(halts) = self.ledger.halts().await {
            let scopes: Vec<_> = halts.iter().map(|halt| halt.scope.to_string()).collect();
            self.metrics.set_halted(&scopes);
        }
        if let Ok(Some(head)) = self.ledger.audit_head().await {
            self.metrics.set_audit_head(head.sequence);
        }
    }
}
