//! The coordinator's next step for one rollout, and why. Pure: the coordinator reads the facts, asks, and carries the
//! answer out; a step that the state machine refuses (a halt came first) is decided again from new facts. Operators see the
//! same answer: what their rollout waits for.
//!
//! - A stage is opened once, in order, when every first-time chunk of the one before is done and it was watched for its
//!   time, and not before `not_before` nor after the expiry. What was deferred, by a provider or until the end of
//!   somebody's quiet hours, goes on beside the later stages, as a tail: it is over at the expiry.
//! - **I9 nothing-late**: past the expiry the only step is the end.
//! - **I8 approved-is-what-is-sent**: under another policy than the one that was approved, the approvals are void.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    BreakerKind, FrozenPlan, FrozenTake, Tripped,
    downstream::{FrozenDownstream, Judgement},
    health::{Failure, HealthTest, Verdict},
    machine::{Approved, Baking, Held, Pause, Paused, Pending, Rollout},
    quiet::quiet_until,
};
use crate::model::StageNumber;

/// How long a campaign whose audience is not frozen yet waits for a coordinator with the policy that cleared it: as long
/// as a fleet may run on two policies while a new one is rolled out.
pub const OTHER_POLICY_FOR: Duration = Duration::from_mins(2);

/// Everything that a step depends on.
#[derive(Debug, Clone)]
pub struct RolloutFacts<'a> {
    /// Where it stands.
    pub rollout: &'a Rollout,
    /// When its state changed last: the watched wait counts from here, so that a pause begins it anew.
    pub changed_at: Timestamp,
    /// The plan as it was frozen.
    pub plan: &'a FrozenPlan,
    /// Nothing is sent before this.
    pub not_before: Option<Timestamp>,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// Most devices of the campaign's own audience: the producer's bound, and the policy's.
    pub at_most: u64,
    /// Whether the policy in force is the one that it was cleared, or approved, under.
    pub same_policy: bool,
    /// Whether people must approve it.
    pub needs_people: bool,
    /// When the first of the approvals that it has is too old to start on.
    pub approvals_until: Option<Timestamp>,
    /// The app's time zone; `None` if this machine does not know it.
    pub zone: Option<&'a TimeZone>,
    /// What workers saw in this run that must stop it, or health that failed in an earlier one.
    pub breaker: Option<&'a Tripped>,
    /// How each stage stands, by its number; one that is not here has nobody.
    pub stages: &'a [StageFacts],
    /// What each of the plan's downstream guards says.
    pub downstream: &'a [Judged<'a>],
    /// What the providers' answers say of the stages, by number; of one that is not here nothing is known.
    pub health: &'a [Verdict],
    /// The ledger's clock.
    pub now: Timestamp,
}

/// What a downstream guard says.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Which.
    pub guard: &'a FrozenDownstream,
    /// What it says.
    pub judgement: Judgement,
}

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageFacts {
    /// Its devices.
    pub devices: u64,
    /// When the last of its first-time chunks was noted as done.
    pub sent_at: Option<Timestamp>,
    /// First-time chunks that are not done.
    pub first_left: u32,
    /// Retry chunks that are not done.
    pub retries_left: u32,
    /// Done chunks of whose deferred devices no retry chunk has been made.
    pub to_follow: u32,
}

/// What the coordinator does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Freeze some more of the audience.
    Freeze,
    /// Ask again then, or when something happens.
    Wait(Option<Timestamp>, Why),
    /// Open this stage.
    Open(StageNumber),
    /// Make retry chunks of what was deferred.
    FollowRetries,
    /// Note that this stage has been sent.
    StageSent(StageNumber),
    /// The watched wait is over: a person must open the next stage.
    Gate,
    /// It must wait, for this reason.
    Pause(Pause, String),
    /// What it waited for is tried again.
    Resume,
    /// Its approvals do not hold any more.
    Void(VoidBecause),
    /// It is over.
    End(End),
    /// Nothing to do until a person does something, or ever.
    Nothing(Why),
}

/// How a rollout ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Everyone has a final outcome.
    Completed,
    /// Its time is over.
    Expired,
    /// It cannot go on, for this reason.
    Halted(String),
}

/// Why approvals do not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoidBecause {
    /// The policy in force is another than the one that was approved.
    Policy,
    /// They are older than approvals may be when a rollout starts.
    Age,
}

