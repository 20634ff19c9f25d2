//! What this worker sees of a rollout's providers, and says in the ledger: breakers that trip, providers that are back.
//!
//! A breaker that has tripped stops this worker's new segments at once; the rollout itself is stopped by the coordinator,
//! who reads what is written here, and so for every worker.

use std::time::Instant;

use super::Shared;
use crate::{
    ledger::{CampaignRecord, SegmentEnd},
    model::{Provider, RolloutId},
    rollout::Breakers,
};

/// The breakers of one run of a rollout.
#[derive(Debug)]
pub(super) struct Watch {
    rollout: RolloutId,
    epoch: u32,
    breakers: Breakers,
    /// What tripped is on record.
    told: bool,
    /// Providers that are back, and of which that is not on record yet.
    mended: Vec<Provider>,
}

impl Watch {
    /// Those of a run that begins; `None` while the ledger is away.
    pub(super) async fn of(shared: &Shared, campaign: &CampaignRecord, epoch: u32) -> Option<Self> {
        let rollout = campaign.rollout;
        match shared.patience.answer(shared.ledger.on_probation(rollout, epoch)).await {
            Ok(on_probation) => {
                let breakers = Breakers::new(campaign.plan.breakers, on_probation);
                Some(Self { rollout, epoch, breakers, told: false, mended: Vec::new() })
            }
            Err(error) => {
                tracing::debug!(%rollout, %error, "who is on probation is not known; nothing of it is sent here");
                None
            }
        }
    }

    /// True once something tripped: nothing new is begun in this run.
    pub(super) const fn has_tripped(&self) -> bool {
        self.breakers.tripped().is_some()
    }

    /// True while the next answer of a provider decides.
    pub(super) fn are_on_probation(&self) -> bool {
        self.breakers.are_on_probation()
    }

    /// Takes note of what is on record of a segment.
    pub(super) fn note(&mut self, end: &SegmentEnd, now: Instant) {
        let outcomes =
            end.outcomes.iter().flatten().map(|(device, outcome)| (device.platform.provider(), outcome));
        self.mended.extend(self.breakers.note(outcomes, now));
    }

    /// Puts on record what is not there yet.
    pub(super) async fn tell(&mut self, shared: &Shared) {
        let (rollout, epoch) = (self.rollout, self.epoch);
        while let Some(provider) = self.mended.last().copied() {
            let mended = shared.ledger.mend_breaker(rollout, epoch, provider);
            if let Err(error) = shared.patience.answer(mended).await {
                tracing::debug!(%rollout, %provider, %error, "that a provider is back is not on record yet");
                return;
            }
            tracing::info!(%rollout, %provider, "a provider is back");
            self.mended.pop();
        }
        let Some(tripped) = self.breakers.tripped().filter(|_| !self.told) else { return };
        let trip = shared.ledger.trip_breaker(rollout, epoch, &shared.name, tripped);
        match shared.patience.answer(trip).await {
            Ok(()) => {
                tracing::warn!(%rollout, %tripped, "a breaker tripped; nothing more of it is begun here");
                self.told = true;
            }
            Err(error) => tracing::warn!(%rollout, %tripped, %error, "a breaker tripped; not on record yet"),
        }
    }
}
