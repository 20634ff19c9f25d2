//! A rollout whole, and many in a line each.

use std::{collections::BTreeMap, num::NonZeroU32};

use jiff::Timestamp;

use super::{guards, halts, related::related};
use crate::{
    api::wire::{
        ApprovalView, FindingView, GuardView, PaceView, ProvenView, RolloutList, RolloutSummary, RolloutView,
        StageHealth, StageView, TailView, Waits,
    },
    audience::Policy,
    dispatch::outlook::{StagesSeen, outlook},
    ledger::{
        Approval, CampaignRecord, FindingRecord, Ledger, LedgerError, Paced, ProofRecord, RolloutLine, Tally,
    },
    model::{CampaignId, Pause, StageNumber},
    rollout::{End, FrozenPlan, Rollout, Step, Why, health},
};

/// How a campaign's rollout stands, whole; `None` if there is no such campaign.
pub async fn rollout_view(
    ledger: &Ledger,
    policy: &Policy,
    id: CampaignId,
) -> Result<Option<RolloutView>, LedgerError> {
    Ok(seen(ledger, policy, id).await?.map(|seen| seen.view))
}

/// A page of rollouts, the newest first, older than `before`; only those that are not over, if `live`.
pub async fn rollout_list(
    ledger: &Ledger,
    live: bool,
    limit: u32,
    before: Option<CampaignId>,
) -> Result<RolloutList, LedgerError> {
    let lines = ledger.listed_rollouts(live, limit, before).await?;
    Ok(RolloutList { rollouts: lines.iter().map(summary).collect() })
}

/// A rollout as it was read, and as it is shown.
pub(super) struct Seen {
    pub(super) campaign: CampaignRecord,
    pub(super) stages: StagesSeen,
    pub(super) now: Timestamp,
    pub(super) view: RolloutView,
}

pub(super) async fn seen(
    ledger: &Ledger,
    policy: &Policy,
    id: CampaignId,
) -> Result<Option<Seen>, LedgerError> {
    let Some(campaign) = ledger.campaign(id).await? else { return Ok(None) };
    let Some(rollout) = ledger.rollout(id).await? else { return Ok(None) };
    let stages = StagesSeen::read(ledger, &rollout, &campaign.plan).await?;
    let approvals = ledger.approvals(rollout.rollout).await?;
    // Of one that is over, nobody waits for anything.
    let tail = if rollout.state.is_terminal() { None } else { ledger.late_tail(rollout.rollout).await? };
    let now = ledger.now().await?;
    let guards = if rollout.stands.is_watched() {
        guards::standing(&campaign.plan, &stages.downstream, now)
    } else {
        Vec::new()
    };
    let findings: Vec<FindingView> =
        ledger.findings(rollout.rollout).await?.into_iter().map(finding).collect();
    let step = outlook(policy, &rollout, &campaign, &stages, now);
    let view = RolloutView {
        summary: summary(&RolloutLine {
            rollout: rollout.clone(),
            key: campaign.key.clone(),
            requester: campaign.requester.clone(),
            plan: campaign.plan.clone(),
            received_at: campaign.received_at,
        }),
        plan: campaign.plan.name.clone(),
        digest: rollout.approval_digest(&campaign.policy, &policy.hash()).map(|digest| digest.to_string()),
        requester: campaign.requester.as_ref().map(ToString::to_string),
        approvals_needed: rollout.electorate.people,
        approvals: approvals.into_iter().map(approval).collect(),
        barred: rollout.electorate.barred.iter().map(ToString::to_string).collect(),
        waits: for_findings(&step, &findings).or_else(|| waits(&step, campaign.expires_at, &guards)),
        stages_view: stages_view(&campaign, &stages),
        findings,
        proven: ledger.proof_by(rollout.rollout).await?.map(proven),
        pace: paced(&campaign.plan, ledger.pace(rollout.rollout).await?.filter(|noted| now < noted.until)),
        late_tail: tail.map(|tail| TailView { devices: tail.devices, due_at: tail.due_at }),
        after_halt: rollout.after_halt,
        halts: halts::over(ledger, &rollout).await?,
        related: related(ledger, &campaign).await?,
        guards,
    };
    Ok(Some(Seen { campaign, stages, now, view }))
}

