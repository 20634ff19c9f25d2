//! `[campaign]`: what the coordinator does with what was deferred.

use std::{num::NonZeroU16, time::Duration};

use serde::Deserialize;

use crate::rollout::RetryWaits;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CampaignTable {
    /// For trying out: providers ask for the waits that are the default.
    retry_seconds: Option<[NonZeroU16; RetryWaits::COUNT]>,
    approvals_hold_hours: Option<NonZeroU16>,
}

/// The coordinator's settings.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The waits before what was deferred is sent again.
    pub retry: RetryWaits,
    /// How long an approval may wait for the start.
    pub approvals_hold: Duration,
}

/// From one working day to the next.
const DEFAULT_HOLD: Duration = Duration::from_hours(24);

impl From<CampaignTable> for Campaign {
    fn from(table: CampaignTable) -> Self {
        let seconds = |seconds: NonZeroU16| Duration::from_secs(u64::from(seconds.get()));
        Self {
            retry: table
                .retry_seconds
                .map_or_else(RetryWaits::default, |waits| RetryWaits::of(waits.map(seconds))),
            approvals_hold: table
                .approvals_hold_hours
                .map_or(DEFAULT_HOLD, |hours| Duration::from_hours(u64::from(hours.get()))),
        }
    }
}
