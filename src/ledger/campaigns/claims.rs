//! Claims: a worker's time-limited hold on a chunk.

use std::time::{Duration, Instant};

use crate::{
    ledger::{Ledger, LedgerError},
    model::{ChunkNumber, FrozenDevice, RolloutId, StageNumber},
};

/// A chunk that this worker holds. Not `Clone`: one holder, one value.
#[derive(Debug)]
pub struct Claim {
    /// Whose chunk.
    pub rollout: RolloutId,
    /// Which chunk.
    pub chunk: ChunkNumber,
    /// In which stage.
    pub stage: StageNumber,
    /// Which claim on the chunk this is; a later one fences it.
    pub number: u32,
    /// By the monotonic clock: one second before another worker may take the chunk.
    pub until: Instant,
    /// Its devices, by position.
    pub devices: Vec<FrozenDevice>,
    /// What earlier claims on the chunk left behind, by position.
    pub halfway: Vec<Halfway>,
}

/// A segment that an earlier claim began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halfway {
    /// The position of its first device.
    pub first: u16,
    /// How many devices it has.
    pub n: u16,
    /// True if its outcomes are on record: nothing to do. False if only its intent is: its devices are sent again
    /// with the same ids. (Under `at_most_once` the claim has recorded them as Unknown, and this is true.)
    pub recorded: bool,
}

impl Ledger {
    /// Claims up to `most` chunks of a Running rollout that are due and free, in their order, for `lease` on the
    /// database's clock. `asked` is this process's monotonic clock before the statement.
    ///
    /// Under `at_most_once`, intents that an earlier claim left without outcome are recorded as Unknown here.
    pub async fn claim_chunks(
        &self,
        _rollout: RolloutId,
        _worker: &str,
        _most: usize,
        _lease: Duration,
        _asked: Instant,
    ) -> Result<Vec<Claim>, LedgerError> {
        todo!()
    }

    /// Gives a chunk back before it is done, so that another worker need not wait for the claim to end. Its open
    /// segments must be recorded first.
    pub async fn release_claim(&self, _claim: Claim) -> Result<(), LedgerError> {
        todo!()
    }
}
