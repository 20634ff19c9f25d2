//! A provider that takes nothing for minutes: a rollout waits for it, loses nobody, and is not to blame.

use bellwether::{
    clock::Clock,
    simulator::{Fault, Provider, SimulatorConfig},
};

use super::{Fleet, Size, busiest_second, plan, times};
use crate::service::load::say;

/// Notifications a second.
const RATE: usize = 200;

/// The longest lease ahead, and the life of a slot.
const ALLOWED: usize = RATE + RATE * 3 / 10;

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_outage_of_every_provider_pauses_it_loses_nothing_and_is_over_by_itself() {
    let (seconds, devices, down_after) = if Size::is_full() { (120, 12_000, 10) } else { (5, 1_200, 1) };
    let stages = [format!("percent = 100\nmax_rate = {RATE}")];
    let stages: Vec<&str> = stages.iter().map(String::as_str).collect();
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), devices, &stages).await;
    let text = format!("{}\n[breakers]\nprovider_down_after = \"{down_after}s\"\n", plan(&stages));
    std::fs::write(fleet.stage.folder().join("audiences/plans/wide.toml"), text).expect("a plan");
    let simulator = &fleet.stage.simulator;
    let serving =
        tokio::join!(fleet.serve("intake,coordinator"), fleet.serve("worker"), fleet.serve("worker"));
    fleet.publish(&fleet.job("outage")).await;
    let third = u64::try_from(devices / 3).expect("small");
    simulator.wait_for_requests(third, super::STANDSTILL).await.expect("it goes out");

    for provider in [Provider::Apns, Provider::Fcm] {
        simulator.inject(Fault::answer(503, "ServiceUnavailable").on(provider).always());
    }
    let (began, before) =
        (times(&simulator.record()).last().copied().unwrap_or_default(), fleet.screens().len());
    fleet.until("the pause", "select pause is not distinct from 'provider_down' from rollout").await;
    let shown = fleet.show("outage").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("provider-down: "), "{cause}");
    let stage = &shown["stages"][0];
    assert!(stage["outcomes"]["unavailable"].as_u64().is_some_and(|count| count > 0), "{shown}");
    assert_ne!(stage["health"], "fail", "an outage says nothing of the notification");
    let since = shown["changed_at"].as_str().expect("a time");
    let lasts = format!("select clock_timestamp() > timestamptz '{since}' + interval '{seconds} seconds'");
    fleet.until("the end of the outage", &lasts).await;
    let record = simulator.record();
    let tried = record.iter().filter(|request| request.status == Some(503)).count();
    let ended = times(&record).last().copied().unwrap_or_default();
    assert_eq!(fleet.show("outage").await["finished_at"], serde_json::Value::Null, "it is not given up");
    simulator.clear_faults();
    fleet.over().await;

    let shown = fleet.show("outage").await;
    assert_eq!(shown["state"], "completed", "{shown}");
    let account = fleet.reconcile("outage").await;
    account.is_clean();
    assert_eq!((account.outcomes.get("accepted"), fleet.screens().len()), (Some(&devices), devices), "I6");
    let most = busiest_second(&times(&simulator.record()));
    say(format_args!(
        "{} s without a provider: {tried} requests met it, {before} phones rung before, {devices} at the end, 0 failures; \
         at most {most} requests in a second, {ALLOWED} allowed",
        (ended - began) / 1_000_000
    ));
    assert!(most <= ALLOWED);
    // Until it is known, and a few for each try after that.
    let few = RATE * (down_after + 2) + 30 * (seconds / down_after + 1);
    assert!(tried <= few, "{tried} requests to providers that take nothing, {few} expected at the most");
    for serving in [serving.0, serving.1, serving.2] {
        assert!(serving.stop().await.success());
    }
}
