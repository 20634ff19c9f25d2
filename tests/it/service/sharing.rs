//! Several processes on one queue and one ledger; and processes that come and go in order.

use bellwether::simulator::{Fault, Profile};

use super::load::{Load, Wire, forgotten_by_the_database, say, slow_providers};
use crate::harness::{
    broker::{PATIENCE, eventually},
    service::Stage,
};

/// The service declares the queues that jobs are to wait in.
async fn declared(stage: &Stage) {
    assert!(stage.serve().await.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_work_and_one_finishes_what_the_other_dies_over() {
    let jobs = 1_200;
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await;
    declared(&stage).await;
    let (dies, lives) = tokio::join!(stage.serve(), stage.serve());
    let publishing = load.publish(&stage, 0..jobs);
    let killing = async {
        stage.simulator.wait_for_requests(400, PATIENCE).await.expect("the work goes on");
        let both_worked = dies.metric("bellwether_sends_total", &[]).await > 0.0
            && lives.metric("bellwether_sends_total", &[]).await > 0.0;
        let before = stage.simulator.requests();
        dies.kill().await;
        (both_worked, before)
    };
    let ((), (both_worked, before)) = tokio::join!(publishing, killing);
    assert!(both_worked, "the queue is shared");
    load.finished(&stage, jobs).await;
    assert!(lives.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    let wire = Wire::of(&stage);
    say(format_args!("{} repeats after a kill at request {before}", wire.repeats()));
    for (token, requests) in &wire.by_token {
        let [first, again @ ..] = &requests[..] else { continue };
        assert!(again.len() <= 1, "{token}: one death, one repeat");
        for again in again {
            assert!(again.number > before, "{token}: nobody had died");
            assert_ne!(again.connection, first.connection, "{token}: a process doubles its own work");
        }
    }
    assert!(wire.repeats() <= 200, "more than the dead process can have held");
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_published_twice_at_once_to_two_processes_shows_once() {
    let jobs = 200;
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await;
    declared(&stage).await;
    let (one, two) = tokio::join!(stage.serve(), stage.serve());
    // One after the other in the queue; the broker deals them out in turn.
    load.publish(&stage, (0..jobs).flat_map(|number| [number, number])).await;
    load.finished(&stage, jobs).await;
    let (one, two) = tokio::join!(one.stop(), two.stop());
    assert!(one.success() && two.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    let wire = Wire::of(&stage);
    say(format_args!("{} of {jobs} jobs went out from both", wire.repeats()));
    let twice = |requests: &Vec<_>| requests.len() <= 2;
    assert!(wire.by_token.values().all(twice), "once from each process at most");
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_published_three_times_to_one_process_is_sent_once() {
    let jobs = 200;
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await;
    declared(&stage).await;
    load.publish(&stage, (0..jobs).flat_map(|number| [number; 3])).await;
    let serving = stage.serve().await;
    load.finished(&stage, jobs).await;
    // The copies are answered from the record, the last of them after the last job is over.
    eventually("an answer for every copy", async || {
        let known = serving.metric("bellwether_jobs_total", &["verdict=\"known\""]).await;
        (known.total_cmp(&400.0).is_ge()).then_some(())
    })
    .await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    assert_eq!(Wire::of(&stage).repeats(), 0);
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_repeated_goes_out_from_one_of_two_processes() {
    let jobs = 200;
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await.at_most_once();
    declared(&stage).await;
    let (one, two) = tokio::join!(stage.serve(), stage.serve());
    load.publish(&stage, (0..jobs).flat_map(|number| [number, number])).await;
    load.finished(&stage, jobs).await;
    let (one, two) = tokio::join!(one.stop(), two.stop());
    assert!(one.success() && two.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    assert_eq!(Wire::of(&stage).repeats(), 0);
    Load::nothing_is_queued(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_job_is_taken_up_by_one_process_alone() {
    let jobs = 200;
    let short = "[direct]\nretry_seconds = [1, 1, 1, 1, 1]\n";
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), short).await;
    let load = Load::on(&stage, jobs).await;
    for phone in &load.phones {
        let unwell = Fault::answer(503, "ServiceUnavailable").for_token(phone.token.as_str());
        stage.simulator.inject(unwell);
    }
    declared(&stage).await;
    let (one, two) = tokio::join!(stage.serve(), stage.serve());
    load.publish(&stage, 0..jobs).await;
    load.finished(&stage, jobs).await;
    Load::nothing_is_queued(&stage).await;
    let (one, two) = tokio::join!(one.stop(), two.stop());
    assert!(one.success() && two.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    for (token, requests) in &Wire::of(&stage).by_token {
        assert_eq!(requests.len(), 2, "{token}: deferred once, taken up once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_in_order_under_load_loses_nothing_and_repeats_nothing() {
    let jobs = 1_200_usize;
    let stage = Stage::with(slow_providers(Profile::quiet(), 20), "").await;
    let load = Load::on(&stage, jobs).await;
    declared(&stage).await;
    load.publish(&stage, 0..jobs).await;
    for moment in [200, 600, 900] {
        let serving = stage.serve().await;
        stage.simulator.wait_for_requests(moment, PATIENCE).await.expect("the work goes on");
        assert!(serving.stop().await.success());
        forgotten_by_the_database(&stage).await;
    }
    let serving = stage.serve().await;
    load.finished(&stage, jobs).await;
    assert!(serving.stop().await.success());
    let ends = load.reconcile(&stage, jobs).await;
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [("accepted", jobs)]);
    assert_eq!(Wire::of(&stage).repeats(), 0);
    Load::nothing_is_queued(&stage).await;
}
