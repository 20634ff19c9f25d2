//! Committing a batch: outcomes, words for failures, dead tokens, events and audit, in one transaction.
//!
//! - **I7 nothing-lost**: when this has returned, the batch's messages may be acknowledged, not before. If it
//!   fails, nothing of it happened, and the same batch may be committed again.
//! - **I10 explained**: every verdict of the batch is in the audit, as a hash over all of them, and each
//!   refusal by its rules.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use serde_json::json;

use super::{
    FinishedJob, Ledger, LedgerError, RefusedJob,
    stored::Stored,
    tx::{Gone, Tx, Word},
};
use crate::model::{Digest, Event, EventBody, JobKey, Outcome};

/// Who makes entries of the audit that no person and no producer made.
pub(super) const SERVICE: &str = "bellwether";

impl Ledger {
    /// Makes a batch durable.
    ///
    /// A job that could not be opened yet (halted, or its `not_before` is ahead) is committed with `tries` 0, no
    /// outcomes, and the instant at which it is due.
    pub async fn commit_direct(
        &self,
        finished: &[FinishedJob],
        refused: &[RefusedJob],
    ) -> Result<(), LedgerError> {
        if finished.is_empty() && refused.is_empty() {
            return Ok(());
        }
        match self.try_commit(finished, refused, Keys::Free).await {
            Err(error) if error.is_key_taken() => {
                self.try_commit(finished, refused, Keys::PerhapsTaken).await
            }
            done => done,
        }
    }

    async fn try_commit(
        &self,
        finished: &[FinishedJob],
        refused: &[RefusedJob],
        keys: Keys,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let recorded = record(&mut tx, finished, keys, now).await?;
        write_words(&mut tx, finished, &recorded.jobs, now).await?;
        tx.mark_gone(&gone(finished), now).await?;
        let mut events = recorded.events;
        events.extend(refused.iter().map(|refused| refused.event.clone()));
        tx.tell(&events).await?;
        tx.flag(refused, now).await?;
        let body = audit_body(finished, refused, &recorded.conflicts);
        tx.append_audit(now, SERVICE, "direct.verdicts", &body).await?;
        tx.commit().await
    }
}

/// Whether a first try's key can be on record already. The batch's read has just looked, so hardly ever; and
/// inserting blindly costs half.
#[derive(Clone, Copy)]
enum Keys {
    Free,
    PerhapsTaken,
}

/// What the batch's jobs came to.
#[derive(Default)]
struct Recorded<'f> {
    jobs: BTreeMap<&'f JobKey, Stored>,
    events: Vec<Event>,
    /// Jobs whose key belongs to another job: two processes took two jobs with one key at the same time.
    conflicts: Vec<&'f JobKey>,
}

async fn record<'f>(
    tx: &mut Tx,
    finished: &'f [FinishedJob],
    keys: Keys,
    now: Timestamp,
) -> Result<Recorded<'f>, LedgerError> {
    let mut recorded = Recorded::default();
    // Nearly every job is new. What is known already is read, merged, written back.
    let mut seen = HashSet::new();
    let is_new = |over: &&FinishedJob| over.tries <= 1 && !over.job.at_most_once();
    let (new, mut known): (Vec<_>, Vec<_>) =
        finished.iter().partition(|over| is_new(over) && seen.insert(&over.key));
    let rows: Vec<Stored> = new.iter().map(|over| Stored::of_try(over, now)).collect();
    let inserted = match keys {
        Keys::Free => tx.insert_new_jobs(&rows).await.map(|()| vec![true; rows.len()])?,
        Keys::PerhapsTaken => tx.insert_jobs(&rows, now).await?,
    };
    for ((over, row), is_ours) in new.into_iter().zip(rows).zip(inserted) {
        if is_ours {
            recorded.ended(&row, now);
            recorded.jobs.insert(&over.key, row);
        } else {
            known.push(over);
        }
    }
    merge(tx, &known, &mut recorded, now).await?;
    Ok(recorded)
}

async fn merge<'f>(
    tx: &mut Tx,
    known: &[&'f FinishedJob],
    recorded: &mut Recorded<'f>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let keys: Vec<&JobKey> = known.iter().map(|over| &over.key).collect();
    let mut on_record = tx.lock_jobs(&keys).await?;
    let mut changed = HashSet::new();
    let mut missing: BTreeMap<&JobKey, Stored> = BTreeMap::new();
    for over in known {
        let Some(job) = on_record.get_mut(&over.key).or_else(|| missing.get_mut(&over.key)) else {
            missing.insert(&over.key, Stored::of_try(over, now));
            continue;
        };
        if job.digest != over.job.digest() {
            tracing::warn!(job = %over.key, "two jobs with one key were taken at once; the first stays on record");
            recorded.conflicts.push(&over.key);
            recorded.ended(&Stored::of_try(over, now), now);
            continue;
        }
        let was_open = !job.is_finished();
        job.merge(over, now);
        changed.insert(&over.key);
        if was_open {
            recorded.ended(job, now);
        }
    }
    let written: Vec<&Stored> = on_record.values().filter(|job| changed.contains(&job.key)).collect();
    tx.update_jobs(&written).await?;
    let (keys, rows): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
    tx.insert_jobs(&rows, now).await?;
    for (key, row) in keys.into_iter().zip(rows) {
        recorded.ended(&row, now);
        recorded.jobs.insert(key, row);
    }
    for over in known.iter().filter(|over| changed.contains(&over.key)) {
        if let Some(job) = on_record.remove(&over.key) {
            recorded.jobs.insert(&over.key, job);
        }
    }
    Ok(())
}

