//! Who is not rung now because it is night where they live, and what a rollout that waits for a morning does not use.

use std::sync::{Arc, atomic::Ordering};

use jiff::{Timestamp, tz::TimeZone};

use super::Shared;
use crate::{
    ledger::{CampaignRecord, OpenSegment},
    rollout::Nights,
};

/// The nights of a campaign, if its plan has quiet hours. `None`: this machine knows nothing of the app's clock, and must
/// ring nobody.
#[expect(clippy::option_option, reason = "the outer one is whether this machine may work at it at all")]
pub(super) fn nights(shared: &Shared, campaign: &CampaignRecord) -> Option<Option<Nights>> {
    fn zone(name: &str) -> Option<TimeZone> {
        TimeZone::get(name).ok()
    }
    if campaign.plan.quiet_hours.is_none() {
        return Some(None);
    }
    let app = shared.policy.app(&campaign.app).and_then(|app| zone(app.timezone.as_str()));
    if app.is_none() {
        tracing::error!(
            campaign = %campaign.id,
            "its plan has quiet hours, and this machine does not know the app's time zone; install tzdata"
        );
    }
    Some(Nights::of(&campaign.plan, app?, zone))
}

/// Until when the devices of a segment are left alone, by position; empty without quiet hours. Judged at the instant of
/// the intent, on the ledger's clock.
pub(super) fn asleep(nights: Option<&mut Nights>, open: &OpenSegment) -> Vec<Option<Timestamp>> {
    nights.map_or_else(Vec::new, |nights| {
        open.zones().map(|zone| nights.quiet_until(zone, open.at())).collect()
    })
}

/// A rollout's place among those that share the streams: taken while it holds a chunk, so that one whose tail waits for
/// hours does not halve the pace of the others.
#[derive(Debug)]
pub(super) struct Share {
    shared: Arc<Shared>,
    counts: bool,
}

impl Share {
    pub(super) const fn of(shared: Arc<Shared>) -> Self {
        Self { shared, counts: false }
    }

    pub(super) fn set(&mut self, counts: bool) {
        match (std::mem::replace(&mut self.counts, counts), counts) {
            (false, true) => self.shared.working.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.shared.working.fetch_sub(1, Ordering::AcqRel),
            _ => return,
        };
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(false);
    }
}
