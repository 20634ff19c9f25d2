//! What this worker sees of a rollout's providers, and says in the ledger: breakers that trip, providers that are back.
//!
//! A breaker that has tripped stops this worker's new segments at once; the rollout itself is stopped by the coordinator,
//! who reads what is written here, and so for every worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::Shared;
use crate::{
    ledger::{CampaignRecord, SegmentEnd},
    model::{Outcome, Provider, Reason, RolloutId, StageNumber},
    pace::slow_start,
    rollout::{
        Breakers,
        health::{HealthTest, Seen},
    },
};

/// The breakers of one run of a rollout.
#[derive(Debug)]
pub(super) struct Watch {
    rollout: RolloutId,
    epoch: u32,
    breakers: Breakers,
    health: HealthTest,
    /// What speaks for and against each stratum: the fleet's counts when they were looked at last, and this worker's since.
    known: BTreeMap<(StageNumber, Provider), Seen>,
    /// Stages of which something was rejected since the whole fleet's counts were looked at.
    suspects: BTreeSet<StageNumber>,
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
                let health = HealthTest::new(&campaign.plan.health, campaign.plan.stages.len());
                let (known, suspects) = (BTreeMap::new(), BTreeSet::new());
                let (told, mended) = (false, Vec::new());
                Some(Self { rollout, epoch, breakers, health, known, suspects, told, mended })
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
        count(&mut self.known, end);
        if has_rejections(end) {
            self.suspects.insert(end.stage);
        }
    }

    /// True while a stage that is in its slow start has more against it than for it, with these outcomes: it does not widen on what
    /// was accepted beside that.
    pub(super) fn is_doubtful(&self, stage: StageNumber, ends: &[SegmentEnd]) -> bool {
        let seen = self.known_with(ends);
        let of_stage = || seen.iter().filter(|((of, _), _)| *of == stage).map(|(_, seen)| *seen);
        let accepted: u64 = of_stage().map(|seen| seen.accepted).sum();
        accepted < slow_start::OVER.unsigned_abs() && of_stage().any(|seen| self.health.is_doubtful(seen))
    }

    /// True if health would fail with these outcomes, as far as this worker knows the others': they are recorded before anything
    /// more is begun.
    pub(super) fn would_fail(&self, ends: &[SegmentEnd]) -> bool {
        let is_news = !self.suspects.is_empty() || ends.iter().any(has_rejections);
        is_news && self.known_with(ends).values().any(|seen| self.health.fails(*seen))
    }

    fn known_with(&self, ends: &[SegmentEnd]) -> BTreeMap<(StageNumber, Provider), Seen> {
        let mut seen = self.known.clone();
        for end in ends {
            count(&mut seen, end);
        }
        seen
    }

    /// Whether what the whole fleet has recorded is no chance any more. Only a rejection speaks against a notification, so it is
    /// asked only after one; and at once, because each round of a stage is twice as large as the one before.
    pub(super) async fn judge(&mut self, shared: &Shared) {
        if self.suspects.is_empty() || self.has_tripped() {
            return;
        }
        let tallies = match shared.patience.answer(shared.ledger.tallies(self.rollout)).await {
            Ok(tallies) => tallies,
            Err(error) => {
                tracing::debug!(rollout = %self.rollout, %error, "health is judged when the ledger answers");
                return;
            }
        };
        let suspects = std::mem::take(&mut self.suspects);
        self.known.extend(tallies.iter().map(|tally| ((tally.stage, tally.provider), tally.seen())));
        let failed =
            tallies.iter().find(|tally| suspects.contains(&tally.stage) && self.health.fails(tally.seen()));
        if let Some(tally) = failed {
            let reason = Reason::new(&tally.seen().to_string());
            self.breakers.fail(tally.provider, reason);
        }
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

/// Only these speak against a notification.
fn has_rejections(end: &SegmentEnd) -> bool {
    end.outcomes.iter().flatten().any(|(_, outcome)| matches!(outcome, Outcome::Rejected { .. }))
}

fn count(seen: &mut BTreeMap<(StageNumber, Provider), Seen>, end: &SegmentEnd) {
    for (device, outcome) in end.outcomes.iter().flatten() {
        let seen = seen.entry((end.stage, device.platform.provider())).or_default();
        match outcome {
            Outcome::Accepted { .. } => seen.accepted += 1,
            Outcome::Rejected { .. } => seen.rejected += 1,
            _ => {}
        }
    }
}
