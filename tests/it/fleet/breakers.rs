//! Breakers: what stops a rollout at once, seen from outside.

use bellwether::{
    clock::Clock,
    ledger::{Asked, Ledger, Verb},
    model::OperatorName,
    simulator::{Fault, Provider, SimulatorConfig},
};

use super::{Fleet, plan, times};

/// A fleet whose plan trips soon.
async fn trips_soon(phones: usize) -> Fleet {
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), phones, &["percent = 100"]).await;
    let text = format!("{}\n[breakers]\nprovider_down_after = \"1s\"\n", plan(&["percent = 100"]));
    std::fs::write(fleet.stage.folder().join("audiences/plans/wide.toml"), text).expect("a plan");
    fleet
}

async fn resume(ledger: &Ledger, fleet: &Fleet, id: &str) {
    let key = fleet.stage.key("marketing", id);
    let campaign = ledger.campaign_by_job(&key).await.expect("an answer").expect("it is there");
    let by = OperatorName::parse("night-duty").expect("a name");
    let asked = Asked { verb: Verb::Resume, by: &by, reason: None };
    ledger.verb(campaign, &asked).await.expect("an answer").expect("it may go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_pause_a_rollout_until_a_person_has_mended_them() {
    let fleet = trips_soon(300).await;
    let simulator = &fleet.stage.simulator;
    simulator.inject(Fault::answer(403, "InvalidProviderToken").on(Provider::Apns).always());
    let (door, worker) = tokio::join!(fleet.serve("intake,coordinator"), fleet.serve("worker"));
    fleet.publish(&fleet.job("refused")).await;
    fleet.until("the pause", "select pause is not distinct from 'credentials' from rollout").await;
    let shown = fleet.show("refused").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(
        cause.starts_with("credentials-refused: apns") && cause.contains("InvalidProviderToken"),
        "{cause}"
    );
    let sql = "select count(*) = 0 from segment where outcomes is null";
    fleet.until("the last outcomes", sql).await;
    let asked = times(&simulator.record()).len();
    assert!(asked < 300, "{asked} requests: nobody stopped");
    // New keys are read at the start.
    assert!(worker.stop().await.success());
    simulator.clear_faults();
    let worker = fleet.serve("worker").await;
    resume(&fleet.stage.ledger().await, &fleet, "refused").await;
    fleet.over().await;
    fleet.reconcile("refused").await.is_clean();
    assert_eq!(fleet.show("refused").await["state"], "completed");
    assert_eq!(fleet.screens().len(), 300);
    for serving in [door, worker] {
        assert!(serving.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_every_phone_rejects_halts_its_rollout_with_the_reason() {
    let fleet = trips_soon(2_000).await;
    let simulator = &fleet.stage.simulator;
    simulator.inject(Fault::answer(413, "PayloadTooLarge").on(Provider::Apns).always());
    simulator.inject(Fault::answer(400, "INVALID_ARGUMENT").on(Provider::Fcm).always());
    let serving = fleet.serve("intake,coordinator,worker").await;
    fleet.publish(&fleet.job("too-large")).await;
    fleet.over().await;
    let shown = fleet.show("too-large").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert_eq!(shown["state"], "halted");
    // Whichever is seen first: so many in a row, or more than chance explains.
    let in_a_row = cause.starts_with("rejections-in-a-row: ")
        && (cause.contains("PayloadTooLarge") || cause.contains("INVALID_ARGUMENT"));
    assert!(in_a_row || cause.starts_with("rejected-too-often: "), "{cause}");
    let sql = "select count(*) = 0 from segment where outcomes is null";
    fleet.until("the last outcomes", sql).await;
    let asked = times(&simulator.record()).len();
    assert!(asked < 500, "{asked} of 2,000 phones were tried");
    assert!(fleet.screens().is_empty());
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_waited_for_and_tried_again_by_itself() {
    let fleet = trips_soon(300).await;
    let simulator = &fleet.stage.simulator;
    simulator.inject(Fault::answer(503, "ServiceUnavailable").on(Provider::Apns).always());
    let (door, worker) = tokio::join!(fleet.serve("intake,coordinator"), fleet.serve("worker"));
    fleet.publish(&fleet.job("down")).await;
    fleet.until("the pause", "select pause is not distinct from 'provider_down' from rollout").await;
    let shown = fleet.show("down").await;
    let cause = shown["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("provider-down: apns"), "{cause}");
    // It is tried with a few, and found down again: a second pause.
    let (first, before) = (shown["epoch"].as_u64().expect("an epoch"), times(&simulator.record()).len());
    let again = format!("select pause is not distinct from 'provider_down' and epoch > {first} from rollout");
    fleet.until("the next pause", &again).await;
    let tried = times(&simulator.record()).len() - before;
    assert!((1..=30).contains(&tried), "{tried} phones for one answer");
    simulator.clear_faults();
    fleet.over().await;
    fleet.reconcile("down").await.is_clean();
    assert_eq!(fleet.show("down").await["state"], "completed");
    assert_eq!(fleet.screens().len(), 300);
    for serving in [door, worker] {
        assert!(serving.stop().await.success());
    }
}
