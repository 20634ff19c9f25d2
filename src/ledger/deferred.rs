//! Deferred jobs: taken again when they are due, by one process at a time.
//!
//! - **I6 once**: a try is claimed by a conditional update on the row; whoever comes second finds the claim.
//!   A claim that lapsed (its process died) lets the job be taken again, with the same ids; under
//!   `at_most_once` its devices are given up as Unknown instead.
//! - **I8**: sending may only leave people out. A device that is gone, or that belongs to somebody else by now,
//!   is recorded as such and not rung.
//! - **I9 nothing-late**: past its expiry, on the database's clock, a job is recorded as expired.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use super::{
    DeferredJob, Halt, JobState, Ledger, LedgerError, NotDue, OpenJob, Pointer,
    commit::SERVICE,
    on_pool,
    open::{numbered, to_do, unreachable},
    read::{Found, arrange},
    rows,
    stored::Stored,
    tx::{Tx, Wanted, Word},
};
use crate::{
    guard::FoundRecipient,
    model::{Device, DeviceId, Event, Job, JobId, JobKey, OutcomeCode, ProducerId, Reason},
};

/// A pointer that may be followed: the job, and where its pointer stood in the request.
struct Due {
    place: usize,
    stored: Stored,
    job: Job,
}

impl Ledger {
    /// Claims the jobs that the pointers lead to, for as long as `claim`; an answer for each, in order.
    pub async fn take_deferred(
        &self,
        pointers: &[Pointer],
        claim: Duration,
    ) -> Result<Vec<Result<DeferredJob, NotDue>>, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let halts = tx.halts().await?;
        let keys: Vec<&JobKey> = pointers.iter().map(|pointer| &pointer.key).collect();
        let mut on_record = tx.lock_jobs(&keys).await?;

        let mut answers = HashMap::new();
        let (mut due, mut ended) = (Vec::new(), Vec::new());
        for (place, pointer) in pointers.iter().enumerate() {
            // A second pointer to the same job in one batch finds nothing left: Later.
            let answer = match on_record.remove(&pointer.key) {
                None => {
                    if is_repeated(pointers, place) {
                        NotDue::Later
                    } else {
                        NotDue::Done
                    }
                }
                Some(mut stored) => match judge(&stored, pointer, &halts, now) {
                    Judged::Not(why) => why,
                    Judged::End(code, why) => {
                        stored.end(code, now);
                        ended.push(stored);
                        why
                    }
                    Judged::Due => {
                        let job = stored.job()?.ok_or_else(|| {
                            LedgerError::nonsense(
                                "direct_job",
                                &stored.key,
                                "it is not finished, but its text is gone",
                            )
                        })?;
                        due.push(Due { place, stored, job });
                        continue;
                    }
                },
            };
            answers.insert(place, Err(answer));
        }
        let until = now.checked_add(claim).unwrap_or(now);
        let taken = take(&mut tx, due, &mut ended, until, now).await?;
        answers.extend(taken);
        finish(&mut tx, &ended, now).await?;
        tx.commit().await?;
        let answer = |place| answers.remove(&place).unwrap_or(Err(NotDue::Done));
        Ok((0..pointers.len()).map(answer).collect())
    }

    /// Up to `limit` jobs that have been due for longer than `older_than`, and that nobody holds: their pointer
    /// never came, or waits for a `not_before`, or their process died. Those that a halt covers are left out until
    /// they expire: else they would stand before all others for as long as it lasts.
    pub async fn overdue_direct(
        &self,
        older_than: Duration,
        limit: i64,
    ) -> Result<Vec<Pointer>, LedgerError> {
        const SQL: &str = "select producer, job_id, tries from direct_job where due_at <= $1 \
             and (expires_at <= $3 or not exists (select 1 from halt where scope in ('all', 'app:' || app))) \
             order by due_at limit $2";
        let now = self.now().await?;
        let before = rows::micros(now.checked_sub(older_than).unwrap_or(Timestamp::MIN));
        let found: Vec<(String, String, i32)> = on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(before).bind(limit).bind(rows::micros(now)).fetch_all(pool).await?
        });
        let pointer = |(producer, id, tries): (String, String, i32)| {
            let name = format!("{producer}/{id}");
            let key = JobKey {
                producer: rows::column("direct_job", &name, "producer", ProducerId::parse(&producer))?,
                id: rows::column("direct_job", &name, "job_id", JobId::parse(&id))?,
            };
            Ok(Pointer { key, tries: rows::count("direct_job", &name, "tries", tries)? })
        };
        found.into_iter().map(pointer).collect()
    }
}

fn is_repeated(pointers: &[Pointer], place: usize) -> bool {
    pointers[..place].iter().any(|earlier| earlier.key == pointers[place].key)
}

enum Judged {
    Due,
    Not(NotDue),
    /// The job ends here: what is to do gets the code.
    End(OutcomeCode, NotDue),
}

fn judge(stored: &Stored, pointer: &Pointer, halts: &[Halt], now: Timestamp) -> Judged {
    let is_halted = || halts.iter().any(|halt| halt.scope.covers(stored.app.as_ref()));
    match stored.state {
        JobState::Finished { .. } => Judged::Not(NotDue::Done),
        _ if pointer.tries != stored.tries => Judged::Not(NotDue::Done),
        JobState::Sending { claim_until } if claim_until > now => Judged::Not(NotDue::Later),
        // Its process died with requests in flight. Rather never than twice.
        JobState::Sending { .. } if stored.at_most_once => Judged::End(OutcomeCode::Unknown, NotDue::Done),
        JobState::Waiting { .. } | JobState::Sending { .. } if stored.expires_at <= now => {
            Judged::End(OutcomeCode::Expired, NotDue::Expired)
        }
        JobState::Waiting { due_at } if due_at > now => Judged::Not(NotDue::Later),
        JobState::Waiting { .. } | JobState::Sending { .. } if is_halted() => Judged::Not(NotDue::Later),
        JobState::Waiting { .. } | JobState::Sending { .. } => Judged::Due,
    }
}

