//! `job send`, `show`, `cancel`, `schema`; jobs that wait, and jobs that are sent at most once.

use std::process::{Output, Stdio};

use bellwether::{
    clock::Clock,
    ledger::JobState,
    model::{JobId, OutcomeCode, ProducerId},
    simulator::{Fault, FaultAction, Provider},
};
use insta::assert_snapshot;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::told;
use crate::harness::{
    broker::{PATIENCE, eventually, within},
    service::{Stage, TestPhone},
};

/// `job send`, from a producer's machine: with the broker's address, and without a configuration.
async fn send(stage: &Stage, job: &str) -> Output {
    let mut command = stage.command(&["job", "send", "--config", "/nonexistent.toml"]);
    command.env("AMQP_URL", stage.broker.url(stage.producer("cards")));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(job.as_bytes()).await.expect("it reads");
    drop(stdin);
    within("job send", child.wait_with_output()).await.expect("it ends")
}

async fn job(stage: &Stage, verb: &str, id: &str) -> Output {
    stage.run(&["job", verb, stage.producer("cards"), id]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_sent_and_shown_for_people_and_for_programs() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    let sent =
        send(&stage, &Stage::job("j-1", "production", &["anna", "nobody"], "Kod 123").to_string()).await;
    assert_snapshot!(told(&stage, &sent), @r#"
    exit 0
    -- err
    enqueued j-1; the broker has it on disk
    "#);
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "j-1"));
    eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
    assert_snapshot!(told(&stage, &job(&stage, "show", "j-1").await), @r#"
    exit 0
    -- out
    cards/j-1: finished, tries: 1
    received INSTANT  expires INSTANT
    next try -  finished INSTANT
    recipients without a device of the app: 1

    device  outcome  reason
    UUID  accepted
    "#);
    assert_snapshot!(told(&stage, &job(&stage, "show", "j-2").await), @r#"
    exit 5
    -- err
    error: no job cards/j-2 is on record; refused jobs are not (see `dead`)
    "#);
    let output = stage.run(&["job", "show", stage.producer("cards"), "j-1", "--output", "json"]).await;
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&shown["state"], &shown["unreachable"]), (&json!("finished"), &json!(1)));
    assert_eq!(shown["devices"][0]["outcome"], "accepted");

    assert_snapshot!(told(&stage, &send(&stage, "{\"v\":1,\"id\":\"j-3\",\"tittle\":1}").await), @r#"
    exit 3
    -- err
    error: tittle: is not a field of a job; expected one of `v`, `id`, `app`, `intent`, `to`, `notification`, `expires_at`, `not_before`, `at_most_once`, `plan`, `labels`; `bellwether job schema` has the format
    "#);
    assert_eq!(job(&stage, "show", "a b").await.status.code(), Some(2));
    let unreachable =
        stage.command(&["job", "send"]).env("AMQP_URL", "amqp://u:secret@127.0.0.1:1/v").output();
    let unreachable = within("job send", unreachable).await.expect("it ends");
    assert!(!String::from_utf8_lossy(&unreachable.stderr).contains("secret"));
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_enqueued_says_so() {
    let stage = Stage::set().await;
    let file = stage.folder().join("job.json");
    std::fs::write(&file, Stage::job("j-1", "production", &["anna"], "Kod 123").to_string()).expect("a file");
    let send = async |url: &str| {
        let file = file.to_string_lossy();
        let mut command = stage.command(&["job", "send", &file]);
        within("job send", command.env("AMQP_URL", url).output()).await.expect("it ends")
    };
    // Nobody has declared the exchange yet.
    assert_snapshot!(told(&stage, &send(&stage.broker.url(stage.producer("cards"))).await), @r#"
    exit 1
    -- err
    error: the job is NOT enqueued: amqp://127.0.0.1:PORT (virtual host VHOST): publishing failed: no queue takes jobs of this lane from bellwether.jobs; start `bellwether serve` once to declare it
    "#);
    assert_snapshot!(told(&stage, &send("amqp://cards:secret@127.0.0.1:1/%2f").await), @r#"
    exit 1
    -- err
    error: the job is NOT enqueued: amqp://127.0.0.1:PORT (virtual host /): IO error: Connection refused (os error 111)
    "#);
    assert_snapshot!(told(&stage, &send("secret").await), @r#"
    exit 1
    -- err
    error: AMQP_URL: not an AMQP URL (relative URL without a base); write amqp://user:password@host:5672/%2f, or amqps:// for TLS
    "#);
}

#[test]
fn the_schema_of_jobs_is_valid_and_names_every_field() {
    let schema = bellwether::model::job_schema();
    let fields: Vec<_> = schema["properties"].as_object().expect("an object").keys().cloned().collect();
    assert_snapshot!(fields.join(" "), @"app at_most_once expires_at id intent labels not_before notification plan to v");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_job_is_not_sent_before_its_time_and_can_be_withdrawn_until_then() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    let cards = stage.client("cards").await;
    let now = Clock::system().now();
    let not_before = now + SignedDuration::from_secs(2);
    for (id, start) in [("soon", not_before), ("later", now + SignedDuration::from_mins(30))] {
        let mut job = Stage::job(id, "production", &["anna"], id);
        job["not_before"] = json!(start.to_string());
        cards.enqueue(&job.to_string()).await;
    }
    let ledger = stage.ledger().await;
    let key = stage.key("cards", "later");
    let waiting = eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
    assert!(matches!(waiting.state, JobState::Waiting { .. }), "{:?}", waiting.state);
    assert_snapshot!(told(&stage, &job(&stage, "cancel", "later").await), @r#"
    exit 0
    -- err
    withdrawn: nothing more is sent for it
    "#);
    assert_snapshot!(told(&stage, &job(&stage, "show", "later").await), @r#"
    exit 0
    -- out
    cards/later: finished, tries: 0
    received INSTANT  expires INSTANT
    next try -  finished INSTANT
    recipients without a device of the app: 0
    "#);
    assert_snapshot!(told(&stage, &job(&stage, "cancel", "later").await), @r#"
    exit 1
    -- err
    error: cards/later is finished or being sent; that cannot be undone
    "#);
    assert_snapshot!(told(&stage, &job(&stage, "cancel", "never").await), @r#"
    exit 5
    -- err
    error: no job cards/never is on record; it may still be in the queue, where it cannot be withdrawn
    "#);

    stage.simulator.wait_for_requests(1, PATIENCE).await.expect("the other job's time comes");
    let record = stage.simulator.record();
    assert!(record[0].at_micros >= not_before.as_microsecond(), "{}", record[0].at_micros);
    let soon = stage.key("cards", "soon");
    eventually("finished", async || {
        let job = ledger.job(&soon).await.expect("an answer").expect("on record");
        matches!(job.state, JobState::Finished { .. }).then_some(())
    })
    .await;
    // Nothing is left for the sweeper either.
    stage.bring_forward().await;
    assert!(serving.stop().await.success());
    assert_eq!(stage.simulator.summary().accepted, 1);
}

/// A send that the phone shows and whose answer is lost: what is on record, and how often the phone was asked.
async fn after_a_lost_answer(at_most_once: bool) -> (Vec<OutcomeCode>, Vec<String>) {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    stage.simulator.inject(Fault::once(FaultAction::ResetStream { taken: true }).on(Provider::Apns));
    let mut job = Stage::job("lost", "production", &["anna"], "Kod 123");
    job["at_most_once"] = json!(at_most_once);
    stage.client("cards").await.enqueue(&job.to_string()).await;
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "lost"));
    eventually("tried once", async || {
        let job = ledger.job(&key).await.expect("an answer")?;
        (job.tries == 1 && !matches!(job.state, JobState::Sending { .. })).then_some(())
    })
    .await;
    stage.bring_forward().await;
    let finished = eventually("finished", async || {
        let job = ledger.job(&key).await.expect("an answer")?;
        matches!(job.state, JobState::Finished { .. }).then_some(job)
    })
    .await;
    assert!(serving.stop().await.success());
    let outcomes = finished.targets.iter().map(|target| target.outcome).collect();
    let requests = stage.simulator.record();
    let ids = requests.iter().filter_map(|request| request.header("apns-id").map(str::to_owned));
    (outcomes, ids.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_unknown_fate_is_asked_again_with_the_same_id_unless_the_job_says_at_most_once() {
    let (outcomes, ids) = after_a_lost_answer(false).await;
    assert_eq!((outcomes, ids.len()), (vec![OutcomeCode::Accepted], 2));
    assert_eq!(ids[0], ids[1], "the second replaces the first on the phone");
    let (outcomes, ids) = after_a_lost_answer(true).await;
    assert_eq!((outcomes, ids.len()), (vec![OutcomeCode::Unknown], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_job_again_is_answered_from_the_record() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    let cards = stage.client("cards").await;
    for _ in 0..3 {
        cards.enqueue(&Stage::job("j-1", "production", &["anna"], "Kod 123").to_string()).await;
    }
    // The same id of another producer is another job.
    let qa = stage.client("qa").await;
    qa.enqueue(&Stage::job("j-1", "test", &["qa-ios-1"], "Kod 123").to_string()).await;
    eventually("all are judged", async || {
        let judged = serving.metric("bellwether_jobs_total", &[]).await;
        (judged > 3.5).then_some(())
    })
    .await;
    let known = serving.metric("bellwether_jobs_total", &["verdict=\"known\""]).await;
    let clear = serving.metric("bellwether_jobs_total", &["verdict=\"clear\""]).await;
    assert!((known - 2.0).abs() < 0.5 && (clear - 2.0).abs() < 0.5, "{known}, {clear}");
    assert!(serving.stop().await.success());
    assert_eq!(stage.simulator.summary().accepted, 1);
    let ledger = stage.ledger().await;
    for producer in ["cards", "qa"] {
        let producer = ProducerId::parse(stage.producer(producer)).expect("a producer");
        let key = bellwether::model::JobKey { producer, id: JobId::parse("j-1").expect("an id") };
        assert!(ledger.job(&key).await.expect("an answer").is_some(), "{key}");
    }
}
