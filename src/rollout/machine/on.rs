//! The table: every state, every event.

use std::collections::BTreeSet;

use super::{
    Approved, Baking, Because, Electorate, Ending, Held, Moved, Pause, Paused, Pending, Refused, Rollout,
    RolloutEvent as Event,
};
use crate::{
    model::{OperatorName, StageNumber},
    rollout::FrozenPlan,
};

/// What a pair of state and event comes to.
type Answer = Result<Moved, Because>;

impl Rollout {
    /// What `event` makes of this rollout, under its plan; or why it may not happen. Each state lists every event.
    pub fn on(self, event: Event, plan: &FrozenPlan) -> Result<Moved, Refused> {
        let (state, word) = (self.state(), event.as_str());
        let answer = match self {
            Self::Draft => draft(event),
            Self::PendingApproval(pending) => pending.on(event),
            Self::Approved(approved) => approved.on(event),
            Self::Running(opened) => running(opened, event),
            Self::Baking(baking) => baking.on(event, plan),
            Self::Paused(paused) => paused.on(event, plan),
            Self::Over(_) => over(&event),
        };
        answer.map_err(|because| Refused { state, event: word, because })
    }
}

/// On to `rollout`, within the same epoch.
#[expect(clippy::unnecessary_wraps, reason = "an arm of the table, beside those that refuse")]
const fn on(rollout: Rollout) -> Answer {
    Ok(Moved { rollout, new_epoch: false })
}

/// On to `rollout`; whatever is under way ends.
#[expect(clippy::unnecessary_wraps, reason = "an arm of the table, beside those that refuse")]
const fn stop(rollout: Rollout) -> Answer {
    Ok(Moved { rollout, new_epoch: true })
}

const fn end(ending: Ending) -> Answer {
    stop(Rollout::Over(ending))
}

fn draft(event: Event) -> Answer {
    match event {
        Event::Frozen(electorate) => on(elect(electorate, Held::Start)),
        Event::Reject => end(Ending::Rejected),
        Event::Expire => end(Ending::Expired),
        Event::Halt => end(Ending::Halted),
        Event::Abort => end(Ending::Aborted),
        Event::Approve(_)
        | Event::Void(_)
        | Event::Start
        | Event::Open(_)
        | Event::Sent
        | Event::Gate
        | Event::Pause(_)
        | Event::Resume { .. }
        | Event::Promote { .. }
        | Event::Complete => Err(Because::Freezing),
    }
}

/// To whoever must approve; where nobody must, it goes by itself.
fn elect(electorate: Electorate, at: Held) -> Rollout {
    if electorate.people == 0 {
        return Rollout::Approved(Approved { started: true, at });
    }
    Rollout::PendingApproval(Pending { electorate, approved: BTreeSet::new(), at })
}

impl Pending {
    fn on(self, event: Event) -> Answer {
        match event {
            Event::Approve(by) => self.approve(by),
            Event::Reject => end(Ending::Rejected),
            Event::Void(electorate) if self.approved.is_empty() && self.electorate == electorate => {
                Err(Because::NothingApproved)
            }
            Event::Void(electorate) => on(Rollout::PendingApproval(Self {
                electorate: at_least_one(electorate),
                approved: BTreeSet::new(),
                at: self.at,
            })),
            Event::Expire => end(Ending::Expired),
            Event::Halt => end(Ending::Halted),
            Event::Abort => end(Ending::Aborted),
            Event::Frozen(_)
            | Event::Start
            | Event::Open(_)
            | Event::Sent
            | Event::Gate
            | Event::Pause(_)
            | Event::Resume { .. }
            | Event::Promote { .. }
            | Event::Complete => Err(Because::NotApproved),
        }
    }

    /// I4: distinct people, none of them barred.
    fn approve(mut self, by: OperatorName) -> Answer {
        if self.electorate.barred.contains(&by) {
            return Err(Because::OwnRequest);
        }
        if !self.approved.insert(by) {
            return Err(Because::Twice);
        }
        let enough =
            usize::try_from(self.electorate.people).is_ok_and(|people| self.approved.len() >= people);
        on(if enough {
            Rollout::Approved(Approved { started: false, at: self.at })
        } else {
            Rollout::PendingApproval(self)
        })
    }
}

