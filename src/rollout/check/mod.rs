//! The state machine, proved by going everywhere: every reachable state of a small configuration is visited.
//!
//! Two stages of two chunks, one of them deferred once; two workers that may die in the middle of anything; a coordinator
//! that may die or be deposed between deciding and acting, and be followed by another; three operators, one of whom asked for
//! it; a policy that drifts, approvals that grow old, halts, breakers that trip, time that passes. In worlds of their own, a
//! number of our own systems that nears a bound, passes it, cannot be seen, and comes back; and a finding of the guard that holds
//! it until somebody accepts it. What decides is the real
//! [`super::machine`] and the real [`super::next()`]; around them stands a small model of the ledger's rules: each step is
//! atomic, as under the row's lock, and whoever acts on what was read earlier is told so.
//!
//! - [`world`]: a state, and all that can happen; [`steps`]: what that leads to.
//! - [`guards`]: what was seen of a downstream guard's number, and what must follow from it.
//! - [`properties`]: what must hold of every step, judged by a record of its own.
//! - [`search`]: breadth first, so that the way to a fault is the shortest.
//!
//! A search of our own: the known model checkers bring a server for looking at states, and this needs none.

mod guards;
mod properties;
mod search;
mod steps;
mod world;

use search::{Found, search};
use world::{Model, Rules};

use super::{
    End, FrozenPlan, Judged, Pause, Refused, Rollout, RolloutEvent, RolloutFacts, Step, Why,
    downstream::{Judgement, Number},
    machine::{Baking, Held, Moved, Paused, Pending},
    next,
};
use crate::audience::{Gate, WhenBlind};

/// One configuration, searched to its end.
#[expect(clippy::print_stdout, reason = "how much was visited is the answer")]
fn all_of(name: &str, model: &Model) -> Found {
    let found = search(model);
    println!(
        "{name}: {} states, {} transitions, depth {}; {}",
        found.states,
        found.transitions,
        found.depth,
        properties::NAMES.join(", ")
    );
    assert_eq!(found.fault, None, "{name}");
    found
}

#[test]
fn every_reachable_state_keeps_the_invariants() {
    for (name, gate, test) in [
        ("manual gate", Gate::Manual, false),
        ("gate of time", Gate::Time, false),
        ("gate of health", Gate::Auto, false),
        ("test campaign", Gate::Time, true),
    ] {
        let found = all_of(name, &Model::new(gate, test));
        assert!(found.states > 1_000, "{name}: hardly anything was visited");
        let ends: Vec<&str> = found.ends.iter().copied().collect();
        assert_eq!(ends, ["aborted", "completed", "expired", "halted", "rejected"], "{name}");
    }
}

#[test]
fn i3_i5_every_reachable_state_heeds_what_was_seen_of_our_own_systems() {
    for (name, gate, no_data) in [
        ("guard, manual gate", Gate::Manual, WhenBlind::Pause),
        ("guard, gate of time", Gate::Time, WhenBlind::Pause),
        ("guard that ends it when blind", Gate::Time, WhenBlind::Halt),
    ] {
        let found = all_of(name, &Model::guarded(gate, no_data));
        assert!(found.states > 1_000, "{name}: hardly anything was visited");
        let ends: Vec<&str> = found.ends.iter().copied().collect();
        assert_eq!(ends, ["aborted", "completed", "expired", "halted", "rejected"], "{name}");
    }
}

#[test]
fn i3_every_reachable_state_sends_nothing_that_the_guard_holds() {
    for (name, test) in [("held", false), ("held test campaign", true)] {
        let found = all_of(name, &Model::held(test));
        assert!(found.states > 1_000, "{name}: hardly anything was visited");
        let ends: Vec<&str> = found.ends.iter().copied().collect();
        assert_eq!(ends, ["aborted", "completed", "expired", "halted", "rejected"], "{name}");
    }
}

#[test]
fn i3_an_approval_over_an_open_finding_on_purpose_is_found() {
    for test in [false, true] {
        let rules = Rules { findings: false, ..Rules::default() };
        let model = Model { rules, ..Model::held(test) };
        is_found("nobody looks at findings", "I3 held-is-not-sent", &model);
    }
}

/// A planner that does not ask a person.
fn asks_nobody(facts: &RolloutFacts<'_>) -> Step {
    match next(facts) {
        Step::Gate => Step::Open(1),
        step => step,
    }
}

