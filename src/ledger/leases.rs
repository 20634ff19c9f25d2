//! Leases: a worker's share of a fleet-wide rate.

use std::time::Duration;

use super::{Ledger, LedgerError};
use crate::model::{AppId, Lane, Provider, RolloutId};

/// Whose rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseKey {
    /// One rollout's.
    Rollout(RolloutId),
    /// One app's at one provider.
    Provider(Provider, AppId),
}

/// What is asked of one row.
#[derive(Debug, Clone)]
pub struct LeaseAsk {
    /// Whose rate.
    pub key: LeaseKey,
    /// For which lane: on a provider's row the direct lane has a reserved share.
    pub lane: Lane,
    /// The whole rate, a second.
    pub rate: u32,
    /// The part of `rate` that campaigns leave to the direct lane, in percent; 0 for a rollout's row.
    pub reserved_percent: u8,
    /// How many slots are wanted.
    pub want: u32,
    /// No slot may lie further ahead than this: 100 to 250 ms.
    pub horizon: Duration,
}

/// Slots: the k-th is at `start + k × apart` after the statement's instant, and void at `start + slots × apart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// From the statement's instant to the first slot.
    pub start: Duration,
    /// Between two slots.
    pub apart: Duration,
    /// How many; 0 if the horizon is full: ask again after `start`.
    pub slots: u32,
}

impl Ledger {
    /// Leases slots, an answer for each ask, in order, in one statement. In any window the fleet is given at most
    /// rate × window + one horizon (I11).
    pub async fn lease_slots(&self, _asks: &[LeaseAsk]) -> Result<Vec<Leased>, LedgerError> {
        todo!()
    }
}
