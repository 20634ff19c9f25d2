//! A batch: read, open, commit.

use super::{Store, fixtures::*};
use crate::{
    ledger::{HaltScope, JobState, NotStarted, RefusedJob},
    model::{Event, EventBody, FindingNote, Outcome, OutcomeCode, Reason},
};

fn codes(record: &crate::ledger::JobRecord) -> Vec<OutcomeCode> {
    record.targets.iter().map(|target| target.outcome).collect()
}

async fn record(store: &Store, job: &crate::model::Job) -> crate::ledger::JobRecord {
    store.ledger.job(&key(job)).await.expect("an answer").expect("it is on record")
}

pub(super) async fn the_same_id_is_answered_from_the_record(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("u", "t")]).await;
    let job = job("j", &["u"]);
    assert_eq!(ask(ledger, &job).await.prior, None);
    let mut opened = open(ledger, &job).await.expect("it may be sent");
    let started = opened.start();
    assert_eq!((started.len(), started[0].device().id, started[0].position()), (1, devices[0].id, 0));
    assert!(opened.start().is_empty(), "nobody is sent the same intent twice");

    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&job, 1, &[(0, &devices[0], accepted())], now, None)).await;
    let prior = ask(ledger, &job).await.prior.expect("it is known");
    assert_eq!((prior.digest, prior.finished), (job.digest(), true));
    let other = job_with("j", &["u"], "", "Another text");
    let prior = ask(ledger, &other).await.prior.expect("the key is taken");
    assert_ne!(prior.digest, other.digest(), "another text under the same id is seen");
    assert_eq!(open(ledger, &job).await.expect_err("a copy"), NotStarted::AlreadyKnown);
    let record = record(store, &job).await;
    assert_eq!((&record.job, record.tries, codes(&record).len()), (&Some(job), 1, 1));
}

pub(super) async fn a_key_is_free_again_after_thirty_days(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("u", "t")]).await;
    let (old, new) = (job("j", &["u"]), job_with("j", &["u"], "", "Another text"));
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&old, 1, &[(0, &devices[0], accepted())], now, None)).await;
    let age = "update direct_job set finished_at = finished_at - 2505600000000";
    store.tamper(age, age).await;
    assert!(ask(ledger, &new).await.prior.is_some(), "29 days: kept");
    store.tamper(age, age).await;
    assert_eq!(ask(ledger, &new).await.prior, None, "58 days: free");
    commit(ledger, over(&new, 1, &[(0, &devices[0], accepted())], now, None)).await;
    assert_eq!(record(store, &new).await.digest, new.digest());
}

pub(super) async fn a_second_try_is_merged_by_position(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("a", "1"), phone("b", "2"), phone("c", "3")]).await;
    let job = job("j", &["a", "b", "c"]);
    let now = ledger.now().await.expect("the clock");
    let first = [(2, &devices[2], throttled()), (0, &devices[0], accepted()), (1, &devices[1], not_sent())];
    commit(ledger, over(&job, 1, &first, now, Some(hours(now, 1)))).await;
    let halfway = record(store, &job).await;
    assert_eq!(codes(&halfway), [OutcomeCode::Accepted, OutcomeCode::NotSent, OutcomeCode::Throttled]);
    assert_eq!(
        halfway.targets.iter().map(|t| t.device).collect::<Vec<_>>(),
        devices.iter().map(|d| d.id).collect::<Vec<_>>()
    );
    assert!(matches!(halfway.state, JobState::Waiting { .. }));
    assert_eq!(halfway.targets[2].reason, Some(Reason::new("TooManyRequests")));
    assert!(!ask(ledger, &job).await.prior.expect("known").finished);

    let rejected = Outcome::Rejected { reason: Reason::new("BadTopic") };
    let second = [(1, &devices[1], rejected), (2, &devices[2], accepted())];
    commit(ledger, over(&job, 2, &second, now, None)).await;
    let ended = record(store, &job).await;
    assert_eq!(codes(&ended), [OutcomeCode::Accepted, OutcomeCode::Rejected, OutcomeCode::Accepted]);
    assert_eq!(ended.targets[1].reason, Some(Reason::new("BadTopic")));
    assert_eq!(ended.targets[2].reason, None, "the word for the throttle explains nothing now");
    assert!(matches!(ended.state, JobState::Finished { .. }));
    assert_eq!(ended.tries, 2);
    let events = ledger.outbox_batch(10).await.expect("a batch");
    assert_eq!(
        events.iter().map(|event| event.routing_key.as_str()).collect::<Vec<_>>(),
        ["job.finished.cards"]
    );
    assert!(events[0].event.contains(r#""outcomes":{"accepted":2,"rejected":1}"#), "{}", events[0].event);
}

pub(super) async fn a_final_outcome_is_never_reopened(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("a", "1")]).await;
    let job = job("j", &["a"]);
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&job, 1, &[(0, &devices[0], accepted())], now, None)).await;
    // A copy that another process sent at the same time, and whose fate is less certain.
    commit(ledger, over(&job, 1, &[(0, &devices[0], not_sent())], now, Some(now))).await;
    let record = record(store, &job).await;
    assert_eq!(codes(&record), [OutcomeCode::Accepted]);
    assert!(matches!(record.state, JobState::Finished { .. }));
    assert!(ledger.overdue_direct(std::time::Duration::ZERO, 10).await.expect("an answer").is_empty());
}