impl VoidBecause {
    /// As the cause that operators see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => {
                "policy-changed: the policy in force is not the one that was approved; see `bellwether policy diff`"
            }
            Self::Age => "approvals-expired: they were given too long before the start",
        }
    }
}

/// Why nothing is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its `not_before` is to come.
    NotYet,
    /// Phones are left alone at this hour.
    QuietHours,
    /// It has quiet hours, and this machine does not know the app's time zone.
    UnknownZone,
    /// First-time chunks of the open stage are being sent.
    Sending,
    /// The stage has been sent, and is watched.
    Bake,
    /// The last stage has been sent; retries are left, and those who sleep.
    Tail,
    /// The policy here is not the one that cleared it.
    OtherPolicy,
    /// People must approve it.
    Approval,
    /// A person must start it.
    Start,
    /// A number of our own systems is not known to be as it must be.
    Downstream,
    /// It is paused.
    Paused(Pause),
    /// It is over.
    Over,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYet => "its not_before is to come",
            Self::QuietHours => "its plan has quiet hours now, in the app's time zone",
            Self::UnknownZone => {
                "its plan has quiet hours, and this machine does not know the app's time zone; install tzdata"
            }
            Self::Sending => "a stage is being sent",
            Self::Bake => "a stage is watched before the next",
            Self::Tail => "the late tail is left: what providers deferred, and who sleeps",
            Self::OtherPolicy => "the policy here is not the one that cleared it",
            Self::Approval => "people must approve it",
            Self::Start => "it is approved; a person must start it",
            Self::Downstream => "our own systems are not known to be right; see `bellwether check`",
            Self::Paused(Pause::Manual) => "a person has paused it",
            Self::Paused(Pause::Gate) => "a person must open the next stage",
            Self::Paused(Pause::Inconclusive) => {
                "what was watched gives no clear answer; a person must decide"
            }
            Self::Paused(Pause::NoData) => {
                "a number of our own systems is not as it must be, or cannot be seen; it goes on by itself"
            }
            Self::Paused(Pause::Credentials) => "a provider refuses our credentials",
            Self::Paused(Pause::ProviderDown) => "a provider does not answer",
            Self::Over => "it is over",
        })
    }
}

/// What to do next for one rollout.
#[must_use]
pub fn next(facts: &RolloutFacts<'_>) -> Step {
    if matches!(facts.rollout, Rollout::Over(_)) {
        return Step::Nothing(Why::Over);
    }
    if facts.now >= facts.expires_at {
        return Step::End(End::Expired);
    }
    if let Some(failure) = failure(facts) {
        return Step::End(End::Halted(failure.to_string()));
    }
    if let Some(step) = guarded(facts) {
        return step;
    }
    if let Some(because) = void(facts) {
        return Step::Void(because);
    }
    let counts = |tripped: &&Tripped| facts.rollout.sends() || tripped.kind == BreakerKind::Health;
    if let Some(tripped) = facts.breaker.filter(counts) {
        return stop(tripped);
    }
    match facts.rollout {
        Rollout::Draft => draft(facts),
        Rollout::PendingApproval(_) => waiting(facts, facts.approvals_until, Why::Approval),
        Rollout::Approved(Approved { started: false, .. }) => {
            waiting(facts, facts.approvals_until, Why::Start)
        }
        Rollout::Approved(Approved { started: true, at: Held::Start }) => start(facts),
        // The machine leads from there to the stage at once.
        Rollout::Approved(Approved { started: true, at: Held::Running(_) | Held::Baking(_) }) => {
            waiting(facts, None, Why::Start)
        }
        Rollout::Running(stage) => running(facts, *stage),
        Rollout::Baking(baking) => follow(facts).unwrap_or_else(|| bake(facts, baking)),
        Rollout::Paused(Paused { why: Pause::ProviderDown, .. }) => try_again(facts),
        Rollout::Paused(Paused { why: Pause::NoData, .. }) if may_widen(facts) => Step::Resume,
        Rollout::Paused(Paused { why, .. }) => {
            let tail = if *why == Pause::Gate { follow(facts) } else { None };
            tail.unwrap_or_else(|| waiting(facts, None, Why::Paused(*why)))
        }
        Rollout::Over(_) => Step::Nothing(Why::Over),
    }
}

