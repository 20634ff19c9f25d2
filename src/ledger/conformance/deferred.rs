//! Jobs that wait: claims, expiry, halts, withdrawal.

use std::time::Duration;

use super::{Store, fixtures::*};
use crate::{
    guard::{Cleared, FoundRecipient},
    ledger::{Cancelling, DeferredJob, HaltScope, JobState, Ledger, NotDue, Pointer},
    model::{Job, OutcomeCode, Reason},
};

const CLAIM: Duration = Duration::from_mins(5);

async fn take(ledger: &Ledger, pointer: &Pointer, claim: Duration) -> Result<DeferredJob, NotDue> {
    let pointers = std::slice::from_ref(pointer);
    ledger.take_deferred(pointers, claim).await.expect("the ledger answers").remove(0)
}

async fn outcomes(store: &Store, job: &Job) -> Vec<OutcomeCode> {
    let record = store.ledger.job(&key(job)).await.expect("an answer").expect("on record");
    record.targets.iter().map(|target| target.outcome).collect()
}

async fn state(store: &Store, job: &Job) -> JobState {
    store.ledger.job(&key(job)).await.expect("an answer").expect("on record").state
}

pub(super) async fn i6_one_try_is_claimed_by_one_process(store: &Store) {
    let (job, devices) = half_done(store, "j", "").await;
    let pointer = pointer(&job, 1);
    let processes = [store.other_process().await, store.other_process().await];
    let (one, two) = tokio::join!(take(&processes[0], &pointer, CLAIM), take(&processes[1], &pointer, CLAIM));
    let (taken, refused): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (1, 1));
    assert_eq!(refused.into_iter().next().and_then(Result::err), Some(NotDue::Later));

    let deferred = taken.into_iter().flatten().next().expect("one");
    assert_eq!((&deferred.job, deferred.tries), (&job, 1));
    let expected = [FoundRecipient::User(user("b"), vec![devices[1].clone()])];
    assert_eq!(deferred.recipients, expected, "only what is still to do");
    let now = store.ledger.now().await.expect("the clock");
    let cleared = Cleared::for_test(key(&job), job.digest(), app(), hours(now, 1));
    let mut open = deferred.open(&cleared);
    assert_eq!(open.tries(), 2);
    let started = open.start();
    assert_eq!((started.len(), started[0].position(), started[0].device()), (1, 1, &devices[1]));

    commit(&store.ledger, over(&job, 2, &[(1, &devices[1], accepted())], now, None)).await;
    assert_eq!(outcomes(store, &job).await, [OutcomeCode::Accepted; 2]);
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Done));
}

pub(super) async fn i6_a_commit_that_is_repeated_takes_no_claim_away(store: &Store) {
    let (job, devices) = half_done(store, "j", "").await;
    let pointer = pointer(&job, 1);
    assert!(take(&store.ledger, &pointer, CLAIM).await.is_ok(), "another process is at it");
    // The answer to the first commit was lost with the connection, so its process commits again.
    let now = store.ledger.now().await.expect("the clock");
    let outcomes = [(0, &devices[0], accepted()), (1, &devices[1], throttled())];
    commit(&store.ledger, over(&job, 1, &outcomes, now, Some(hours(now, -1)))).await;
    assert!(matches!(state(store, &job).await, JobState::Sending { .. }), "it still is");
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Later));
}

pub(super) async fn a_lapsed_claim_lets_the_job_be_taken_again(store: &Store) {
    let (job, _) = half_done(store, "j", "").await;
    let pointer = pointer(&job, 1);
    let overdue = || store.ledger.overdue_direct(Duration::ZERO, 10);
    assert_eq!(overdue().await.expect("an answer"), std::slice::from_ref(&pointer));
    assert!(take(&store.ledger, &pointer, CLAIM).await.is_ok());
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Later));
    assert_eq!(overdue().await.expect("an answer"), [], "somebody is at it");
    let lapse = "update direct_job set claim_until = 1, due_at = 1";
    store.tamper(lapse, lapse).await;
    assert_eq!(overdue().await.expect("an answer"), std::slice::from_ref(&pointer), "the sweeper finds it");
    let again = take(&store.ledger, &pointer, CLAIM).await.expect("its process died");
    assert_eq!(again.tries, 1);
}

