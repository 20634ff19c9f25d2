//! Each arm of a step, and what holds on every way through a rollout.

use proptest::prelude::*;

use super::*;
use crate::rollout::{
    FrozenBreakers, FrozenStage,
    machine::{Electorate, Ending, RolloutEvent},
};

const STARTED: Rollout = Rollout::Approved(Approved { started: true, at: Held::Start });

fn at(second: i64) -> Timestamp {
    // 12:00 in Warsaw, so that the night of the plans here is ten hours away.
    "2026-11-21T11:00:00Z".parse::<Timestamp>().expect("an instant") + SignedDuration::from_secs(second)
}

fn take(take: FrozenTake, bake_ms: u64) -> FrozenStage {
    FrozenStage { take, bake_ms, manual_gate: false, must_pass: false, max_rate: None }
}

/// Two stages, the first watched for a minute.
fn plan() -> FrozenPlan {
    FrozenPlan {
        name: "p".to_owned(),
        stages: vec![take(FrozenTake::Devices(10), 60_000), take(FrozenTake::Buckets(10_000), 0)],
        quiet_hours: None,
        avoid_quarter_hours: false,
        breakers: FrozenBreakers::default(),
        health: crate::rollout::FrozenHealth::default(),
        downstream: Vec::new(),
        pace: None,
    }
}

fn facts<'a>(plan: &'a FrozenPlan, stages: &'a [StageFacts]) -> RolloutFacts<'a> {
    RolloutFacts {
        rollout: &STARTED,
        changed_at: at(0),
        plan,
        not_before: None,
        expires_at: at(3_600),
        at_most: 100,
        same_policy: true,
        needs_people: false,
        approvals_until: None,
        zone: None,
        breaker: None,
        stages,
        downstream: &[],
        health: &[],
        now: at(0),
    }
}

fn of(devices: u64) -> StageFacts {
    StageFacts { devices, ..StageFacts::default() }
}

#[test]
fn a_draft_is_frozen_by_the_policy_that_cleared_it_or_ends() {
    let plan = plan();
    let draft = RolloutFacts { rollout: &Rollout::Draft, ..facts(&plan, &[]) };
    assert_eq!(next(&draft), Step::Freeze);
    let other = RolloutFacts { same_policy: false, ..draft };
    assert_eq!(next(&other), Step::Wait(Some(at(120)), Why::OtherPolicy));
    let Step::End(End::Halted(reason)) = next(&RolloutFacts { now: at(120), ..other }) else {
        panic!("must end")
    };
    assert!(reason.starts_with("policy-changed: "), "{reason}");
}

fn pending(approved: &[&str]) -> Rollout {
    let name = |name: &&str| crate::model::OperatorName::parse(name).expect("a name");
    let electorate = Electorate { people: 2, ..Electorate::default() };
    Rollout::PendingApproval(Pending {
        electorate,
        approved: approved.iter().map(name).collect(),
        at: Held::Start,
    })
}

#[test]
fn what_waits_for_people_waits_until_its_expiry() {
    let plan = plan();
    let approved = Rollout::Approved(Approved { started: false, at: Held::Start });
    let paused = Rollout::Paused(Paused { why: Pause::Manual, at: Held::Running(0) });
    for (rollout, why) in
        [(pending(&[]), Why::Approval), (approved, Why::Start), (paused, Why::Paused(Pause::Manual))]
    {
        let waiting = RolloutFacts { rollout: &rollout, needs_people: true, ..facts(&plan, &[]) };
        assert_eq!(next(&waiting), Step::Wait(Some(at(3_600)), why));
        assert_eq!(next(&RolloutFacts { now: at(3_600), ..waiting }), Step::End(End::Expired));
    }
}

#[test]
fn i8_approvals_are_void_under_another_policy_wherever_it_stands() {
    let plan = plan();
    let stages = [of(10), of(20)];
    let given = [
        pending(&["ada"]),
        STARTED,
        Rollout::Running(0),
        Rollout::Baking(Baking { stage: 0, promoted: true }),
        Rollout::Paused(Paused { why: Pause::Gate, at: Held::Baking(0) }),
    ];
    for rollout in &given {
        let drifted =
            RolloutFacts { rollout, same_policy: false, needs_people: true, ..facts(&plan, &stages) };
        assert_eq!(next(&drifted), Step::Void(VoidBecause::Policy), "{rollout:?}");
        let unasked = RolloutFacts { needs_people: false, ..drifted };
        assert!(!matches!(next(&unasked), Step::Void(_)), "nobody had to approve it: {rollout:?}");
    }
    let nobody = pending(&[]);
    let drifted =
        RolloutFacts { rollout: &nobody, same_policy: false, needs_people: true, ..facts(&plan, &[]) };
    assert_eq!(next(&drifted), Step::Wait(Some(at(3_600)), Why::Approval), "nothing was given");
}

