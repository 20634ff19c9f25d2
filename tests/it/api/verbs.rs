//! What people do to a rollout.

use serde_json::json;
use sqlx::Connection as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn i4_two_people_let_a_campaign_go_and_whoever_asked_for_it_is_neither() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "approve:customers", "promote"]).await;
    let (_, owen) = office.token("Owen", &["approve:customers"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, twin) = office.token("\u{430}da", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let approve = format!("rollouts/{campaign}/approve");
    let right = office.approval(&ada, &campaign).await;

    for (field, wrong) in
        [("digest", json!("0".repeat(64))), ("count", json!(4_213_007)), ("audience", json!("staff"))]
    {
        let mut stale = right.clone();
        stale[field] = wrong;
        office.post(&ada, &approve, &stale).await.refused(412, "stale_digest");
    }
    office.post(&rita, &approve, &right).await.refused(403, "not_allowed");
    office.post(&owen, &approve, &right).await.refused(403, "not_allowed");
    let start = format!("rollouts/{campaign}/start");
    office.post(&rita, &start, &json!({})).await.refused(409, "waits");
    let view = office.post(&ada, &approve, &right).await.ok();
    assert_eq!(view["approvals"].as_array().map(Vec::len), Some(1));
    // One person with two tokens, and the same approval again.
    office.post(&twin, &approve, &right).await.refused(403, "not_allowed");
    office.post(&ada, &approve, &right).await.refused(403, "not_allowed");
    assert_eq!(office.stage.simulator.requests(), 0);
    let view = office.post(&bob, &approve, &right).await.ok();
    assert_eq!(view["state"], "approved");
    // Replayed once it is approved.
    office.post(&bob, &approve, &right).await.refused(409, "conflict");
    office.post(&rita, &start, &json!({})).await.ok();
    office.reaches(&rita, &campaign, "completed").await;
    assert_eq!(office.stage.simulator.record().iter().filter(|asked| asked.token.is_some()).count(), 3);
    office.post(&rita, &start, &json!({})).await.refused(409, "over");
    office.post(&ada, &approve, &right).await.refused(409, "over");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_under_a_key_happens_once() {
    let office = Office::open("").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let approve = format!("rollouts/{campaign}/approve");
    let right = office.approval(&ada, &campaign).await.to_string();
    let post = async |token: &str, key: &str, body: &str| {
        office.asked((Method::POST, &approve), token, Some(key), Some(body.to_owned())).await
    };
    // The same at the same instant: one does it, all hear of it.
    let (first, second, third) =
        tokio::join!(post(&ada, "k", &right), post(&ada, "k", &right), post(&ada, "k", &right));
    assert_eq!((first.status, &first, &first), (200, &second, &third));
    post(&ada, "k", "{}").await.refused(422, "key_reused");
    assert_eq!(post(&bob, "k", &right).await.ok()["state"], "approved", "bob's keys are bob's");
    assert_eq!(post(&ada, "k", &right).await, first, "the answer of then");
    for wrong in ["", "with space", &"k".repeat(129)] {
        post(&ada, wrong, &right).await.refused(400, "malformed");
    }
    // A refusal is an answer, too; and a token is shown once.
    let body = json!({"operator": "eve", "scopes": ["halt"], "days": 1}).to_string();
    let make = async || {
        office.asked((Method::POST, "operators"), &office.root, Some("make"), Some(body.clone())).await
    };
    let secret = make().await.ok()["secret"].as_str().expect("a token").to_owned();
    make().await.refused(409, "conflict");
    let mut database = sqlx::PgConnection::connect(&office.stage.database()).await.expect("the database");
    let kept: Vec<String> = sqlx::query_scalar("select answer from idempotency where answer is not null")
        .fetch_all(&mut database)
        .await
        .expect("rows");
    assert!(kept.len() >= 3 && kept.iter().all(|answer| !answer.contains(&secret)), "i12");
    assert!(office.serving.stop().await.success());
}
