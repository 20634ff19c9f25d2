//! Campaigns that the guard holds.

use serde_json::json;

use super::*;
use crate::harness::told::Events;

/// A text in which a program has forgotten two names.
fn unfilled(id: &str) -> Value {
    Office::job(id, "Cześć {{imię}}, Twój doradca to {{doradca}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_held_campaign_waits_for_somebody_who_answers_for_each_finding_by_its_number() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let events = Events::of(&office.stage).await;
    let (_, rita) = office.token("rita", &["enqueue:production", "approve:customers", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let (_, eve) = office.token("eve", &["approve:staff", "promote"]).await;
    let job = unfilled("held");
    let answer = office.post(&rita, "campaigns", &job).await.ok();
    assert_eq!((&answer["known"], &answer["held"]), (&json!(false), &json!(true)));
    let campaign = answer["campaign"].as_str().expect("an id").to_owned();
    let again = office.post(&rita, "campaigns", &job).await.ok();
    assert_eq!((&again["known"], &again["held"]), (&json!(true), &json!(true)));
    let told = events.next_of(&["job.held"]).await;
    assert_eq!(told["campaign"], json!(campaign));
    assert_eq!(told["findings"][0]["rule"], "unfilled-template");
    assert!(!told.to_string().contains("doradca"), "I12: the text is in nobody's log");

    let view = office.reaches(&rita, &campaign, "pending_approval").await;
    let numbers: Vec<_> = view["findings"].as_array().expect("findings").iter().collect();
    assert_eq!(numbers.len(), 2, "{view}");
    assert!(numbers.iter().all(|finding| finding["holds"] == json!(true)));
    let waits = view["waits"]["why"].as_str().expect("a reason");
    assert!(waits.ends_with("somebody must accept what it found first: 1, 2"), "{waits}");
    let (approve, accept) =
        (format!("rollouts/{campaign}/approve"), format!("rollouts/{campaign}/accept-finding"));
    let right = office.approval(&ada, &campaign).await;
    let refused = office.post(&ada, &approve, &right).await;
    refused.refused(409, "waits");
    assert!(
        refused.body["detail"].as_str().is_some_and(|why| why.contains("findings 1 and 2")),
        "{refused:?}"
    );

    let yes = |finding: u64| json!({"finding": finding, "reason": "the names are filled in by the app"});
    office.post(&rita, &accept, &yes(1)).await.refused(403, "not_allowed");
    office.post(&eve, &accept, &yes(1)).await.refused(403, "not_allowed");
    office.post(&ada, &accept, &yes(3)).await.refused(404, "not_found");
    office.post(&ada, &accept, &json!({"finding": 1, "reason": " "})).await.refused(400, "malformed");
    let view = office.post(&ada, &accept, &yes(1)).await.ok();
    assert_eq!(view["findings"][0]["accepted_by"], "ada");
    office.post(&bob, &accept, &yes(1)).await.refused(409, "conflict");
    let refused = office.post(&ada, &approve, &right).await;
    assert!(
        refused.body["detail"].as_str().is_some_and(|why| why.contains("finding 2 first")),
        "{refused:?}"
    );
    office.post(&bob, &accept, &yes(2)).await.ok();

    // What is accepted is not approved: that takes two, as ever.
    office.post(&rita, &format!("rollouts/{campaign}/start"), &json!({})).await.refused(409, "waits");
    assert_eq!(office.stage.simulator.requests(), 0, "I3");
    office.post(&ada, &approve, &right).await.ok();
    office.post(&bob, &approve, &right).await.ok();
    office.post(&rita, &format!("rollouts/{campaign}/start"), &json!({})).await.ok();
    office.reaches(&rita, &campaign, "completed").await;
    office.post(&ada, &accept, &yes(2)).await.refused(409, "conflict");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_what_nobody_answers_for_expires_and_a_direct_job_is_never_held() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let events = Events::of(&office.stage).await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let mut job = unfilled("late");
    job["expires_at"] = json!((Clock::system().now() + SignedDuration::from_secs(2)).to_string());
    let answer = office.post(&rita, "campaigns", &job).await.ok();
    let campaign = answer["campaign"].as_str().expect("an id").to_owned();
    office.reaches(&rita, &campaign, "expired").await;
    let cards = office.stage.client("cards").await;
    let direct = Stage::job("direct", "production", &["anna"], "Kod: {{kod}}");
    cards.enqueue(&direct.to_string()).await;
    let told = events.next_of(&["job.refused"]).await;
    assert_eq!(told["findings"][0]["rule"], "unfilled-template");
    assert_eq!(office.stage.simulator.requests(), 0, "I3");
    assert!(office.serving.stop().await.success());
}
