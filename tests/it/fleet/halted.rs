//! **I5 halt-is-now**: from the command's return on, only what a socket had already.

use std::time::Duration;

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, SimulatorConfig},
};

use super::{COHORT, Fleet, Size, times};
use crate::{
    harness::service::{APP, Serving},
    service::load::{Load, say},
};

/// What three workers may have had on their way when they heard of it: 1,000 streams each.
const ON_THE_WAY: u64 = 3_000;

/// By which way a person halts.
enum By {
    /// Straight into the ledger.
    Ledger,
    /// The operators' API.
    Api,
}

impl By {
    /// From the return of the command to the last request, in milliseconds: of the run at full size, which has the machine
    /// for itself.
    const fn limit_ms(&self) -> u64 {
        match self {
            Self::Ledger => 100,
            Self::Api => 150,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_halt_at_full_speed_is_heard_at_once() {
    halts_at_full_speed(By::Ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_halt_by_the_api_at_full_speed_is_heard_at_once() {
    halts_at_full_speed(By::Api).await;
}

/// The command that halts everything, by that way.
async fn halting(fleet: &Fleet, by: &By, front: &Serving) -> tokio::process::Command {
    let why = ["halt", "--all", "--reason", "they ring everybody"];
    match by {
        By::Ledger => {
            let mut arguments = why.to_vec();
            arguments.extend(["--ledger", "--by", "night-duty"]);
            fleet.stage.command(&arguments)
        }
        By::Api => {
            let add = ["operator", "add", "night-duty", "--scope", "halt", "--ledger", "--by", "night-duty"];
            let token = fleet.stage.run(&add).await;
            let token = String::from_utf8(token.stdout).expect("a token");
            let mut command = fleet.stage.command(&why);
            let url = format!("http://{}", front.api().expect("it has an API"));
            command.env("BELLWETHER_URL", url).env("BELLWETHER_TOKEN", token.trim());
            command
        }
    }
}

/// Three workers at full speed, halted again and again.
async fn halts_at_full_speed(by: By) {
    let rounds = if Size::is_full() { 50 } else { 4 };
    let devices = 12_000;
    let profile = Profile::quiet().with_latency(Some(Latency::around(Duration::from_millis(70))));
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet = Fleet::with(simulator, devices, &["percent = 100"]).await;
    let coordinator = fleet.serve("intake,coordinator,api").await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(fleet.serve("worker").await);
    }
    let mut halt = halting(&fleet, &by, &coordinator).await;
    let (mut lasts, mut whole, mut overshoots) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        fleet.stage.simulator.reset();
        let id = format!("halted-{round}");
        fleet.publish(&fleet.job(&id)).await;
        let begun = fleet.stage.simulator.wait_for_requests(2_500, super::STANDSTILL);
        begun.await.expect("it is at full speed");
        let ordered = fleet.stage.simulator.elapsed_micros();
        let output = halt.output().await.expect("the program runs");
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
        whole.push(last.saturating_sub(ordered) / 1_000);
        overshoots.push(fleet.stage.simulator.requests() - by_then);
        let lifted = fleet.stage.run(&["unhalt", "--ledger", "--all", "--by", "night-duty"]).await;
        assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    }
    for serving in workers.into_iter().chain([coordinator]) {
        assert!(serving.stop().await.success());
    }
    lasts.sort_unstable();
    whole.sort_unstable();
    overshoots.sort_unstable();
    let (middle, most) = (lasts[lasts.len() / 2], lasts[lasts.len() - 1]);
    say(format_args!(
        "{rounds} halts: the last request {middle} ms (median), {most} ms (maximum) after the return, {} ms (median), {} ms \
         (maximum) after the order; overshoot {} (median), {} (maximum) requests",
        whole[whole.len() / 2],
        whole[whole.len() - 1],
        overshoots[overshoots.len() / 2],
        overshoots[overshoots.len() - 1]
    ));
    assert!(overshoots[overshoots.len() - 1] <= ON_THE_WAY, "{overshoots:?}");
    assert!(most <= by.limit_ms() || !Size::is_full(), "{most} ms");
    let reached = fleet.screens().len();
    assert!(reached > 0);
}

/// What a worker says of each campaign that a halt covers, and a process of the direct lane of each halt.
const HEARD: &str = "a halt was heard";

/// How often a process has said that it heard of a halt.
fn heard(serving: &Serving) -> usize {
    serving.log().matches(HEARD).count()
}

/// Returns once it has said so more often.
async fn hears(serving: &Serving, before: usize) {
    crate::harness::broker::eventually(HEARD, async || (heard(serving) > before).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_what_was_on_the_wire_at_a_halt_of_any_scope_is_counted_and_shown() {
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), 200, &["percent = 100"]).await;
    fleet.stage.configure("[send]\nrequest_timeout_seconds = 300\n[worker]\nlease_seconds = 5\n");
    let (door, worker) = tokio::join!(fleet.serve("intake,coordinator"), fleet.serve("worker"));
    let simulator = &fleet.stage.simulator;
    let mut counted = 0;
    for scope in ["all", "app", "audience", "campaign"] {
        simulator.reset();
        // Nobody is answered before the halt, so a slow start keeps the first few on the wire and nothing comes after them.
        simulator.hold_answers();
        let id = format!("by-{scope}");
        fleet.publish(&fleet.job(&id)).await;
        simulator.wait_for_requests(5, super::STANDSTILL).await.expect("some are on the wire");
        let campaign = fleet.show(&id).await["campaign"].as_str().expect("an id").to_owned();
        let what = match scope {
            "all" => vec!["--all"],
            "app" => vec!["--app", APP],
            "audience" => vec!["--audience", COHORT],
            _ => vec!["--campaign", campaign.as_str()],
        };
        let mut halt = vec!["halt", "--ledger", "--by", "night-duty", "--reason", "they ring everybody"];
        halt.extend(&what);
        let before = heard(&worker);
        assert!(fleet.stage.run(&halt).await.status.success(), "{halt:?}");
        hears(&worker, before).await;
        simulator.give_answers();
        fleet.over().await;
        let sql = "select sum(after_halt) > 0 from rollout where id = (select max(id) from rollout)";
        fleet.until("the count", sql).await;
        let on_the_wire = times(&simulator.record()).len();
        assert_eq!(fleet.show(&id).await["after_halt"], on_the_wire, "halt of {scope}");
        counted += on_the_wire;
        let mut lift = vec!["unhalt", "--ledger", "--by", "night-duty"];
        lift.extend(&what);
        assert!(fleet.stage.run(&lift).await.status.success(), "{lift:?}");
    }
    let metric = "bellwether_sends_after_halt_total";
    let of_worker = worker.metric(metric, &["lane=\"campaign\""]).await;
    assert_eq!(of_worker.to_string(), counted.to_string());
    say(format_args!("{counted} requests ended after four halts"));
    // The direct lane, in the other process.
    simulator.reset();
    simulator.hold_answers();
    let load = Load::on(&fleet.stage, 8).await;
    load.publish(&fleet.stage, 0..8).await;
    simulator.wait_for_requests(5, super::STANDSTILL).await.expect("some are on the wire");
    let halt = ["halt", "--ledger", "--app", APP, "--by", "night-duty", "--reason", "wrong code"];
    let before = heard(&door);
    assert!(fleet.stage.run(&halt).await.status.success());
    hears(&door, before).await;
    simulator.give_answers();
    let ended = times(&simulator.record()).len().to_string();
    crate::harness::broker::eventually("the answers", async || {
        let count = door.metric(metric, &["lane=\"direct\""]).await;
        (count.to_string() == ended).then_some(())
    })
    .await;
    assert!(door.metric("bellwether_halt_seconds_count", &[]).await >= 5.0, "each halt is measured");
    assert!(worker.stop().await.success());
    assert!(door.stop().await.success());
    assert_eq!(times(&simulator.record()).len().to_string(), ended, "nothing was sent after the halt");
}
