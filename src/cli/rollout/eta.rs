//! When a rollout will be done, as far as anybody can say: what is left of the open stage at the rate that is seen, its
//! bake, and the stages after it at theirs, up to the next thing that only a person does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    api::wire::{RolloutView, StageView},
    model::RolloutState,
};

/// How far back the rate is measured: long enough to be smooth, short enough to show a stop.
const WINDOW: Duration = Duration::from_secs(10);

/// Notifications a second, as seen of late.
#[derive(Debug, Default)]
pub(super) struct Seen(VecDeque<(Instant, u64)>);

impl Seen {
    /// So many devices were done at this time.
    pub(super) fn add(&mut self, at: Instant, done: u64) {
        self.0.push_back((at, done));
        while self.0.len() > 2
            && self.0.get(1).is_some_and(|(then, _)| at.saturating_duration_since(*then) >= WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// A second; 0 until two looks have been taken.
    pub(super) fn per_second(&self) -> f64 {
        let (Some((then, before)), Some((now, after))) = (self.0.front(), self.0.back()) else { return 0.0 };
        let seconds = now.saturating_duration_since(*then).as_secs_f64();
        if seconds > 0.0 { count(after.saturating_sub(*before)) / seconds } else { 0.0 }
    }
}

/// When something will be so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Eta {
    /// Everything will have been sent, in so many seconds.
    Done(f64),
    /// A person must open the gate behind this stage, in so many seconds.
    Gate(u32, f64),
    /// Nobody can say.
    Unknown,
}

/// Devices with a final outcome, over all stages.
pub(super) fn done(view: &RolloutView) -> u64 {
    view.stages_view.iter().map(|stage| stage.done).sum()
}

/// When a rollout that is seen to send at `rate` a second will be done.
pub(super) fn eta(view: &RolloutView, rate: f64, now: jiff::Timestamp) -> Eta {
    let moves = matches!(view.summary.state, RolloutState::Running | RolloutState::Baking);
    let (true, Some(open)) = (moves, view.summary.stage) else { return Eta::Unknown };
    let mut left = 0.0;
    for stage in view.stages_view.iter().filter(|stage| stage.stage >= open) {
        let is_last = stage.stage == view.summary.stages;
        let is_baking = stage.stage == open && view.summary.state == RolloutState::Baking;
        if is_baking {
            let watched = now.duration_since(view.summary.changed_at).as_secs_f64();
            left += if is_last { 0.0 } else { (bake(stage) - watched).max(0.0) };
        } else {
            let Some(sending) = sending(stage, stage.stage == open, rate) else { return Eta::Unknown };
            left += sending + if is_last { 0.0 } else { bake(stage) };
        }
        if stage.manual_gate && !is_last {
            return Eta::Gate(stage.stage, left);
        }
    }
    Eta::Done(left)
}

/// How long what is left of a stage takes: at the rate that is seen, or, of a later one, at its own limit.
fn sending(stage: &StageView, is_open: bool, rate: f64) -> Option<f64> {
    let left = stage.devices?.saturating_sub(stage.done);
    if left == 0 {
        return Some(0.0);
    }
    let limit = stage.max_rate.map(f64::from);
    let rate = if is_open { rate } else { limit.unwrap_or(rate) };
    (rate > 0.0).then(|| count(left) / rate)
}

fn bake(stage: &StageView) -> f64 {
    Duration::from_millis(stage.bake_ms).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "an estimate; a count of devices is far below 2^52")]
fn count(devices: u64) -> f64 {
    devices as f64
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::clock::Clock;

    fn seen(looks: &[(u64, u64)]) -> f64 {
        let clock = Clock::manual(samples::now(), 1);
        let origin = clock.monotonic();
        let mut seen = Seen::default();
        for (second, done) in looks {
            seen.add(origin + Duration::from_secs(*second), *done);
        }
        seen.per_second()
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_ten_seconds() {
        near(seen(&[]), 0.0);
        near(seen(&[(0, 500)]), 0.0);
        near(seen(&[(0, 0), (1, 100)]), 100.0);
        near(seen(&[(0, 0), (5, 5_000), (15, 6_000), (25, 7_000)]), 100.0);
        near(seen(&[(0, 5), (1, 0)]), 0.0);
    }

    #[test]
    fn what_is_left_is_sent_watched_and_sent_on() {
        let view = samples::view();
        // 41,730 left at 100 a second, ten minutes; 379,171 at 1,000, ten minutes; 3,791,556 at 2,000.
        let expected = 417.3 + 600.0 + 379.171 + 600.0 + 1_895.778;
        let Eta::Done(found) = eta(&view, 100.0, samples::now()) else { panic!("it can be said") };
        near(found, expected);
        assert_eq!(eta(&view, 0.0, samples::now()), Eta::Unknown, "nothing is seen to move");
    }

    #[test]
    fn a_person_is_where_it_ends() {
        let mut view = samples::view();
        view.stages_view[2].manual_gate = true;
        let Eta::Gate(3, found) = eta(&view, 100.0, samples::now()) else { panic!("a gate comes first") };
        near(found, 417.3 + 600.0 + 379.171 + 600.0);
        assert_eq!(eta(&samples::at_gate(), 100.0, samples::now()), Eta::Unknown);
    }

    #[test]
    fn a_bake_counts_from_when_it_began() {
        let mut view = samples::view();
        view.summary.state = RolloutState::Baking;
        view.stages_view.truncate(2);
        view.summary.stages = 3;
        view.stages_view.push(samples::stage(3, "100 %", 1_000, 0, Some(1_000)));
        // Three minutes of ten are over.
        let Eta::Done(found) = eta(&view, 0.0, samples::now()) else { panic!("it can be said") };
        near(found, 420.0 + 1.0);
    }
}
