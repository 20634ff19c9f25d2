//! A direct job as the ledger has it: what a try adds, what an end means. Pure; the engines only carry it.
//!
//! - **I6 once**: an outcome that is final stays; a later word about the same device never reopens it.
//! - **I7 nothing-lost**: whatever is not final keeps the job due.

use jiff::Timestamp;

use super::{
    FinishedJob, LedgerError,
    rows::{self, JobRow},
};
use crate::model::{
    AppId, DeviceId, Digest, Event, EventBody, Intent, Job, JobId, JobKey, OutcomeCode, ProducerId, RecordId,
};

/// Bytes of one device in `direct_job.devices`: its public id, then its row number, big endian. The public
/// id begins with the bucket, so the two are the registry's key.
const PACKED_DEVICE: usize = 16 + 8;

/// Where a direct job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Something is left to do, and nobody is at it.
    Waiting {
        /// When it is due.
        due_at: Timestamp,
    },
    /// A process holds it.
    Sending {
        /// Until then, on the database's clock; after it, another may take the job.
        claim_until: Timestamp,
    },
    /// Nothing is left to do.
    Finished {
        /// Since when.
        at: Timestamp,
    },
}

impl JobState {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waiting",
            Self::Sending { .. } => "sending",
            Self::Finished { .. } => "finished",
        }
    }
}

/// One device of a stored job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    pub(super) device: DeviceId,
    pub(super) record: RecordId,
    pub(super) code: OutcomeCode,
}

/// A direct job on record.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) key: JobKey,
    pub(super) digest: Digest,
    pub(super) app: Option<AppId>,
    pub(super) intent: Option<Intent>,
    pub(super) at_most_once: bool,
    pub(super) json: Option<String>,
    pub(super) policy: Option<Digest>,
    pub(super) received_at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) state: JobState,
    pub(super) tries: u32,
    pub(super) devices: Vec<Packed>,
    pub(super) unreachable: u32,
    pub(super) traceparent: Option<String>,
    /// No direct job: a campaign has taken the key.
    pub(super) campaign: bool,
}

impl Stored {
    /// A job that has no row yet, with nothing known about its devices.
    pub(super) fn new(
        key: JobKey,
        job: &Job,
        received_at: Timestamp,
        expires_at: Timestamp,
        state: JobState,
    ) -> Self {
        Self {
            digest: job.digest(),
            app: job.app().cloned(),
            intent: job.intent(),
            at_most_once: job.at_most_once(),
            json: Some(job.canonical_json().to_owned()),
            policy: None,
            received_at,
            expires_at,
            state,
            tries: 0,
            devices: Vec::new(),
            unreachable: 0,
            traceparent: None,
            campaign: false,
            key,
        }
    }

    /// What keeps a campaign's key in the direct lane: over when the campaign is at the latest, so that the key is
    /// free again when it is for a direct job.
    pub(super) fn of_campaign(
        key: &JobKey,
        job: &Job,
        received_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        let state = JobState::Finished { at: expires_at };
        Self { json: None, ..Self::new(key.clone(), job, received_at, expires_at, state) }
    }

    /// The row of a job whose try is over.
    pub(super) fn of_try(over: &FinishedJob, now: Timestamp) -> Self {
        let due = JobState::Waiting { due_at: over.due_at.unwrap_or(now) };
        let mut stored = Self::new(over.key.clone(), &over.job, over.received_at, over.expires_at, due);
        stored.traceparent.clone_from(&over.traceparent);
        stored.unreachable = over.unreachable;
        stored.apply(over, now);
        stored
    }

    /// Adds what another try brought to what is on record.
    pub(super) fn merge(&mut self, over: &FinishedJob, now: Timestamp) {
        if self.tries == 0 {
            self.unreachable = over.unreachable;
        }
        // A try that is on record already (its commit was made, and the answer to it lost) says nothing new about when the
        // job is due. By now another process may hold it: its claim stays.
        if !self.is_finished() && over.tries > self.tries {
            self.state = JobState::Waiting { due_at: over.due_at.unwrap_or(now) };
        }
        self.apply(over, now);
    }