#[test]
fn approvals_grow_too_old_to_start_on_but_not_once_it_has_started() {
    let plan = plan();
    let stages = [of(10), of(20)];
    let approved = Rollout::Approved(Approved { started: false, at: Held::Start });
    let given = |rollout, now| {
        let facts = facts(&plan, &stages);
        next(&RolloutFacts {
            rollout,
            needs_people: true,
            approvals_until: Some(at(60)),
            now: at(now),
            ..facts
        })
    };
    let half = pending(&["ada"]);
    for waiting in [&approved, &half] {
        assert!(matches!(given(waiting, 59), Step::Wait(Some(until), _) if until == at(60)));
        assert_eq!(given(waiting, 60), Step::Void(VoidBecause::Age));
    }
    assert_eq!(given(&STARTED, 60), Step::Open(0));
}

#[test]
fn what_is_over_stays_over() {
    let plan = plan();
    for ending in [Ending::Completed, Ending::Halted, Ending::Aborted, Ending::Rejected, Ending::Expired] {
        let over = RolloutFacts { rollout: &Rollout::Over(ending), now: at(9_999), ..facts(&plan, &[]) };
        assert_eq!(next(&over), Step::Nothing(Why::Over));
    }
}

#[test]
fn i3_behind_a_manual_gate_a_person_opens_the_next_stage_and_the_tail_goes_on() {
    let mut plan = plan();
    plan.stages[0].manual_gate = true;
    let stages = [of(10), of(20)];
    let standing = |rollout: &Rollout, stages: &[StageFacts], now| {
        next(&RolloutFacts { rollout, now: at(now), ..facts(&plan, stages) })
    };
    let baking = |promoted| Rollout::Baking(Baking { stage: 0, promoted });
    assert_eq!(standing(&baking(false), &stages, 59), Step::Wait(Some(at(60)), Why::Bake));
    assert_eq!(standing(&baking(false), &stages, 60), Step::Gate);
    assert_eq!(standing(&baking(true), &stages, 1), Step::Open(1), "promoted before its time");
    let gate = Rollout::Paused(Paused { why: Pause::Gate, at: Held::Baking(0) });
    assert_eq!(standing(&gate, &stages, 61), Step::Wait(Some(at(3_600)), Why::Paused(Pause::Gate)));
    let deferred = [StageFacts { to_follow: 1, ..of(10) }, of(20)];
    assert_eq!(standing(&gate, &deferred, 61), Step::FollowRetries);
    let manual = Rollout::Paused(Paused { why: Pause::Manual, at: Held::Baking(0) });
    assert!(matches!(standing(&manual, &deferred, 61), Step::Wait(..)), "nothing leaves it");
}

#[test]
fn more_devices_than_allowed_end_it_before_anybody_is_rung() {
    let mut plan = plan();
    assert_eq!(next(&facts(&plan, &[of(10), of(90)])), Step::Open(0));
    let Step::End(End::Halted(reason)) = next(&facts(&plan, &[of(10), of(91)])) else { panic!("must end") };
    assert!(reason.starts_with("audience-above-limit: 101 devices"), "{reason}");
    // Our own people who go first are none of the audience.
    plan.stages[0].take = FrozenTake::Audience("staff".to_owned());
    assert_eq!(next(&facts(&plan, &[of(10), of(91)])), Step::Open(0));
}

#[test]
fn nothing_is_opened_before_its_time() {
    let plan = plan();
    let stages = [of(10), of(20)];
    let later = RolloutFacts { not_before: Some(at(30)), ..facts(&plan, &stages) };
    assert_eq!(next(&later), Step::Wait(Some(at(30)), Why::NotYet));
    assert_eq!(next(&RolloutFacts { now: at(30), ..later }), Step::Open(0));
}

