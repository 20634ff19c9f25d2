//! Devices, jobs and the direct lane's conversation, as short as a test wants them.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::Store;
use crate::{
    guard::{Cleared, FoundRecipient},
    ledger::{
        DirectAnswer, DirectAsk, DirectRead, FinishedJob, Ledger, NotStarted, OpenJob, OpenRequest, Pointer,
        TargetOutcome,
    },
    model::{
        AppId, Device, Digest, Environment, Job, JobKey, NewDevice, NotSent, Outcome, Phone, Platform,
        ProducerId, Reason, Token, UserId,
    },
};

pub(super) const APP: &str = "pl.example.bank";

/// How long an `at_most_once` job may be in flight.
const IN_FLIGHT: Duration = Duration::from_mins(5);

pub(super) fn app() -> AppId {
    AppId::parse(APP).expect("an app")
}

pub(super) fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user")
}

pub(super) fn phone(owner: &str, token: &str) -> NewDevice {
    let phone = Phone {
        app: app(),
        platform: Platform::Ios,
        environment: Environment::Production,
        token: Token::parse(token).expect("a token"),
    };
    NewDevice { country: Some("PL".into()), ..phone.of(user(owner)) }
}

/// A job for users, with further fields (JSON, ending in a comma) and a text.
pub(super) fn job_with(id: &str, users: &[&str], fields: &str, text: &str) -> Job {
    let json = format!(
        r#"{{"v":1,"id":"{id}","app":"{APP}","intent":"production",{fields}
            "to":{{"users":{}}},"notification":{{"body":"{text}"}}}}"#,
        serde_json::json!(users)
    );
    Job::parse(json.as_bytes()).expect("a job")
}

pub(super) fn job(id: &str, users: &[&str]) -> Job {
    job_with(id, users, "", "Your card was used")
}

pub(super) fn key(job: &Job) -> JobKey {
    job.key(&ProducerId::parse("cards").expect("a producer"))
}

pub(super) fn pointer(job: &Job, tries: u32) -> Pointer {
    Pointer { key: key(job), tries }
}

pub(super) fn hours(now: Timestamp, hours: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_hours(hours)).expect("not the end of time")
}

pub(super) async fn read(ledger: &Ledger, job: &Job) -> DirectRead {
    let key = key(job);
    ledger
        .read_direct(&[DirectAsk { key: &key, app: job.app(), to: job.to() }])
        .await
        .expect("the ledger answers")
}

/// What the ledger knows about one job.
pub(super) async fn ask(ledger: &Ledger, job: &Job) -> DirectAnswer {
    read(ledger, job).await.answers.remove(0)
}

/// Reads, clears and opens one job.
pub(super) async fn open(ledger: &Ledger, job: &Job) -> Result<OpenJob, NotStarted> {
    open_as_read(ledger, job, read(ledger, job).await).await
}

/// Clears and opens one job by a read of some time ago.
pub(super) async fn open_as_read(
    ledger: &Ledger,
    job: &Job,
    mut read: DirectRead,
) -> Result<OpenJob, NotStarted> {
    let expires_at = job.expires_at(read.now);
    let cleared = Cleared::for_test(key(job), job.digest(), app(), expires_at);
    let answer = read.answers.remove(0);
    let request = OpenRequest { answer, cleared: &cleared, job, traceparent: None, received_at: read.now };
    let mut opened =
        ledger.open_direct(vec![request], read.now, IN_FLIGHT).await.expect("the ledger answers");
    opened.remove(0)
}

/// A try of `job` whose outcomes are these, by position; `due_at` if something is left.
pub(super) fn over(
    job: &Job,
    tries: u32,
    outcomes: &[(usize, &Device, Outcome)],
    now: Timestamp,
    due_at: Option<Timestamp>,
) -> FinishedJob {
    let target = |(position, device, outcome): &(usize, &Device, Outcome)| TargetOutcome {
        position: *position,
        record: device.record,
        device: device.id,
        outcome: outcome.clone(),
    };
    FinishedJob {
        key: key(job),
        policy: Digest::of(b"policy"),
        traceparent: None,
        received_at: now,
        expires_at: job.expires_at(now),
        tries,
        outcomes: outcomes.iter().map(target).collect(),
        unreachable: 0,
        due_at,
        gone: Vec::new(),
        job: job.clone(),
    }
}

pub(super) async fn commit(ledger: &Ledger, finished: FinishedJob) {
    ledger.commit_direct(&[finished], &[]).await.expect("the batch is committed");
}

/// Registers phones and gives back their devices, found through a job to their owners.
pub(super) async fn devices(store: &Store, phones: Vec<NewDevice>) -> Vec<Device> {
    let mut owners: Vec<String> = phones.iter().map(|phone| phone.user.as_str().to_owned()).collect();
    owners.dedup();
    store.ledger.import(phones).await.expect("the import is committed");
    let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
    let answer = ask(&store.ledger, &job("whose-is-it", &owners)).await;
    answer.recipients.iter().flat_map(FoundRecipient::devices).cloned().collect()
}

/// A job to `a` and `b`, of which `a` was rung and `b` is due again since an hour.
pub(super) async fn half_done(store: &Store, id: &str, fields: &str) -> (Job, Vec<Device>) {
    let devices = devices(store, vec![phone("a", &format!("{id}-a")), phone("b", &format!("{id}-b"))]).await;
    let job = job_with(id, &["a", "b"], fields, "Your card was used");
    let now = store.ledger.now().await.expect("the clock");
    let outcomes = [(0, &devices[0], accepted()), (1, &devices[1], throttled())];
    commit(&store.ledger, over(&job, 1, &outcomes, now, Some(hours(now, -1)))).await;
    (job, devices)
}

pub(super) fn accepted() -> Outcome {
    Outcome::Accepted { provider_id: Some(Arc::from("m-1")) }
}

pub(super) fn throttled() -> Outcome {
    Outcome::Throttled {
        scope: crate::model::ThrottleScope::Device,
        retry_after: None,
        reason: Reason::new("TooManyRequests"),
    }
}

pub(super) fn gone(since: Option<Timestamp>) -> Outcome {
    Outcome::TokenGone { since, reason: Reason::new("Unregistered"), certain: true }
}

pub(super) fn not_sent() -> Outcome {
    Outcome::NotSent(NotSent::Draining)
}