pub(super) async fn a_lapsed_at_most_once_job_is_given_up(store: &Store) {
    devices(store, vec![phone("a", "1")]).await;
    let job = job_with("j", &["a"], r#""at_most_once":true,"#, "Once");
    open(&store.ledger, &job).await.expect("the intent is on record");
    let pointer = pointer(&job, 0);
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Later), "it is in flight");
    let lapse = "update direct_job set claim_until = 1, due_at = 1";
    store.tamper(lapse, lapse).await;
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Done));
    assert_eq!(outcomes(store, &job).await, [OutcomeCode::Unknown]);
    // The late word of a process that was only slow is still learned.
    let now = store.ledger.now().await.expect("the clock");
    let device = store.ledger.devices_of(None, &user("a")).await.expect("an answer").remove(0).device;
    commit(&store.ledger, over(&job, 1, &[(0, &device, accepted())], now, None)).await;
    assert_eq!(outcomes(store, &job).await, [OutcomeCode::Accepted]);
}

pub(super) async fn a_stale_pointer_leads_nowhere(store: &Store) {
    let (job, _) = half_done(store, "j", "").await;
    let unknown = Pointer { key: key(&crate::ledger::conformance::fixtures::job("never", &["a"])), tries: 1 };
    let pointers = [pointer(&job, 0), unknown, pointer(&job, 1), pointer(&job, 1)];
    let taken = store.ledger.take_deferred(&pointers[..2], CLAIM).await.expect("answers");
    assert!(taken.iter().all(|taken| taken.as_ref().err() == Some(&NotDue::Done)), "{taken:?}");
    let taken = store.ledger.take_deferred(&pointers[2..], CLAIM).await.expect("answers");
    assert!(taken[0].is_ok());
    assert_eq!(taken[1].as_ref().err(), Some(&NotDue::Later), "the same pointer twice is taken once");
}

pub(super) async fn a_halted_job_waits(store: &Store) {
    let (job, _) = half_done(store, "j", "").await;
    let pointer = pointer(&job, 1);
    let scope = HaltScope::App(app());
    store.ledger.set_halt(&scope, "ada", "wrong text").await.expect("halted");
    assert_eq!(take(&store.ledger, &pointer, CLAIM).await.err(), Some(NotDue::Later));
    assert!(matches!(state(store, &job).await, JobState::Waiting { .. }), "it is not even claimed");
    // Nor does it stand before others when the sweeper looks, until it expires.
    let overdue = async || store.ledger.overdue_direct(Duration::ZERO, 10).await.expect("an answer");
    let long_due = "update direct_job set due_at = 1";
    store.tamper(long_due, long_due).await;
    assert_eq!(overdue().await, []);
    store.ledger.clear_halt(&scope, "ada").await.expect("lifted");
    assert_eq!(overdue().await, std::slice::from_ref(&pointer));
    store.ledger.set_halt(&HaltScope::All, "ada", "wrong text").await.expect("halted");
    assert_eq!(overdue().await, []);
    let kept = "update direct_job set expires_at = expires_at - 1000000000000000";
    let back = "update direct_job set expires_at = expires_at + 1000000000000000";
    store.tamper(kept, kept).await;
    assert_eq!(overdue().await, std::slice::from_ref(&pointer), "to be recorded as expired");
    store.tamper(back, back).await;
    store.ledger.clear_halt(&HaltScope::All, "ada").await.expect("lifted");
    assert!(take(&store.ledger, &pointer, CLAIM).await.is_ok());
}

