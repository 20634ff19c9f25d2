//! Looking a job up, and withdrawing it.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{
    JobState, Ledger, LedgerError, on_pool, rows,
    rows::{JobRow, WordRow},
    stored::Stored,
    tx::Tx,
};
use crate::model::{
    AppId, DeviceId, Digest, Intent, Job, JobId, JobKey, OutcomeCode, ProducerId, Reason, RecordId,
};

/// Everything that is on record about a direct job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Which job.
    pub key: JobKey,
    /// The digest of what was enqueued.
    pub digest: Digest,
    /// The app whose devices it rings.
    pub app: Option<AppId>,
    /// What it claimed to be.
    pub intent: Option<Intent>,
    /// What was enqueued; `None` once its text is forgotten.
    pub job: Option<Job>,
    /// The policy under which it was cleared.
    pub policy: Option<Digest>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: JobState,
    /// How many tries are over.
    pub tries: u32,
    /// Recipients that have no device of the app.
    pub unreachable: u32,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<String>,
    /// Its devices, by position.
    pub targets: Vec<TargetRecord>,
}

/// What is on record about one device of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its id.
    pub device: DeviceId,
    /// Its row.
    pub record: RecordId,
    /// What became of it.
    pub outcome: OutcomeCode,
    /// The word that explains the outcome, where one byte does not.
    pub reason: Option<Reason>,
    /// When that word was recorded; else, once the job is over, when it ended.
    pub at: Option<Timestamp>,
}

/// What a withdrawal came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// Nothing more is sent for the job.
    Cancelled,
    /// The job is over, or being sent.
    TooLate,
    /// No such direct job is on record. It may still lie in the broker's queue, or be a campaign.
    NotFound,
}

impl Ledger {
    /// What is on record about a job.
    pub async fn job(&self, key: &JobKey) -> Result<Option<JobRecord>, LedgerError> {
        const JOB: &str = "select * from direct_job where producer = $1 and job_id = $2";
        // Words from before its arrival are those of an earlier job with the same key.
        const WORDS: &str = "select position, outcome, reason, at from failure_word \
             where producer = $1 and job_id = $2 and at >= $3";
        let (producer, id) = (key.producer.as_str(), key.id.as_str());
        let row: Option<JobRow> = on_pool!(self, pool => {
            sqlx::query_as(JOB).bind(producer).bind(id).fetch_optional(pool).await?
        });
        let stored = row.map(Stored::try_from).transpose()?.filter(|stored| !stored.campaign);
        let Some(stored) = stored else { return Ok(None) };
        let since = rows::micros(stored.received_at);
        let words: Vec<WordRow> = on_pool!(self, pool => {
            sqlx::query_as(WORDS).bind(producer).bind(id).bind(since).fetch_all(pool).await?
        });
        record(stored, words).map(Some)
    }

    /// A page of a producer's direct jobs that arrived since then, in the order of their ids, without the words for what
    /// became of them. Reads the producer's whole part of the record: for a person who must know, not for a program.
    pub async fn jobs_of(
        &self,
        producer: &ProducerId,
        since: Timestamp,
        after: Option<&JobId>,
        limit: i64,
    ) -> Result<Vec<JobRecord>, LedgerError> {
        const JOBS: &str = "select * from direct_job where producer = $1 and job_id > $2 and received_at >= $3 \
             and not campaign order by job_id limit $4";
        let rows: Vec<JobRow> = on_pool!(self, pool => {
            sqlx::query_as(JOBS)
                .bind(producer.as_str())
                .bind(after.map_or("", JobId::as_str))
                .bind(rows::micros(since))
                .bind(limit)
                .fetch_all(pool)
                .await?
        });
        rows.into_iter().map(|row| record(Stored::try_from(row)?, Vec::new())).collect()
    }

    /// Withdraws a job on its producer's behalf: devices still to do become Cancelled.
    pub async fn cancel_job(&self, key: &JobKey) -> Result<Cancelling, LedgerError> {
        let mut tx = self.begin().await?;
        let stored = tx.lock_jobs(&[key]).await?.remove(key).filter(|stored| !stored.campaign);
        let Some(mut stored) = stored else { return Ok(Cancelling::NotFound) };
        let JobState::Waiting { .. } = stored.state else { return Ok(Cancelling::TooLate) };
        let now = tx.now().await?;
        stored.end(OutcomeCode::Cancelled, now);
        write_cancelled(&mut tx, &stored, now).await?;
        tx.commit().await?;
        Ok(Cancelling::Cancelled)
    }
}

async fn write_cancelled(tx: &mut Tx, stored: &Stored, now: Timestamp) -> Result<(), LedgerError> {
    tx.update_jobs(&[stored]).await?;
    tx.tell(&[stored.finished_event(now)]).await?;
    let particulars = serde_json::json!({ "job": stored.key.id, "digest": stored.digest });
    tx.append_audit(now, stored.key.producer.as_str(), "job.cancelled", &particulars).await?;
    Ok(())
}

fn record(stored: Stored, words: Vec<WordRow>) -> Result<JobRecord, LedgerError> {
    let ended = match stored.state {
        JobState::Finished { at } => Some(at),
        JobState::Waiting { .. } | JobState::Sending { .. } => None,
    };
    let mut words: HashMap<usize, WordRow> =
        words.into_iter().filter_map(|word| Some((usize::try_from(word.position).ok()?, word))).collect();
    let mut targets = Vec::with_capacity(stored.devices.len());
    for (position, packed) in stored.devices.iter().enumerate() {
        // A word about an earlier outcome explains nothing now.
        let word = words.remove(&position).filter(|word| word.outcome == i16::from(packed.code.byte()));
        let at = word.as_ref().map(|word| rows::instant("failure_word", &stored.key, word.at)).transpose()?;
        targets.push(TargetRecord {
            device: packed.device,
            record: packed.record,
            outcome: packed.code,
            reason: word.map(|word| Reason::new(&word.reason)),
            at: at.or(ended),
        });
    }
    Ok(JobRecord {
        job: stored.job()?,
        key: stored.key,
        digest: stored.digest,
        app: stored.app,
        intent: stored.intent,
        policy: stored.policy,
        received_at: stored.received_at,
        expires_at: stored.expires_at,
        state: stored.state,
        tries: stored.tries,
        unreachable: stored.unreachable,
        traceparent: stored.traceparent,
        targets,
    })
}
