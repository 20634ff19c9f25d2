//! **I11 paced**: a rate that follows a signal of our own systems, over the whole fleet.

use bellwether::{clock::Clock, simulator::SimulatorConfig};

use super::{Fleet, busiest_second, plan, times};
use crate::harness::number::Number;

/// Notifications a second.
const MIN: usize = 20;
const MAX: usize = 400;

/// Five per cent of the maximum.
const STEP: usize = MAX / 20;

/// A slot lasts for a fifth of a second, and is leased a tenth ahead.
const fn in_a_second(rate: usize) -> usize {
    rate + rate * 3 / 10 + 2
}

#[tokio::test(flavor = "multi_thread")]
async fn i11_the_rate_follows_the_signal_and_is_the_least_while_nobody_knows() {
    let (headroom, stages) = (Number::start(50).await, ["percent = 100"]);
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), 1_500, &stages).await;
    let policy = fleet.stage.folder().join("audiences");
    let pace = format!("[pace]\nsignal = \"left\"\nmin = {MIN}\nmax = {MAX}\n");
    std::fs::write(policy.join("plans/wide.toml"), format!("{}\n{pace}", plan(&stages))).expect("a plan");
    let apps = std::fs::read_to_string(policy.join("apps.toml")).expect("apps.toml");
    let signal = format!("[signals.left]\n{}\n", headroom.probe());
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
    headroom.is(0);
    fleet
        .until("a rate that has fallen", &format!("select paced <= {} from lease where paced > 0", 2 * STEP))
        .await;
    let risen = fleet.busiest_since(0);
    assert!(risen > 3 * STEP && risen <= in_a_second(7 * STEP), "{risen} in a second");
    headroom.is_away();
    fleet
        .until("the least", &format!("select paced = {MIN} and headroom is null from lease where paced > 0"))
        .await;
    fleet.goes_at_the_least().await;

    headroom.is(50);
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
    fn busiest_since(&self, since: usize) -> usize {
        busiest_second(times(&self.stage.simulator.record()).get(since..).unwrap_or_default())
    }

    /// Three seconds of it, behind what had been leased before.
    async fn goes_at_the_least(&self) {
        let simulator = &self.stage.simulator;
        let from = simulator.requests() + u64::try_from(MAX / 10).expect("small");
        let until = from + u64::try_from(3 * MIN).expect("small");
        simulator.wait_for_requests(until, super::STANDSTILL).await.expect("it goes on");
        let most = self.busiest_since(usize::try_from(from).expect("small"));
        assert!(most <= in_a_second(MIN), "{most} in a second, and nobody knows what our systems can take");
    }
}