/// Whether approvals that were given hold no more.
fn void(facts: &RolloutFacts<'_>) -> Option<VoidBecause> {
    let (given, not_started) = match facts.rollout {
        Rollout::Draft | Rollout::Over(_) => (false, false),
        Rollout::PendingApproval(Pending { approved, .. }) => (!approved.is_empty(), true),
        Rollout::Approved(Approved { started, .. }) => (true, !started),
        Rollout::Running(_) | Rollout::Baking(_) | Rollout::Paused(_) => (true, false),
    };
    match () {
        () if !given || !facts.needs_people => None,
        () if !facts.same_policy => Some(VoidBecause::Policy),
        () if not_started && facts.approvals_until.is_some_and(|until| facts.now >= until) => {
            Some(VoidBecause::Age)
        }
        () => None,
    }
}

/// What a breaker asks for.
fn stop(tripped: &Tripped) -> Step {
    match tripped.kind {
        BreakerKind::Credentials => Step::Pause(Pause::Credentials, tripped.to_string()),
        BreakerKind::ProviderDown => Step::Pause(Pause::ProviderDown, tripped.to_string()),
        BreakerKind::Rejections | BreakerKind::Health => Step::End(End::Halted(tripped.to_string())),
    }
}

/// A provider that was down is tried again after as long as it took to call it so.
fn try_again(facts: &RolloutFacts<'_>) -> Step {
    let again = baked(facts.changed_at, facts.plan.breakers.provider_down_after_ms);
    if facts.now >= again {
        return Step::Resume;
    }
    waiting(facts, Some(again), Why::Paused(Pause::ProviderDown))
}

/// A wait that ends at its expiry at the latest.
fn waiting(facts: &RolloutFacts<'_>, until: Option<Timestamp>, why: Why) -> Step {
    Step::Wait(Some(until.unwrap_or(facts.expires_at).min(facts.expires_at)), why)
}

fn draft(facts: &RolloutFacts<'_>) -> Step {
    if facts.same_policy {
        return Step::Freeze;
    }
    let patience = SignedDuration::try_from(OTHER_POLICY_FOR).unwrap_or(SignedDuration::ZERO);
    let given_up = facts.changed_at.checked_add(patience).unwrap_or(Timestamp::MAX);
    if facts.now < given_up {
        return waiting(facts, Some(given_up), Why::OtherPolicy);
    }
    let reason =
        "policy-changed: the policy that cleared it is no longer in use; send it again with a new id";
    Step::End(End::Halted(reason.to_owned()))
}

fn start(facts: &RolloutFacts<'_>) -> Step {
    let own = own_devices(facts);
    if own > facts.at_most {
        let reason = format!(
            "audience-above-limit: {own} devices; at_most and the audience's max_devices allow {}",
            facts.at_most
        );
        return Step::End(End::Halted(reason));
    }
    if let Some(start) = facts.not_before.filter(|start| facts.now < *start) {
        return waiting(facts, Some(start), Why::NotYet);
    }
    widen(facts, 0)
}

/// The late tail: what was deferred is to be sent again.
fn follow(facts: &RolloutFacts<'_>) -> Option<Step> {
    facts.stages.iter().any(|stage| stage.to_follow > 0).then_some(Step::FollowRetries)
}

fn running(facts: &RolloutFacts<'_>, current: StageNumber) -> Step {
    if let Some(step) = follow(facts) {
        return step;
    }
    if stage(facts, current).first_left > 0 {
        return waiting(facts, None, Why::Sending);
    }
    Step::StageSent(current)
}

fn bake(facts: &RolloutFacts<'_>, baking: &Baking) -> Step {
    let Baking { stage: current, promoted } = *baking;
    let Some(following) = facts.plan.stage_after(current) else { return finish(facts) };
    if promoted {
        return widen(facts, following);
    }
    let bake = facts.plan.stages.get(usize::from(current)).map_or(0, |stage| stage.bake_ms);
    let baked = baked(facts.changed_at, bake);
    // There is nothing to watch where nobody was sent anything.
    if stage(facts, current).devices > 0 && facts.now < baked {
        return waiting(facts, Some(baked), Why::Bake);
    }
    if facts.plan.has_manual_gate(current) {
        return Step::Gate;
    }
    // I3: what was not seen to be sound is not taken to be so. Where nobody was sent anything, nothing is asked.
    let must_pass = facts.plan.must_pass(current) && stage(facts, current).devices > 0;
    if must_pass && judged(facts, current) != &Verdict::Pass {
        let enough = HealthTest::new(&facts.plan.health, facts.plan.stages.len()).passes_after();
        return Step::Pause(Pause::Inconclusive, inconclusive(current, enough));
    }
    widen(facts, following)
}