#[test]
fn a_stage_is_sent_then_watched_then_the_next_is_opened() {
    let plan = plan();
    let standing = |rollout: Rollout, first: StageFacts, now: i64| {
        let stages = [first, of(20)];
        next(&RolloutFacts { rollout: &rollout, now: at(now), ..facts(&plan, &stages) })
    };
    let baking = || Rollout::Baking(Baking { stage: 0, promoted: false });
    let sending = StageFacts { first_left: 1, retries_left: 1, ..of(10) };
    assert_eq!(standing(Rollout::Running(0), sending, 5), Step::Wait(Some(at(3_600)), Why::Sending));
    let done = StageFacts { retries_left: 1, ..of(10) };
    assert_eq!(standing(Rollout::Running(0), done, 5), Step::StageSent(0));
    assert_eq!(standing(baking(), done, 59), Step::Wait(Some(at(60)), Why::Bake));
    assert_eq!(standing(baking(), done, 60), Step::Open(1));
    assert_eq!(standing(baking(), of(0), 1), Step::Open(1), "there is nothing to watch");
}

#[test]
fn what_was_deferred_is_followed_whatever_the_stage_does() {
    let plan = plan();
    let deferred = StageFacts { first_left: 1, to_follow: 1, ..of(10) };
    let stages = [deferred, of(20)];
    for rollout in [Rollout::Running(0), Rollout::Baking(Baking { stage: 0, promoted: false })] {
        let facts = RolloutFacts { rollout: &rollout, ..facts(&plan, &stages) };
        assert_eq!(next(&facts), Step::FollowRetries);
    }
}

#[test]
fn it_is_completed_when_the_last_stage_and_every_retry_is_done() {
    let plan = plan();
    let baking = Rollout::Baking(Baking { stage: 1, promoted: false });
    let last = |first: StageFacts| {
        let stages = [first, of(10)];
        next(&RolloutFacts { rollout: &baking, ..facts(&plan, &stages) })
    };
    let tail = StageFacts { retries_left: 1, ..of(10) };
    assert_eq!(last(tail), Step::Wait(Some(at(3_600)), Why::Tail));
    assert_eq!(last(of(10)), Step::End(End::Completed));
}

#[test]
fn at_night_no_stage_is_opened_and_an_unknown_night_is_one() {
    let mut plan = plan();
    plan.quiet_hours = Some(("22:00".to_owned(), "07:00".to_owned()));
    let zone = TimeZone::get("Europe/Warsaw").expect("a zone");
    let stages = [of(10), of(20)];
    let day = RolloutFacts { zone: Some(&zone), expires_at: at(90_000), ..facts(&plan, &stages) };
    assert_eq!(next(&day), Step::Open(0));
    let night = RolloutFacts { now: at(10 * 3_600), ..day.clone() };
    assert_eq!(next(&night), Step::Wait(Some(at(19 * 3_600)), Why::QuietHours));
    let short = RolloutFacts { expires_at: at(11 * 3_600), ..night };
    assert_eq!(next(&short), Step::Wait(Some(at(11 * 3_600)), Why::QuietHours), "its expiry comes first");
    let unknown = RolloutFacts { zone: None, ..day };
    assert_eq!(next(&unknown), Step::Wait(Some(at(90_000)), Why::UnknownZone));
}

/// A rollout as the ledger would have it: whoever carries the steps out, and whatever the workers do meanwhile.
#[derive(Debug)]
struct World {
    plan: FrozenPlan,
    not_before: Option<Timestamp>,
    stages: Vec<StageFacts>,
    rollout: Rollout,
    changed_at: Timestamp,
    /// First-time chunks of the stages that are not open.
    chunks: Vec<u32>,
    now: Timestamp,
}