fn summary(line: &RolloutLine) -> RolloutSummary {
    let RolloutLine { rollout, key, requester: _, plan, received_at } = line;
    RolloutSummary {
        campaign: rollout.id.to_string(),
        producer: key.producer.to_string(),
        job: key.id.to_string(),
        app: rollout.app.to_string(),
        audience: rollout.audience.to_string(),
        state: rollout.state,
        pause: paused_for(&rollout.stands),
        cause: rollout.cause.clone(),
        stage: rollout.stage.map(counted_from_one),
        stages: u32::try_from(plan.stages.len()).unwrap_or(u32::MAX),
        frozen: rollout.frozen,
        epoch: rollout.epoch,
        received_at: *received_at,
        changed_at: rollout.changed_at,
        expires_at: rollout.expires_at,
        finished_at: rollout.finished_at,
    }
}

const fn paused_for(stands: &Rollout) -> Option<Pause> {
    match stands {
        Rollout::Paused(paused) => Some(paused.why),
        _ => None,
    }
}

fn counted_from_one(stage: StageNumber) -> u32 {
    u32::from(stage) + 1
}

fn approval(approval: Approval) -> ApprovalView {
    let (voided_at, voided_by) = approval.voided.unzip();
    ApprovalView {
        by: approval.by.to_string(),
        at: approval.at,
        digest: approval.digest.to_string(),
        reason: approval.reason,
        until: approval.until,
        voided_at,
        voided_by,
    }
}

fn proven(proof: ProofRecord) -> ProvenView {
    ProvenView { by: proof.by.to_string(), at: proof.at, reason: proof.reason }
}

/// What comes before the approvals.
fn for_findings(step: &Step, findings: &[FindingView]) -> Option<Waits> {
    let Step::Wait(_, Why::Approval) = step else { return None };
    let open: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_open())
        .map(|finding| finding.number.to_string())
        .collect();
    if open.is_empty() {
        return None;
    }
    let why = format!("the guard holds it; somebody must accept what it found first: {}", open.join(", "));
    Some(Waits { why, until: None, on_people: true })
}

fn finding(found: FindingRecord) -> FindingView {
    let FindingRecord { number, note, accepted } = found;
    let holds = note.holds();
    let (by_at, accepted_reason) = accepted.map(|(by, at, reason)| ((by, at), reason)).unzip();
    let (accepted_by, accepted_at) = by_at.unzip();
    FindingView {
        number,
        rule: note.rule,
        holds,
        field: note.field,
        reason: note.reason,
        fix: note.fix,
        accepted_by: accepted_by.map(|by| by.to_string()),
        accepted_at,
        accepted_reason,
    }
}

/// How the rate follows its signal; what was noted is over by itself.
fn paced(plan: &FrozenPlan, noted: Option<Paced>) -> Option<PaceView> {
    let pace = plan.pace.as_ref()?;
    Some(PaceView {
        signal: pace.signal.as_ref().map(|signal| signal.name.clone()),
        min: pace.min.get(),
        max: pace.max.get(),
        per_second: noted.map_or(pace.min, |noted| noted.rate).get(),
        headroom: noted.and_then(|noted| noted.headroom),
    })
}

