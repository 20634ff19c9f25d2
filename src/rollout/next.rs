//! The coordinator's next step for one rollout. Pure: the coordinator reads the facts, asks, and carries the answer
//! out; a step that the ledger refuses (a halt came first) is decided again from new facts.
//!
//! - A stage is opened once, in order, when every first-time chunk of the one before is done, and not before `not_before`
//!   nor after the expiry. What was deferred, by a provider or until the end of somebody's quiet hours, goes on beside the
//!   later stages, as a tail: it is over at the expiry.
//! - **I9 nothing-late**: past the expiry the only step is the end.
//! - A gate that a person must open is passed here without one: only campaigns to testers and to our own people come
//!   so far. The watched wait before it is kept.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{FrozenPlan, FrozenTake, quiet::quiet_until};
use crate::model::{RolloutState, StageNumber};

/// How long a campaign whose audience is not frozen yet waits for a coordinator with the policy that cleared it: as long
/// as a fleet may run on two policies while a new one is rolled out.
pub const OTHER_POLICY_FOR: Duration = Duration::from_mins(2);

/// Everything that a step depends on.
#[derive(Debug, Clone)]
pub struct RolloutFacts<'a> {
    /// Where it stands.
    pub state: RolloutState,
    /// The stage that was opened last; `None` before the first.
    pub stage: Option<StageNumber>,
    /// When it changed last.
    pub changed_at: Timestamp,
    /// The plan as it was frozen.
    pub plan: &'a FrozenPlan,
    /// Nothing is sent before this.
    pub not_before: Option<Timestamp>,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// Most devices of the campaign's own audience: the producer's bound, and the policy's.
    pub at_most: u64,
    /// Whether the policy here is the one that cleared it.
    pub same_policy: bool,
    /// The app's time zone; `None` if this machine does not know it.
    pub zone: Option<&'a TimeZone>,
    /// How each stage stands, by its number; one that is not here has nobody.
    pub stages: &'a [StageFacts],
    /// The ledger's clock.
    pub now: Timestamp,
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
    /// It is paused.
    Paused,
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
            Self::Paused => "it is paused",
            Self::Over => "it is over",
        })
    }
}

/// What to do next for one rollout.
#[must_use]
pub fn next(facts: &RolloutFacts<'_>) -> Step {
    if facts.state.is_terminal() {
        return Step::Nothing(Why::Over);
    }
    if facts.now >= facts.expires_at {
        return Step::End(End::Expired);
    }
    match facts.state {
        RolloutState::Draft => draft(facts),
        RolloutState::PendingApproval => waiting(facts, None, Why::Approval),
        RolloutState::Paused => waiting(facts, None, Why::Paused),
        RolloutState::Approved | RolloutState::Running | RolloutState::Baking => going(facts),
        RolloutState::Completed
        | RolloutState::Halted
        | RolloutState::Aborted
        | RolloutState::Rejected
        | RolloutState::Expired => Step::Nothing(Why::Over),
    }
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

fn going(facts: &RolloutFacts<'_>) -> Step {
    let own = own_devices(facts);
    if facts.stage.is_none() && own > facts.at_most {
        let reason = format!(
            "audience-above-limit: {own} devices; at_most and the audience's max_devices allow {}",
            facts.at_most
        );
        return Step::End(End::Halted(reason));
    }
    if let Some(start) = facts.not_before.filter(|start| facts.now < *start) {
        return waiting(facts, Some(start), Why::NotYet);
    }
    let Some(current) = facts.stage else { return widen(facts, 0) };
    if facts.stages.iter().any(|stage| stage.to_follow > 0) {
        return Step::FollowRetries;
    }
    let stage = stage(facts, current);
    if stage.first_left > 0 {
        return waiting(facts, None, Why::Sending);
    }
    let Some(sent_at) = stage.sent_at else { return Step::StageSent(current) };
    let following = usize::from(current) + 1;
    if following >= facts.plan.stages.len() {
        return finish(facts);
    }
    let bake = facts.plan.stages.get(usize::from(current)).map_or(0, |stage| stage.bake_ms);
    let baked = baked(sent_at, bake);
    // There is nothing to watch where nobody was sent anything.
    if stage.devices > 0 && facts.now < baked {
        return waiting(facts, Some(baked), Why::Bake);
    }
    StageNumber::try_from(following).map_or_else(|_| finish(facts), |stage| widen(facts, stage))
}

fn baked(sent_at: Timestamp, bake_ms: u64) -> Timestamp {
    let bake = SignedDuration::from_millis(i64::try_from(bake_ms).unwrap_or(i64::MAX));
    sent_at.checked_add(bake).unwrap_or(Timestamp::MAX)
}

/// Opens a stage, unless phones are to be left alone now.
fn widen(facts: &RolloutFacts<'_>, stage: StageNumber) -> Step {
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