/// What needed people once needs at least one from then on.
fn at_least_one(electorate: Electorate) -> Electorate {
    Electorate { people: electorate.people.max(1), ..electorate }
}

/// Back to whoever must approve, wherever it stood.
fn void(electorate: Electorate, at: Held) -> Answer {
    stop(elect(at_least_one(electorate), at))
}

impl Approved {
    fn on(self, event: Event) -> Answer {
        let Self { started, at } = self;
        match event {
            Event::Start if started => Err(Because::StartedAlready),
            Event::Start => on(resumed(at)),
            Event::Open(stage) => match (started, at, stage) {
                (false, ..) => Err(Because::NotStarted),
                (true, Held::Start, 0) => on(Rollout::Running(0)),
                (true, ..) => Err(Because::OtherStage),
            },
            Event::Pause(_) if !started => Err(Because::NotStarted),
            Event::Pause(Pause::Gate | Pause::Inconclusive) | Event::Sent | Event::Gate | Event::Complete => {
                Err(Because::NotSending)
            }
            Event::Pause(why) => stop(Rollout::Paused(Paused { why, at })),
            Event::Void(electorate) => void(electorate, at),
            Event::Expire => end(Ending::Expired),
            Event::Halt => end(Ending::Halted),
            Event::Abort => end(Ending::Aborted),
            Event::Frozen(_) | Event::Approve(_) | Event::Reject => Err(Because::ApprovedAlready),
            Event::Resume { .. } => Err(Because::NotPaused),
            Event::Promote { .. } => Err(Because::NotStarted),
        }
    }
}

fn running(stage: StageNumber, event: Event) -> Answer {
    match event {
        Event::Sent => on(Rollout::Baking(Baking { stage, promoted: false })),
        // A decision on a stage that is not sent yet: `promote`, which alone leads on from there, could not.
        Event::Pause(Pause::Gate | Pause::Inconclusive)
        | Event::Open(_)
        | Event::Gate
        | Event::Promote { .. }
        | Event::Complete => Err(Because::Sending),
        Event::Pause(why) => stop(Rollout::Paused(Paused { why, at: Held::Running(stage) })),
        Event::Void(electorate) => void(electorate, Held::Running(stage)),
        Event::Expire => end(Ending::Expired),
        Event::Halt => end(Ending::Halted),
        Event::Abort => end(Ending::Aborted),
        Event::Frozen(_) | Event::Approve(_) | Event::Reject => Err(Because::ApprovedAlready),
        Event::Start => Err(Because::StartedAlready),
        Event::Resume { .. } => Err(Because::NotPaused),
    }
}

impl Baking {
    fn on(self, event: Event, plan: &FrozenPlan) -> Answer {
        let Self { stage, promoted } = self;
        let at = Held::Baking(stage);
        match event {
            Event::Open(next) if Some(next) != plan.stage_after(stage) => Err(Because::OtherStage),
            Event::Open(_) if plan.has_manual_gate(stage) && !promoted => Err(Because::GateClosed),
            Event::Open(next) => on(Rollout::Running(next)),
            Event::Gate if promoted => Err(Because::PromotedAlready),
            Event::Gate if plan.stage_after(stage).is_none() => Err(Because::LastStage),
            // Nothing that goes on here was begun under a rule that is over: the epoch stays, and the late tail goes on.
            Event::Gate => on(Rollout::Paused(Paused { why: Pause::Gate, at })),
            Event::Promote { reasoned } => promote(stage, promoted, reasoned, plan),
            Event::Complete if plan.stage_after(stage).is_some() => Err(Because::StagesLeft),
            Event::Complete => end(Ending::Completed),
            Event::Pause(why) => stop(Rollout::Paused(Paused { why, at })),
            Event::Void(electorate) => void(electorate, at),
            Event::Expire => end(Ending::Expired),
            Event::Halt => end(Ending::Halted),
            Event::Abort => end(Ending::Aborted),
            Event::Frozen(_) | Event::Approve(_) | Event::Reject => Err(Because::ApprovedAlready),
            Event::Start => Err(Because::StartedAlready),
            Event::Sent => Err(Because::NotSending),
            Event::Resume { .. } => Err(Because::NotPaused),
        }
    }
}