impl Recorded<'_> {
    fn ended(&mut self, job: &Stored, now: Timestamp) {
        if job.is_finished() {
            self.events.push(job.finished_event(now));
        }
    }
}

async fn write_words(
    tx: &mut Tx,
    finished: &[FinishedJob],
    jobs: &BTreeMap<&JobKey, Stored>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    // The last word about a device in a batch counts.
    let mut words: BTreeMap<(&JobKey, usize), Word<'_>> = BTreeMap::new();
    for over in finished {
        let Some(job) = jobs.get(&over.key) else { continue };
        for target in &over.outcomes {
            let position = job.devices.iter().position(|packed| packed.device == target.device);
            if let (Some(position), Some(reason)) = (position, target.outcome.reason()) {
                let word = Word { key: &over.key, position, code: target.outcome.code(), reason };
                words.insert((&over.key, position), word);
            }
        }
    }
    tx.write_words(&words.into_values().collect::<Vec<_>>(), now).await
}

/// The devices that the burst breaker let through as gone.
fn gone(finished: &[FinishedJob]) -> Vec<Gone> {
    let marked = |over: &FinishedJob| {
        let targets = over.gone.iter().filter_map(|place| over.outcomes.get(*place));
        let gone = targets.filter_map(|target| match target.outcome {
            Outcome::TokenGone { since, .. } => Some(Gone { device: target.device, since }),
            _ => None,
        });
        gone.collect::<Vec<_>>()
    };
    finished.iter().flat_map(marked).collect()
}

/// What the audit says of a batch: counts, who was refused by which rules, and a hash over every verdict, so
/// that a ledger row or an event that was changed later can be told from what was decided then.
fn audit_body(finished: &[FinishedJob], refused: &[RefusedJob], conflicts: &[&JobKey]) -> serde_json::Value {
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for (code, count) in finished.iter().flat_map(FinishedJob::counts) {
        *outcomes.entry(code.as_str()).or_default() += count;
    }
    let mut body = json!({
        "jobs": finished.len(),
        "outcomes": outcomes,
        "refused": refused.iter().map(|refused| refusal(&refused.event)).collect::<Vec<_>>(),
        "hash": batch_hash(finished, refused).to_string(),
    });
    if !conflicts.is_empty() {
        body["conflicts"] = conflicts.iter().map(ToString::to_string).collect();
    }
    body
}

fn refusal(event: &Event) -> serde_json::Value {
    match &event.body {
        EventBody::JobRefused { producer, job, findings, .. } => {
            let grave = findings.iter().filter(|finding| finding.verdict != "clear");
            let rules: Vec<&str> = grave.map(|finding| finding.rule.as_str()).collect();
            json!({ "producer": producer, "job": job, "rules": rules })
        }
        EventBody::JobMalformed { producer, job, code, field, .. } => {
            json!({ "producer": producer, "job": job, "malformed": code, "field": field })
        }
        _ => json!({ "event": event.id }),
    }
}

fn batch_hash(finished: &[FinishedJob], refused: &[RefusedJob]) -> Digest {
    let sent = finished.iter().map(|over| {
        let devices: Vec<u8> = over
            .outcomes
            .iter()
            .flat_map(|target| {
                let mut bytes = target.device.as_uuid().into_bytes().to_vec();
                bytes.push(target.outcome.code().byte());
                bytes
            })
            .collect();
        Digest::of_parts(&[
            b"clear",
            over.key.producer.as_str().as_bytes(),
            over.key.id.as_str().as_bytes(),
            over.job.digest().as_bytes(),
            over.policy.as_bytes(),
            &over.tries.to_be_bytes(),
            &devices,
        ])
    });
    let refused =
        refused.iter().map(|refused| Digest::of_parts(&[b"refuse", refused.event.to_json().as_bytes()]));
    let verdicts: Vec<u8> = sent.chain(refused).flat_map(|digest| *digest.as_bytes()).collect();
    Digest::of_parts(&[b"verdicts", &verdicts])
}
