//! Reads the numbers of our own systems that running rollouts are watched by, and notes what was seen. What follows from it is
//! decided by [`crate::rollout::next()`], here as everywhere else from what stands in the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Coordinator, is_deposed};
use crate::{
    audience::Probe,
    dispatch::probe::Probes,
    ledger::{CampaignRecord, Deposed, RolloutRecord, Ruling, SeenDownstream},
    rollout::downstream::{FrozenDownstream, Reading, Watched},
};

/// Looks that may fail in a row until what was seen is as good as nothing.
const LOOKS: u32 = 3;

/// The reading of one reign.
#[derive(Debug)]
pub(super) struct Guards<'c> {
    pub(super) coordinator: &'c Coordinator,
    pub(super) ruling: watch::Receiver<Ruling>,
}

impl Guards<'_> {
    /// Until another term rules.
    pub(super) async fn run(self) {
        // Where nothing can be read, everything that is watched is blind: that needs no reading.
        let Some(probes) = &self.coordinator.probes else { return std::future::pending().await };
        while !is_deposed(self.round(probes).await) {
            tokio::time::sleep(probes.every()).await;
        }
    }

    /// Reads every number that a rollout waits for or is watched by, each once.
    async fn round(&self, probes: &Probes) -> Result<(), Deposed> {
        let Coordinator { ledger, patience, .. } = self.coordinator;
        let mut guarded = Vec::new();
        for rollout in
            patience.answer(ledger.live_rollouts()).await?.into_iter().filter(|seen| seen.stands.is_watched())
        {
            let campaign = patience.answer(ledger.campaign_of(rollout.rollout)).await?;
            let Some(campaign) = campaign.filter(|campaign| !campaign.plan.downstream.is_empty()) else {
                continue;
            };
            guarded.push((rollout, campaign));
        }
        if guarded.is_empty() {
            return Ok(());
        }
        // Before they are asked: a number is as old as the question.
        let at = patience.answer(ledger.now()).await?;
        let asked: HashMap<&Probe, &str> = guarded
            .iter()
            .flat_map(|(_, campaign)| guards(campaign))
            .map(|guard| (&guard.probe, guard.name.as_str()))
            .collect();
        let read = asked.into_iter().map(async |(probe, name)| {
            let answer = probes.read(probe).await;
            if let Err(why) = &answer {
                tracing::warn!(guard = name, %why, "a number of our own systems cannot be read");
            }
            (probe.clone(), answer.ok())
        });
        let values: HashMap<Probe, Option<f64>> = join_all(read).await.into_iter().collect();
        for (rollout, campaign) in &guarded {
            let mut seen = patience.answer(ledger.downstream(rollout.rollout)).await?;
            for guard in guards(campaign) {
                let value = values.get(&guard.probe).copied().flatten();
                let stale_after = probes.every() * LOOKS + probes.timeout();
                self.note(rollout, guard, &mut seen, Reading { at, value }, stale_after).await?;
            }
        }
        Ok(())
    }

    async fn note(
        &self,
        rollout: &RolloutRecord,
        guard: &FrozenDownstream,
        seen: &mut BTreeMap<String, SeenDownstream>,
        reading: Reading,
        stale_after: Duration,
    ) -> Result<(), Deposed> {
        let known = seen.remove(&guard.name).map(|seen| seen.watched);
        let mut watched = known.unwrap_or_else(|| Watched::from(reading.at));
        watched.note(guard, reading);
        let noted = SeenDownstream { watched, stale_after };
        let ruling = self.ruling.borrow().clone();
        self.coordinator.ledger.note_downstream(&ruling, rollout.rollout, &guard.name, &noted).await
    }
}

fn guards(campaign: &CampaignRecord) -> impl Iterator<Item = &FrozenDownstream> {
    campaign.plan.downstream.iter()
}
