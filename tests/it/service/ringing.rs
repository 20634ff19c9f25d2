//! The main job: the right phone rings, and it is on record.

use bellwether::model::OutcomeCode;

use crate::harness::{
    broker::{PATIENCE, eventually},
    service::{Stage, TestPhone},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_on_the_queue_rings_every_device_of_the_person_and_is_on_record() {
    let stage = Stage::set().await;
    let phones = [TestPhone::ios("anna"), TestPhone::android("anna"), TestPhone::ios("piotr")];
    stage.register(&phones).await;
    let serving = stage.serve().await;
    let cards = stage.client("cards").await;
    cards.enqueue(&Stage::job("code-1", "production", &["anna"], "Kod 123").to_string()).await;

    stage.simulator.wait_for_requests(3, PATIENCE).await.expect("two sends and an OAuth exchange");
    let ledger = stage.ledger().await;
    let key = stage.key("cards", "code-1");
    let record = eventually("on record", async || ledger.job(&key).await.expect("the ledger answers")).await;
    let outcomes: Vec<_> = record.targets.iter().map(|target| target.outcome).collect();
    assert_eq!(outcomes, [OutcomeCode::Accepted; 2]);
    for (phone, rang) in phones.iter().zip([1, 1, 0]) {
        let seen = stage.simulator.phone(&phone.token).expect("a registered phone");
        assert_eq!(seen.accepted, rang, "{}", phone.user);
    }
    assert!(serving.stop().await.success());
}