/// A planner for which what is not known to be sound is sound enough.
fn takes_it_for_sound(facts: &RolloutFacts<'_>) -> Step {
    match next(facts) {
        Step::Pause(Pause::Inconclusive, _) => Step::Open(1),
        step => step,
    }
}

/// A machine that lets a stage open behind a gate that nobody has opened.
fn opens_through_gates(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match (rollout, event) {
        (Rollout::Baking(baking), event @ RolloutEvent::Open(_)) => {
            Rollout::Baking(Baking { promoted: true, ..baking }).on(event, plan)
        }
        (rollout, event) => rollout.on(event, plan),
    }
}

/// A machine that counts whoever asks.
fn counts_anybody(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match rollout {
        Rollout::PendingApproval(mut pending) => {
            pending.electorate.barred.clear();
            Rollout::PendingApproval(pending).on(event, plan)
        }
        rollout => rollout.on(event, plan),
    }
}

/// A machine for which one person is as good as two.
fn counts_one(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match rollout {
        Rollout::PendingApproval(pending) => {
            let mut one = Pending { electorate: pending.electorate.clone(), ..pending };
            one.electorate.people = 1;
            Rollout::PendingApproval(one).on(event, plan)
        }
        rollout => rollout.on(event, plan),
    }
}

/// A machine that lets what was begun before a pause go on after it.
fn pauses_within_an_epoch(
    rollout: Rollout,
    event: RolloutEvent,
    plan: &FrozenPlan,
) -> Result<Moved, Refused> {
    let pauses = matches!(event, RolloutEvent::Pause(_));
    rollout.on(event, plan).map(|moved| Moved { new_epoch: moved.new_epoch && !pauses, ..moved })
}

/// A machine that opens the last stage first.
fn skips_a_stage(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match event {
        RolloutEvent::Open(0) => {
            rollout.on(event, plan).map(|moved| Moved { rollout: Rollout::Running(1), ..moved })
        }
        event => rollout.on(event, plan),
    }
}

/// A machine in which a gate can be opened early and nobody needs to say why.
fn promotes_without_a_reason(
    rollout: Rollout,
    event: RolloutEvent,
    plan: &FrozenPlan,
) -> Result<Moved, Refused> {
    match event {
        RolloutEvent::Promote { .. } => rollout.on(RolloutEvent::Promote { reasoned: true }, plan),
        event => rollout.on(event, plan),
    }
}

/// A machine that cannot resume.
fn never_resumes(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match (rollout, event) {
        (paused @ Rollout::Paused(_), RolloutEvent::Resume { .. }) => paused.on(RolloutEvent::Start, plan),
        (rollout, event) => rollout.on(event, plan),
    }
}

/// A planner that listens to `heard` of what was seen of our own systems.
fn hears(facts: &RolloutFacts<'_>, heard: impl Fn(Judgement) -> Judgement) -> Step {
    let downstream: Vec<_> = facts
        .downstream
        .iter()
        .copied()
        .map(|judged| Judged { judgement: heard(judged.judgement), ..judged })
        .collect();
    next(&RolloutFacts { downstream: &downstream, ..facts.clone() })
}

fn fine() -> Judgement {
    Judgement::Fine { value: Number::new(0.0).expect("it is finite") }
}

/// A planner for which a number that nobody can read is a good one.
fn takes_blind_for_fine(facts: &RolloutFacts<'_>) -> Step {
    hears(facts, |judgement| if matches!(judgement, Judgement::Blind { .. }) { fine() } else { judgement })
}

/// A planner that widens as long as a breach has not lasted.
fn takes_its_time_for_fine(facts: &RolloutFacts<'_>) -> Step {
    hears(facts, |judgement| if matches!(judgement, Judgement::Waiting { .. }) { fine() } else { judgement })
}

/// A planner for which a rollout that waits at a gate does no harm.
fn looks_away_at_a_gate(facts: &RolloutFacts<'_>) -> Step {
    match (facts.rollout, next(facts)) {
        (Rollout::Paused(Paused { why: Pause::Gate, .. }), Step::End(End::Halted(_))) => {
            Step::Nothing(Why::Paused(Pause::Gate))
        }
        (_, step) => step,
    }
}

/// A planner that needs a person to go on when a number is back.
fn waits_for_a_person(facts: &RolloutFacts<'_>) -> Step {
    match (facts.rollout, next(facts)) {
        (Rollout::Paused(Paused { why: Pause::NoData, .. }), Step::Resume) => {
            Step::Nothing(Why::Paused(Pause::NoData))
        }
        (_, step) => step,
    }
}

