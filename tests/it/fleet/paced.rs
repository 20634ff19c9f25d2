//! **I11 paced**: however workers come and go, no window of a second holds more than the rate and the leases alive.

use std::time::Duration;

use bellwether::{
    clock::Clock,
    simulator::{Latency, Profile, SimulatorConfig},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{Fleet, Size, times};
use crate::service::load::say;

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
    let mut times = times(&fleet.stage.simulator.record());
    times.sort_unstable();
    let window = |first: &usize| times[*first..].partition_point(|at| *at < times[*first] + 1_000_000);
    let most = (0..times.len()).map(|first| window(&first)).max().unwrap_or_default();
    let seconds = (times.last().unwrap_or(&0) - times.first().unwrap_or(&0)) / 1_000_000;
    say(format_args!(
        "{} requests in {seconds} s; at most {most} in a second, {} allowed",
        times.len(),
        RATE + LIVE_LEASES
    ));
    assert!(most <= RATE + LIVE_LEASES);
    assert!(most > RATE * 3 / 4, "so slow that it proves nothing");
}