pub(super) async fn two_jobs_with_one_key_at_once_leave_the_first_on_record(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("a", "1")]).await;
    let (first, second) = (job("j", &["a"]), job_with("j", &["a"], "", "Another text"));
    let now = ledger.now().await.expect("the clock");
    let batch = [&first, &second].map(|job| over(job, 1, &[(0, &devices[0], accepted())], now, None));
    ledger.commit_direct(&batch, &[]).await.expect("committed");
    assert_eq!(record(store, &first).await.digest, first.digest());
    assert_eq!(ledger.outbox_len().await.expect("a count"), 2, "both producers are told what was sent");
    let entries = ledger.audit_entries(1, 10).await.expect("entries");
    assert!(entries[0].body.contains(r#""conflicts":["cards/j"]"#), "{}", entries[0].body);
}

pub(super) async fn at_most_once_is_on_record_before_it_is_sent(store: &Store) {
    let devices = devices(store, vec![phone("a", "1")]).await;
    let job = job_with("j", &["a"], r#""at_most_once":true,"#, "Once");
    let other = store.other_process().await;
    // Both have read before either has opened: only the ledger can tell them apart.
    let reads = (read(&store.ledger, &job).await, read(&other, &job).await);
    let (ours, theirs) =
        tokio::join!(open_as_read(&store.ledger, &job, reads.0), open_as_read(&other, &job, reads.1));
    let opened = [ours, theirs];
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
    assert!(opened.iter().flatten().all(|opened| opened.tries() == 1));
    let intent = record(store, &job).await;
    assert_eq!(codes(&intent), [OutcomeCode::ToDo]);
    assert!(matches!(intent.state, JobState::Sending { .. }));

    let now = store.ledger.now().await.expect("the clock");
    commit(&store.ledger, over(&job, 1, &[(0, &devices[0], accepted())], now, None)).await;
    let ended = record(store, &job).await;
    assert_eq!((codes(&ended), ended.tries), (vec![OutcomeCode::Accepted], 1));
    assert!(ended.policy.is_some() && matches!(ended.state, JobState::Finished { .. }));
}

pub(super) async fn nothing_early_nothing_late(store: &Store) {
    devices(store, vec![phone("a", "1")]).await;
    let now = store.ledger.now().await.expect("the clock");
    let cases = [
        (
            format!(r#""not_before":"{}","expires_at":"{}","#, hours(now, 1), hours(now, 2)),
            Some(NotStarted::NotYet),
        ),
        (format!(r#""not_before":"{}","expires_at":"{}","#, hours(now, -1), hours(now, 2)), None),
        (format!(r#""expires_at":"{}","#, hours(now, -1)), Some(NotStarted::Expired)),
        (format!(r#""expires_at":"{}","#, hours(now, 1)), None),
    ];
    for (fields, expected) in cases {
        let opened = open(&store.ledger, &job_with("j", &["a"], &fields, "Text")).await;
        assert_eq!(opened.err(), expected, "{fields}");
    }
}

pub(super) async fn i5_a_halt_is_seen_by_the_next_read(store: &Store) {
    let ledger = store.other_process().await;
    devices(store, vec![phone("a", "1")]).await;
    let job = job("j", &["a"]);
    let shop = HaltScope::App(crate::model::AppId::parse("pl.example.shop").expect("an app"));
    store.ledger.set_halt(&shop, "ada", "wrong text").await.expect("halted");
    assert!(open(&ledger, &job).await.is_ok(), "another app's halt is not ours");
    for scope in [HaltScope::All, HaltScope::App(app())] {
        store.ledger.set_halt(&scope, "ada", "wrong text").await.expect("halted");
        assert_eq!(open(&ledger, &job).await.expect_err("halted"), NotStarted::Halted);
        assert!(store.ledger.clear_halt(&scope, "ada").await.expect("lifted"));
        assert!(open(&ledger, &job).await.is_ok());
    }
    assert!(!store.ledger.clear_halt(&HaltScope::All, "ada").await.expect("an answer"), "there is none");
    let halts = ledger.halts().await.expect("an answer");
    assert_eq!(halts.iter().map(|halt| halt.scope.clone()).collect::<Vec<_>>(), [shop]);
    let kinds: Vec<String> =
        ledger.audit_entries(1, 10).await.expect("entries").into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["halt.set", "halt.set", "halt.cleared", "halt.set", "halt.cleared"]);
    assert_eq!(ledger.outbox_len().await.expect("a count"), 5);
}

pub(super) async fn refusals_are_told_and_audited(store: &Store) {
    let ledger = &store.ledger;
    let job = job("j", &["a"]);
    let finding = FindingNote {
        rule: "test-to-production".into(),
        verdict: "refuse".into(),
        field: "to".into(),
        span: None,
        reason: "no tester".into(),
        fix: "name testers".into(),
    };
    let (producer, digest) = (key(&job).producer, job.digest());
    let body = EventBody::JobRefused {
        producer,
        job: job.id().clone(),
        app: Some(app()),
        digest,
        findings: vec![finding],
    };
    let now = ledger.now().await.expect("the clock");
    let refused = RefusedJob { event: Event::new(now, None, digest.as_bytes(), body) };
    ledger.commit_direct(&[], &[refused]).await.expect("committed");
    assert_eq!(ledger.outbox_batch(10).await.expect("a batch")[0].routing_key, "job.refused.cards");
    let entry = ledger.audit_entries(1, 10).await.expect("entries").remove(0);
    assert_eq!((entry.kind.as_str(), entry.actor.as_str()), ("direct.verdicts", "bellwether"));
    let body: serde_json::Value = serde_json::from_str(&entry.body).expect("JSON");
    assert_eq!(body["refused"][0]["rules"], serde_json::json!(["test-to-production"]));
    assert_eq!(body["hash"].as_str().map(str::len), Some(64));
    assert_eq!(ledger.job(&key(&job)).await.expect("an answer"), None);
}

pub(super) async fn text_is_forgotten_after_its_time(store: &Store) {
    let ledger = &store.ledger;
    let devices = devices(store, vec![phone("a", "1")]).await;
    let job = job("j", &["a"]);
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&job, 1, &[(0, &devices[0], accepted())], now, None)).await;
    assert_eq!(ledger.forget_old(hours(now, 89 * 24)).await.expect("done").texts, 0);
    assert!(record(store, &job).await.job.is_some());
    assert_eq!(ledger.forget_old(hours(now, 91 * 24)).await.expect("done").texts, 1);
    let forgotten = record(store, &job).await;
    assert_eq!((forgotten.job.is_none(), forgotten.digest), (true, job.digest()));
    assert_eq!(codes(&forgotten), [OutcomeCode::Accepted]);
}
