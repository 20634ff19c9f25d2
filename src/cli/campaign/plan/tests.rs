//! Golden files of what a person reads, on the embedded ledger under the policy that is shipped.

use super::*;
use crate::{clock::Clock, dispatch::submit_on_behalf, ledger::LedgerOptions, model::OperatorName};

fn policy() -> Policy {
    Policy::load(Path::new("audiences")).expect("the policy that is shipped")
}

async fn ledger() -> Ledger {
    let ledger = Ledger::connect("sqlite::memory:", LedgerOptions::default()).await.expect("it opens");
    ledger.migrate().await.expect("the migrations apply");
    ledger
}

fn job(id: &str, change: impl FnOnce(&mut Value)) -> Job {
    let expires_at = Clock::system().now() + jiff::SignedDuration::from_hours(2);
    let mut job = json!({
        "v": 1, "id": id, "app": "pl.example.bank", "intent": "production", "expires_at": expires_at,
        "to": { "audience": "customers-pl", "at_most": 4_000_000 },
        "notification": { "title": "Nowa aplikacja", "body": "Zaktualizuj aplikację, żeby płacić szybciej" }
    });
    change(&mut job);
    Job::parse(job.to_string().as_bytes()).expect("a job")
}

/// To our own people, who need no proof of it.
fn to_staff(id: &str, change: impl FnOnce(&mut Value)) -> Job {
    job(id, |job| {
        job["to"] = json!({ "audience": "staff", "at_most": 100 });
        change(job);
    })
}

async fn looked_at(ledger: &Ledger, job: &Job) -> (Option<PlanPreview>, Prospect) {
    let every = std::time::Duration::from_secs(15);
    let looks = Looks { scrape: every, every };
    let producer = ProducerId::parse("marketing").expect("a producer");
    let Some(Recipients::Audience { name, .. }) = job.to() else { panic!("a campaign") };
    looked(ledger, policy(), looks, (job, name, &producer)).await.expect("the ledger answers")
}

async fn shown(ledger: &Ledger, job: &Job) -> (String, Exit) {
    let (planned, prospect) = looked_at(ledger, job).await;
    let producer = ProducerId::parse("marketing").expect("a producer");
    (told(job, &producer, planned.as_ref(), &prospect, Paint::NONE), ended(&prospect).1)
}

#[tokio::test]
async fn a_plan_that_nothing_speaks_against_ends_with_the_verdict() {
    let (told, exit) = shown(&ledger().await, &to_staff("spring", |_| {})).await;
    assert_eq!(exit, Exit::Ok);
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn what_holds_a_campaign_is_told_with_its_number_and_its_place() {
    let placeholder = job("spring", |job| {
        job["notification"]["body"] = json!("Cześć {{imię}}, zaktualizuj aplikację");
        job["notification"]["localized"] = json!({ "zh": { "body": "您好，请查看" } });
    });
    let (told, exit) = shown(&ledger().await, &placeholder).await;
    assert_eq!(exit, Exit::Waits);
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn what_refuses_a_campaign_is_told_first() {
    let test = job("spring", |job| {
        job["intent"] = json!("test");
        job["notification"]["body"] = json!("Cześć {{imię}}, zaktualizuj aplikację");
    });
    let (told, exit) = shown(&ledger().await, &test).await;
    assert_eq!(exit, Exit::Refused);
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_plan_and_a_submission_say_the_same_of_what_was_before_and_a_plan_stores_nothing() {
    let (ledger, guard) = (ledger().await, Watched::new(Arc::new(policy()), Metrics::new()));
    let owner = policy();
    let marketing = ProducerId::parse("marketing").expect("a producer");
    let owner: OperatorName =
        owner.producer(&marketing).expect("it is shipped").owners.first().expect("it has an owner").clone();
    let submit = async |job: &Job| {
        submit_on_behalf(&ledger, &guard, job, &owner, &marketing).await.expect("the ledger answers")
    };
    let (first, again) = (to_staff("monday", |_| {}), to_staff("tuesday", |_| {}));
    assert!(matches!(looked_at(&ledger, &first).await.1, Prospect::Clear(_)));
    assert!(ledger.live_rollouts().await.expect("an answer").is_empty(), "a plan stores nothing");
    let view = submit(&first).await.expect("on record");
    assert!(!view.held);
    let Prospect::Known(campaign) = looked_at(&ledger, &first).await.1 else { panic!("it is on record") };
    assert_eq!(campaign.to_string(), view.campaign);
    let (_, held) = looked_at(&ledger, &again).await;
    let Prospect::Held(findings) = held else { panic!("it says the same: {held:?}") };
    assert!(findings.iter().any(|finding| finding.rule == "duplicate-campaign"), "{findings:?}");
    assert!(submit(&again).await.expect("on record").held);
    let other = to_staff("monday", |job| job["notification"]["body"] = json!("Inna treść"));
    let (_, refused) = looked_at(&ledger, &other).await;
    let Prospect::Refused(findings) = refused else { panic!("the id is another's: {refused:?}") };
    assert_eq!(submit(&other).await.expect_err("the id is another's"), findings);
}

#[tokio::test]
async fn json_has_the_verdict_and_the_findings_beside_the_stages() {
    let placeholder = job("spring", |job| job["notification"]["body"] = json!("Cześć {{imię}}"));
    let (planned, prospect) = looked_at(&ledger().await, &placeholder).await;
    let producer = ProducerId::parse("marketing").expect("a producer");
    let told = as_json(&producer, planned.as_ref(), &prospect).expect("JSON");
    let first = &told["findings"][0];
    assert_eq!((&told["verdict"], &told["producer"]), (&json!("held"), &json!("marketing")));
    assert_eq!((&first["finding"], &first["rule"]), (&json!(1), &json!("unfilled-template")));
    assert!(told["stages"].as_array().is_some_and(|stages| !stages.is_empty()) && first["span"].is_array());
}

#[tokio::test]
async fn an_audience_of_more_than_the_job_allows_is_refused_as_it_would_be_when_frozen() {
    let job = to_staff("spring", |_| {});
    assert_eq!(too_many(&policy(), &job, 100), None);
    let note = too_many(&policy(), &job, 101).expect("one too many");
    let (_, clear) = looked_at(&ledger().await, &job).await;
    let refused = with(clear, note);
    assert_eq!(ended(&refused).1, Exit::Refused);
    assert!(findings(&refused)[0].reason.starts_with("the audience has 101 devices now; the job allows 100"));
}
