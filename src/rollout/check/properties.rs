//! What must hold of every step. Judged by the record of what happened, not by what the machine believes.

use super::guards;
use super::world::{Action, Chunk, Due, Model, Worker, World, stage_of};
use crate::rollout::{Pause, Rollout, machine::Paused};

/// Every property, by its name.
pub(super) const NAMES: [&str; 18] = [
    "I3 held-is-not-sent",
    "I1 no-test-to-production",
    "I3 manual-gate",
    "I3 reasoned",
    "I3 unknown-is-no",
    "I4 widening-needs-two",
    "I5 halt-is-now",
    "I8 approved-is-what-is-sent",
    "I9 nothing-late",
    "stages-in-order",
    "stages-in-time",
    "over-is-over",
    "I3 no-number-no-stage",
    "I3 no-number-no-promotion",
    "I5 breach-halts",
    "goes-on-by-itself",
    "no-deadlock",
    "can-complete",
];

/// The first property that a step breaks.
pub(super) fn broken(model: &Model, before: &World, action: Action, after: &World) -> Option<&'static str> {
    let checks: [(&'static str, bool); 11] = [
        ("I3 held-is-not-sent", !(before.open && matches!(action, Action::Intends(_)))),
        ("over-is-over", !before.is_over() || before.rollout == after.rollout),
        ("I1 no-test-to-production", !after.record.stranger),
        ("I4 widening-needs-two", model.test || are_two(before, after)),
        ("I8 approved-is-what-is-sent", model.test || is_what_was_approved(model, before, action, after)),
        ("I3 manual-gate", is_opened_by_a_person(model, before, after)),
        ("I3 reasoned", is_reasoned(before, action)),
        ("I3 unknown-is-no", is_sound_or_promoted(model, before, after)),
        ("I5 halt-is-now", is_stopped(before, action)),
        ("I9 nothing-late", !(matches!(action, Action::Intends(_)) && before.expired)),
        ("stages-in-order", is_in_order(before, after)),
    ];
    let broken = checks.into_iter().find(|(_, holds)| !holds).map(|(name, _)| name);
    let broken = broken.or_else(|| (!is_in_time(before, after)).then_some("stages-in-time"));
    broken.or_else(|| guards::broken(model, before, action, after))
}

/// Nothing but an end leads out of waiting for approval without two people who did not ask for it.
fn are_two(before: &World, after: &World) -> bool {
    let waits = |world: &World| matches!(world.rollout, Rollout::Draft | Rollout::PendingApproval(_));
    if !waits(before) || waits(after) || after.is_over() {
        return true;
    }
    let [author, others @ ..] = after.record.given;
    author.is_none() && others.iter().flatten().count() >= 2
}

/// Approvals that stand are of one thing, and that is what is sent; once they are not of what is in force, nothing but
/// voiding them, an end, or the wait that our own systems ask for first, is decided.
fn is_what_was_approved(model: &Model, before: &World, action: Action, after: &World) -> bool {
    let given = || before.record.given.iter().flatten();
    let opened = matches!(action, Action::Acts) && after.opened > before.opened;
    if matches!(action, Action::Intends(_)) || opened {
        return given().all(|under| *under == before.approved_under) && given().count() >= 2;
    }
    let drifted = before.drifted != before.approved_under && given().count() > 0;
    let decided =
        after.coordinator.filter(|_| matches!(action, Action::Decides)).map(|decision| decision.due);
    !drifted
        || decided
            .is_none_or(|due| matches!(due, Due::Void | Due::Expire | Due::Halt | Due::Pause(Pause::NoData)))
        || before.due(model).is_none()
}

/// A gate that a person must open is opened by a person.
fn is_opened_by_a_person(model: &Model, before: &World, after: &World) -> bool {
    let widened = after.opened > before.opened && before.opened > 0;
    !widened || !model.plan.has_manual_gate(before.opened - 1) || before.record.promoted
}

/// Behind a stage that must pass, the next one opens when it has, or by a person.
fn is_sound_or_promoted(model: &Model, before: &World, after: &World) -> bool {
    let widened = after.opened > before.opened && before.opened > 0;
    !widened || !model.plan.must_pass(before.opened - 1) || before.sound || before.record.promoted
}

/// Whoever opens a gate before the watching has run its course says why.
fn is_reasoned(before: &World, action: Action) -> bool {
    let Action::Promote { reasoned: false } = action else { return true };
    matches!(before.rollout, Rollout::Paused(Paused { why: Pause::Gate, .. }))
}

/// No intent is recorded while it is stopped, nor by whoever began before that.
fn is_stopped(before: &World, action: Action) -> bool {
    let Action::Intends(worker) = action else { return true };
    let Worker::Holds { stopped_since, .. } = before.workers[worker] else { return true };
    !before.record.stopped && !stopped_since
}

/// One stage after the other, each once: the chunks that become free are those of the stage that is next.
fn is_in_order(before: &World, after: &World) -> bool {
    let freed = |n: &usize| before.chunks[*n] == Chunk::Shut && after.chunks[*n] == Chunk::Free && *n < 4;
    let reopened = |n: usize| before.chunks[n] == Chunk::Done && after.chunks[n] != Chunk::Done;
    if (0..before.chunks.len()).any(reopened) || after.opened > 2 {
        return false;
    }
    (0..before.chunks.len()).filter(freed).all(|n| stage_of(n) == before.opened)
}

/// The stage before was sent to its end and watched for its time, unless a person said otherwise.
fn is_in_time(before: &World, after: &World) -> bool {
    if after.opened == before.opened || before.opened == 0 {
        return true;
    }
    let last = before.opened - 1;
    let over = (0..4).filter(|n| stage_of(*n) == last).all(|n| before.chunks[n] == Chunk::Done);
    over && before.sent[usize::from(last)] && (before.baked || before.record.promoted)
}