/// A machine in which a person may open a gate that nobody can see behind.
fn promotes_unseen(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match (rollout, event) {
        (
            Rollout::Paused(Paused { why: Pause::NoData, at: at @ Held::Baking(_) }),
            event @ RolloutEvent::Promote { reasoned: true },
        ) => Rollout::Paused(Paused { why: Pause::Gate, at }).on(event, plan),
        (rollout, event) => rollout.on(event, plan),
    }
}

/// A machine in which a person may let go on what waits for a number.
fn resumes_unseen(rollout: Rollout, event: RolloutEvent, plan: &FrozenPlan) -> Result<Moved, Refused> {
    match event {
        RolloutEvent::Resume { .. } => rollout.on(RolloutEvent::Resume { by_itself: true }, plan),
        event => rollout.on(event, plan),
    }
}

#[test]
fn what_is_broken_on_purpose_is_found_by_the_shortest_way() {
    let real = || Model::new(Gate::Manual, false);
    let machine = |machine| Model { machine, ..real() };
    let rules = |rules| Model { rules, ..real() };
    let whole = Rules::default();
    let broken = [
        (
            "a gate opens itself",
            "I3 manual-gate",
            Model { planner: asks_nobody, ..machine(opens_through_gates) },
        ),
        (
            "a stage is taken for sound",
            "I3 unknown-is-no",
            Model { planner: takes_it_for_sound, ..Model::new(Gate::Auto, false) },
        ),
        ("the requester approves", "I4 widening-needs-two", machine(counts_anybody)),
        ("one person is enough", "I4 widening-needs-two", machine(counts_one)),
        ("a pause keeps the epoch", "I5 halt-is-now", machine(pauses_within_an_epoch)),
        ("a stage is skipped", "stages-in-order", machine(skips_a_stage)),
        ("nobody says why", "I3 reasoned", machine(promotes_without_a_reason)),
        ("a pause is for ever", "can-complete", machine(never_resumes)),
        ("an intent under any epoch", "I5 halt-is-now", rules(Rules { epoch: false, ..whole })),
        (
            "a decision on what was",
            "stages-in-time",
            Model { rules: Rules { compared: false, ..whole }, ..Model::new(Gate::Time, false) },
        ),
        (
            "a coordinator whose term is over",
            "stages-in-time",
            Model {
                rules: Rules { compared: false, fenced: false, ..whole },
                ..Model::new(Gate::Time, false)
            },
        ),
        (
            "two approve different things",
            "I8 approved-is-what-is-sent",
            rules(Rules { one_digest: false, ..whole }),
        ),
        ("an intent after the expiry", "I9 nothing-late", rules(Rules { expiry: false, ..whole })),
        (
            "a test campaign reaches a stranger",
            "I1 no-test-to-production",
            Model { rules: Rules { admits: false, ..whole }, ..Model::new(Gate::Time, true) },
        ),
    ];
    for (what, property, model) in broken {
        is_found(what, property, &model);
    }
}

#[test]
fn i3_i5_what_is_deaf_to_our_own_systems_on_purpose_is_found() {
    let real = || Model::guarded(Gate::Manual, WhenBlind::Pause);
    let planner = |planner| Model { planner, ..real() };
    let broken = [
        ("blind is fine", "I3 no-number-no-stage", planner(takes_blind_for_fine)),
        ("not for long is fine", "I3 no-number-no-stage", planner(takes_its_time_for_fine)),
        ("nothing is seen at a gate", "I5 breach-halts", planner(looks_away_at_a_gate)),
        ("a person must resume", "goes-on-by-itself", planner(waits_for_a_person)),
        ("a gate opens unseen", "I3 no-number-no-promotion", Model { machine: promotes_unseen, ..real() }),
        ("a person resumes unseen", "I3 no-number-no-promotion", Model { machine: resumes_unseen, ..real() }),
    ];
    for (what, property, model) in broken {
        is_found(what, property, &model);
    }
}

/// The search finds what is broken in `model`, as a breach of this property.
#[expect(clippy::print_stdout, reason = "the shortest way to each fault is worth reading")]
fn is_found(what: &str, property: &str, model: &Model) {
    let found = search(model);
    let fault = found.fault.unwrap_or_else(|| panic!("{what}: not found"));
    println!("{what}: {} after {} steps: {:?}", fault.property, fault.way.len(), fault.way);
    assert_eq!(fault.property, property, "{what}: {:?}", fault.way);
}
