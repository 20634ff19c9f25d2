//! The composition root: builds the parts from the configuration, starts them, drains them.

mod gauges;
mod roles;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub use roles::{Fleet, Role, Roles};

use self::gauges::Gauges;
use crate::{
    api::health::{self, Dependencies, Health},
    audience::{App, Policy},
    clock::Clock,
    config::{Config, Providers},
    deliver::{ApnsConfig, AppSenders, DeliverConfig, Endpoint, FcmConfig, Transport},
    dispatch::control::Control,
    intake::{self, Intake, RabbitMqConfig},
    ledger::{Ledger, LedgerOptions},
    metrics::Metrics,
};

/// How long a request waits for the ledger before it counts as away, and consuming pauses.
const LEDGER_PATIENCE: Duration = Duration::from_secs(5);

/// How long a process that has drained waits for the ledger to see its connections off.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// Runs the service in these roles until `stop` is set, then drains it.
pub async fn serve(
    config: Config,
    roles: Roles,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let policy = Arc::new(Policy::load(&config.policy)?);
    let mut broker = rabbitmq_config(&config)?;
    broker.consume = roles.has(Role::Intake);
    let listener = TcpListener::bind(config.health_listen).await.with_context(|| {
        format!("cannot listen on {}; choose another listen.health", config.health_listen)
    })?;
    let listen = listener.local_addr().context("the listener has no address")?;
    let metrics = Metrics::new();
    // The health listener outlives the drain, so that /readyz can say "stopping" and metrics stay readable.
    let (drained, dependencies) = (CancellationToken::new(), Arc::new(OnceLock::new()));
    let health =
        Health { dependencies: Arc::clone(&dependencies), metrics: metrics.clone(), stop: stop.clone() };
    let health = tokio::spawn(health::serve(listener, health, drained.clone()));
    tracing::debug!(%listen, "listening");
    let ledger = open_ledger(&config, &stop).await?;
    let (speaker, heard) = intake::control(broker.clone(), clock.clone(), drained.clone());
    let control = Control::over_broker(speaker, heard);
    let intake = Intake::rabbitmq(broker, clock.clone(), stop.clone());
    let settle = intake.settle();
    let fleet =
        Fleet::new(&config, policy, Arc::clone(&ledger), control, metrics.clone(), clock.clone(), stop)?;
    dependencies.get_or_init(|| Dependencies {
        ledger: Arc::clone(&ledger),
        broker: intake.health(),
        needs_broker: roles.has(Role::Intake),
        needs_policy: [Role::Intake, Role::Coordinator, Role::Worker].iter().any(|role| roles.has(*role)),
        in_force: fleet.in_force.clone(),
    });
    let api = fleet.api(&roles).await?;
    tracing::info!(
        %listen, %roles, policy = %fleet.policy.hash(), version = env!("CARGO_PKG_VERSION"), "serving"
    );
    let deliver = Arc::clone(&fleet.deliver);
    let gauges = Gauges { ledger: Arc::clone(&ledger), deliver, settle, metrics, clock };
    let gauges = tokio::spawn(gauges.run(drained.clone()));
    // Also while the process drains: whoever must halt something then can.
    let api = api.map(|(api, bound)| tokio::spawn(api.serve(bound, drained.clone())));
    let ran = fleet.run(roles, intake).await;
    drained.cancel();
    if let Some(api) = api {
        ended("the operators' API", api).await;
    }
    ended("gauges", gauges).await;
    ended("health", health).await;
    if timeout(CLOSE_WITHIN, ledger.close()).await.is_err() {
        tracing::warn!("the ledger does not answer; its connections are left to it");
    }
    ran?;
    tracing::info!("drained");
    Ok(())
}

/// How the ledger is opened.
pub const fn ledger_options(config: &Config) -> LedgerOptions {
    LedgerOptions {
        max_connections: config.ledger_connections.get(),
        acquire_timeout: LEDGER_PATIENCE,
        max_devices_per_user: config.registry.max_devices_per_user,
    }
}

/// The broker as the configuration has it.
pub fn rabbitmq_config(config: &Config) -> anyhow::Result<RabbitMqConfig> {
    let mut broker = RabbitMqConfig::new(config.amqp.url.expose_secret()).context("amqp.url")?;
    broker.declare = config.amqp.declare;
    broker.prefetch_direct = config.amqp.prefetch_direct.get();
    broker.ladder = config.direct.ladder;
    if let Some(file) = &config.amqp.ca_file {
        broker = broker.with_ca_file(file.clone());
    }
    for (queue, producer) in &config.amqp.single_producer {
        broker = broker.with_single_producer(queue, producer.clone()).context("amqp.single_producer")?;
    }
    Ok(broker)
}

/// Connects to the broker once, and says where that was.
pub async fn probe_broker(config: &Config) -> anyhow::Result<String> {
    let broker = rabbitmq_config(config)?;
    intake::probe(&broker).await.with_context(|| broker.place())?;
    Ok(broker.place())
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
                endpoint: Endpoint::parse(access.production()).with_context(|| key("apns") + ".endpoint")?,
                sandbox_endpoint: access
                    .sandbox()
                    .map(Endpoint::parse)
                    .transpose()
                    .with_context(|| key("apns") + ".sandbox_endpoint")?,
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
