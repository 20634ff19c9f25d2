//! What a rollout is about to do, and what it waits for: gathers the facts that [`rollout::next()`](crate::rollout::next())
//! decides from. The coordinator carries the answer out, operators are shown it; it is the same answer.

use std::{collections::BTreeMap, time::Duration};

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    audience::{Class, MAX_APPROVERS, Policy},
    ledger::{
        CampaignRecord, Ledger, LedgerError, RolloutRecord, SeenDownstream, StageCount, StageProgress, Tally,
    },
    model::RolloutState,
    rollout::{
        Electorate, FrozenPlan, Judged, RolloutFacts, StageFacts, Step, Tripped,
        downstream::{FrozenDownstream, Watched},
        health::{HealthTest, Verdict},
        next,
    },
};

/// How the stages of a rollout stand, and what workers saw that must stop it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StagesSeen {
    /// What each was frozen to; empty until the audience is frozen.
    pub counts: Vec<StageCount>,
    /// What the next step depends on, by number; empty until the audience is frozen.
    pub facts: Vec<StageFacts>,
    /// What came of each stage so far; empty until one is open.
    pub tallies: Vec<Tally>,
    /// What the providers' answers say of each stage, by number; empty until one is open.
    pub health: Vec<Verdict>,
    /// What was seen of the numbers of our own systems, by their guards' names.
    pub downstream: BTreeMap<String, SeenDownstream>,
    /// A breaker that tripped in this run of it, or health that failed in any.
    pub breaker: Option<Tripped>,
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
        let tallies = match seen.stage {
            Some(_) => ledger.tallies(seen.rollout).await?,
            None => Vec::new(),
        };
        let health = verdicts(plan, &tallies);
        let facts = gather(plan.stages.len(), &counts, &progress);
        let breaker = match seen.stage {
            Some(_) => ledger.breaker(seen.rollout, seen.epoch).await?,
            None => None,
        };
        let downstream = if plan.downstream.is_empty() {
            BTreeMap::new()
        } else {
            ledger.downstream(seen.rollout).await?
        };
        Ok(Self { counts, facts, tallies, health, downstream, breaker })
    }
}

/// What happens to a rollout next, under this policy.
#[must_use]
pub fn outlook(
    policy: &Policy,
    seen: &RolloutRecord,
    campaign: &CampaignRecord,
    stages: &StagesSeen,
    now: Timestamp,
) -> Step {
    let judged: Vec<Judged<'_>> = judged(&campaign.plan, &stages.downstream, now);
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
        breaker: stages.breaker.as_ref(),
        stages: &stages.facts,
        downstream: &judged,
        health: &stages.health,
        now,
    })
}

/// Who approves what corrects or supersedes: always two, whatever the audience's own rule says. More would be slower than the
/// mistake, and fewer could make another.
const MENDED_BY: u32 = 2;

/// Most devices of the campaign's own audience: the producer's bound, and the policy's. What mends another campaign is for
/// those whom that one reached, however many they are.
#[must_use]
pub fn at_most(policy: &Policy, campaign: &CampaignRecord) -> u64 {
    if campaign.mends.is_some() {
        return u64::MAX;
    }
    policy
        .audience(&campaign.audience)
        .map_or(campaign.at_most, |audience| audience.max_devices.min(campaign.at_most))
}

/// Who must approve a campaign that came to so many devices: more people the more devices, and never those who asked for
/// it (I4).
#[must_use]
pub fn electorate(policy: &Policy, campaign: &CampaignRecord, frozen: u64) -> Electorate {
    let people = match policy.audience(&campaign.audience) {
        _ if campaign.mends.is_some() => MENDED_BY,
        // Somebody answers for what speaks against it, whoever it is for.
        Some(audience) if campaign.held => audience.people_for(frozen).max(1),
        Some(audience) => audience.people_for(frozen),
        // One that the policy has no longer is taken for the strictest.
        None if campaign.class == Class::Production => u32::try_from(MAX_APPROVERS).unwrap_or(u32::MAX),
        None => u32::from(campaign.held),
    };
    let owners = policy.producer(&campaign.key.producer).map(|producer| &producer.owners);
    let owners = owners.into_iter().flatten().cloned();
    Electorate { people, barred: owners.chain(campaign.requester.clone()).collect() }
}

/// What each guard of the plan says. One that was never read is blind.
#[must_use]
pub fn judged<'p>(
    plan: &'p FrozenPlan,
    seen: &BTreeMap<String, SeenDownstream>,
    now: Timestamp,
) -> Vec<Judged<'p>> {
    let judge = |guard: &'p FrozenDownstream| {
        let unread = || (Watched::from(now), Duration::ZERO);
        let (watched, stale_after) =
            seen.get(&guard.name).map_or_else(unread, |seen| (seen.watched.clone(), seen.stale_after));
        Judged { guard, judgement: watched.judge(guard, now, stale_after) }
    };
    plan.downstream.iter().map(judge).collect()
}

/// What health says of each stage, by number.
fn verdicts(plan: &FrozenPlan, tallies: &[Tally]) -> Vec<Verdict> {
    if tallies.is_empty() {
        return Vec::new();
    }
    let test = HealthTest::new(&plan.health, plan.stages.len());
    let of = |number: usize| {
        let strata = tallies.iter().filter(|tally| usize::from(tally.stage) == number);
        test.verdict(&strata.map(|tally| (tally.provider, tally.seen())).collect::<Vec<_>>())
    };
    (0..plan.stages.len()).map(of).collect()
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