impl World {
    fn facts(&self) -> RolloutFacts<'_> {
        RolloutFacts {
            rollout: &self.rollout,
            changed_at: self.changed_at,
            not_before: self.not_before,
            at_most: u64::MAX,
            now: self.now,
            ..facts(&self.plan, &self.stages)
        }
    }

    /// What happens to the rollout must be something that may.
    fn happen(&mut self, event: RolloutEvent) -> Result<(), TestCaseError> {
        let moved = self.rollout.clone().on(event, &self.plan);
        self.rollout = moved.map_err(|refused| TestCaseError::fail(refused.to_string()))?.rollout;
        self.changed_at = self.now;
        Ok(())
    }

    /// Carries a step out as the coordinator would; what it asks for must be allowed.
    fn carry_out(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Freeze => self.happen(RolloutEvent::Frozen(Electorate::default()))?,
            Step::Open(stage) => {
                prop_assert!(self.now < at(3_600), "opened after its expiry");
                prop_assert!(self.not_before.is_none_or(|start| start <= self.now), "opened early");
                let before = self.rollout.stage().map(|last| self.stages[usize::from(last)]);
                prop_assert!(before.is_none_or(|before| before.first_left == 0 && before.sent_at.is_some()));
                self.happen(RolloutEvent::Open(*stage))?;
                self.stages[usize::from(*stage)].first_left = self.chunks[usize::from(*stage)];
            }
            Step::FollowRetries => {
                for stage in &mut self.stages {
                    stage.retries_left += std::mem::take(&mut stage.to_follow);
                }
            }
            Step::StageSent(number) => {
                prop_assert_eq!(self.rollout.stage(), Some(*number));
                let stage = &mut self.stages[usize::from(*number)];
                prop_assert!(stage.first_left == 0 && stage.sent_at.is_none());
                stage.sent_at = Some(self.now);
                self.happen(RolloutEvent::Sent)?;
            }
            Step::End(End::Completed) => {
                let left = |stage: &StageFacts| stage.first_left + stage.retries_left + stage.to_follow;
                prop_assert!(self.stages.iter().all(|stage| left(stage) == 0));
                self.happen(RolloutEvent::Complete)?;
            }
            Step::End(End::Expired) => {
                prop_assert!(self.now >= at(3_600));
                self.happen(RolloutEvent::Expire)?;
            }
            Step::Gate | Step::Pause(..) | Step::Resume | Step::Void(_) | Step::End(End::Halted(_)) => {
                prop_assert!(false, "not here: {:?}", step);
            }
            Step::Wait(until, _) => {
                prop_assert!(until.is_none_or(|until| until > self.now), "a wait for nothing");
            }
            Step::Nothing(_) => {}
        }
        Ok(())
    }

    /// A worker finishes a chunk, of which some devices may be deferred.
    fn work(&mut self, which: usize, defers: bool) {
        let at = which % self.stages.len();
        let stage = &mut self.stages[at];
        let did = if stage.first_left > 0 {
            stage.first_left -= 1;
            true
        } else if stage.retries_left > 0 {
            stage.retries_left -= 1;
            true
        } else {
            false
        };
        stage.to_follow += u32::from(did && defers);
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Asked,
    Works(usize, bool),
    Passes(i64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => Just(Happens::Asked),
        6 => (0..4usize, proptest::bool::weighted(0.2)).prop_map(|(which, defers)| Happens::Works(which, defers)),
        2 => (1..400i64).prop_map(Happens::Passes),
    ]
}

fn world() -> impl Strategy<Value = World> {
    let stages = proptest::collection::vec((0..4u32, 0..200_000u64), 1..5);
    (stages, proptest::option::of(-100..1_800i64), any::<bool>()).prop_map(|(stages, start, frozen)| World {
        plan: FrozenPlan {
            name: "p".to_owned(),
            stages: stages.iter().map(|(_, bake)| take(FrozenTake::Devices(1), *bake)).collect(),
            quiet_hours: None,
            avoid_quarter_hours: false,
            breakers: FrozenBreakers::default(),
            health: crate::rollout::FrozenHealth::default(),
            downstream: Vec::new(),
            pace: None,
        },
        not_before: start.map(at),
        rollout: if frozen { STARTED } else { Rollout::Draft },
        changed_at: at(0),
        chunks: stages.iter().map(|(chunks, _)| *chunks).collect(),
        stages: stages.iter().map(|(chunks, _)| of(u64::from(*chunks) * 1_000)).collect(),
        now: at(0),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Stages are opened once, in order, in time, and it comes to an end whatever happens.
    #[test]
    fn a_rollout_widens_in_order_and_in_time(mut world in world(), course in proptest::collection::vec(happens(), 0..120)) {
        for happens in course {
            match happens {
                Happens::Asked => {
                    let step = next(&world.facts());
                    world.carry_out(&step)?;
                }
                Happens::Works(which, defers) => world.work(which, defers),
                Happens::Passes(seconds) => world.now += SignedDuration::from_secs(seconds),
            }
        }
        // From here on every worker is diligent and nothing is deferred: it ends.
        for _ in 0..400 {
            let step = next(&world.facts());
            world.carry_out(&step)?;
            match step {
                Step::Wait(Some(until), Why::NotYet | Why::Bake) => world.now = until,
                Step::Wait(..) => (0..4).for_each(|which| world.work(which, false)),
                _ => {}
            }
        }
        prop_assert!(matches!(world.rollout, Rollout::Over(_)), "{:?}", world);
    }
}
