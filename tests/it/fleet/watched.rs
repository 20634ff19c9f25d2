//! Health: what too many phones reject is halted before many have been asked.

use std::{sync::Arc, time::Duration};

use bellwether::{
    clock::Clock,
    ledger::{Asked, Verb},
    model::OperatorName,
    simulator::{Fault, Latency, Profile, Provider, RecordedRequest, SimulatorConfig},
};

use super::{Fleet, Size, times};
use crate::service::load::say;

/// Two providers and four stages: eight strata share the plan's alpha.
const STAGES: [&str; 4] = ["percent = 25", "percent = 50", "percent = 75", "percent = 100"];

/// What a payload that every seventh phone refuses is answered.
fn rejecting(provider: Provider, millionths: u32, seed: u64) -> Fault {
    let (status, reason) =
        if provider == Provider::Apns { (400, "PayloadEmpty") } else { (400, "INVALID_ARGUMENT") };
    Fault::answer(status, reason).on(provider).always().for_part(millionths, seed)
}

/// A person opens the next stage; true if they may.
pub(super) async fn promote(fleet: &Fleet, id: &str, reason: Option<&str>) -> bool {
    let (ledger, key) = (fleet.stage.ledger().await, fleet.stage.key("marketing", id));
    let campaign = ledger.campaign_by_job(&key).await.expect("an answer").expect("it is there");
    let by = OperatorName::parse("night-duty").expect("a name");
    let asked = Asked { verb: Verb::Promote, by: &by, reason };
    ledger.verb(campaign, &asked).await.expect("an answer").is_ok()
}

fn quantile(sorted: &[usize], part: usize) -> usize {
    sorted[(sorted.len() - 1) * part / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_payload_that_one_in_seven_rejects_is_halted_after_some_dozen_requests() {
    let rounds = if Size::is_full() { 200 } else { 5 };
    let profile = Profile::quiet().with_latency(Some(Latency::around(Duration::from_millis(70))));
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet = Fleet::with(simulator, 3_000, &STAGES).await;
    let lead = fleet.serve("intake,coordinator").await;
    let worker = fleet.serve("worker").await;
    let (mut asked, mut refused, mut reached) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        fleet.stage.simulator.reset();
        fleet.stage.simulator.clear_faults();
        for provider in [Provider::Apns, Provider::Fcm] {
            fleet.stage.simulator.inject(rejecting(provider, 150_000, round));
        }
        let id = format!("rejected-{round}");
        fleet.publish(&fleet.job(&id)).await;
        fleet.until("it is known", &format!("select count(*) = {} from rollout", round + 1)).await;
        fleet.over().await;
        let open = "select count(*) = 0 from segment where outcomes is null";
        fleet.until("the last outcomes", open).await;
        let shown = fleet.show(&id).await;
        assert_eq!(shown["state"], "halted", "{shown}");
        let cause = shown["cause"].as_str().expect("a cause");
        assert!(cause.starts_with("rejected-too-often: "), "{cause}");
        let record = fleet.stage.simulator.record();
        let requests = times(&record).len();
        let is_rejected = |request: &&Arc<RecordedRequest>| request.status == Some(400);
        asked.push(requests);
        refused.push(record.iter().filter(is_rejected).count());
        reached.push(fleet.screens().len());
    }
    // By whoever sends, at once; the coordinator, who looks now and then, is for what a worker that died has seen.
    fleet.until("a worker's word", "select count(*) > 0 from breaker where kind = 'health'").await;
    for counts in [&mut asked, &mut refused, &mut reached] {
        counts.sort_unstable();
    }
    say(format_args!(
        "{rounds} rollouts that 15 % reject: until the halt a median of {} requests (p95 {}, at most {}), {} rejections \
         (p95 {}), {} phones reached (p95 {})",
        quantile(&asked, 50),
        quantile(&asked, 95),
        quantile(&asked, 100),
        quantile(&refused, 50),
        quantile(&refused, 95),
        quantile(&reached, 50),
        quantile(&reached, 95),
    ));
    assert!(quantile(&asked, 50) <= 60, "{asked:?}");
    assert!(quantile(&asked, 95) <= 160, "{asked:?}");
    assert!(worker.stop().await.success());
    assert!(lead.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_stage_that_is_not_known_to_be_sound_waits_for_a_person_who_says_why() {
    let fleet = Fleet::with(
        SimulatorConfig::quiet(Clock::system()),
        40,
        &["percent = 50\ngate = \"auto\"", "percent = 100"],
    )
    .await;
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("few")).await;
    fleet.until("the pause", "select pause is not distinct from 'inconclusive' from rollout").await;
    let shown = fleet.show("few").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("health-inconclusive: stage 1 "), "{cause}");
    assert_eq!(shown["stages"][0]["health"], "inconclusive", "{shown}");
    let sent = fleet.stage.simulator.requests();
    assert!(!promote(&fleet, "few", None).await, "nobody said why");
    assert!(promote(&fleet, "few", Some("seen on a phone of each kind")).await);
    fleet.over().await;
    assert!(fleet.stage.simulator.requests() > sent);
    assert_eq!(fleet.show("few").await["state"], "completed");
    fleet.reconcile("few").await.is_clean();
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_that_is_seen_to_be_sound_opens_the_next_by_itself() {
    let stages = ["percent = 50\ngate = \"auto\"", "percent = 100"];
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), 2_000, &stages).await;
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("sound")).await;
    fleet.over().await;
    let shown = fleet.show("sound").await;
    assert_eq!(
        (&shown["state"], &shown["stages"][0]["health"]),
        (&"completed".into(), &"pass".into()),
        "{shown}"
    );
    assert!(serving.stop().await.success());
}
