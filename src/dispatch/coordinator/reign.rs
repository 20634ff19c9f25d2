//! One reign: looks at every live rollout, and carries out the next step of each.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use super::Coordinator;
use crate::{
    audience::{Audience, Policy},
    dispatch::{
        control::ControlMessage,
        outlook::{StagesSeen, electorate, outlook},
    },
    ledger::{CampaignRecord, Deposed, FreezeSource, LedgerError, OverBecause, RolloutRecord, Ruled, Ruling},
    model::{AudienceName, RolloutId, RolloutState},
    rollout::{End, FrozenTake, Step, Why},
};

/// How long between two looks while something is being sent, and while nothing is. Whoever has news says so.
const LOOK_BUSY: Duration = Duration::from_millis(200);
const LOOK_IDLE: Duration = Duration::from_secs(1);

/// Devices of one step of freezing: a sixth of a second, so that a halt or another rollout waits no longer.
const FREEZE: usize = 50_000;

/// One reign.
pub(super) struct Reign<'c> {
    coordinator: &'c Coordinator,
    ruling: watch::Receiver<Ruling>,
    told: broadcast::Receiver<ControlMessage>,
    /// What does not change about a campaign, read once in a reign.
    campaigns: HashMap<RolloutId, CampaignRecord>,
    /// What each rollout waits for, so that a wait is logged once.
    waits: HashMap<RolloutId, Why>,
    /// How long each freezing has taken so far, in this reign.
    freezing: HashMap<RolloutId, Duration>,
}

/// What came of looking at a rollout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// Something was done; there may be more at once.
    Went,
    /// Nothing now; chunks are being sent.
    Busy,
    /// Nothing until then, or until somebody has news.
    Until(Option<Timestamp>),
}

impl<'c> Reign<'c> {
    pub(super) fn new(coordinator: &'c Coordinator, ruling: watch::Receiver<Ruling>) -> Self {
        let told = coordinator.control.subscribe();
        let (campaigns, waits, freezing) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { coordinator, ruling, told, campaigns, waits, freezing }
    }

