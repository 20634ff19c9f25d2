//! The ways through the machine, and every pair of state and event.

mod table;

use super::*;
use crate::rollout::{FrozenBreakers, FrozenPlan, FrozenStage, FrozenTake};

fn name(name: &str) -> OperatorName {
    OperatorName::parse(name).expect("a name")
}

fn plan(manual: bool) -> FrozenPlan {
    let stage = FrozenStage {
        take: FrozenTake::Devices(1),
        bake_ms: 0,
        manual_gate: manual,
        must_pass: false,
        max_rate: None,
    };
    FrozenPlan {
        name: "p".to_owned(),
        stages: vec![stage.clone(), stage],
        quiet_hours: None,
        avoid_quarter_hours: false,
        breakers: FrozenBreakers::default(),
        health: crate::rollout::FrozenHealth::default(),
        downstream: Vec::new(),
        pace: None,
    }
}

fn electorate(people: u32) -> Electorate {
    Electorate { people, barred: [name("author"), name("owner")].into() }
}

fn led(
    from: Rollout,
    events: impl IntoIterator<Item = RolloutEvent>,
    manual: bool,
) -> Result<Rollout, Refused> {
    let plan = plan(manual);
    events.into_iter().try_fold(from, |rollout, event| rollout.on(event, &plan).map(|moved| moved.rollout))
}

#[test]
fn i4_widening_needs_distinct_people_none_of_whom_asked_for_it() {
    let frozen = || led(Rollout::Draft, [RolloutEvent::Frozen(electorate(2))], false).expect("pending");
    let approve = |by: &str| RolloutEvent::Approve(name(by));
    for barred in ["author", "owner"] {
        let refused = led(frozen(), [approve(barred)], false).expect_err("barred");
        assert_eq!(refused.because, Because::OwnRequest);
        assert_eq!(
            refused.to_string(),
            "cannot approve it: you requested it, or own its producer; somebody else must"
        );
    }
    let twice = led(frozen(), [approve("ada"), approve("ada")], false).expect_err("twice");
    assert_eq!(twice.because, Because::Twice);
    let one = led(frozen(), [approve("ada")], false).expect("one");
    assert_eq!(one.state(), RolloutState::PendingApproval);
    let unstarted = led(one.clone(), [RolloutEvent::Start], false).expect_err("one is not enough");
    assert_eq!(unstarted.because, Because::NotApproved);
    let both = led(one, [approve("bob")], false).expect("two");
    assert_eq!(both, Rollout::Approved(Approved { started: false, at: Held::Start }));
    let early = led(both.clone(), [RolloutEvent::Open(0)], false).expect_err("nobody has started it");
    assert_eq!(early.because, Because::NotStarted);
    let running = led(both, [RolloutEvent::Start, RolloutEvent::Open(0)], false).expect("runs");
    assert_eq!(running, Rollout::Running(0));
}

#[test]
fn i8_what_is_voided_midway_goes_on_where_it_stood_once_people_approve_it_again() {
    let again = [RolloutEvent::Void(electorate(1)), RolloutEvent::Approve(name("ada")), RolloutEvent::Start];
    for (stood, goes_on) in [
        (Rollout::Running(1), Rollout::Running(1)),
        (
            Rollout::Baking(Baking { stage: 0, promoted: true }),
            Rollout::Baking(Baking { stage: 0, promoted: false }),
        ),
        (
            Rollout::Paused(Paused { why: Pause::Gate, at: Held::Baking(0) }),
            Rollout::Baking(Baking { stage: 0, promoted: false }),
        ),
    ] {
        assert_eq!(led(stood.clone(), again.clone(), true), Ok(goes_on));
        let voided = stood.on(RolloutEvent::Void(electorate(0)), &plan(true)).expect("voided");
        assert!(voided.new_epoch, "nothing more is sent");
        assert!(
            matches!(voided.rollout, Rollout::PendingApproval(pending) if pending.electorate.people == 1)
        );
    }
}

#[test]
fn i3_a_manual_gate_opens_for_a_person_only() {
    let baking = || Rollout::Baking(Baking { stage: 0, promoted: false });
    let closed = led(baking(), [RolloutEvent::Open(1)], true).expect_err("closed");
    assert_eq!(closed.because, Because::GateClosed);
    let promote = |reasoned| RolloutEvent::Promote { reasoned };
    let opened = [RolloutEvent::Gate, promote(false), RolloutEvent::Open(1)];
    assert_eq!(led(baking(), opened, true), Ok(Rollout::Running(1)));
    // Cut short, the watching gives no answer: that needs a reason, and so does an inconclusive end.
    assert_eq!(led(baking(), [promote(false)], true).expect_err("cut short").because, Because::NoReason);
    assert_eq!(led(baking(), [promote(true), RolloutEvent::Open(1)], true), Ok(Rollout::Running(1)));
    let inconclusive = || Rollout::Paused(Paused { why: Pause::Inconclusive, at: Held::Baking(0) });
    assert_eq!(led(inconclusive(), [promote(false)], true).expect_err("why?").because, Because::NoReason);
    assert_eq!(led(inconclusive(), [promote(true), RolloutEvent::Open(1)], true), Ok(Rollout::Running(1)));
    let blind = Rollout::Paused(Paused { why: Pause::NoData, at: Held::Baking(0) });
    assert_eq!(led(blind, [promote(true)], true).expect_err("blind").because, Because::NoData);
}
