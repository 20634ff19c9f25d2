//! A state, and all that can happen.

use super::guards::{self, Seen};
use crate::{
    audience::{Gate, WhenBlind},
    model::{OperatorName, Pause},
    rollout::{
        BreakerKind, Electorate, FrozenBreakers, FrozenHealth, FrozenPlan, FrozenStage, FrozenTake, Refused,
        Rollout, RolloutEvent, RolloutFacts, Step, machine::Moved, next,
    },
};

/// Chunks: two of each stage, and the retry of the second.
pub(super) const CHUNKS: usize = 5;
pub(super) const RETRY: usize = 4;
/// The only chunk of which something is deferred, once.
pub(super) const DEFERS: usize = 1;
/// The only chunk with a device that is none of a tester's any more.
pub(super) const MOVED: usize = 2;

/// The requester, and two who did not ask for it.
pub(super) const PEOPLE: [&str; 3] = ["author", "ada", "bob"];

/// The ledger's rules, each of which can be broken on purpose.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a rule of its own")]
pub(super) struct Rules {
    /// An intent is recorded under the current epoch only.
    pub(super) epoch: bool,
    /// An intent is recorded before the expiry only.
    pub(super) expiry: bool,
    /// A decision is carried out on exactly what it was made on.
    pub(super) compared: bool,
    /// Approvals that count together are of one digest.
    pub(super) one_digest: bool,
    /// A permit is made for those whom the guard admits.
    pub(super) admits: bool,
    /// Whose term is over writes nothing.
    pub(super) fenced: bool,
    /// No approval is taken while a finding of the guard is open.
    pub(super) findings: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            epoch: true,
            expiry: true,
            compared: true,
            one_digest: true,
            admits: true,
            fenced: true,
            findings: true,
        }
    }
}

/// How events are answered.
pub(super) type Machine = fn(Rollout, RolloutEvent, &FrozenPlan) -> Result<Moved, Refused>;

/// How it is decided what is due.
pub(super) type Planner = fn(&RolloutFacts<'_>) -> Step;

/// What does not change.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) machine: Machine,
    pub(super) planner: Planner,
    pub(super) rules: Rules,
    pub(super) plan: FrozenPlan,
    /// It is for testers: nobody needs to approve it.
    pub(super) test: bool,
    /// The guard holds it: somebody must accept what it found, and approve it, whomever it is for.
    pub(super) held: bool,
    /// What never happens here: a world with a feature more has others less, so that it can be searched to its end.
    pub(super) never: fn(Action) -> bool,
}

impl Model {
    pub(super) fn new(gate: Gate, test: bool) -> Self {
        let (manual_gate, must_pass) = (gate == Gate::Manual, gate == Gate::Auto);
        let take = FrozenTake::Devices(2);
        let stage = FrozenStage { take, bake_ms: 60_000, manual_gate, must_pass, max_rate: None };
        let plan = FrozenPlan {
            name: "p".to_owned(),
            stages: vec![stage.clone(), stage],
            quiet_hours: None,
            avoid_quarter_hours: false,
            breakers: FrozenBreakers { rejections_in_a_row: 20, provider_down_after_ms: 60_000 },
            health: FrozenHealth::default(),
            downstream: Vec::new(),
            pace: None,
        };
        Self {
            machine: Rollout::on,
            planner: next,
            rules: Rules::default(),
            plan,
            test,
            held: false,
            never: |_| false,
        }
    }

    /// The same, watched by a downstream guard; with no breakers, nothing deferred, and approvals that stay young.
    pub(super) fn guarded(gate: Gate, no_data: WhenBlind) -> Self {
        let never = |action| {
            matches!(action, Action::Trips(_) | Action::ApprovalsAge | Action::Records { defers: true, .. })
        };
        let mut model = Self { never, ..Self::new(gate, false) };
        model.plan.downstream = vec![guards::guard(no_data)];
        model
    }

    /// The same, held by the guard; with no breakers, nothing deferred, and approvals that stay young.
    pub(super) fn held(test: bool) -> Self {
        let never = |action| {
            matches!(action, Action::Trips(_) | Action::ApprovalsAge | Action::Records { defers: true, .. })
        };
        Self { never, held: true, ..Self::new(Gate::Time, test) }
    }

    pub(super) fn electorate(&self) -> Electorate {
        let people = if self.test { u32::from(self.held) } else { 2 };
        Electorate { people, barred: [name(0)].into() }
    }
}

pub(super) fn name(person: usize) -> OperatorName {
    OperatorName::parse(PEOPLE[person]).expect("a name")
}

