//! What bounds the pace of a rollout in this process: the rates that its requests respect, and how many got through of late.

use std::{num::NonZeroU32, time::Instant};

use super::Shared;
use crate::{
    dispatch::pacer::Rate,
    ledger::{CampaignRecord, LeaseKey},
    model::Provider,
};

/// The rates that a rollout's requests respect.
#[derive(Debug)]
pub(super) struct Limits {
    rollout: Option<Rate>,
    apns: Option<Rate>,
    fcm: Option<Rate>,
}

impl Limits {
    /// Those of a campaign's stage, which may have a rate of its own.
    pub(super) fn of(shared: &Shared, campaign: &CampaignRecord, stage_rate: Option<NonZeroU32>) -> Self {
        let pacer = &shared.pacer;
        let app = shared.policy.app(&campaign.app);
        let provider = |provider, rate: Option<u32>| Some(pacer.provider(provider, &campaign.app, rate?));
        Self {
            rollout: stage_rate.map(|rate| {
                let least = campaign.plan.pace.as_ref().map(|pace| pace.min);
                pacer.rate(&LeaseKey::Rollout(campaign.rollout), rate, least)
            }),
            apns: provider(
                Provider::Apns,
                app.and_then(|app| Some(app.apns.as_ref()?.max_rate.per_second())),
            ),
            fcm: provider(Provider::Fcm, app.and_then(|app| Some(app.fcm.as_ref()?.max_rate.per_second()))),
        }
    }

    pub(super) const fn rollout(&self) -> Option<&Rate> {
        self.rollout.as_ref()
    }

    pub(super) const fn provider(&self, provider: Provider) -> Option<&Rate> {
        match provider {
            Provider::Apns => self.apns.as_ref(),
            Provider::Fcm => self.fcm.as_ref(),
        }
    }
}

/// How many devices had their outcome in the second before.
#[derive(Debug)]
pub(super) struct Through {
    since: Instant,
    /// How many there were when this second began.
    then: usize,
    before: usize,
}

impl Through {
    pub(super) const fn since(now: Instant) -> Self {
        Self { since: now, then: 0, before: 0 }
    }

    /// At least what came through in the last whole second, given how many have come through so far.
    pub(super) fn last_second(&mut self, so_far: usize, now: Instant) -> usize {
        let seconds = now.duration_since(self.since).as_secs();
        if seconds > 0 {
            self.before = if seconds == 1 { so_far - self.then } else { 0 };
            (self.then, self.since) = (so_far, now);
        }
        self.before.max(so_far - self.then)
    }
}