type Taken = Vec<(usize, Result<DeferredJob, NotDue>)>;

/// Looks up the devices of the jobs that are due, and writes the claims.
async fn take(
    tx: &mut Tx,
    due: Vec<Due>,
    ended: &mut Vec<Stored>,
    until: Timestamp,
    now: Timestamp,
) -> Result<Taken, LedgerError> {
    let mut found = Found::new(tx.find(&wanted(&due)).await?);
    let mut claimed = Vec::with_capacity(due.len());
    let mut taken = Taken::with_capacity(due.len());
    let mut gone: Vec<(JobKey, Vec<usize>)> = Vec::new();
    for (number, Due { place, mut stored, job }) in due.into_iter().enumerate() {
        let (targets, recipients) = if stored.devices.is_empty() {
            resolve(&mut stored, &job, number, &mut found)
        } else {
            let devices = found.devices_by_id(number);
            let lost = leave_out_the_gone(&mut stored, &devices);
            if !lost.is_empty() {
                gone.push((stored.key.clone(), lost));
            }
            still_to_do(&stored, &job, devices)
        };
        if targets.is_empty() && stored.to_do().next().is_none() && !stored.devices.is_empty() {
            stored.finish(now);
            ended.push(stored);
            taken.push((place, Err(NotDue::Done)));
            continue;
        }
        stored.state = JobState::Sending { claim_until: until };
        let open = OpenJob::new(stored.key.clone(), stored.digest, stored.tries + 1, targets);
        taken.push((place, Ok(deferred(&stored, job, recipients, open))));
        claimed.push(stored);
    }
    tx.update_jobs(&claimed.iter().collect::<Vec<_>>()).await?;
    let reason = Reason::new("gone_while_waiting");
    let words = gone.iter().flat_map(|(key, positions)| {
        positions.iter().map(|position| Word {
            key,
            position: *position,
            code: OutcomeCode::TokenGone,
            reason: reason.clone(),
        })
    });
    tx.write_words(&words.collect::<Vec<_>>(), now).await?;
    Ok(taken)
}

fn deferred(stored: &Stored, job: Job, recipients: Vec<FoundRecipient>, open: OpenJob) -> DeferredJob {
    DeferredJob {
        job,
        key: stored.key.clone(),
        received_at: stored.received_at,
        expires_at: stored.expires_at,
        traceparent: stored.traceparent.clone(),
        recipients,
        tries: stored.tries,
        open,
    }
}

/// Jobs that never were resolved are looked up by whom they name, the others by the devices still to do.
fn wanted(due: &[Due]) -> Wanted<'_> {
    let mut wanted = Wanted::default();
    for (number, Due { stored, job, .. }) in due.iter().enumerate() {
        let (Some(app), Some(to)) = (job.app(), job.to()) else { continue };
        if stored.devices.is_empty() {
            wanted.add(number, app, to);
        } else {
            wanted.devices.extend(stored.to_do().map(|(_, packed)| (number, app, packed.device)));
        }
    }
    wanted
}

type Targets = Vec<(usize, Device)>;

/// The first real try of a job that had to wait: who it is for is decided now, and put on record.
fn resolve(
    stored: &mut Stored,
    job: &Job,
    number: usize,
    found: &mut Found,
) -> (Targets, Vec<FoundRecipient>) {
    let recipients = job.to().map(|to| found.recipients(number, to)).unwrap_or_default();
    stored.devices = to_do(recipients.iter().flat_map(FoundRecipient::devices));
    stored.unreachable = unreachable(&recipients);
    (numbered(recipients.clone()), recipients)
}

/// Records devices that are not live any more; a device that changed hands is another device now. Answers
/// their positions.
fn leave_out_the_gone(stored: &mut Stored, live: &HashMap<DeviceId, Device>) -> Vec<usize> {
    let gone: Vec<usize> = stored
        .to_do()
        .filter(|(_, packed)| !live.contains_key(&packed.device))
        .map(|(position, _)| position)
        .collect();
    for position in &gone {
        stored.devices[*position].code = OutcomeCode::TokenGone;
    }
    gone
}

/// The devices still to do with their places, and the recipients that they belong to.
fn still_to_do(
    stored: &Stored,
    job: &Job,
    mut live: HashMap<DeviceId, Device>,
) -> (Targets, Vec<FoundRecipient>) {
    let targets: Targets = stored
        .to_do()
        .filter_map(|(position, packed)| Some((position, live.remove(&packed.device)?)))
        .collect();
    let devices = targets.iter().map(|(_, device)| device.clone()).collect();
    let mut recipients = job.to().map(|to| arrange(devices, to)).unwrap_or_default();
    recipients.retain(|recipient| !recipient.devices().is_empty());
    (targets, recipients)
}

/// Writes jobs that came to their end here rather than in a batch's commit.
pub(super) async fn finish(tx: &mut Tx, ended: &[Stored], now: Timestamp) -> Result<(), LedgerError> {
    if ended.is_empty() {
        return Ok(());
    }
    tx.update_jobs(&ended.iter().collect::<Vec<_>>()).await?;
    let events: Vec<Event> = ended.iter().map(|job| job.finished_event(now)).collect();
    tx.tell(&events).await?;
    let jobs: Vec<String> = ended.iter().map(|job| job.key.to_string()).collect();
    tx.append_audit(now, SERVICE, "direct.ended", &json!({ "jobs": jobs })).await?;
    Ok(())
}
