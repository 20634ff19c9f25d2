//! A process that was away, and one whose clock is wrong: what they still do counts for nothing.

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, SimulatorConfig},
};
use std::time::Duration;
use tokio::process::Command;

use super::{Fleet, Size, times};
use crate::{harness::service::Serving, service::load::say};

fn steady(milliseconds: u64) -> SimulatorConfig {
    let latency = Some(Latency::around(Duration::from_millis(milliseconds)));
    SimulatorConfig {
        profile: Profile::quiet().with_latency(latency),
        ..SimulatorConfig::quiet(Clock::system())
    }
}

async fn signal(serving: &Serving, name: &str) {
    let sent =
        Command::new("kill").arg(name).arg(serving.pid().to_string()).status().await.expect("kill runs");
    assert!(sent.success());
}

/// Waits until every thread stands still: the signal is on its way when `kill` returns.
async fn stopped(serving: &Serving) {
    let threads = format!("/proc/{}/task", serving.pid());
    let stands = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        // The state follows the name, which is in parentheses.
        stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    };
    crate::harness::broker::eventually("the stop", async || {
        std::fs::read_dir(&threads).is_ok_and(|mut threads| threads.all(stands)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_a_worker_that_was_stopped_sends_nothing_under_the_claim_that_it_lost() {
    // At full size it hangs for a minute and more: for as long as the other worker has to send.
    let devices = if Size::is_full() { 14_000 } else { 2_000 };
    let fleet = Fleet::with(steady(50), devices, &["percent = 100\nmax_rate = 200"]).await;
    let coordinator = fleet.serve("intake,coordinator").await;
    let sleeper = fleet.serve("worker").await;
    fleet.publish(&fleet.job("slept")).await;
    let simulator = &fleet.stage.simulator;
    simulator.wait_for_requests(300, super::STANDSTILL).await.expect("it sends");
    // The provider shuts its windows: of some requests only the beginning leaves, and the rest waits in the process.
    simulator.withhold_bodies();
    simulator.wait_for_awaited_bodies(20, super::STANDSTILL).await.expect("it goes on");
    signal(&sleeper, "-STOP").await;
    stopped(&sleeper).await;
    let (began, stopped_at) = (simulator.elapsed_micros(), simulator.requests());
    simulator.take_bodies();

    let other = fleet.serve("worker").await;
    fleet.over().await;
    let (at_the_end, slept) = (simulator.requests(), simulator.elapsed_micros() - began);
    assert!(slept > if Size::is_full() { 60_000_000 } else { 5_000_000 }, "it slept {slept} µs only");
    signal(&sleeper, "-CONT").await;
    // It has noticed once it answers again: then whatever it wanted to send has left or never will.
    assert_eq!(sleeper.get("/livez").await.0, 200);
    assert!(sleeper.stop().await.success());
    assert!(other.stop().await.success());
    assert!(coordinator.stop().await.success());

    // The record's own clock says when the last byte of a request had come in. What the socket had when the process was
    // stopped was read in the seconds after; of what waited in the process nothing came when it went on.
    let late = fleet.stage.simulator.record_since(at_the_end);
    let last = times(&fleet.stage.simulator.record()).into_iter().max().unwrap_or_default();
    say(format_args!(
        "{stopped_at} requests before the stop, after {} ms of it {} more, {} after it went on",
        slept / 1_000,
        at_the_end - stopped_at,
        late.len()
    ));
    assert_eq!(late.len(), 0, "sent under a lost claim");
    assert!(last < began + slept, "a request came after the process went on");
    fleet.reconcile("slept").await.is_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_of_two_coordinators_only_the_newer_term_is_obeyed() {
    let fleet = Fleet::with(steady(20), 3_000, &["devices = 100", "percent = 100\nmax_rate = 1000"]).await;
    let first = fleet.serve("intake,coordinator").await;
    let worker = fleet.serve("worker").await;
    fleet.until("somebody rules", "select until > 0 from coordinator").await;
    // It hangs, its lease ends, another rules; then it goes on and believes that it still does.
    signal(&first, "-STOP").await;
    let second = fleet.serve("intake,coordinator").await;
    fleet.until("the next term", "select term >= 2 from coordinator").await;
    fleet.publish(&fleet.job("two-rulers")).await;
    fleet.stage.simulator.wait_for_requests(500, super::STANDSTILL).await.expect("it is sent");
    signal(&first, "-CONT").await;
    fleet.over().await;
    for serving in [first, second, worker] {
        assert!(serving.stop().await.success());
    }
    let account = fleet.reconcile("two-rulers").await;
    account.is_clean();
    assert_eq!(account.repeats.accepted, 0, "a stage was opened or a retry made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_worker_whose_clock_is_ten_minutes_off_sends_nothing_late_and_nothing_twice() {
    let library = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    ]
    .into_iter()
    .find(|path| std::path::Path::new(path).exists())
    .expect("libfaketime is installed (deploy/test.sh does it)");
    for offset in ["-10m", "+10m"] {
        let fleet = Fleet::with(steady(20), 1_000, &["percent = 100\nmax_rate = 100"]).await;
        let coordinator = fleet.serve("intake,coordinator").await;
        let mut command = fleet.stage.command(&["serve", "--role", "worker"]);
        // Only the wall clock: a monotonic clock that lies is no machine's.
        command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        let wrong = fleet.stage.start(command).await;
        let mut job = fleet.job("clock");
        let expires = Clock::system().now() + jiff::SignedDuration::from_secs(6);
        job["expires_at"] = expires.to_string().into();
        fleet.publish(&job).await;
        fleet.over().await;
        assert!(wrong.stop().await.success());
        assert!(coordinator.stop().await.success());
        let record = fleet.stage.simulator.record();
        let last = record.iter().map(|request| request.at_micros).max().unwrap_or_default();
        let late = last - expires.as_microsecond();
        let account = fleet.reconcile("clock").await;
        say(format_args!(
            "clock {offset}: the last request {late} µs after the expiry; {:?}",
            account.outcomes
        ));
        account.is_clean();
        // What the socket had by then is read within some milliseconds.
        assert!(late < 100_000, "late by {late} µs");
        assert_eq!(account.repeats.accepted, 0);
        // A clock that is ahead sends nothing of what it believes expired: unknown is no.
        let sends = offset == "-10m";
        assert_eq!(account.outcomes.contains_key("accepted"), sends, "{:?}", account.outcomes);
        assert!(
            account.outcomes.contains_key("expired"),
            "nothing was left to expire: {:?}",
            account.outcomes
        );
    }
}
