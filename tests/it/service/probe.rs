//! The numbers of our own systems, from a Prometheus that scrapes a login backend.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use bellwether::{
    audience::{Policy, Probe},
    config::Downstream,
    dispatch::{NoNumber, Probes},
    model::PlanName,
};
use http::StatusCode;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    harness::{
        broker::{eventually, within},
        service::Stage,
        services::PrivateServices,
    },
    service::cli::told,
};

/// A login backend as Prometheus sees it. Dropped, it is away.
struct Backend {
    address: SocketAddr,
    inflight: Arc<AtomicU64>,
    stop: CancellationToken,
    serving: AbortOnDropHandle<()>,
}

/// What it is asked for, and how often it was.
#[derive(Clone, Default)]
struct Login {
    inflight: Arc<AtomicU64>,
    scrapes: Arc<AtomicU64>,
}

impl Backend {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (login, stop) = (Login::default(), CancellationToken::new());
        login.inflight.store(180, Ordering::Relaxed);
        let router = Router::new().route("/metrics", get(exported)).with_state(login.clone());
        let until = stop.clone().cancelled_owned();
        let serving = async move {
            axum::serve(listener, router).with_graceful_shutdown(until).await.expect("it serves");
        };
        Self {
            address,
            inflight: login.inflight,
            stop,
            serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }

    /// Answers when nobody listens any more.
    async fn stop(self) {
        self.stop.cancel();
        within("the backend ends", self.serving).await.expect("it ends well");
    }
}

/// Every scrape finds a hundred logins more, all of a quarter to half a second.
async fn exported(State(login): State<Login>) -> String {
    let (inflight, logins) =
        (login.inflight.load(Ordering::Relaxed), 100 * login.scrapes.fetch_add(1, Ordering::Relaxed));
    format!(
        "# TYPE login_capacity gauge\nlogin_capacity 500\n# TYPE login_inflight gauge\nlogin_inflight {inflight}\n\
         # TYPE login_queue gauge\nlogin_queue{{pod=\"a\"}} 3\nlogin_queue{{pod=\"b\"}} 4\n\
         # TYPE login_seconds histogram\nlogin_seconds_bucket{{le=\"0.25\"}} 0\n\
         login_seconds_bucket{{le=\"0.5\"}} {logins}\nlogin_seconds_bucket{{le=\"1\"}} {logins}\n\
         login_seconds_bucket{{le=\"+Inf\"}} {logins}\nlogin_seconds_count {logins}\nlogin_seconds_sum {logins}\n"
    )
}

/// The shipped policy's `login-headroom` and `login-p99`.
fn shipped() -> (Probe, Probe) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("audiences");
    let policy = Policy::load(&folder).expect("the shipped policy");
    let plan = policy.plan(&PlanName::parse("cautious").expect("a name")).expect("a plan");
    let guard = plan.downstream.iter().find(|guard| guard.name == "login-p99").expect("a guard");
    (policy.signal("login-headroom").expect("a signal").clone(), guard.probe.clone())
}

fn asking(prometheus: &PrivateServices) -> Probes {
    // The program does this when it starts.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let config = Downstream {
        prometheus: Some(prometheus.prometheus_url().to_owned()),
        bearer_file: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        every: Duration::from_secs(1),
        scrape: Duration::from_secs(1),
        pace_every: Duration::from_secs(1),
    };
    Probes::open(&config).expect("it is right")
}

async fn read(probes: &Probes, query: &str) -> Result<f64, NoNumber> {
    probes.read(&Probe::Prometheus(query.to_owned())).await
}

