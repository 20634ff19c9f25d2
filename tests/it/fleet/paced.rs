//! **I11 paced**: however workers come and go, no window of a second holds more than the rate and the leases alive.

use std::{collections::BTreeSet, time::Duration};

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, Provider, RecordedRequest, SimulatorConfig},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Fleet, Size, busiest_second, times};
use crate::service::load::{Load, say};

const RATE: usize = 500;

/// A quarter of a second's worth: the longest lease.
const LIVE_LEASES: usize = RATE / 4;

#[tokio::test(flavor = "multi_thread")]
async fn i11_workers_come_and_go_and_no_second_holds_more_than_the_rate() {
    let devices = if Size::is_full() { RATE * 120 } else { RATE * 12 };
    let latency = Some(Latency::around(Duration::from_millis(30)));
    let profile = Profile::quiet().with_latency(latency);
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet = Fleet::with(simulator, devices, &["percent = 100\nmax_rate = 500"]).await;
    let coordinator = fleet.serve("intake,coordinator").await;
    let mut random = StdRng::seed_from_u64(Size::given(0, 0).seed);
    let mut workers = vec![fleet.serve("worker").await];
    fleet.publish(&fleet.job("paced")).await;
    // A worker more or less whenever so many more requests have come in.
    let mut moment = 0;
    let all = u64::try_from(devices).expect("a count");
    while moment < all * 9 / 10 {
        moment += random.random_range(all / 40..all / 12);
        fleet
            .stage
            .simulator
            .wait_for_requests(moment.min(all * 9 / 10), super::STANDSTILL)
            .await
            .expect("it goes on");
        let leave = workers.len() > 1 && (workers.len() == 4 || random.random_range(0..2) == 0);
        if leave {
            let gone = workers.swap_remove(random.random_range(0..workers.len()));
            assert!(gone.stop().await.success());
        } else {
            workers.push(fleet.serve("worker").await);
        }
    }
    fleet.over().await;
    for serving in workers.into_iter().chain([coordinator]) {
        assert!(serving.stop().await.success());
    }
    fleet.reconcile("paced").await.is_clean();
    let times = times(&fleet.stage.simulator.record());
    let most = busiest_second(&times);
    let seconds = (times.last().unwrap_or(&0) - times.first().unwrap_or(&0)) / 1_000_000;
    say(format_args!(
        "{} requests in {seconds} s; at most {most} in a second, {} allowed",
        times.len(),
        RATE + LIVE_LEASES
    ));
    assert!(most <= RATE + LIVE_LEASES);
    assert!(most > RATE * 3 / 4, "so slow that it proves nothing");
}

/// A provider's rate in the next test, a second.
const SMALL: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn i11_two_processes_of_the_direct_lane_and_a_campaign_share_one_rate() {
    let (people, jobs) = (SMALL * 16, SMALL * 3);
    let latency = Some(Latency::around(Duration::from_millis(30)));
    let profile = Profile::quiet().with_latency(latency);
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet = Fleet::with(simulator, people, &["percent = 100"]).await;
    let apps = fleet.stage.folder().join("audiences/apps.toml");
    let text = std::fs::read_to_string(&apps).expect("apps.toml");
    let text =
        text.replace("max_rate = 20_000", "max_rate = 100").replace("max_rate = 9_000", "max_rate = 100");
    std::fs::write(&apps, text).expect("apps.toml");
    let (one, two) = tokio::join!(fleet.serve("intake"), fleet.serve("intake"));
    let others = tokio::join!(fleet.serve("coordinator"), fleet.serve("worker"), fleet.serve("worker"));
    fleet.publish(&fleet.job("beside")).await;
    fleet.stage.simulator.wait_for_requests(100, super::STANDSTILL).await.expect("the campaign goes out");
    // Registered now, so that the campaign is not for them.
    let load = Load::on(&fleet.stage, jobs).await;
    load.publish(&fleet.stage, 0..jobs).await;
    load.finished(&fleet.stage, jobs).await;
    fleet.over().await;
    let shared =
        [one.metric("bellwether_sends_total", &[]).await, two.metric("bellwether_sends_total", &[]).await];
    for serving in [one, two, others.0, others.1, others.2] {
        assert!(serving.stop().await.success());
    }
    assert!(shared.iter().all(|sends| *sends > 0.0), "one process did all the work: {shared:?}");
    let direct: BTreeSet<_> = load.phones.iter().map(|phone| phone.token.as_str()).collect();
    let is_direct =
        |request: &RecordedRequest| request.token.as_deref().is_some_and(|token| direct.contains(token));
    let record = fleet.stage.simulator.record();
    let last = |of_direct: bool| {
        let wanted =
            record.iter().filter(|request| request.token.is_some() && is_direct(request) == of_direct);
        wanted.map(|request| request.elapsed_micros).max().expect("some were sent")
    };
    assert!(last(true) < last(false), "the direct jobs waited for the end of the campaign");
    for provider in [Provider::Apns, Provider::Fcm] {
        let of = |lane: Option<bool>| {
            let wanted = |request: &&std::sync::Arc<RecordedRequest>| {
                request.provider == provider && lane.is_none_or(|direct| is_direct(request) == direct)
            };
            let wanted: Vec<_> = record.iter().filter(wanted).cloned().collect();
            busiest_second(&times(&wanted))
        };
        let (both, campaign, direct) = (of(None), of(Some(false)), of(Some(true)));
        say(format_args!(
            "{provider:?}: at most {both} in a second ({campaign} of the campaign, {direct} direct); {} allowed",
            SMALL + SMALL / 4
        ));
        assert!(both <= SMALL + SMALL / 4);
        assert!(campaign <= SMALL * 4 / 5 + SMALL / 5, "the campaign took of the reserve");
        assert!(both > SMALL * 3 / 4, "so slow that it proves nothing");
    }
    fleet.reconcile("beside").await;
}
