//! The composition root: builds the parts from the configuration, starts them, drains them.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    api::health::{self, Health},
    audience::{App, Policy},
    clock::Clock,
    config::{Config, Providers},
    deliver::{ApnsConfig, AppSenders, Deliver, DeliverConfig, Endpoint, FcmConfig, Transport},
    dispatch::{DirectLane, Parts},
    intake::{Intake, RabbitMqConfig, Settle},
    ledger::{Ledger, LedgerOptions},
    metrics::Metrics,
    model::Provider,
    pace::Ceilings,
};

/// How long a request waits for the ledger before it counts as away, and consuming pauses.
const LEDGER_PATIENCE: Duration = Duration::from_secs(5);

/// How often the audit's head is told on `bellwether.events`, if it moved: what was written since the last one is what
/// somebody who owns the database could still rewrite unnoticed.
const TELL_HEAD_EVERY: Duration = Duration::from_mins(1);

/// How often gauges that nobody moves by an event are read.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Runs the service until `stop` is set, then drains it.
pub async fn serve(config: Config, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    let policy = Arc::new(Policy::load(&config.policy)?);
    let broker = rabbitmq_config(&config)?;
    let listener = TcpListener::bind(config.health_listen).await.with_context(|| {
        format!("cannot listen on {}; choose another listen.health", config.health_listen)
    })?;
    let listen = listener.local_addr().context("the listener has no address")?;
    let ledger = open_ledger(&config, &stop).await?;
    let intake = Intake::rabbitmq(broker, clock.clone(), stop.clone());
    let (settle, broker) = (intake.settle(), intake.health());
    let metrics = Metrics::new();
    let lane = direct_lane(
        &config,
        policy,
        Arc::clone(&ledger),
        intake,
        metrics.clone(),
        clock.clone(),
        stop.clone(),
    )?;
    let deliver = Arc::clone(&lane.deliver);
    tracing::info!(%listen, policy = %lane.policy.hash(), version = env!("CARGO_PKG_VERSION"), "serving");
    // The health listener outlives the drain, so that /readyz can say "stopping" and metrics stay readable.
    let drained = CancellationToken::new();
    let stop_telling = stop.clone();
    let health = Health { ledger: Arc::clone(&ledger), broker, metrics: metrics.clone(), stop };
    let health = tokio::spawn(health::serve(listener, health, drained.clone()));
    let gauges =
        Gauges { ledger: Arc::clone(&ledger), deliver: Arc::clone(&deliver), settle, metrics, clock };
    let gauges = tokio::spawn(gauges.run(drained.clone()));
    let heads = tokio::spawn(tell_heads(Arc::clone(&ledger), stop_telling));
    DirectLane::run(lane).await;
    ended("audit heads", heads).await;
    deliver.drain().await;
    drained.cancel();
    ended("gauges", gauges).await;
    ended("health", health).await;
    ledger.close().await;
    tracing::info!("drained");
    Ok(())
}