    fn apply(&mut self, over: &FinishedJob, now: Timestamp) {
        // By position, so that a first try lays them down in order.
        let mut outcomes: Vec<_> = over.outcomes.iter().collect();
        outcomes.sort_by_key(|target| target.position);
        for target in outcomes {
            let code = target.outcome.code();
            match self.devices.get_mut(target.position) {
                Some(known) if known.device == target.device => known.learn(code, self.at_most_once),
                // New, or a copy of the job that another process resolved to other devices: found by its id.
                _ => self.learn_elsewhere(Packed { device: target.device, record: target.record, code }),
            }
        }
        self.policy = Some(over.policy);
        self.tries = self.tries.max(over.tries);
        if over.tries > 0 && over.due_at.is_none() && self.to_do().next().is_none() {
            self.finish(now);
        }
    }

    fn learn_elsewhere(&mut self, fresh: Packed) {
        match self.devices.iter_mut().find(|known| known.device == fresh.device) {
            Some(known) => known.learn(fresh.code, self.at_most_once),
            None => self.devices.push(fresh),
        }
    }

    /// Positions and devices for which something is still to be done.
    pub(super) fn to_do(&self) -> impl Iterator<Item = (usize, &Packed)> {
        let open = |(_, packed): &(usize, &Packed)| !packed.code.is_final(self.at_most_once);
        self.devices.iter().enumerate().filter(open)
    }

    /// Ends the job: what is still to do gets `code`. True if it was not finished before.
    pub(super) fn end(&mut self, code: OutcomeCode, now: Timestamp) -> bool {
        let at_most_once = self.at_most_once;
        let open = self.devices.iter_mut().filter(|packed| !packed.code.is_final(at_most_once));
        open.for_each(|packed| packed.code = code);
        let was_open = !self.is_finished();
        self.finish(now);
        was_open
    }

    /// Nothing is left to do from now on; the first time counts.
    pub(super) fn finish(&mut self, now: Timestamp) {
        if !self.is_finished() {
            self.state = JobState::Finished { at: now };
        }
    }

    /// True if nothing is left to do.
    pub(super) const fn is_finished(&self) -> bool {
        matches!(self.state, JobState::Finished { .. })
    }

    /// The packed outcomes: one byte a device, by position.
    pub(super) fn outcomes(&self) -> Vec<u8> {
        self.devices.iter().map(|packed| packed.code.byte()).collect()
    }

    /// What is told when the job has come to its end.
    pub(super) fn finished_event(&self, now: Timestamp) -> Event {
        let mut outcomes = std::collections::BTreeMap::new();
        for packed in &self.devices {
            *outcomes.entry(packed.code.as_str().to_owned()).or_default() += 1;
        }
        let body = EventBody::JobFinished {
            producer: self.key.producer.clone(),
            job: self.key.id.clone(),
            unreachable: self.unreachable,
            outcomes,
        };
        Event::new(now, self.traceparent.clone(), self.digest.as_bytes(), body)
    }

    /// The job itself, read back; `None` once its text is forgotten.
    pub(super) fn job(&self) -> Result<Option<Job>, LedgerError> {
        let parse = |json: &String| Job::parse(json.as_bytes());
        rows::column("direct_job", &self.key, "job", self.json.as_ref().map(parse).transpose())
    }
}

impl Packed {
    /// Final words stay, except that knowing beats not knowing: an `at_most_once` device that was given up as
    /// Unknown learns what really happened when the late word comes.
    fn learn(&mut self, code: OutcomeCode, at_most_once: bool) {
        if !self.code.is_final(at_most_once) || self.code == OutcomeCode::Unknown {
            self.code = code;
        }
    }
}

impl TryFrom<JobRow> for Stored {
    type Error = LedgerError;

