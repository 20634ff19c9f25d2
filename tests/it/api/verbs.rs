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

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_mistake_is_corrected_by_an_owner_and_two_others_and_only_once_it_is_over() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers", "enqueue:production"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let goes = async |campaign: &str| {
        let (right, approve) =
            (office.approval(&ada, campaign).await, format!("rollouts/{campaign}/approve"));
        office.post(&rita, &approve, &right).await.refused(403, "not_allowed");
        office.post(&ada, &approve, &right).await.ok();
        office.post(&bob, &approve, &right).await.ok();
        office.post(&rita, &format!("rollouts/{campaign}/start"), &json!({})).await.ok();
        office.reaches(&rita, campaign, "completed").await
    };
    let mistake = office.submitted(&rita, "spring").await;
    let (correct, supersede, reached) = (
        format!("rollouts/{mistake}/correct"),
        format!("rollouts/{mistake}/supersede"),
        format!("rollouts/{mistake}/reached"),
    );
    let sorry = json!({"notification": {"title": "Bank", "body": "Przepraszamy za pomyłkę"}});
    office.post(&rita, &correct, &sorry).await.refused(409, "conflict");
    assert_eq!(office.get(&rita, &reached).await.ok()["settled"], json!(false));
    goes(&mistake).await;

    office.get(&bob, &reached).await.refused(403, "not_allowed");
    let told = office.get(&rita, &reached).await.ok();
    assert_eq!((&told["accepted"], &told["unknown"], &told["settled"]), (&json!(3), &json!(0), &json!(true)));
    office.post(&bob, &correct, &sorry).await.refused(403, "not_allowed");
    let guarded = office.post(&ada, &correct, &sorry).await;
    guarded.refused(422, "refused_by_guard");
    assert!(guarded.body["detail"].as_str().is_some_and(|detail| detail.contains("no owner")), "{guarded:?}");
    for wrong in [
        json!({}),
        json!({"notification": {"title": "Bank"}}),
        json!({"notification": {"body": " "}}),
        json!({"notification": {"body": "b"}, "to": {"audience": "staff"}}),
    ] {
        office.post(&rita, &correct, &wrong).await.refused(400, "malformed");
    }
    let elsewhere = json!({"notification": {"body": "b", "collapse_id": "elsewhere"}});
    office.post(&rita, &supersede, &elsewhere).await.refused(400, "malformed");
    let nowhere = format!("rollouts/{}/correct", uuid::Uuid::nil());
    office.post(&rita, &nowhere, &sorry).await.refused(404, "not_found");

    let made = office.post(&rita, &correct, &sorry).await;
    assert_eq!(made.status, 201, "{made:?}");
    let correction = made.ok()["campaign"].as_str().expect("an id").to_owned();
    let second = office.post(&rita, &supersede, &sorry).await;
    second.refused(409, "conflict");
    assert!(second.body["detail"].as_str().is_some_and(|detail| detail.contains(&correction)), "{second:?}");
    let view = office.reaches(&rita, &correction, "pending_approval").await;
    assert_eq!((&view["frozen"], &view["approvals_needed"]), (&json!(3), &json!(2)));
    assert_eq!(view["barred"], json!(["owen", "rita"]));
    assert_eq!(
        (&view["related"][0]["how"], &view["related"][0]["campaign"]),
        (&json!("corrects"), &json!(mistake))
    );
    let preview = office.get(&ada, &format!("rollouts/{correction}/preview")).await.ok();
    assert_eq!((&preview["audience"]["frozen"], &preview["audience"]["at_most"]), (&json!(3), &json!(3)));
    goes(&correction).await;
    let view = office.get(&rita, &format!("rollouts/{mistake}")).await.ok();
    assert_eq!(
        (&view["related"][0]["how"], &view["related"][0]["job"]),
        (&json!("corrected_by"), &json!("spring-correct-1"))
    );
    assert!(office.serving.stop().await.success());
}
