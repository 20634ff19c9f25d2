//! Notices for people.

use std::time::Duration;

use super::{
    Store,
    campaign_set::{Set, THREE},
};
use crate::{
    ledger::{Asked, Ledger, Verb},
    model::{AppId, AudienceName, CampaignId, OperatorName, Waiting},
};

fn gate(campaign: u128, stage: u32) -> Waiting {
    Waiting::GateWaits {
        campaign: CampaignId::from_uuid(uuid::Uuid::from_u128(campaign)),
        app: AppId::parse("pl.example.bank").expect("an app"),
        audience: AudienceName::parse("customers").expect("an audience"),
        stage,
    }
}

async fn put(ledger: &Ledger, waiting: Waiting) {
    let mut tx = ledger.begin().await.expect("a transaction");
    let now = tx.now().await.expect("the clock");
    tx.notify(now, waiting).await.expect("it is put down");
    tx.commit().await.expect("committed");
}

/// What is due now: the stages, and the rows.
async fn due(ledger: &Ledger) -> (Vec<u64>, Vec<i64>) {
    let due = ledger.notices_due(10).await.expect("an answer");
    let stage = |body: &str| {
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        body["stage"].as_u64().expect("a stage")
    };
    (due.iter().map(|notice| stage(&notice.body)).collect(), due.iter().map(|notice| notice.seq).collect())
}

pub(super) async fn of_one_rollout_the_oldest_is_told_first_and_others_do_not_wait_for_it(store: &Store) {
    let ledger = &store.ledger;
    for (campaign, stage) in [(1, 1), (1, 2), (2, 3), (1, 4)] {
        put(ledger, gate(campaign, stage)).await;
    }
    let (stages, rows) = due(ledger).await;
    assert_eq!(stages, [1, 3]);
    ledger.notice_failed(rows[0], Duration::from_hours(1)).await.expect("put off");
    assert_eq!(due(ledger).await.0, [3], "what comes after it waits with it");
    ledger.notice_told(rows[1]).await.expect("taken away");
    assert_eq!(due(ledger).await.0, Vec::<u64>::new());
    let back = "update notice set due_at = 0";
    store.tamper(back, back).await;
    let again = ledger.notices_due(10).await.expect("an answer");
    assert_eq!(again.iter().map(|notice| notice.tries).collect::<Vec<_>>(), [1]);
    ledger.notice_told(again[0].seq).await.expect("taken away");
    assert_eq!(due(ledger).await.0, [2]);
}

pub(super) async fn after_a_day_a_notice_is_given_up(store: &Store) {
    let ledger = &store.ledger;
    let day = Duration::from_hours(24);
    assert_eq!(ledger.oldest_notice().await.expect("an answer"), None);
    put(ledger, gate(1, 1)).await;
    put(ledger, gate(1, 2)).await;
    assert_eq!(ledger.notices_given_up(day).await.expect("an answer").len(), 0);
    let old = "update notice set at = at - 90000000000 where seq = (select min(seq) from notice)";
    store.tamper(old, old).await;
    let oldest = ledger.oldest_notice().await.expect("an answer").expect("there is one");
    assert!(oldest >= Duration::from_hours(25) && oldest < Duration::from_hours(26), "{oldest:?}");
    assert_eq!(ledger.notices_given_up(day).await.expect("an answer").len(), 1);
    assert_eq!(due(ledger).await.0, [2], "the next one's turn");
}

pub(super) async fn a_notice_is_put_down_with_what_it_tells_and_once(store: &Store) {
    let set = Set::with(store, 30, THREE, "").await;
    let campaign = set.submit().await;
    let ruling = set.rule().await;
    set.freeze(&ruling, &campaign, 5_000).await;
    assert!(store.ledger.notices_due(10).await.expect("an answer").is_empty(), "nobody is waited for");
    let by = OperatorName::parse("ada").expect("a name");
    let pause = Asked { verb: Verb::Pause, by: &by, reason: Some("Twój kod to 123456") };
    store.ledger.verb(campaign.id, &pause).await.expect("an answer").expect("it may happen");
    let refused = store.ledger.verb(campaign.id, &pause).await.expect("an answer");
    assert!(refused.is_err(), "it is paused");
    let told = store.ledger.notices_due(10).await.expect("an answer");
    let bodies: Vec<serde_json::Value> =
        told.iter().map(|notice| serde_json::from_str(&notice.body).expect("JSON")).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!((&bodies[0]["type"], &bodies[0]["why"]), (&"rollout_paused".into(), &"manual".into()));
    assert_eq!(bodies[0]["campaign"], campaign.id.to_string());
    assert!(!bodies[0].to_string().contains("123456"), "nor what a person wrote: {}", bodies[0]);
}