    fn try_from(row: JobRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "direct_job";
        let id = format!("{}/{}", row.producer, row.job_id);
        let id = id.as_str();
        let at = |at| rows::instant(TABLE, id, at);
        let state = match (row.state.as_str(), row.due_at, row.claim_until, row.finished_at) {
            ("waiting", Some(due), None, None) => JobState::Waiting { due_at: at(due)? },
            ("sending", Some(_), Some(until), None) => JobState::Sending { claim_until: at(until)? },
            ("finished", None, None, Some(end)) => JobState::Finished { at: at(end)? },
            _ => return Err(LedgerError::nonsense(TABLE, id, "its state contradicts its instants")),
        };
        let intent = match row.intent.as_deref() {
            None => None,
            Some("test") => Some(Intent::Test),
            Some("production") => Some(Intent::Production),
            Some(_) => return Err(LedgerError::nonsense(TABLE, id, "column intent breaks its rule")),
        };
        Ok(Self {
            key: JobKey {
                producer: rows::column(TABLE, id, "producer", ProducerId::parse(&row.producer))?,
                id: rows::column(TABLE, id, "job_id", JobId::parse(&row.job_id))?,
            },
            digest: rows::digest(TABLE, id, "digest", &row.digest)?,
            app: rows::column(TABLE, id, "app", row.app.as_deref().map(AppId::parse).transpose())?,
            intent,
            at_most_once: row.at_most_once,
            json: row.job,
            policy: row.policy.map(|bytes| rows::digest(TABLE, id, "policy", &bytes)).transpose()?,
            received_at: at(row.received_at)?,
            expires_at: at(row.expires_at)?,
            state,
            tries: rows::count(TABLE, id, "tries", row.tries)?,
            devices: unpack(id, &row.devices, &row.outcomes)?,
            unreachable: rows::count(TABLE, id, "unreachable", row.unreachable)?,
            traceparent: row.traceparent,
            campaign: row.campaign,
        })
    }
}

impl From<&Stored> for JobRow {
    fn from(stored: &Stored) -> Self {
        let (due_at, claim_until, finished_at) = match stored.state {
            JobState::Waiting { due_at } => (Some(due_at), None, None),
            // A claim that lapsed is a job that is due.
            JobState::Sending { claim_until } => (Some(claim_until), Some(claim_until), None),
            JobState::Finished { at } => (None, None, Some(at)),
        };
        Self {
            producer: stored.key.producer.as_str().to_owned(),
            job_id: stored.key.id.as_str().to_owned(),
            digest: stored.digest.as_bytes().to_vec(),
            app: stored.app.as_ref().map(|app| app.as_str().to_owned()),
            intent: stored.intent.map(|intent| intent.as_str().to_owned()),
            at_most_once: stored.at_most_once,
            job: stored.json.clone(),
            policy: stored.policy.map(|policy| policy.as_bytes().to_vec()),
            received_at: rows::micros(stored.received_at),
            expires_at: rows::micros(stored.expires_at),
            state: stored.state.as_str().to_owned(),
            tries: rows::stored_count(stored.tries),
            due_at: due_at.map(rows::micros),
            claim_until: claim_until.map(rows::micros),
            devices: pack(&stored.devices),
            outcomes: stored.outcomes(),
            unreachable: rows::stored_count(stored.unreachable),
            traceparent: stored.traceparent.clone(),
            finished_at: finished_at.map(rows::micros),
            campaign: stored.campaign,
        }
    }
}

fn pack(devices: &[Packed]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(devices.len() * PACKED_DEVICE);
    for packed in devices {
        bytes.extend_from_slice(packed.device.as_uuid().as_bytes());
        bytes.extend_from_slice(&packed.record.get().to_be_bytes());
    }
    bytes
}

fn unpack(id: &str, devices: &[u8], outcomes: &[u8]) -> Result<Vec<Packed>, LedgerError> {
    let nonsense = |why: String| LedgerError::nonsense("direct_job", id, why);
    let (devices, rest) = devices.as_chunks::<PACKED_DEVICE>();
    if !rest.is_empty() || devices.len() != outcomes.len() {
        return Err(nonsense(format!("{} devices have {} outcomes", devices.len(), outcomes.len())));
    }
    let unpacked = devices.iter().zip(outcomes).map(|(device, &outcome)| {
        let code = OutcomeCode::from_byte(outcome);
        let (mut uuid, mut record) = ([0; 16], [0; 8]);
        uuid.copy_from_slice(&device[..16]);
        record.copy_from_slice(&device[16..]);
        Ok(Packed {
            device: DeviceId::from_uuid(uuid::Uuid::from_bytes(uuid)),
            record: RecordId::new(i64::from_be_bytes(record)),
            code: code.ok_or_else(|| nonsense(format!("no outcome has the code {outcome}")))?,
        })
    });
    unpacked.collect()
}
