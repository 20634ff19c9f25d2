//! **I5 halt-is-now**: from the command's return on, only what a socket had already.

use std::time::Duration;

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, SimulatorConfig},
};

use super::{Fleet, Size, times};
use crate::service::load::say;

/// From the return of the command to the last request, in milliseconds: of the run at full size, which has the machine for
/// itself.
const LIMIT_MS: u64 = 100;

/// What three workers may have had on their way when they heard of it: 1,000 streams each.
const ON_THE_WAY: u64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_halt_at_full_speed_is_heard_at_once() {
    let rounds = if Size::is_full() { 50 } else { 4 };
    let devices = 12_000;
    let profile = Profile::quiet().with_latency(Some(Latency::around(Duration::from_millis(70))));
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet = Fleet::with(simulator, devices, &["percent = 100"]).await;
    let coordinator = fleet.serve("intake,coordinator").await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(fleet.serve("worker").await);
    }
    let (mut lasts, mut overshoots) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        fleet.stage.simulator.reset();
        let id = format!("halted-{round}");
        fleet.publish(&fleet.job(&id)).await;
        let begun = fleet.stage.simulator.wait_for_requests(2_500, super::STANDSTILL);
        begun.await.expect("it is at full speed");
        let halt = ["halt", "--ledger", "--all", "--by", "night-duty", "--reason", "they ring everybody"];
        let output = fleet.stage.run(&halt).await;
        let (returned, by_then) = (fleet.stage.simulator.elapsed_micros(), fleet.stage.simulator.requests());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fleet.over().await;
        // Everything that was on its way has come in once its answers are on record.
        let sql =
            "select count(*) = 0 from segment s join rollout r on r.id = s.rollout where s.outcomes is null";
        fleet.until("the last outcomes", sql).await;
        let record = fleet.stage.simulator.record();
        assert!(record.len() < devices, "it was over before the halt: the test has proved nothing");
        let last = times(&record).into_iter().max().unwrap_or_default();
        lasts.push(last.saturating_sub(returned) / 1_000);
        overshoots.push(fleet.stage.simulator.requests() - by_then);
        let lifted = fleet.stage.run(&["unhalt", "--ledger", "--all", "--by", "night-duty"]).await;
        assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    }
    for serving in workers.into_iter().chain([coordinator]) {
        assert!(serving.stop().await.success());
    }
    lasts.sort_unstable();
    overshoots.sort_unstable();
    let (middle, most) = (lasts[lasts.len() / 2], lasts[lasts.len() - 1]);
    say(format_args!(
        "{rounds} halts: the last request {middle} ms (median), {most} ms (maximum) after the return; overshoot {} (median), {} (maximum) requests",
        overshoots[overshoots.len() / 2],
        overshoots[overshoots.len() - 1]
    ));
    assert!(overshoots[overshoots.len() - 1] <= ON_THE_WAY, "{overshoots:?}");
    assert!(most <= LIMIT_MS || !Size::is_full(), "{most} ms");
    let reached = fleet.screens().len();
    assert!(reached > 0);
}