/// What a rollout waits for; `None` of one that is over. That it will not wait beyond its expiry says nothing.
fn waits(step: &Step, expires_at: Timestamp, guards: &[GuardView]) -> Option<Waits> {
    let soon = |why: &str| Some(Waits { why: why.to_owned(), until: None, on_people: false });
    match step {
        Step::Nothing(Why::Over) => None,
        Step::Nothing(why) => {
            Some(Waits { why: for_what(*why, guards), until: None, on_people: on_people(*why) })
        }
        Step::Wait(until, why) => Some(Waits {
            why: for_what(*why, guards),
            until: until.filter(|until| *until < expires_at),
            on_people: on_people(*why),
        }),
        Step::Freeze => soon("its audience is being frozen"),
        Step::Open(stage) => soon(&format!("stage {} is about to open", counted_from_one(*stage))),
        Step::FollowRetries => soon("what was deferred is about to be sent again"),
        Step::StageSent(_) => soon("a stage has just been sent"),
        Step::Gate => Some(Waits { why: Why::Paused(Pause::Gate).to_string(), until: None, on_people: true }),
        Step::Void(because) => Some(Waits {
            why: format!("its approvals are about to be void: {}", because.as_str()),
            until: None,
            on_people: true,
        }),
        Step::Pause(why, cause) => {
            Some(Waits { why: cause.clone(), until: None, on_people: on_people(Why::Paused(*why)) })
        }
        Step::Resume => soon("it is about to go on: what it waited for is tried again"),
        Step::End(End::Completed) => soon("it is about to be completed"),
        Step::End(End::Expired) => soon("its time is over"),
        Step::End(End::Halted(reason)) => soon(&format!("it is about to be halted: {reason}")),
    }
}

/// Why nothing is done now. What a guard keeps from widening names the guard and its number.
fn for_what(why: Why, guards: &[GuardView]) -> String {
    match why {
        Why::Downstream | Why::Paused(Pause::NoData) => {
            guards::in_the_way(guards).unwrap_or_else(|| why.to_string())
        }
        _ => why.to_string(),
    }
}

/// True if nothing happens until a person does something.
const fn on_people(why: Why) -> bool {
    match why {
        Why::Approval | Why::Start | Why::Paused(Pause::Manual | Pause::Gate | Pause::Inconclusive) => true,
        Why::NotYet
        | Why::QuietHours
        | Why::UnknownZone
        | Why::Sending
        | Why::Bake
        | Why::Tail
        | Why::Downstream
        | Why::OtherPolicy
        | Why::Paused(Pause::NoData | Pause::Credentials | Pause::ProviderDown)
        | Why::Over => false,
    }
}

fn stages_view(campaign: &CampaignRecord, seen: &StagesSeen) -> Vec<StageView> {
    let FrozenPlan { stages, .. } = &campaign.plan;
    let view = |(number, stage): (usize, &crate::rollout::FrozenStage)| {
        let number = StageNumber::try_from(number).unwrap_or(StageNumber::MAX);
        let count = seen.counts.iter().find(|count| count.stage == number);
        let (outcomes, done) = outcomes(number, &seen.tallies, campaign.at_most_once);
        StageView {
            stage: counted_from_one(number),
            takes: stage.take.to_string(),
            devices: count.map(|count| count.devices),
            done,
            outcomes,
            bake_ms: stage.bake_ms,
            manual_gate: stage.manual_gate,
            gate: campaign.plan.gate(number).to_owned(),
            health: judged(number, seen),
            max_rate: campaign.plan.max_rate(number).map(NonZeroU32::get),
            opened_at: count.and_then(|count| count.opened_at),
            sent_at: count.and_then(|count| count.sent_at),
        }
    };
    stages.iter().enumerate().map(view).collect()
}

/// Nothing where nobody has answered yet.
fn judged(stage: StageNumber, seen: &StagesSeen) -> Option<StageHealth> {
    let answered = |tally: &&Tally| tally.stage == stage && tally.seen() != health::Seen::default();
    seen.tallies.iter().find(answered)?;
    Some(match seen.health.get(usize::from(stage))? {
        health::Verdict::Pass => StageHealth::Pass,
        health::Verdict::Fail(_) => StageHealth::Fail,
        health::Verdict::Inconclusive => StageHealth::Inconclusive,
    })
}

/// How often each outcome was recorded in a stage, at both providers; and how many of them are final.
fn outcomes(stage: StageNumber, tallies: &[Tally], at_most_once: bool) -> (BTreeMap<String, u64>, u64) {
    let (mut sums, mut done) = (BTreeMap::new(), 0);
    for tally in tallies.iter().filter(|tally| tally.stage == stage) {
        for (code, count) in tally.counts.iter().filter(|(_, count)| **count > 0) {
            *sums.entry(code.as_str().to_owned()).or_default() += count;
            if code.is_final(at_most_once) {
                done += count;
            }
        }
    }
    (sums, done)
}
