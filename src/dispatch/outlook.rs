//! What a rollout is about to do, and what it waits for: gathers the facts that [`rollout::next()`](crate::rollout::next())
//! decides from. The coordinator carries the answer out, operators are shown it; it is the same answer.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    audience::Policy,
    ledger::{CampaignRecord, Ledger, LedgerError, RolloutRecord, StageCount, StageProgress},
    model::RolloutState,
    rollout::{FrozenPlan, RolloutFacts, StageFacts, Step, next},
};

/// How the stages of a rollout stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StagesSeen {
    /// What each was frozen to; empty until the audience is frozen.
    pub counts: Vec<StageCount>,
    /// What the next step depends on, by number; empty until the audience is frozen.
    pub facts: Vec<StageFacts>,
}

impl StagesSeen {
    /// Reads them.
    pub async fn read(ledger: &Ledger, seen: &RolloutRecord, plan: &FrozenPlan) -> Result<Self, LedgerError> {
        if seen.state == RolloutState::Draft {
            return Ok(Self::default());
        }
        let counts = ledger.stages(seen.rollout).await?;
        let progress = match seen.stage {
            Some(_) => ledger.stage_progress(seen.rollout).await?,
            None => Vec::new(),
        };
        let facts = gather(plan.stages.len(), &counts, &progress);
        Ok(Self { counts, facts })
    }
}

/// What happens to a rollout next, under this policy.
#[must_use]
pub fn outlook(
    policy: &Policy,
    seen: &RolloutRecord,
    campaign: &CampaignRecord,
    stages: &[StageFacts],
    now: Timestamp,
) -> Step {
    let zone = policy.app(&campaign.app).and_then(|app| TimeZone::get(app.timezone.as_str()).ok());
    next(&RolloutFacts {
        rollout: &seen.stands,
        changed_at: seen.changed_at,
        plan: &campaign.plan,
        not_before: campaign.not_before,
        expires_at: campaign.expires_at,
        at_most: at_most(policy, campaign),
        same_policy: seen.policy.unwrap_or(campaign.policy) == policy.hash(),
        needs_people: seen.electorate.people > 0,
        approvals_until: seen.approvals_until,
        zone: zone.as_ref(),
        stages,
        now,
    })
}

/// Most devices of the campaign's own audience: the producer's bound, and the policy's.
#[must_use]
pub fn at_most(policy: &Policy, campaign: &CampaignRecord) -> u64 {
    policy
        .audience(&campaign.audience)
        .map_or(campaign.at_most, |audience| audience.max_devices.min(campaign.at_most))
}

/// Joins what each stage was frozen to with how it stands, by number.
fn gather(stages: usize, counts: &[StageCount], progress: &[StageProgress]) -> Vec<StageFacts> {
    let mut facts = vec![StageFacts::default(); stages];
    for count in counts {
        if let Some(stage) = facts.get_mut(usize::from(count.stage)) {
            (stage.devices, stage.sent_at) = (count.devices, count.sent_at);
        }
    }
    for progress in progress {
        if let Some(stage) = facts.get_mut(usize::from(progress.stage)) {
            stage.first_left = progress.first_left;
            stage.retries_left = progress.retries_left;
            stage.to_follow = progress.to_follow;
        }
    }
    facts
}