/// A chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Chunk {
    /// Its stage is not open.
    Shut,
    /// Nobody has it.
    Free,
    /// A worker has it.
    Held,
    /// It is over.
    Done,
}

/// A worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Worker {
    /// It has nothing.
    Idle,
    /// It has claimed a chunk. Its epoch is still the rollout's; and, for the record, whether anything was stopped since.
    Holds { chunk: usize, current: bool, stopped_since: bool },
    /// Its intent is on record.
    Intends(usize),
    /// The request is out.
    Sent(usize),
}

/// What the coordinator has decided and not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decision {
    pub(super) due: Due,
    /// The rollout is as it was read.
    pub(super) same: bool,
    /// So is its epoch.
    pub(super) epoch: bool,
}

/// A step, without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Due {
    Freeze,
    Open(u16),
    Follow,
    Sent,
    Gate,
    Void,
    Pause(Pause),
    Resume,
    Complete,
    Expire,
    Halt,
}

/// What happened, for the record: nothing is decided by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Record {
    /// Approvals that stand, by person: true if given under the later policy.
    pub(super) given: [Option<bool>; 3],
    /// A person has opened the gate.
    pub(super) promoted: bool,
    /// Something was stopped, and nothing has begun again.
    pub(super) stopped: bool,
    /// A stranger's phone rang for a test.
    pub(super) stranger: bool,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct World {
    pub(super) rollout: Rollout,
    /// The watched wait is over; a provider may be tried again.
    pub(super) baked: bool,
    pub(super) aged: bool,
    pub(super) expired: bool,
    /// The later policy is in force; the approvals are of the later policy.
    pub(super) drifted: bool,
    pub(super) approved_under: bool,
    pub(super) halted: bool,
    /// Nobody has accepted what the guard found.
    pub(super) open: bool,
    pub(super) opened: u16,
    pub(super) sent: [bool; 2],
    pub(super) chunks: [Chunk; CHUNKS],
    pub(super) to_follow: bool,
    pub(super) workers: [Worker; 2],
    pub(super) coordinator: Option<Decision>,
    pub(super) deposed: Option<Decision>,
    pub(super) breaker: Option<BreakerKind>,
    /// The first stage was seen to be sound.
    pub(super) sound: bool,
    /// What was noted last of the downstream guard's number.
    pub(super) seen: Seen,
    pub(super) record: Record,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Approve { person: usize, later: bool },
    Accepts,
    Reject,
    Start,
    Pause,
    Resume,
    Promote { reasoned: bool },
    Abort,
    Halt,
    LiftHalt,
    PolicyDrifts,
    BakePasses,
    IsSound,
    ApprovalsAge,
    ExpiryComes,
    Decides,
    Acts,
    AnotherRules,
    DeposedActs,
    Trips(BreakerKind),
    Notes(Seen),
    Claims(usize),
    Intends(usize),
    Sends(usize),
    Records { worker: usize, defers: bool },
    LetsGo(usize),
    Dies(usize),
}

impl Action {
    /// Everything, in the order in which it is tried.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Accepts,
            Self::Reject,
            Self::Start,
            Self::Pause,
            Self::Resume,
            Self::Promote { reasoned: false },
            Self::Promote { reasoned: true },
            Self::Abort,
            Self::Halt,
            Self::LiftHalt,
            Self::PolicyDrifts,
            Self::BakePasses,
            Self::IsSound,
            Self::ApprovalsAge,
            Self::ExpiryComes,
            Self::Decides,
            Self::Acts,
            Self::AnotherRules,
            Self::DeposedActs,
        ];
        for person in 0..PEOPLE.len() {
            all.extend([false, true].map(|later| Self::Approve { person, later }));
        }
        all.extend(BreakerKind::ALL.map(Self::Trips));
        all.extend(Seen::ALL.map(Self::Notes));
        for worker in 0..2 {
            all.extend([Self::Claims(worker), Self::Intends(worker), Self::Sends(worker)]);
            all.extend([false, true].map(|defers| Self::Records { worker, defers }));
            all.extend([Self::LetsGo(worker), Self::Dies(worker)]);
        }
        all
    }

    /// Not an end that somebody wished for.
    pub(super) const fn is_goodwill(self) -> bool {
        !matches!(self, Self::Reject | Self::Abort | Self::Halt)
    }
}

/// The stage of a chunk.
pub(super) const fn stage_of(chunk: usize) -> u16 {
    if chunk == 2 || chunk == 3 { 1 } else { 0 }
}