pub(super) async fn i9_an_expired_job_is_recorded_and_not_taken(store: &Store) {
    let (job, _) = half_done(store, "j", r#""expires_at":"2026-01-01T00:00:00Z","#).await;
    assert_eq!(take(&store.ledger, &pointer(&job, 1), CLAIM).await.err(), Some(NotDue::Expired));
    assert_eq!(outcomes(store, &job).await, [OutcomeCode::Accepted, OutcomeCode::Expired]);
    assert!(matches!(state(store, &job).await, JobState::Finished { .. }));
    assert_eq!(store.ledger.outbox_len().await.expect("a count"), 1, "its producer is told");
    assert_eq!(take(&store.ledger, &pointer(&job, 1), CLAIM).await.err(), Some(NotDue::Done));
}

pub(super) async fn i8_devices_that_are_gone_are_left_out(store: &Store) {
    let (moved, devices) = half_done(store, "j", "").await;
    let now = store.ledger.now().await.expect("the clock");
    let both = job("k", &["a", "b"]);
    let outcomes_of_both = [(0, &devices[0], throttled()), (1, &devices[1], throttled())];
    commit(&store.ledger, over(&both, 1, &outcomes_of_both, now, Some(hours(now, -1)))).await;
    store.ledger.import(vec![phone("somebody-else", "j-b")]).await.expect("committed");

    assert_eq!(take(&store.ledger, &pointer(&moved, 1), CLAIM).await.err(), Some(NotDue::Done));
    assert_eq!(outcomes(store, &moved).await, [OutcomeCode::Accepted, OutcomeCode::TokenGone]);
    let record = store.ledger.job(&key(&moved)).await.expect("an answer").expect("on record");
    assert_eq!(record.targets[1].reason, Some(Reason::new("gone_while_waiting")));
    assert!(matches!(record.state, JobState::Finished { .. }));

    let taken = take(&store.ledger, &pointer(&both, 1), CLAIM).await.expect("one is left");
    assert_eq!(taken.recipients, [FoundRecipient::User(user("a"), vec![devices[0].clone()])]);
    assert_eq!(outcomes(store, &both).await, [OutcomeCode::Throttled, OutcomeCode::TokenGone]);
}

pub(super) async fn a_job_that_waited_for_its_hour_is_resolved_when_due(store: &Store) {
    let ledger = &store.ledger;
    let job = job("j", &["a", "nobody"]);
    let now = ledger.now().await.expect("the clock");
    let waiting = over(&job, 0, &[], now, Some(hours(now, 1)));
    assert!(!waiting.is_final());
    commit(ledger, waiting).await;
    assert!(!ask(ledger, &job).await.prior.expect("it is on record").finished);
    assert_eq!(take(ledger, &pointer(&job, 0), CLAIM).await.err(), Some(NotDue::Later), "not yet");
    assert_eq!(ledger.outbox_len().await.expect("a count"), 0, "nothing has ended");

    // Registered only after the job was enqueued: who is rung is decided when it is due.
    let device = devices(store, vec![phone("a", "1")]).await.remove(0);
    let hour = "update direct_job set due_at = 1";
    store.tamper(hour, hour).await;
    let taken = take(ledger, &pointer(&job, 0), CLAIM).await.expect("due");
    assert_eq!(taken.recipients.len(), 2, "whoever has no device is named, too");
    assert_eq!(taken.recipients[0].devices(), std::slice::from_ref(&device));
    let mut finished = over(&job, 1, &[(0, &device, accepted())], now, None);
    finished.unreachable = 1;
    commit(ledger, finished).await;
    let record = ledger.job(&key(&job)).await.expect("an answer").expect("on record");
    assert_eq!((record.unreachable, record.targets.len(), record.tries), (1, 1, 1));
    assert!(matches!(record.state, JobState::Finished { .. }));
}

pub(super) async fn a_cancelled_job_is_not_sent(store: &Store) {
    let ledger = &store.ledger;
    let (cancelled, _) = half_done(store, "j", "").await;
    assert_eq!(ledger.cancel_job(&key(&cancelled)).await.expect("an answer"), Cancelling::Cancelled);
    assert_eq!(outcomes(store, &cancelled).await, [OutcomeCode::Accepted, OutcomeCode::Cancelled]);
    assert_eq!(take(ledger, &pointer(&cancelled, 1), CLAIM).await.err(), Some(NotDue::Done));
    assert_eq!(ledger.cancel_job(&key(&cancelled)).await.expect("an answer"), Cancelling::TooLate);
    let unknown = key(&job("never", &["a"]));
    assert_eq!(ledger.cancel_job(&unknown).await.expect("an answer"), Cancelling::NotFound);
    let (held, _) = half_done(store, "k", "").await;
    take(ledger, &pointer(&held, 1), CLAIM).await.expect("due");
    assert_eq!(ledger.cancel_job(&key(&held)).await.expect("an answer"), Cancelling::TooLate, "being sent");
}
