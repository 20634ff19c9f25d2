//! The operators' API: what people do to rollouts, halts and tokens.
//!
//! - **I4 widening-needs-two**: an approval is by a person, not by a token; whoever has two tokens is one person.
//! - **I5 halt-is-now**: `POST /halts` is never limited, and every process is told when it is on record.
//! - **I12 silent-logs**: no token, no text, no secret in a log; what a request died of is not repeated in its answer.

mod answer;
mod audit;
mod campaigns;
mod door;
mod drift;
mod findings;
mod halts;
mod limits;
mod listen;
mod mends;
mod near;
mod openapi;
mod operation;
mod operators;
mod peak;
mod policy;
mod proofs;
mod read;
mod rollouts;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, http::Method, middleware, routing::get};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

pub use openapi::document;
pub(crate) use {
    answer::ApiError,
    operation::{Operation, QueryParameter, schema},
    read::{Asked, Caller, Named, Said},
};

use self::{limits::Limits, listen::ApiListener};
use crate::{
    api::wire::Code,
    audience::Policy,
    clock::Clock,
    config,
    dispatch::{Watched, control::Control, in_force::InForce},
    ledger::Ledger,
    metrics::Metrics,
    rollout::downstream::Looks,
};

/// How long a connection may take to end, once the process stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// What the API works with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    parts: ApiParts,
    limits: Limits,
    operations: Vec<Arc<Operation>>,
}

/// What the API is made of.
#[derive(Debug)]
pub struct ApiParts {
    /// The truth.
    pub ledger: Arc<Ledger>,
    /// The policy that this process was started with.
    pub policy: Arc<Policy>,
    /// Who judges by it.
    pub guard: Watched,
    /// Whether that is in force.
    pub in_force: InForce,
    /// Where its files are, read anew before what widens.
    pub folder: PathBuf,
    /// Tells every process.
    pub control: Control,
    /// Counts requests.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// How long an approval may wait for the start.
    pub approvals_hold: Duration,
    /// How often the numbers of our own systems are made, and looked at.
    pub looks: Looks,
    /// Its own settings.
    pub settings: config::Api,
}

impl Api {
    /// Nothing listens yet.
    #[must_use]
    pub fn new(parts: ApiParts) -> Self {
        let operations = operations().into_iter().map(Arc::new).collect();
        let limits = Limits::new(parts.settings.requests_per_second, parts.settings.failed_logins_per_minute);
        Self(Arc::new(Inner { parts, limits, operations }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.parts.ledger
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.0.parts.policy
    }

    fn guard(&self) -> &Watched {
        &self.0.parts.guard
    }

    fn in_force(&self) -> &InForce {
        &self.0.parts.in_force
    }

    fn folder(&self) -> &Path {
        &self.0.parts.folder
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.parts.control
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn approvals_hold(&self) -> Duration {
        self.0.parts.approvals_hold
    }

    fn looks(&self) -> Looks {
        self.0.parts.looks
    }

    fn operation(&self, method: &Method, path: &str) -> Option<Arc<Operation>> {
        let mut known = self.0.operations.iter();
        known.find(|known| known.method == method && known.path == path).cloned()
    }

    /// Listens where the settings say, and says where that is.
    pub async fn bind(&self) -> anyhow::Result<Bound> {
        let settings = &self.0.parts.settings;
        let tls = listen::tls_of(settings)?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {}; choose another api.listen", settings.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        Ok(Bound { listener: ApiListener::on(listener, tls)?, address })
    }

    /// Answers until `until` is set, and then finishes what is begun.
    pub async fn serve(self, bound: Bound, until: CancellationToken) -> std::io::Result<()> {
        let router = self.router().into_make_service_with_connect_info::<listen::Peer>();
        let server =
            axum::serve(bound.listener, router).with_graceful_shutdown(until.clone().cancelled_owned());
        let mut server = std::pin::pin!(server.into_future());
        tokio::select! {
            ended = &mut server => return ended,
            () = until.cancelled() => {}
        }
        // Whoever holds a connection open and says nothing does not hold up the end.
        timeout(CLOSE_WITHIN, server).await.unwrap_or(Ok(()))
    }

    fn router(self) -> Router {
        let routes = Router::new()
            .route(openapi::PATH, get(async || axum::Json(document())))
            .merge(rollouts::routes())
            .merge(mends::routes())
            .merge(findings::routes())
            .merge(proofs::routes())
            .merge(campaigns::routes())
            .merge(halts::routes())
            .merge(operators::routes())
            .merge(audit::routes())
            .merge(policy::routes());
        routes
            .fallback(async || ApiError::new(Code::NotFound, "there is nothing at this address"))
            .method_not_allowed_fallback(async || {
                let detail = "this address does not know that method";
                ApiError::new(Code::WrongMethod, detail)
            })
            .layer(middleware::from_fn_with_state(self.clone(), door::door))
            .with_state(self)
    }
}

/// How the API would listen with these settings, in words; an error if `serve` would refuse them.
pub fn check(settings: &config::Api) -> anyhow::Result<String> {
    let how = match listen::tls_of(settings)? {
        Some(_) => "TLS",
        None if settings.listen.ip().is_loopback() => "loopback, without TLS",
        None => "without TLS, behind a proxy that speaks it",
    };
    Ok(format!("{}, {how}", settings.listen))
}

/// A listener whose address is known.
#[derive(Debug)]
pub struct Bound {
    listener: ApiListener,
    address: SocketAddr,
}

impl Bound {
    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Everything that can be asked.
fn operations() -> Vec<Operation> {
    let openapi = Operation {
        public: true,
        answers: &[(200, schema::<openapi::Anything>)],
        ..Operation::get(openapi::PATH, "openapi", "This document")
    };
    let mut all = vec![openapi];
    all.extend(rollouts::operations());
    all.extend(mends::operations());
    all.extend(findings::operations());
    all.extend(proofs::operations());
    all.extend(campaigns::operations());
    all.extend(halts::operations());
    all.extend(operators::operations());
    all.extend(policy::operations());
    all.extend(audit::operations());
    all
}
