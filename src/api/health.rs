//! `/livez`, `/readyz` and `/metrics`, unauthenticated, on a listener of their own.
//!
//! `/livez` says that the process runs: restarting it would not help what it waits for. `/readyz` asks every
//! dependency *now* and tells the truth about each, one a line; 503 when one is away.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    dispatch::in_force::InForce,
    intake::BrokerHealth,
    ledger::Ledger,
    metrics::{Dependency, Metrics},
};

/// A dependency that has not answered after this long is away, as far as a load balancer is concerned.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is asked.
#[derive(Debug, Clone)]
pub struct Health {
    /// What the service depends on; empty while it starts and waits for its ledger.
    pub dependencies: Arc<OnceLock<Dependencies>>,
    /// What is exported.
    pub metrics: Metrics,
    /// Set when the process stops: not ready any more.
    pub stop: CancellationToken,
}

/// What the service depends on.
#[derive(Debug)]
pub struct Dependencies {
    /// Asked with a ping.
    pub ledger: Arc<Ledger>,
    /// What intake last knew of its broker.
    pub broker: watch::Receiver<BrokerHealth>,
    /// Whether this process can do its work without the broker: only jobs come from there.
    pub needs_broker: bool,
    /// Whether this process can do its work under another policy than the one in force. One that only answers operators can:
    /// they must be able to halt also while a policy changes.
    pub needs_policy: bool,
    /// Whether the policy that this process was started with is in force.
    pub in_force: InForce,
}

impl Dependencies {
    async fn ledger(&self) -> Result<(), String> {
        match timeout(PATIENCE, self.ledger.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }

    fn policy(&self) -> Result<(), String> {
        if self.in_force.is() {
            return Ok(());
        }
        Err("another is in force, or nobody knows yet; restart this process with the one in force".to_owned())
    }

    fn broker(&self) -> Result<(), String> {
        match &*self.broker.borrow() {
            BrokerHealth::Connected => Ok(()),
            BrokerHealth::Away { since, reason } => Err(format!("away since {since}: {reason}")),
            BrokerHealth::Blocked { since, reason } => {
                Err(format!("takes no messages since {since}: {reason}"))
            }
        }
    }
}

/// Serves until `until` is set.
pub async fn serve(listener: TcpListener, health: Health, until: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(until.cancelled_owned()).await
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let waits = || Err("waits for the ledger".to_owned());
    let (ledger, broker, policy) = match health.dependencies.get() {
        Some(found) => (found.ledger().await, found.broker(), found.policy()),
        None => (Err("not opened yet".to_owned()), waits(), waits()),
    };
    health.metrics.set_up(Dependency::Ledger, ledger.is_ok());
    health.metrics.set_up(Dependency::Broker, broker.is_ok());
    let stopping = if health.stop.is_cancelled() { Err("stopping".to_owned()) } else { Ok(()) };
    let checks = [("ledger", ledger), ("broker", broker), ("policy", policy), ("process", stopping)];
    let counts = |name: &str| match (name, health.dependencies.get()) {
        ("broker", Some(found)) => found.needs_broker,
        ("policy", Some(found)) => found.needs_policy,
        _ => true,
    };
    let status = if checks.iter().all(|(name, check)| check.is_ok() || !counts(name)) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let line = |(name, check): &(&str, Result<(), String>)| match check {
        Ok(()) => format!("{name}: ok\n"),
        Err(problem) if counts(name) => format!("{name}: {problem}\n"),
        Err(problem) => format!("{name}: {problem} (this process answers without it)\n"),
    };
    (status, checks.iter().map(line).collect::<String>())
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    // The OpenMetrics text format, version 1.0.0.
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], health.metrics.encode())
}
