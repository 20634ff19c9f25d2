//! Moves the rate of each running rollout that follows a signal, once an interval, and notes it where slots are leased.
//!
//! - **I11 paced**: the rate is the fleet's; whoever leases a slot is given no more.
//! - **I3 unknown-is-no**: what is noted ends by itself. If this process dies, or the ledger is away, the rate is the least
//!   again after two intervals, and whoever rules next begins there.

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Coordinator, is_deposed};
use crate::{
    dispatch::probe::Probes,
    ledger::{CampaignRecord, Deposed, RolloutRecord, Ruling},
    model::{AppId, RolloutId, StageNumber},
    pace::feedback::{Bounds, Feedback},
    rollout::FrozenPace,
};

/// So many intervals, and what was noted is over: one reading may be late.
const LASTS: u32 = 2;

/// The rates of one reign.
#[derive(Debug)]
pub(super) struct Paces<'c> {
    coordinator: &'c Coordinator,
    ruling: watch::Receiver<Ruling>,
    /// Each begins anew with its stage: what the stage before has shown says nothing of more people.
    rates: HashMap<RolloutId, (StageNumber, Feedback)>,
}

/// A running rollout that follows a signal.
struct Follower {
    rollout: RolloutId,
    stage: StageNumber,
    app: AppId,
    pace: FrozenPace,
}

impl<'c> Paces<'c> {
    pub(super) fn new(coordinator: &'c Coordinator, ruling: watch::Receiver<Ruling>) -> Self {
        Self { coordinator, ruling, rates: HashMap::new() }
    }

    /// Until another term rules.
    pub(super) async fn run(mut self) {
        // Where no number can be read none is noted, and every rate is the least.
        let Some(probes) = &self.coordinator.probes else { return std::future::pending().await };
        while !is_deposed(self.round(probes).await) {
            tokio::time::sleep(probes.pace_every()).await;
        }
    }

    async fn round(&mut self, probes: &Probes) -> Result<(), Deposed> {
        let followers = self.followers().await?;
        self.rates.retain(|rollout, _| followers.iter().any(|follower| follower.rollout == *rollout));
        let read = followers.iter().map(|follower| headroom(probes, &follower.pace));
        let headrooms = join_all(read).await;
        let mut limits: Vec<(&AppId, NonZeroU32)> = Vec::new();
        for (follower, headroom) in followers.iter().zip(headrooms) {
            let rate = self.hear(follower, headroom);
            limits.push((&follower.app, rate));
            let lasts: Duration = probes.pace_every() * LASTS + probes.timeout();
            let ruling = self.ruling.borrow().clone();
            let Coordinator { ledger, .. } = self.coordinator;
            let of = (follower.rollout, follower.stage);
            ledger.note_pace(&ruling, of, (rate, headroom), lasts).await?;
        }
        self.coordinator.metrics.set_pace_limits(limits);
        Ok(())
    }

    /// The first time a stage is seen it has rung nobody yet: there is nothing to hear, and it begins at the least.
    fn hear(&mut self, follower: &Follower, headroom: Option<f64>) -> NonZeroU32 {
        let Follower { rollout, stage, pace, .. } = follower;
        let mut feedback = Feedback::new(bounds(pace));
        if let Some((_, known)) = self.rates.get(rollout).filter(|(of, _)| of == stage) {
            feedback = *known;
            feedback.hear(headroom);
        }
        self.rates.insert(*rollout, (*stage, feedback));
        feedback.rate()
    }

    /// Those that send, also the late tail of a stage that is watched. What is paused begins anew.
    async fn followers(&self) -> Result<Vec<Follower>, Deposed> {
        let Coordinator { ledger, patience, .. } = self.coordinator;
        let mut followers = Vec::new();
        for RolloutRecord { rollout, stage, stands, .. } in patience.answer(ledger.live_rollouts()).await? {
            let Some(stage) = stage.filter(|_| stands.sends()) else { continue };
            let campaign = patience.answer(ledger.campaign_of(rollout)).await?;
            if let Some(CampaignRecord { app, plan, .. }) = campaign
                && let Some(pace) = plan.pace
            {
                followers.push(Follower { rollout, stage, app, pace });
            }
        }
        Ok(followers)
    }
}

/// A policy's are the right way round.
fn bounds(pace: &FrozenPace) -> Bounds {
    Bounds::new(pace.min, pace.max.max(pace.min)).expect("the right way round")
}

async fn headroom(probes: &Probes, pace: &FrozenPace) -> Option<f64> {
    let signal = pace.signal.as_ref()?;
    match probes.read(&signal.probe).await {
        Ok(headroom) => Some(headroom),
        Err(why) => {
            tracing::warn!(signal = signal.name, %why, "a signal cannot be read; what follows it goes at its least");
            None
        }
    }
}