/// Waits until a query gives what it should.
async fn becomes(probes: &Probes, probe: &Probe, expected: Result<f64, NoNumber>) {
    let what = format!("{probe:?} becomes {expected:?}");
    eventually(&what, async || (probes.read(probe).await == expected).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_gives_one_number_or_says_why_there_is_none() {
    let (prometheus, backend) = (PrivateServices::prometheus().await, Backend::start().await);
    let probes = asking(&prometheus);
    let (headroom, p99) = shipped();
    assert_eq!(probes.read(&headroom).await, Err(NoNumber::NoSeries), "nobody is scraped yet");
    prometheus.scrape(backend.address);
    becomes(&probes, &headroom, Ok(320.0)).await;
    backend.inflight.store(499, Ordering::Relaxed);
    becomes(&probes, &headroom, Ok(1.0)).await;
    // A rate takes two scrapes; before, the quantile of nothing is no number.
    let quantile = eventually("login-p99 is read", async || probes.read(&p99).await.ok()).await;
    assert!((quantile - 0.4975).abs() < 1e-9, "99 % of a quarter of a second behind a quarter: {quantile}");
    assert_eq!(read(&probes, "sum(login_queue)").await, Ok(7.0));
    assert_eq!(read(&probes, "scalar(login_capacity)").await, Ok(500.0));
    let long = format!("login_capacity{}", " + 0 * login_capacity".repeat(200));
    assert_eq!(read(&probes, &long).await, Ok(500.0), "it is posted");
    for (query, why) in [
        ("login_queue", NoNumber::ManySeries(2)),
        ("login_que", NoNumber::NoSeries),
        ("(login_capacity - 500) / (login_capacity - 500)", NoNumber::NotFinite),
        ("login_capacity / 0", NoNumber::NotFinite),
        ("login_inflight[10s]", NoNumber::NotOneMoment),
        ("\"7\"", NoNumber::NotOneMoment),
        ("sum(login_queue", NoNumber::Status(StatusCode::BAD_REQUEST)),
        ("login_queue * on(job) login_queue", NoNumber::Status(StatusCode::UNPROCESSABLE_ENTITY)),
    ] {
        assert_eq!(read(&probes, query).await, Err(why), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_or_a_prometheus_that_is_away_has_no_number_and_has_one_when_it_is_back() {
    let (prometheus, backend) = (PrivateServices::prometheus().await, Backend::start().await);
    let (probes, (headroom, _)) = (asking(&prometheus), shipped());
    prometheus.scrape(backend.address);
    becomes(&probes, &headroom, Ok(320.0)).await;
    // The last number before that is not handed on.
    backend.stop().await;
    becomes(&probes, &headroom, Err(NoNumber::NoSeries)).await;
    prometheus.run(&["stop", "prometheus"]).await;
    assert_eq!(probes.read(&headroom).await, Err(NoNumber::NoConnection));
    let backend = Backend::start().await;
    prometheus.scrape(backend.address);
    prometheus.run(&["start", "prometheus"]).await;
    becomes(&probes, &headroom, Ok(320.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_has_a_line_for_every_number_of_the_policy() {
    let (prometheus, backend) = (PrivateServices::prometheus().await, Backend::start().await);
    prometheus.scrape(backend.address);
    let (probes, (headroom, _)) = (asking(&prometheus), shipped());
    becomes(&probes, &headroom, Ok(320.0)).await;
    let stage = Stage::set().await;
    stage.configure(&format!("downstream.prometheus = {:?}", prometheus.prometheus_url()));
    let output = stage.run(&["check"]).await;
    let lines = told(&stage, &output);
    for line in [
        "exit 0\n",
        "\nok  signal login-headroom  320\n",
        "\nwarn  signal transfer-headroom  no connection, or no trust in it\n",
        " guard cautious login-p99  ",
        "\nwarn  guard urgent transfer-headroom  no connection, or no trust in it\n",
    ] {
        assert!(lines.contains(line), "{line:?} is not in\n{lines}");
    }
    stage.configure("downstream.prometheus = \"prometheus.example\"");
    let lines = told(&stage, &stage.run(&["check"]).await);
    let line = "\nFAILED  downstream  downstream.prometheus is no URL; expected something like ";
    assert!(lines.starts_with("exit 1\n") && lines.contains(line), "{lines}");
}
