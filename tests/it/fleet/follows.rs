//! **I11 paced**: a rate that follows a signal of our own systems, over the whole fleet.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use bellwether::{clock::Clock, simulator::SimulatorConfig};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{Fleet, plan, times};

/// Notifications a second.
const MIN: usize = 20;
const MAX: usize = 400;

/// Five per cent of the maximum.
const STEP: usize = MAX / 20;

/// A slot lasts for a fifth of a second, and is leased a tenth ahead.
const fn in_a_second(rate: usize) -> usize {
    rate + rate * 3 / 10 + 2
}

/// What our systems say they have left.
struct Backend {
    address: SocketAddr,
    headroom: Arc<AtomicI64>,
    _serving: AbortOnDropHandle<()>,
}

/// It answers nothing.
const AWAY: i64 = i64::MIN;

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (address, headroom) = (listener.local_addr().expect("an address"), Arc::new(AtomicI64::new(50)));
        let status = async |State(headroom): State<Arc<AtomicI64>>| match headroom.load(Ordering::SeqCst) {
            AWAY => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            headroom => (StatusCode::OK, format!("{{\"headroom\": {headroom}}}")),
        };
        let router = Router::new().route("/status", get(status)).with_state(Arc::clone(&headroom));
        let serving = async move { axum::serve(listener, router).await.expect("it serves") };
        Self { address, headroom, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    fn has(&self, headroom: i64) {
        self.headroom.store(headroom, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_the_rate_follows_the_signal_and_is_the_least_while_nobody_knows() {
    let (backend, stages) = (Backend::start().await, ["percent = 100"]);
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), 1_500, &stages).await;
    let policy = fleet.stage.folder().join("audiences");
    let pace = format!("[pace]\nsignal = \"left\"\nmin = {MIN}\nmax = {MAX}\n");
    std::fs::write(policy.join("plans/wide.toml"), format!("{}\n{pace}", plan(&stages))).expect("a plan");
    let apps = std::fs::read_to_string(policy.join("apps.toml")).expect("apps.toml");
    let signal =
        format!("[signals.left]\nhttp = \"http://{}/status\"\njson = \"/headroom\"\n", backend.address);
    std::fs::write(policy.join("apps.toml"), format!("{apps}\n{signal}")).expect("apps.toml");
    fleet.stage.configure("[downstream]\nevery_seconds = 1\npace_every_seconds = 1\ntimeout_seconds = 1\n");
    let coordinator = fleet.serve("intake,coordinator").await;
    let workers = tokio::join!(fleet.serve("worker"), fleet.serve("worker"));
    fleet.publish(&fleet.job("follows")).await;

    fleet
        .until("a rate that has risen", &format!("select paced >= {} from lease where paced > 0", 6 * STEP))
        .await;
    let shown = fleet.show("follows").await;
    assert_eq!(
        (&shown["pace"]["signal"], &shown["pace"]["headroom"]),
        (&"left".into(), &50.0.into()),
        "{shown}"
    );
    let limit = coordinator.metric("bellwether_pace_limit", &[]).await;
    assert!(limit >= 100.0, "{limit}");
    backend.has(0);
    fleet
        .until("a rate that has fallen", &format!("select paced <= {} from lease where paced > 0", 2 * STEP))
        .await;
    let risen = fleet.busiest_second(0);
    assert!(risen > 3 * STEP && risen <= in_a_second(7 * STEP), "{risen} in a second");
    backend.has(AWAY);
    fleet
        .until("the least", &format!("select paced = {MIN} and headroom is null from lease where paced > 0"))
        .await;
    fleet.goes_at_the_least().await;

    backend.has(50);
    fleet.until("it rises again", &format!("select paced >= {} from lease where paced > 0", 4 * STEP)).await;
    coordinator.kill().await;
    let lapsed =
        "select paced_until < extract(epoch from clock_timestamp()) * 1000000 from lease where paced > 0";
    fleet.until("what was noted is over", lapsed).await;
    fleet.goes_at_the_least().await;

    let coordinator = fleet.serve("intake,coordinator").await;
    fleet.over().await;
    assert_eq!(fleet.show("follows").await["state"], "completed");
    fleet.reconcile("follows").await.is_clean();
    for serving in [coordinator, workers.0, workers.1] {
        assert!(serving.stop().await.success());
    }
}

impl Fleet {
    /// The most requests of any second, of those that came after the first `since`.
    fn busiest_second(&self, since: usize) -> usize {
        let mut times = times(&self.stage.simulator.record());
        times.sort_unstable();
        let times = times.get(since..).unwrap_or_default();
        let window = |first: usize| times[first..].partition_point(|at| *at < times[first] + 1_000_000);
        (0..times.len()).map(window).max().unwrap_or_default()
    }

    /// Three seconds of it, behind what had been leased before.
    async fn goes_at_the_least(&self) {
        let simulator = &self.stage.simulator;
        let from = simulator.requests() + u64::try_from(MAX / 10).expect("small");
        let until = from + u64::try_from(3 * MIN).expect("small");
        simulator.wait_for_requests(until, super::STANDSTILL).await.expect("it goes on");
        let most = self.busiest_second(usize::try_from(from).expect("small"));
        assert!(most <= in_a_second(MIN), "{most} in a second, and nobody knows what our systems can take");
    }
}
