//! How states, events and refusals are called, when they are stored and when they are shown.

use std::fmt;

use super::RolloutEvent;
use crate::model::RolloutState;

impl RolloutEvent {
    /// As a refusal names it, and as the audit has it: `rollout.<word>`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Frozen(_) => "frozen",
            Self::Approve(_) => "approve",
            Self::Reject => "reject",
            Self::Void(_) => "void",
            Self::Start => "start",
            Self::Open(_) => "open",
            Self::Sent => "sent",
            Self::Gate => "gate",
            Self::Pause(_) => "pause",
            Self::Resume { .. } => "resume",
            Self::Promote { .. } => "promote",
            Self::Complete => "complete",
            Self::Expire => "expire",
            Self::Halt => "halt",
            Self::Abort => "abort",
        }
    }
}

/// An event that may not happen in this state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where the rollout stands, and goes on standing.
    pub state: RolloutState,
    /// What was asked, in a word.
    pub event: &'static str,
    /// Why not.
    pub because: Because,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, event, because } = self;
        match because {
            // It is about who asks, or how: no state of the rollout is to blame.
            Because::OwnRequest | Because::Twice | Because::NoReason => {
                write!(f, "cannot {event} it: {because}")
            }
            _ => write!(f, "cannot {event} a rollout that is {state}: {because}"),
        }
    }
}

impl std::error::Error for Refused {}

/// Why an event may not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Because {
    /// It is over.
    Over,
    /// Its audience is being frozen.
    Freezing,
    /// People must approve it first.
    NotApproved,
    /// Nobody needs to approve it any more.
    ApprovedAlready,
    /// Its requester, or an owner of the producer that requested it.
    OwnRequest,
    /// The same person approved it before.
    Twice,
    /// A person must start it first.
    NotStarted,
    /// It was started before.
    StartedAlready,
    /// A stage is being sent.
    Sending,
    /// No stage is being sent.
    NotSending,
    /// It is paused.
    Paused,
    /// It is not paused.
    NotPaused,
    /// It waits at a gate, which `promote` opens.
    AtGate,
    /// A person must open the next stage.
    GateClosed,
    /// It was promoted before, and the next stage opens.
    PromotedAlready,
    /// Another stage is next.
    OtherStage,
    /// There is no later stage.
    LastStage,
    /// Later stages are to come.
    StagesLeft,
    /// The analysis was cut short or inconclusive, and nobody said why it may go on.
    NoReason,
    /// Nothing can be seen of what must be watched.
    NoData,
    /// There is nothing to void.
    NothingApproved,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Over => "it is over; send a new campaign",
            Self::Freezing => "its audience is being frozen; try again in a moment, or abort it",
            Self::NotApproved => "people must approve it first; `bellwether rollout approve`",
            Self::ApprovedAlready => "it has all its approvals",
            Self::OwnRequest => "you requested it, or own its producer; somebody else must",
            Self::Twice => "you have approved it; another person must",
            Self::NotStarted => "it has not been started; `bellwether rollout start`, or abort it",
            Self::StartedAlready => "it has been started",
            Self::Sending => "a stage is being sent; wait, or pause it",
            Self::NotSending => "no stage is being sent",
            Self::Paused => "it is paused; `bellwether rollout resume` first",
            Self::NotPaused => "it is not paused",
            Self::AtGate => "it waits for a decision; `bellwether rollout promote` opens the next stage",
            Self::GateClosed => "a person must open the next stage; `bellwether rollout promote`",
            Self::PromotedAlready => "it has been promoted, and the next stage is about to open",
            Self::OtherStage => "another stage is next",
            Self::LastStage => "it has no later stage",
            Self::StagesLeft => "later stages are to come",
            Self::NoReason => "what was watched gives no answer yet; say with --reason why it may go on",
            Self::NoData => "a number of our own systems is not as it must be, or cannot be seen; once it is, it goes on by itself",
            Self::NothingApproved => "nobody has approved it",
        })
    }
}
