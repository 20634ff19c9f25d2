//! What the coordinator writes. Every write asks first whether its term still rules.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::RolloutRecord;
use crate::{
    audience::{Audience, Timezone},
    ledger::{Ledger, LedgerError},
    model::{Event, OutcomeCode, Provider, RolloutId, RolloutState, StageNumber},
};

/// Proof of ruling: a term, and until when this process may act on it without asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// Counts the reigns; a higher one fences every lower.
    pub term: u64,
    /// On this process's monotonic clock, one second before the lease ends on the database's.
    pub until: Instant,
}

/// Why a coordinator's write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Deposed {
    /// Another term rules. Nothing was written.
    #[error("another coordinator rules")]
    Deposed,
    /// The ledger could not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The audiences that a rollout's stages are frozen from.
#[derive(Debug, Clone, Copy)]
pub struct FreezeSource<'a> {
    /// The campaign's own.
    pub audience: &'a Audience,
    /// The internal audience of the first stage, if the plan has one.
    pub first: Option<&'a Audience>,
    /// The zone of devices without one, for `Late`.
    pub timezone: &'a Timezone,
}

/// How far a freezing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreezeProgress {
    /// Devices in chunks so far.
    pub frozen: u64,
    /// True once everything is frozen, and the state is past Draft.
    pub done: bool,
}

/// What a stage was frozen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageCount {
    /// Which.
    pub stage: StageNumber,
    /// Its devices.
    pub devices: u64,
    /// Its first-time chunks.
    pub chunks: u32,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When its last first-time chunk was done.
    pub sent_at: Option<Timestamp>,
}

/// How an open stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageProgress {
    /// Which.
    pub stage: StageNumber,
    /// First-time chunks that are not done.
    pub first_left: u32,
    /// Retry chunks that are not done.
    pub retries_left: u32,
    /// Done chunks with deferred devices for which no retry chunk has been made.
    pub to_follow: u32,
}

/// What came of a stage so far at one provider, by outcome. First-time and retried alike: every request counts
/// where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Which stage.
    pub stage: StageNumber,
    /// At whom.
    pub provider: Provider,
    /// How often each outcome was recorded.
    pub counts: BTreeMap<OutcomeCode, u64>,
}

/// Why a rollout is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverBecause {
    /// Everyone has a final outcome.
    Completed,
    /// Its time is over; whoever was not reached is recorded as Expired.
    Expired,
    /// It cannot go on; the reason is told.
    Halted(String),
}

impl Ledger {
    /// Becomes the coordinator, or goes on being it: `Some` while `holder` rules, for `lease` from now on the
    /// database's clock. A new reign gets a new term. `None`: somebody else's lease has not ended.
    pub async fn rule(
        &self,
        _holder: &str,
        _current: Option<&Ruling>,
        _lease: Duration,
        _now: Instant,
    ) -> Result<Option<Ruling>, LedgerError> {
        todo!()
    }

    /// Gives the rule up at once, so that another need not wait for the lease to end.
    pub async fn abdicate(&self, _ruling: &Ruling) -> Result<(), LedgerError> {
        todo!()
    }

    /// Freezes up to `devices` devices more of a Draft, in one transaction: chunks, stages, cursor. The last step
    /// writes the digest of I8 and sets the state to `then` (Approved, or PendingApproval), with `told` and an audit entry.
    pub async fn freeze_step(
        &self,
        _ruling: &Ruling,
        _rollout: RolloutId,
        _source: FreezeSource<'_>,
        _devices: usize,
        _then: RolloutState,
    ) -> Result<FreezeProgress, Deposed> {
        todo!()
    }

    /// Opens the next stage of an Approved or Running rollout: its chunks can be claimed from now on. False if the
    /// rollout's epoch or stage is no longer what `seen` says (a halt came first), or a halt in force covers it.
    pub async fn open_stage(
        &self,
        _ruling: &Ruling,
        _seen: &RolloutRecord,
        _stage: StageNumber,
    ) -> Result<bool, Deposed> {
        todo!()
    }

    /// Makes the retry chunks of a rollout's done chunks: what was deferred, due after `backoff(try)` or what the
    /// provider asked for, whichever is later. What would be due after the expiry gets none, and is recorded as Expired
    /// when the rollout ends. Answers how many were made.
    pub async fn follow_retries(
        &self,
        _ruling: &Ruling,
        _seen: &RolloutRecord,
        _backoff: fn(u32) -> Duration,
    ) -> Result<u32, Deposed> {
        todo!()
    }

    /// How the opened stages stand.
    pub async fn stage_progress(&self, _rollout: RolloutId) -> Result<Vec<StageProgress>, LedgerError> {
        todo!()
    }

    /// Notes that the last first-time chunk of a stage is done.
    pub async fn stage_sent(
        &self,
        _ruling: &Ruling,
        _rollout: RolloutId,
        _stage: StageNumber,
    ) -> Result<(), Deposed> {
        todo!()
    }

    /// What each stage was frozen to.
    pub async fn stages(&self, _rollout: RolloutId) -> Result<Vec<StageCount>, LedgerError> {
        todo!()
    }

    /// What came of each stage so far.
    pub async fn tallies(&self, _rollout: RolloutId) -> Result<Vec<Tally>, LedgerError> {
        todo!()
    }

    /// Ends a rollout: a new epoch, its final state, `told` and an audit entry. False if it is no longer what `seen`
    /// says.
    pub async fn end_rollout(
        &self,
        _ruling: &Ruling,
        _seen: &RolloutRecord,
        _because: OverBecause,
        _told: &[Event],
    ) -> Result<bool, Deposed> {
        todo!()
    }
}