/// Lets a stage be followed by the next, whatever the watching has shown so far.
fn promote(stage: StageNumber, promoted: bool, reasoned: bool, plan: &FrozenPlan) -> Answer {
    match () {
        () if plan.stage_after(stage).is_none() => Err(Because::LastStage),
        () if promoted => Err(Because::PromotedAlready),
        () if !reasoned => Err(Because::NoReason),
        () => on(Rollout::Baking(Baking { stage, promoted: true })),
    }
}

impl Paused {
    fn on(self, event: Event, plan: &FrozenPlan) -> Answer {
        let Self { why, at } = self;
        match event {
            Event::Resume { by_itself } => match (why, by_itself) {
                (Pause::Gate | Pause::Inconclusive, _) => Err(Because::AtGate),
                // Before the number is as it must be, a person could let it go on for a moment, and no longer.
                (Pause::NoData, false) => Err(Because::NoData),
                (Pause::Manual | Pause::Credentials, true) => Err(Because::Paused),
                (Pause::Manual | Pause::Credentials, false)
                | (Pause::NoData, true)
                | (Pause::ProviderDown, _) => on(resumed(at)),
            },
            Event::Promote { reasoned } => match (why, at) {
                // The watching has run its course; the gate asked for a person, and here is one.
                (Pause::Gate, Held::Baking(stage)) => promote(stage, false, true, plan),
                (Pause::Inconclusive, Held::Baking(stage)) => promote(stage, false, reasoned, plan),
                (Pause::NoData, _) => Err(Because::NoData),
                (Pause::Gate | Pause::Inconclusive, Held::Start | Held::Running(_))
                | (Pause::Manual | Pause::Credentials | Pause::ProviderDown, _) => Err(Because::Paused),
            },
            // At a gate the late tail goes on: a person may stop that, too.
            Event::Pause(Pause::Manual) if why != Pause::Manual => {
                stop(Rollout::Paused(Self { why: Pause::Manual, at }))
            }
            // So may whatever else must stop it.
            Event::Pause(other) if why == Pause::Gate && other != Pause::Gate => {
                stop(Rollout::Paused(Self { why: other, at }))
            }
            Event::Pause(_) | Event::Gate | Event::Open(_) | Event::Sent | Event::Complete => {
                Err(Because::Paused)
            }
            Event::Void(electorate) => void(electorate, at),
            Event::Expire => end(Ending::Expired),
            Event::Halt => end(Ending::Halted),
            Event::Abort => end(Ending::Aborted),
            Event::Frozen(_) | Event::Approve(_) | Event::Reject => Err(Because::ApprovedAlready),
            Event::Start => Err(Because::StartedAlready),
        }
    }
}

/// Where a rollout goes on that may go on.
const fn resumed(at: Held) -> Rollout {
    match at {
        Held::Start => Rollout::Approved(Approved { started: true, at }),
        Held::Running(stage) => Rollout::Running(stage),
        Held::Baking(stage) => Rollout::Baking(Baking { stage, promoted: false }),
    }
}

const fn over(event: &Event) -> Answer {
    match event {
        Event::Frozen(_)
        | Event::Approve(_)
        | Event::Reject
        | Event::Void(_)
        | Event::Start
        | Event::Open(_)
        | Event::Sent
        | Event::Gate
        | Event::Pause(_)
        | Event::Resume { .. }
        | Event::Promote { .. }
        | Event::Complete
        | Event::Expire
        | Event::Halt
        | Event::Abort => Err(Because::Over),
    }
}