/// What is known of a stage's health.
fn judged<'a>(facts: &RolloutFacts<'a>, stage: StageNumber) -> &'a Verdict {
    facts.health.get(usize::from(stage)).unwrap_or(&Verdict::Inconclusive)
}

/// Health is judged wherever something was sent, also while it is paused, and of every stage.
fn failure<'a>(facts: &RolloutFacts<'a>) -> Option<&'a Failure> {
    facts.health.iter().find_map(|verdict| match verdict {
        Verdict::Fail(failure) => Some(failure),
        Verdict::Pass | Verdict::Inconclusive => None,
    })
}

fn inconclusive(stage: StageNumber, enough: u64) -> String {
    format!(
        "health-inconclusive: stage {} was watched, and is not known to be sound; that takes {enough} accepted of each \
         provider, and more with each rejection",
        u32::from(stage) + 1
    )
}

fn baked(since: Timestamp, bake_ms: u64) -> Timestamp {
    let bake = SignedDuration::from_millis(i64::try_from(bake_ms).unwrap_or(i64::MAX));
    since.checked_add(bake).unwrap_or(Timestamp::MAX)
}

/// What our own systems ask for, wherever something was sent: also at a gate, because those who were rung open the app later.
fn guarded(facts: &RolloutFacts<'_>) -> Option<Step> {
    facts.rollout.stage()?;
    let says = |judged: &&Judged<'_>| judged.judgement.of(judged.guard).to_string();
    if let Some(judged) = facts.downstream.iter().find(|judged| judged.judgement.halts()) {
        return Some(Step::End(End::Halted(format!("downstream: {}", says(&judged)))));
    }
    if !matches!(facts.rollout, Rollout::Running(_) | Rollout::Baking(_)) {
        return None;
    }
    let judged = facts.downstream.iter().find(|judged| judged.judgement.pauses())?;
    Some(Step::Pause(Pause::NoData, format!("downstream: {}", says(&judged))))
}

/// I3: every number is there, and as it must be.
fn may_widen(facts: &RolloutFacts<'_>) -> bool {
    let is_fine = |guard: &FrozenDownstream| {
        facts.downstream.iter().any(|judged| judged.guard == guard && judged.judgement.is_fine())
    };
    facts.plan.downstream.iter().all(is_fine)
}

/// Opens a stage, unless phones are to be left alone now.
fn widen(facts: &RolloutFacts<'_>, stage: StageNumber) -> Step {
    if !may_widen(facts) {
        return waiting(facts, None, Why::Downstream);
    }
    if let Some(hours) = &facts.plan.quiet_hours {
        let Some(zone) = facts.zone else { return waiting(facts, None, Why::UnknownZone) };
        if let Some(until) = quiet_until(hours, zone, facts.now) {
            return waiting(facts, Some(until), Why::QuietHours);
        }
    }
    Step::Open(stage)
}

/// The last stage has been sent.
fn finish(facts: &RolloutFacts<'_>) -> Step {
    if facts.stages.iter().any(|stage| stage.retries_left > 0 || stage.first_left > 0) {
        return waiting(facts, None, Why::Tail);
    }
    Step::End(End::Completed)
}

fn stage(facts: &RolloutFacts<'_>, number: StageNumber) -> StageFacts {
    facts.stages.get(usize::from(number)).copied().unwrap_or_default()
}

/// The devices of the campaign's own audience: our own people who go first lie beside it.
fn own_devices(facts: &RolloutFacts<'_>) -> u64 {
    let beside = |number: usize| {
        facts.plan.stages.get(number).is_some_and(|stage| matches!(stage.take, FrozenTake::Audience(_)))
    };
    facts
        .stages
        .iter()
        .enumerate()
        .filter(|(number, _)| !beside(*number))
        .map(|(_, stage)| stage.devices)
        .sum()
}

#[cfg(test)]
mod tests;