    /// Until another term rules, or this one's lease is over.
    pub(super) async fn run(&mut self) {
        loop {
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(Deposed::Deposed) => return,
                Err(Deposed::Ledger(error)) => {
                    tracing::warn!(%error, "campaigns stand still until the ledger answers");
                    Some(LOOK_IDLE)
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    // Also when it lags: then there was news.
                    _news = self.told.recv() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    /// Looks at every live rollout once. Answers how long until the next look; `None`: at once.
    async fn round(&mut self) -> Result<Option<Duration>, Deposed> {
        let patience = &self.coordinator.patience;
        let live = patience.answer(self.coordinator.ledger.live_rollouts()).await?;
        let now = patience.answer(self.coordinator.ledger.now()).await?;
        self.count(&live);
        self.campaigns.retain(|id, _| live.iter().any(|rollout| rollout.rollout == *id));
        self.waits.retain(|id, _| live.iter().any(|rollout| rollout.rollout == *id));
        self.freezing.retain(|id, _| live.iter().any(|rollout| rollout.rollout == *id));
        let mut pause = Some(LOOK_IDLE);
        for rollout in &live {
            let looked = match self.look_at(rollout, now).await {
                Err(Deposed::Ledger(error)) if error.is_about_the_request() => {
                    tracing::error!(campaign = %rollout.id, rollout = %rollout.rollout, %error, "a rollout cannot go on");
                    Looked::Until(None)
                }
                looked => looked?,
            };
            pause = match looked {
                Looked::Went => None,
                Looked::Busy => pause.map(|pause| pause.min(LOOK_BUSY)),
                Looked::Until(until) => pause.map(|pause| pause.min(wait(until, now))),
            };
        }
        Ok(pause)
    }

    fn count(&self, live: &[RolloutRecord]) {
        let mut states: BTreeMap<RolloutState, u64> = BTreeMap::new();
        for rollout in live {
            *states.entry(rollout.state).or_default() += 1;
        }
        self.coordinator.metrics.set_rollouts(&states.into_iter().collect::<Vec<_>>());
    }

    async fn look_at(&mut self, seen: &RolloutRecord, now: Timestamp) -> Result<Looked, Deposed> {
        let Some(campaign) = self.campaign(seen.rollout).await? else {
            tracing::error!(rollout = %seen.rollout, "a rollout without a campaign");
            return Ok(Looked::Until(None));
        };
        let (coordinator, plan) = (self.coordinator, &campaign.plan);
        let stages = coordinator.patience.answer(StagesSeen::read(&coordinator.ledger, seen, plan)).await?;
        let step = outlook(&coordinator.policy, seen, &campaign, &stages, now);
        self.carry_out(seen, &campaign, step).await
    }

    /// What does not change about a campaign.
    async fn campaign(&mut self, rollout: RolloutId) -> Result<Option<CampaignRecord>, LedgerError> {
        if let Some(known) = self.campaigns.get(&rollout) {
            return Ok(Some(known.clone()));
        }
        let read = self.coordinator.patience.answer(self.coordinator.ledger.campaign_of(rollout)).await?;
        if let Some(campaign) = &read {
            // Its text is nobody's business here.
            self.campaigns.insert(rollout, CampaignRecord { job: None, ..campaign.clone() });
        }
        Ok(read)
    }

    async fn carry_out(
        &mut self,
        seen: &RolloutRecord,
        campaign: &CampaignRecord,
        step: Step,
    ) -> Result<Looked, Deposed> {
        let ruling = self.ruling.borrow().clone();
        // By this process's own clock, a second before the ledger would say so.
        if self.coordinator.clock.monotonic() >= ruling.until {
            return Err(Deposed::Deposed);
        }
        let (ledger, id, rollout) = (&self.coordinator.ledger, campaign.id, seen.rollout);
        if !matches!(step, Step::Wait(..) | Step::Nothing(_)) {
            self.waits.remove(&rollout);
        }
        match step {
            Step::Freeze => self.freeze(&ruling, seen, campaign).await,
            Step::Open(stage) => self.rule(&ruling, seen, campaign, &Ruled::Open(stage)).await,
            Step::FollowRetries => {
                let waits = self.coordinator.retry;
                let made = ledger.follow_retries(&ruling, seen, |tries| waits.before(tries)).await?;
                tracing::debug!(campaign = %id, %rollout, made, "retry chunks for what was deferred");
                if made > 0 {
                    self.coordinator.control.tell(&ControlMessage::Work);
                }
                // Busy, not at once: should some be left for another time, that is not asked in a tight circle.
                Ok(Looked::Busy)
            }
            Step::StageSent(stage) => self.rule(&ruling, seen, campaign, &Ruled::Sent(stage)).await,
            Step::Gate => self.rule(&ruling, seen, campaign, &Ruled::Gate).await,
            Step::Pause(why, cause) => self.rule(&ruling, seen, campaign, &Ruled::Pause(why, cause)).await,
            Step::Resume => self.rule(&ruling, seen, campaign, &Ruled::Resume).await,
            Step::Void(because) => {
                let electorate = electorate(&self.coordinator.policy, campaign, seen.frozen);
                self.rule(&ruling, seen, campaign, &Ruled::Void(because, electorate)).await
            }
            Step::End(end) => self.rule(&ruling, seen, campaign, &Ruled::Over(because(&end))).await,
            Step::Wait(until, why) => {
                self.note(seen, why);
                // A tail may last for a night.
                Ok(if why == Why::Sending { Looked::Busy } else { Looked::Until(until) })
            }
            Step::Nothing(why) => {
                self.note(seen, why);
                Ok(Looked::Until(None))
            }
        }
    }

    /// Writes what was decided, unless it is not so any more.
    async fn rule(
        &self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        campaign: &CampaignRecord,
        ruled: &Ruled,
    ) -> Result<Looked, Deposed> {
        let (id, rollout) = (campaign.id, seen.rollout);
        if !self.coordinator.ledger.ruled(ruling, seen, &campaign.plan, ruled).await? {
            tracing::debug!(campaign = %id, %rollout, ?ruled, "not done: the rollout changed, or is halted");
            return Ok(Looked::Until(None));
        }
        tracing::info!(campaign = %id, %rollout, ?ruled, "a rollout goes on");
        if let Ruled::Open(_) | Ruled::Resume = ruled {
            self.coordinator.control.tell(&ControlMessage::Work);
        }
        Ok(Looked::Went)
    }

    async fn freeze(
        &mut self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        campaign: &CampaignRecord,
    ) -> Result<Looked, Deposed> {
        let ledger = &self.coordinator.ledger;
        let Some(source) = source(&self.coordinator.policy, campaign) else {
            let reason = "policy-changed: its audience or that of its first stage is not in the policy";
            let because = OverBecause::Halted(reason.to_owned());
            return self.rule(ruling, seen, campaign, &Ruled::Over(because)).await;
        };
        let who = |frozen| electorate(&self.coordinator.policy, campaign, frozen);
        let began = self.coordinator.clock.monotonic();
        // Boxed: it is seldom, and would make the whole reign's future as large as itself.
        let progress = Box::pin(ledger.freeze_step(ruling, seen.rollout, source, FREEZE, who)).await?;
        let (id, rollout, frozen) = (campaign.id, seen.rollout, progress.frozen);
        let took = self.freezing.entry(rollout).or_default();
        *took += self.coordinator.clock.monotonic().saturating_duration_since(began);
        if progress.done {
            let seconds = took.as_secs_f64();
            self.freezing.remove(&rollout);
            tracing::info!(campaign = %id, %rollout, frozen, seconds, "the audience is frozen");
        } else {
            tracing::debug!(campaign = %id, %rollout, frozen, "freezing the audience");
        }
        Ok(Looked::Went)
    }

    /// Logs what a rollout waits for, once.
    fn note(&mut self, seen: &RolloutRecord, why: Why) {
        if self.waits.insert(seen.rollout, why) == Some(why) {
            return;
        }
        let (campaign, rollout) = (seen.id, seen.rollout);
        match why {
            Why::OtherPolicy | Why::UnknownZone => {
                tracing::warn!(%campaign, %rollout, %why, "a rollout waits");
            }
            _ => tracing::info!(%campaign, %rollout, %why, "a rollout waits"),
        }
    }
}

/// The audiences that a campaign is frozen from; `None` if the policy has not all of them.
fn source<'p>(policy: &'p Policy, campaign: &CampaignRecord) -> Option<FreezeSource<'p>> {
    let audience = policy.audience(&campaign.audience)?;
    let first: Option<&Audience> = match campaign.plan.stages.first().map(|stage| &stage.take) {
        Some(FrozenTake::Audience(name)) => Some(policy.audience(&AudienceName::parse(name).ok()?)?),
        _ => None,
    };
    Some(FreezeSource { audience, first })
}

fn because(end: &End) -> OverBecause {
    match end {
        End::Completed => OverBecause::Completed,
        End::Expired => OverBecause::Expired,
        End::Halted(reason) => OverBecause::Halted(reason.clone()),
    }
}

/// From now until then, on the ledger's clock, within the longest pause.
fn wait(until: Option<Timestamp>, now: Timestamp) -> Duration {
    let left = until.map(|until| until.duration_since(now));
    left.and_then(|left| Duration::try_from(left).ok()).unwrap_or(LOOK_IDLE).min(LOOK_IDLE)
}