/// The parts of the direct lane, whatever its intake.
pub fn direct_lane(
    config: &Config,
    policy: Arc<Policy>,
    ledger: Arc<Ledger>,
    intake: Intake,
    metrics: Metrics,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<Parts> {
    let deliver = Deliver::new(deliver_config(config, &policy)?, clock.clone())?;
    Ok(Parts {
        intake,
        ledger,
        deliver: Arc::new(deliver),
        ceilings: ceilings(&policy),
        policy,
        max_recipients: config.direct.max_recipients.get(),
        metrics,
        clock,
        stop,
    })
}

/// How the ledger is opened.
pub const fn ledger_options(config: &Config) -> LedgerOptions {
    LedgerOptions { max_connections: config.ledger_connections.get(), acquire_timeout: LEDGER_PATIENCE }
}

/// The broker as the configuration has it.
pub fn rabbitmq_config(config: &Config) -> anyhow::Result<RabbitMqConfig> {
    let mut broker = RabbitMqConfig::new(config.amqp.url.expose_secret()).context("amqp.url")?;
    broker.declare = config.amqp.declare;
    broker.prefetch_direct = config.amqp.prefetch_direct.get();
    if let Some(file) = &config.amqp.ca_file {
        broker = broker.with_ca_file(file.clone());
    }
    for (queue, producer) in &config.amqp.single_producer {
        broker = broker.with_single_producer(queue, producer.clone()).context("amqp.single_producer")?;
    }
    Ok(broker)
}

/// Joins what the policy says of each app (topic, team, project) with the configuration's endpoints and keys.
pub fn deliver_config(config: &Config, policy: &Policy) -> anyhow::Result<DeliverConfig> {
    let mut apps = BTreeMap::new();
    for (id, access) in &config.providers {
        let app = policy
            .app(id)
            .with_context(|| format!("providers.\"{id}\": the policy's apps.toml has no such app"))?;
        apps.insert(id.clone(), senders(app, access)?);
    }
    for app in policy.apps().filter(|app| !apps.contains_key(&app.id)) {
        tracing::warn!(app = %app.id, "no credentials are configured for this app; its jobs will wait until they expire");
    }
    let transport = Transport {
        connections: config.send.connections,
        request_timeout: config.send.request_timeout,
        connect_timeout: config.send.connect_timeout,
        ..Transport::default()
    };
    Ok(DeliverConfig { apps, transport })
}

fn senders(app: &App, access: &Providers) -> anyhow::Result<AppSenders> {
    let key = |provider: &str| format!("providers.\"{}\".{provider}", app.id);
    let unknown =
        |provider: &str| format!("{}: the policy's apps.toml has no {provider} for this app", key(provider));
    let apns = match &access.apns {
        None => None,
        Some(access) => {
            let app = app.apns.as_ref().with_context(|| unknown("apns"))?;
            Some(ApnsConfig {
                endpoint: Endpoint::parse(&access.endpoint).with_context(|| key("apns") + ".endpoint")?,
                sandbox_endpoint: Some(
                    Endpoint::parse(&access.sandbox_endpoint)
                        .with_context(|| key("apns") + ".sandbox_endpoint")?,
                ),
                ca_file: access.ca_file.clone(),
                key_file: access.key_file.clone(),
                key_id: access.key_id.clone(),
                team: app.team.clone(),
                topic: app.topic.clone(),
            })
        }
    };
    let fcm = match &access.fcm {
        None => None,
        Some(access) => {
            let app = app.fcm.as_ref().with_context(|| unknown("fcm"))?;
            Some(FcmConfig {
                endpoint: Endpoint::parse(&access.endpoint).with_context(|| key("fcm") + ".endpoint")?,
                ca_file: access.ca_file.clone(),
                service_account_file: access.service_account_file.clone(),
                project: app.project.clone(),
            })
        }
    };
    Ok(AppSenders { apns, fcm })
}

/// The ceilings that the policy names for each app and provider.
fn ceilings(policy: &Policy) -> Ceilings {
    let named = policy.apps().flat_map(|app| {
        let apns = app.apns.as_ref().map(|apns| (Provider::Apns, apns.max_rate));
        let fcm = app.fcm.as_ref().map(|fcm| (Provider::Fcm, fcm.max_rate));
        let rates = [apns, fcm].into_iter().flatten();
        rates.filter_map(|(provider, rate)| {
            let rate = NonZeroU32::new(rate.per_second())?;
            Some(((app.id.clone(), provider), rate))
        })
    });
    Ceilings::new(named)
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
        let opened = match Ledger::connect(url, ledger_options(config)).await {
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

/// **I10 explained**: the audit's head goes out, to whoever keeps it beyond the reach of this database.
async fn tell_heads(ledger: Arc<Ledger>, stop: CancellationToken) {
    let mut told = None;
    loop {
        match ledger.audit_head().await {
            Ok(head) if head == told => {}
            Ok(_) => match ledger.tell_audit_head().await {
                Ok(head) => told = head,
                Err(error) => tracing::debug!(%error, "the audit's head cannot be told now"),
            },
            Err(error) => tracing::debug!(%error, "the audit's head cannot be read now"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TELL_HEAD_EVERY) => {}
        }
    }
}

/// Gauges that are read, not told.
struct Gauges {
    ledger: Arc<Ledger>,
    deliver: Arc<Deliver>,
    settle: Settle,
    metrics: Metrics,
    clock: Clock,
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
        for (app, provider, expires_at) in self.deliver.credential_expiry() {
            let left = expires_at.duration_since(self.clock.now());
            self.metrics.set_credential_expiry(&app, provider, left.as_secs());
        }
        if let Ok(depths) = self.settle.queue_depths().await {
            for depth in depths {
                self.metrics.set_queue_messages(depth.queue, depth.ready);
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
