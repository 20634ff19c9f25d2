//! `kill -9` in the middle of the work, and what is left of it afterwards.
//!
//! **I6 once** and **I7 nothing-lost**: whatever happens between two instructions, every phone shows its notification
//! once, and what is sent again is only what was on the wire and not on record.

use std::collections::BTreeSet;

use bellwether::simulator::{Fault, FaultAction, Profile};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::load::{Load, Wire, forgotten_by_the_database, on_record, say, slow_providers};
use crate::harness::{
    broker::PATIENCE,
    service::{Serving, Stage},
};

/// How many jobs and kills the large test has, as `jobs,kills`: for a machine on which it takes too long.
const SIZE: &str = "BELLWETHER_TEST_CRASH";

fn size() -> (usize, u32) {
    let given = std::env::var(SIZE).unwrap_or_else(|_| "5000,5".to_owned());
    let (jobs, kills) = given.split_once(',').unwrap_or_else(|| panic!("{SIZE}: write jobs,kills"));
    (jobs.parse().expect("a number of jobs"), kills.parse().expect("a number of kills"))
}

/// What was so when a process died.
struct Kill {
    /// Connections that the simulators had accepted: a request on one of these was sent before the kill, even if it was
    /// read after it.
    connections: u64,
    /// Jobs that were over.
    on_record: BTreeSet<String>,
}

/// Kills the process whenever the simulators have counted so many more requests, and starts it again. The schedule
/// follows the progress and a seed, so that a run can be repeated.
async fn killed_again_and_again(stage: &Stage, jobs: usize, kills: u32, seed: u64) -> (Vec<Kill>, Serving) {
    let mut random = StdRng::seed_from_u64(seed);
    let stretch = u64::try_from(jobs).expect("a count") / u64::from(kills + 1);
    let mut past = Vec::new();
    let mut serving = stage.serve().await;
    for kill in 0..u64::from(kills) {
        let moment = kill * stretch + random.random_range(stretch / 2..stretch);
        stage.simulator.wait_for_requests(moment, PATIENCE).await.expect("the work goes on");
        serving.kill().await;
        forgotten_by_the_database(stage).await;
        let over = on_record(stage).await.into_iter().filter(|(_, job)| job.state == "finished");
        let on_record = over.map(|(id, _)| id).collect();
        past.push(Kill { connections: stage.simulator.summary().connections, on_record });
        serving = stage.serve().await;
    }
    (past, serving)
}

/// Prints what each kill caught, and holds every repeat against it: sent again only if it was sent and not on record
/// when a process died, and then once for each such death.
fn repeats_are_explained(stage: &Stage, load: &Load, kills: &[Kill]) {
    let wire = Wire::of(stage);
    let mut uncommitted = vec![0; kills.len()];
    let mut unexplained = Vec::new();
    for (number, phone) in load.phones.iter().enumerate() {
        let Some(requests) = wire.by_token.get(&phone.token) else { continue };
        let lives: Vec<usize> = requests
            .iter()
            .map(|request| kills.partition_point(|kill| kill.connections < request.connection))
            .collect();
        for (kill, past) in kills.iter().enumerate() {
            let was_sent = lives.iter().any(|life| *life <= kill);
            uncommitted[kill] += usize::from(was_sent && !past.on_record.contains(&Load::id(number)));
        }
        for pair in lives.windows(2) {
            // Between the two there is a kill, and at each such kill it was not on record.
            let is_explained = pair[0] < pair[1]
                && kills[pair[0]..pair[1]].iter().all(|past| !past.on_record.contains(&Load::id(number)));
            if !is_explained {
                unexplained.push((number, lives.clone()));
            }
        }
    }
    for (kill, (past, uncommitted)) in kills.iter().zip(&uncommitted).enumerate() {
        let on_record = past.on_record.len();
        say(format_args!("kill {}: {on_record} on record, {uncommitted} sent and not on record", kill + 1));
    }
    let (requests, devices) = (wire.by_token.values().map(Vec::len).sum::<usize>(), wire.by_token.len());
    let bound: usize = uncommitted.iter().sum();
    say(format_args!(
        "{requests} requests to {devices} devices: {} repeats, at most {bound}",
        wire.repeats()
    ));
    assert!(wire.repeats() <= bound);
    assert_eq!(unexplained, [], "sent again without need (job, processes that sent it)");
    assert!(bound > 0, "no kill caught a request in flight: the test has proved nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_and_repeats_only_what_was_not_on_record() {
    let (jobs, kills) = size();
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await;
    // The service declares the queue that the jobs are to wait in.
    assert!(stage.serve().await.stop().await.success());
    load.publish(&stage, 0..jobs).await;

    let (past, serving) = killed_again_and_again(&stage, jobs, kills, 5).await;
    load.finished(&stage, jobs).await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    repeats_are_explained(&stage, &load, &past);
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_repeated_is_not_and_ends_as_unknown_when_nobody_knows() {
    let (jobs, kills) = (1_500, 3);
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "[direct]\nclaim_seconds = 2\n").await;
    let load = Load::on(&stage, jobs).await.at_most_once();
    assert!(stage.serve().await.stop().await.success());
    load.publish(&stage, 0..jobs).await;

    let (_, serving) = killed_again_and_again(&stage, jobs, kills, 6).await;
    load.finished(&stage, jobs).await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    let unknown = ends.get("unknown").copied().unwrap_or_default();
    let wire = Wire::of(&stage);
    say(format_args!("{ends:?}; {} devices were sent to, {} repeats", wire.by_token.len(), wire.repeats()));
    assert_eq!(wire.repeats(), 0);
    assert!(unknown > 0, "no kill caught a job in flight: the test has proved nothing");
    // Not more than a process takes from the queue at once.
    assert!(unknown <= 200 * usize::try_from(kills).expect("a few"), "{unknown} in doubt");
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_day_at_the_providers_and_two_kills_leave_every_job_rightly_ended() {
    let (jobs, kills) = (1_000, 2);
    let bad_day = Profile { dead: 0.03, throttled: 0.03, unavailable: 0.03, reset: 0.02, ..Profile::quiet() };
    let short = "[direct]\nclaim_seconds = 5\nretry_seconds = [1, 1, 1, 1, 1]\n";
    let stage = Stage::with(slow_providers(bad_day, 10), short).await;
    stage.simulator.inject(Fault::once(FaultAction::RefuseStream).always().every(41));
    for (every, action) in [
        (83, FaultAction::CloseConnection { taken: true }),
        (97, FaultAction::CloseConnection { taken: false }),
        (107, FaultAction::GoAway { graceful: false, reason: None }),
        (131, FaultAction::GoAway { graceful: true, reason: None }),
    ] {
        // Not more often: a provider that ends every connection soon is, rightly, not connected to again at once.
        stage.simulator.inject(Fault::once(action).times(2).every(every));
    }
    let load = Load::on(&stage, jobs).await;
    assert!(stage.serve().await.stop().await.success());
    load.publish(&stage, 0..jobs).await;

    let (_, serving) = killed_again_and_again(&stage, jobs, kills, 7).await;
    load.finished(&stage, jobs).await;
    // Pointers to jobs that the sweeper took up come down the ladder, find nothing, and are gone.
    Load::nothing_is_queued(&stage).await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    say(format_args!("{ends:?}, {} repeats", Wire::of(&stage).repeats()));
    assert!(ends["token_gone"] > 0, "{ends:?}");
    assert_eq!(ends.into_keys().collect::<Vec<_>>(), ["accepted", "token_gone"]);
    Load::nothing_is_queued(&stage).await;
}
