//! The state machine of a rollout: which event leads from which state to which, and which are refused.
//!
//! ```text
//! Draft ─▶ PendingApproval ─▶ Approved ─▶ Running(1) ─▶ Baking(1) ─▶ Running(2) ─▶ … ─▶ Baking(n) ─▶ Completed
//!                ▲                │            │   ▲          │   ▲
//!                └──── voided ────┴────────────┼───┼──────────┤   │ promote, resume
//!                                              └─ Paused ◀────┘───┘
//! from every state that is not over: Halted, Aborted, Expired
//! ```
//!
//! [`Rollout::on`] takes the rollout by value: who holds a state holds the only one. It is pure and knows nothing of time,
//! health or policies; [`super::next()`] decides from those which event is due, people bring the others, and here stands
//! whether it may happen. Whatever a caller believes:
//!
//! - **I4 widening-needs-two**: only enough distinct people, none of them barred, lead out of `PendingApproval`; nothing
//!   else does but an end.
//! - **I3 unknown-is-no**: a gate that a person must open lets nothing through without a person, and nobody can promote or
//!   resume a rollout that is paused for want of data.
//! - **I5 halt-is-now**: whatever stops a rollout that may be sending starts a new epoch.
//! - A stage follows the one before it: none is skipped, none is opened twice.

mod on;
mod words;

use std::collections::BTreeSet;

pub use words::{Because, Refused};

pub use crate::model::Pause;
use crate::model::{OperatorName, RolloutState, StageNumber};

/// Where a rollout stands, with what that state needs and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Rollout {
    /// Being frozen.
    Draft,
    /// Frozen; waits for people.
    PendingApproval(Pending),
    /// Enough people have approved it.
    Approved(Approved),
    /// The first-time chunks of this stage are being sent.
    Running(StageNumber),
    /// A stage has been sent, and is watched.
    Baking(Baking),
    /// It waits.
    Paused(Paused),
    /// Nothing will ever be sent again.
    Over(Ending),
}

/// Who must approve.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Electorate {
    /// How many distinct people.
    pub people: u32,
    /// Who may not: the requester, and those who own the producer.
    pub barred: BTreeSet<OperatorName>,
}

/// What waits for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    /// Who must approve.
    pub electorate: Electorate,
    /// Who has, so far.
    pub approved: BTreeSet<OperatorName>,
    /// Where it goes on: at the start, or where it stood when its approvals were voided.
    pub at: Held,
}

/// What may start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Approved {
    /// A person has started it, or nobody needs to.
    pub started: bool,
    /// Where it goes on.
    pub at: Held,
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Baking {
    /// The stage that has been sent.
    pub stage: StageNumber,
    /// A person has opened the gate behind it.
    pub promoted: bool,
}

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Paused {
    /// For what.
    pub why: Pause,
    /// Where it goes on.
    pub at: Held,
}

/// Where a rollout that does not move goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Held {
    /// Before its first stage.
    Start,
    /// This stage was being sent.
    Running(StageNumber),
    /// This stage had been sent.
    Baking(StageNumber),
}

impl Held {
    /// The stage that was opened last; `None` before the first.
    #[must_use]
    pub const fn stage(self) -> Option<StageNumber> {
        match self {
            Self::Start => None,
            Self::Running(stage) | Self::Baking(stage) => Some(stage),
        }
    }
}

/// How a rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Everyone has their final outcome.
    Completed,
    /// Stopped, by a person or by the machine.
    Halted,
    /// Given up by a person.
    Aborted,
    /// Refused by an approver, or not what it said it would be.
    Rejected,
    /// Its time was over first.
    Expired,
}

/// What may happen to a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RolloutEvent {
    /// Its audience is frozen: these must approve.
    Frozen(Electorate),
    /// A person approves exactly what was frozen.
    Approve(OperatorName),
    /// A person refuses it, or it came to more than it may.
    Reject,
    /// What was approved is no longer so, or approvals are too old: these must approve it again.
    Void(Electorate),
    /// A person starts it.
    Start,
    /// This stage opens.
    Open(StageNumber),
    /// The first-time chunks of the open stage are done.
    Sent,
    /// The watched wait is over, and a person must open the next stage.
    Gate,
    /// It must wait.
    Pause(Pause),
    /// It goes on.
    Resume {
        /// What it waited for is there again; otherwise a person says so.
        by_itself: bool,
    },
    /// A person lets it widen by one stage.
    Promote {
        /// They said why.
        reasoned: bool,
    },
    /// The last stage has been sent, and nobody is left.
    Complete,
    /// Its time is over.
    Expire,
    /// It is stopped.
    Halt,
    /// A person gives it up.
    Abort,
}

/// What an event led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where the rollout stands now.
    pub rollout: Rollout,
    /// Intents of the epoch before must not be recorded any more (I5).
    pub new_epoch: bool,
}

impl Rollout {
    /// The word for where it stands.
    #[must_use]
    pub const fn state(&self) -> RolloutState {
        match self {
            Self::Draft => RolloutState::Draft,
            Self::PendingApproval(_) => RolloutState::PendingApproval,
            Self::Approved(_) => RolloutState::Approved,
            Self::Running(_) => RolloutState::Running,
            Self::Baking(_) => RolloutState::Baking,
            Self::Paused(_) => RolloutState::Paused,
            Self::Over(Ending::Completed) => RolloutState::Completed,
            Self::Over(Ending::Halted) => RolloutState::Halted,
            Self::Over(Ending::Aborted) => RolloutState::Aborted,
            Self::Over(Ending::Rejected) => RolloutState::Rejected,
            Self::Over(Ending::Expired) => RolloutState::Expired,
        }
    }

    /// True if requests may leave: a stage is open, and nothing stops it. At a gate the late tail goes on.
    #[must_use]
    pub const fn sends(&self) -> bool {
        match self {
            Self::Running(_) | Self::Baking(_) => true,
            Self::Paused(paused) => matches!(paused.why, Pause::Gate),
            Self::Draft | Self::PendingApproval(_) | Self::Approved(_) | Self::Over(_) => false,
        }
    }

    /// True if the numbers of our own systems are read for it: from its start to its end, also while it is paused or its
    /// approvals are given anew, because those who were rung open the app later.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        match self {
            Self::PendingApproval(pending) => pending.at.stage().is_some(),
            Self::Approved(approved) => approved.started || approved.at.stage().is_some(),
            Self::Running(_) | Self::Baking(_) | Self::Paused(_) => true,
            Self::Draft | Self::Over(_) => false,
        }
    }

    /// The stage that was opened last, of one that is not over.
    #[must_use]
    pub const fn stage(&self) -> Option<StageNumber> {
        match self {
            Self::Draft | Self::Over(_) => None,
            Self::PendingApproval(Pending { at, .. })
            | Self::Approved(Approved { at, .. })
            | Self::Paused(Paused { at, .. }) => at.stage(),
            Self::Running(stage) | Self::Baking(Baking { stage, .. }) => Some(*stage),
        }
    }
}

#[cfg(test)]
mod tests;
