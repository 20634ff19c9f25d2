//! A worker that dies in the slow start of a stage: what it had under way is nobody else's room until somebody takes it over.

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, SimulatorConfig},
};
use std::time::Duration;

use super::Fleet;

#[tokio::test(flavor = "multi_thread")]
async fn i7_whoever_follows_a_worker_that_died_in_a_slow_start_takes_over_what_it_left() {
    // Answers that take long: the first ten requests are all that a slow start allows when the worker dies.
    let profile = Profile::quiet().with_latency(Some(Latency::around(Duration::from_millis(100))));
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    // More chunks than one worker claims: the next one finds others that nobody has had.
    let fleet = Fleet::with(simulator, 9_000, &["percent = 100"]).await;
    let coordinator = fleet.serve("intake,coordinator").await;
    let first = fleet.serve("worker").await;
    fleet.publish(&fleet.job("left")).await;
    let simulator = &fleet.stage.simulator;
    simulator.wait_for_requests(10, super::STANDSTILL).await.expect("it begins");
    first.kill().await;
    let second = fleet.serve("worker").await;
    fleet.over().await;
    assert!(second.stop().await.success());
    assert!(coordinator.stop().await.success());
    fleet.reconcile("left").await.is_clean();
}
