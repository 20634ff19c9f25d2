//! Downstream guards: what our own systems say stops a rollout, and not knowing does.

use bellwether::{clock::Clock, simulator::SimulatorConfig};

use super::{Fleet, plan};
use crate::harness::{number::Number, services::PrivateServices};

/// A gate behind the first stage.
const GATED: &[&str] = &["percent = 50\ngate = \"manual\"", "percent = 100"];

/// A bound that ends a rollout after a second beyond it.
const HALTS: &str = "halt_above = 800\nfor = \"1s\"";

/// So many phones, and a plan with these stages and a guard with this bound.
async fn guarded((phones, stages): (usize, &[&str]), probe: &str, bound: &str, configuration: &str) -> Fleet {
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), phones, stages).await;
    let guard = format!("[[downstream]]\nname = \"login-p99\"\n{probe}\n{bound}\nno_data = \"pause\"\n");
    let text = format!("{}\n{guard}", plan(stages));
    std::fs::write(fleet.stage.folder().join("audiences/plans/wide.toml"), text).expect("a plan");
    fleet.stage.configure(&format!("[downstream]\nevery_seconds = 1\n{configuration}"));
    fleet
}

async fn is_paused(fleet: &Fleet, why: &str) {
    let sql = format!("select state = 'paused' and pause = '{why}' from rollout");
    fleet.until(why, &sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_login_that_breaches_while_a_rollout_waits_at_a_gate_halts_it() {
    let login = Number::start(200).await;
    let fleet = guarded((40, GATED), &login.probe(), HALTS, "").await;
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("knocks")).await;
    is_paused(&fleet, "gate").await;
    let sent = fleet.stage.simulator.requests();
    login.is(900);
    fleet.over().await;
    let shown = fleet.show("knocks").await;
    assert_eq!(shown["state"], "halted", "{shown}");
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("downstream: login-p99 is 900, above 800"), "{cause}");
    assert_eq!(fleet.stage.simulator.requests(), sent);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_while_prometheus_is_away_nothing_widens_and_it_goes_on_when_that_is_back() {
    let login = Number::start(200).await;
    let prometheus = PrivateServices::prometheus().await;
    prometheus.scrape(login.address);
    let configuration = format!("prometheus = \"{}\"\n", prometheus.prometheus_url());
    let fleet = guarded((40, GATED), "prometheus = \"number\"", HALTS, &configuration).await;
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("blind")).await;
    is_paused(&fleet, "gate").await;
    let sent = fleet.stage.simulator.requests();
    prometheus.run(&["stop", "prometheus"]).await;
    fleet.until("it is blind", "select seen like '%blind_since%' from downstream").await;
    // A person opens the gate, and still nothing widens.
    assert!(super::watched::promote(&fleet, "blind", None).await);
    is_paused(&fleet, "no_data").await;
    let shown = fleet.show("blind").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("downstream: login-p99 cannot be read, since "), "{cause}");
    assert_eq!(shown["guards"][0]["state"], "blind", "{shown}");
    assert!(!super::watched::promote(&fleet, "blind", Some("it will be all right")).await);
    assert_eq!(fleet.stage.simulator.requests(), sent, "I3");
    prometheus.run(&["start", "prometheus"]).await;
    prometheus.scrape(login.address);
    // By itself, to where it stood: its gate.
    is_paused(&fleet, "gate").await;
    assert!(super::watched::promote(&fleet, "blind", None).await);
    fleet.over().await;
    assert_eq!(fleet.show("blind").await["state"], "completed");
    fleet.reconcile("blind").await.is_clean();
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_above_its_bound_of_waiting_is_shown_as_that_and_not_as_missing() {
    let login = Number::start(200).await;
    let fleet = guarded((40, GATED), &login.probe(), "pause_above = 800\nfor = \"1s\"", "").await;
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("waits")).await;
    is_paused(&fleet, "gate").await;
    login.is(900);
    fleet.until("it is beyond", "select seen like '%pauses_since%' from downstream").await;
    // A person opens the gate; nothing widens.
    assert!(super::watched::promote(&fleet, "waits", None).await);
    is_paused(&fleet, "no_data").await;
    let shown = fleet.show("waits").await;
    let guard = &shown["guards"][0];
    assert!(guard["state"] == "breached" && guard["value"] == 900.0 && guard["does"] == "pause", "{shown}");
    let why = shown["waits"]["why"].as_str().expect("it waits");
    assert!(why.starts_with("login-p99 is 900, above 800, since "), "{why}");
    let campaign = shown["campaign"].as_str().expect("an id");
    let told = fleet.stage.run(&["rollout", "show", campaign]).await;
    let told = String::from_utf8(told.stdout).expect("text");
    assert!(told.contains("paused (login-p99 beyond its bound), stage 1 of 2"), "{told}");
    assert!(
        told.contains("\nguards     login-p99 is 900, above 800, since ") && !told.contains("no data"),
        "{told}"
    );
    login.is(200);
    is_paused(&fleet, "gate").await;
    assert!(super::watched::promote(&fleet, "waits", None).await);
    fleet.over().await;
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_without_a_coordinator_nothing_is_begun_once_the_numbers_are_old() {
    let login = Number::start(200).await;
    let slow = (900, &["percent = 100\nmax_rate = 40"][..]);
    // Long enough beyond it for the worker to see the new number before it ends the rollout.
    let bound = "halt_above = 800\nfor = \"4s\"";
    let fleet = guarded(slow, &login.probe(), bound, "timeout_seconds = 1\n").await;
    let serving = tokio::join!(fleet.serve("intake,coordinator"), fleet.serve("worker"));
    fleet.publish(&fleet.job("unwatched")).await;
    fleet.stage.simulator.wait_for_requests(60, super::STANDSTILL).await.expect("it goes out");
    serving.0.kill().await;
    login.is(900);
    // Four seconds after the last look, and what was begun by then.
    let stale = "select min((seen::json -> 'last' ->> 0)::timestamptz) < clock_timestamp() - interval '8 seconds' from downstream";
    fleet.until("numbers that are old", stale).await;
    let sent = fleet.stage.simulator.requests();
    assert!(sent < 600, "{sent} phones rang, and nobody looked");
    let coordinator = fleet.serve("intake,coordinator").await;
    fleet.over().await;
    let shown = fleet.show("unwatched").await;
    assert_eq!(shown["state"], "halted", "{shown}");
    assert_eq!(fleet.stage.simulator.requests(), sent, "I3: nothing was begun meanwhile");
    assert!(coordinator.stop().await.success() && serving.1.stop().await.success());
}
