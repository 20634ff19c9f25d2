//! Each arm of a step, and what holds on every way through a rollout.

use proptest::prelude::*;

use super::*;
use crate::rollout::FrozenStage;

fn at(second: i64) -> Timestamp {
    // 12:00 in Warsaw, so that the night of the plans here is ten hours away.
    "2026-11-21T11:00:00Z".parse::<Timestamp>().expect("an instant") + SignedDuration::from_secs(second)
}

fn take(take: FrozenTake, bake_ms: u64) -> FrozenStage {
    FrozenStage { take, bake_ms, manual_gate: true, max_rate: None }
}

/// Two stages, the first watched for a minute.
fn plan() -> FrozenPlan {
    FrozenPlan {
        name: "p".to_owned(),
        stages: vec![take(FrozenTake::Devices(10), 60_000), take(FrozenTake::Buckets(10_000), 0)],
        quiet_hours: None,
        avoid_quarter_hours: false,
    }
}

fn facts<'a>(plan: &'a FrozenPlan, stages: &'a [StageFacts]) -> RolloutFacts<'a> {
    RolloutFacts {
        state: RolloutState::Approved,
        stage: None,
        changed_at: at(0),
        plan,
        not_before: None,
        expires_at: at(3_600),
        at_most: 100,
        same_policy: true,
        zone: None,
        stages,
        now: at(0),
    }
}

fn of(devices: u64) -> StageFacts {
    StageFacts { devices, ..StageFacts::default() }
}

#[test]
fn a_draft_is_frozen_by_the_policy_that_cleared_it_or_ends() {
    let plan = plan();
    let draft = RolloutFacts { state: RolloutState::Draft, ..facts(&plan, &[]) };
    assert_eq!(next(&draft), Step::Freeze);
    let other = RolloutFacts { same_policy: false, ..draft };
    assert_eq!(next(&other), Step::Wait(Some(at(120)), Why::OtherPolicy));
    let Step::End(End::Halted(reason)) = next(&RolloutFacts { now: at(120), ..other }) else {
        panic!("must end")
    };
    assert!(reason.starts_with("policy-changed: "), "{reason}");
}

#[test]
fn what_waits_for_people_waits_until_its_expiry() {
    let plan = plan();
    for (state, why) in [(RolloutState::PendingApproval, Why::Approval), (RolloutState::Paused, Why::Paused)]
    {
        let waiting = RolloutFacts { state, ..facts(&plan, &[]) };
        assert_eq!(next(&waiting), Step::Wait(Some(at(3_600)), why));
        assert_eq!(next(&RolloutFacts { now: at(3_600), ..waiting }), Step::End(End::Expired));
    }
}

#[test]
fn what_is_over_stays_over() {
    let plan = plan();
    for state in RolloutState::ALL.into_iter().filter(|state| state.is_terminal()) {
        let over = RolloutFacts { state, now: at(9_999), ..facts(&plan, &[]) };
        assert_eq!(next(&over), Step::Nothing(Why::Over));
    }
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
    let running = |first: StageFacts, now: i64| {
        let stages = [first, of(20)];
        let facts = facts(&plan, &stages);
        next(&RolloutFacts { state: RolloutState::Running, stage: Some(0), now: at(now), ..facts })
    };
    let sending = StageFacts { first_left: 1, retries_left: 1, ..of(10) };
    assert_eq!(running(sending, 5), Step::Wait(Some(at(3_600)), Why::Sending));
    let done = StageFacts { retries_left: 1, ..of(10) };
    assert_eq!(running(done, 5), Step::StageSent(0));
    let noted = StageFacts { sent_at: Some(at(5)), ..done };
    assert_eq!(running(noted, 6), Step::Wait(Some(at(65)), Why::Bake));
    assert_eq!(running(noted, 65), Step::Open(1));
    let nobody = StageFacts { sent_at: Some(at(5)), ..of(0) };
    assert_eq!(running(nobody, 6), Step::Open(1), "there is nothing to watch");
}

#[test]
fn what_was_deferred_is_followed_whatever_the_stage_does() {
    let plan = plan();
    let deferred = StageFacts { first_left: 1, to_follow: 1, ..of(10) };
    let stages = [deferred, of(20)];
    let facts = RolloutFacts { state: RolloutState::Running, stage: Some(0), ..facts(&plan, &stages) };
    assert_eq!(next(&facts), Step::FollowRetries);
}

#[test]
fn it_is_completed_when_the_last_stage_and_every_retry_is_done() {
    let plan = plan();
    let sent = StageFacts { sent_at: Some(at(1)), ..of(10) };
    let last = |first: StageFacts| {
        let stages = [first, sent];
        next(&RolloutFacts { state: RolloutState::Running, stage: Some(1), ..facts(&plan, &stages) })
    };
    let tail = StageFacts { retries_left: 1, ..sent };
    assert_eq!(last(tail), Step::Wait(Some(at(3_600)), Why::Tail));
    assert_eq!(last(sent), Step::End(End::Completed));
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
    state: RolloutState,
    stage: Option<StageNumber>,
    /// First-time chunks of the stages that are not open.
    chunks: Vec<u32>,
    now: Timestamp,
}

impl World {
    fn facts(&self) -> RolloutFacts<'_> {
        RolloutFacts {
            state: self.state,
            stage: self.stage,
            not_before: self.not_before,
            at_most: u64::MAX,
            now: self.now,
            ..facts(&self.plan, &self.stages)
        }
    }

    /// Carries a step out as the coordinator would; what it asks for must be allowed.
    fn carry_out(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Freeze => self.state = RolloutState::Approved,
            Step::Open(stage) => {
                prop_assert_eq!(usize::from(*stage), self.stage.map_or(0, |last| usize::from(last) + 1));
                prop_assert!(usize::from(*stage) < self.plan.stages.len());
                prop_assert!(self.now < at(3_600), "opened after its expiry");
                prop_assert!(self.not_before.is_none_or(|start| start <= self.now), "opened early");
                let before = self.stage.map(|last| self.stages[usize::from(last)]);
                prop_assert!(before.is_none_or(|before| before.first_left == 0 && before.sent_at.is_some()));
                (self.state, self.stage) = (RolloutState::Running, Some(*stage));
                self.stages[usize::from(*stage)].first_left = self.chunks[usize::from(*stage)];
            }
            Step::FollowRetries => {
                for stage in &mut self.stages {
                    stage.retries_left += std::mem::take(&mut stage.to_follow);
                }
            }
            Step::StageSent(stage) => {
                prop_assert_eq!(self.stage, Some(*stage));
                let stage = &mut self.stages[usize::from(*stage)];
                prop_assert!(stage.first_left == 0 && stage.sent_at.is_none());
                stage.sent_at = Some(self.now);
            }
            Step::End(End::Completed) => {
                let left = |stage: &StageFacts| stage.first_left + stage.retries_left + stage.to_follow;
                prop_assert!(self.stages.iter().all(|stage| left(stage) == 0));
                prop_assert_eq!(self.stage.map(|last| usize::from(last) + 1), Some(self.plan.stages.len()));
                self.state = RolloutState::Completed;
            }
            Step::End(End::Expired) => {
                prop_assert!(self.now >= at(3_600));
                self.state = RolloutState::Expired;
            }
            Step::End(End::Halted(reason)) => prop_assert!(false, "halted: {}", reason),
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
        },
        not_before: start.map(at),
        state: if frozen { RolloutState::Approved } else { RolloutState::Draft },
        stage: None,
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
        prop_assert!(world.state.is_terminal(), "{:?}", world);
    }
}
