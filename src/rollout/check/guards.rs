//! A downstream guard: what was seen of its number, and what must follow from it.
//!
//! A number is noted beside the rollout, by another task of the coordinator's: between a decision and its act it may have
//! changed. So what is promised is of every decision made after it was noted, not of the one that was on its way; and a
//! worker that has its intent sends until the halt is written, and no intent is recorded after that (I5 halt-is-now).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::world::{Action, Due, Model, World};
use crate::{
    audience::{Beyond, Probe, WhenBlind},
    model::Pause,
    rollout::{
        FrozenPlan, Judged, Rollout,
        downstream::{FrozenDownstream, Number, Reading, Watched},
        machine::Paused,
    },
};

/// For how long the number must be beyond a bound.
const HOLD: SignedDuration = SignedDuration::from_secs(30);
/// A number that is older is none.
const STALE_AFTER: Duration = Duration::from_mins(1);

/// What was seen of the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Seen {
    /// It is within every bound.
    Fine,
    /// It is beyond the bound at which the rollout ends, and not for long enough yet.
    Nears,
    /// It was beyond the bound at which the rollout waits for long enough.
    Slow,
    /// It was beyond the bound at which the rollout ends for long enough.
    Breach,
    /// There is none.
    Blind,
}

impl Seen {
    pub(super) const ALL: [Self; 5] = [Self::Fine, Self::Nears, Self::Slow, Self::Breach, Self::Blind];

    /// What the plan's guards say of it, by the real reading and the real judgement.
    pub(super) fn judged(self, plan: &FrozenPlan, now: Timestamp) -> Vec<Judged<'_>> {
        let judge =
            |guard| Judged { guard, judgement: self.watched(guard, now).judge(guard, now, STALE_AFTER) };
        plan.downstream.iter().map(judge).collect()
    }

    fn watched(self, guard: &FrozenDownstream, now: Timestamp) -> Watched {
        let (before, last) = match self {
            Self::Fine => (Some(1.0), Some(1.0)),
            Self::Nears => (Some(1.0), Some(9.0)),
            Self::Slow => (Some(5.0), Some(5.0)),
            Self::Breach => (Some(9.0), Some(9.0)),
            Self::Blind => (None, None),
        };
        let mut watched = Watched::from(now - HOLD);
        watched.note(guard, Reading { at: now - HOLD, value: before });
        watched.note(guard, Reading { at: now, value: last });
        watched
    }
}

/// Waits above 4, ends above 8.
pub(super) fn guard(no_data: WhenBlind) -> FrozenDownstream {
    FrozenDownstream {
        name: "login-p99".to_owned(),
        probe: Probe::Prometheus("login_p99".to_owned()),
        beyond: Beyond::Above,
        pause: Number::new(4.0),
        halt: Number::new(8.0),
        hold_ms: u64::try_from(HOLD.as_millis()).expect("half a minute"),
        no_data,
    }
}

/// The first property of guards that a step breaks.
pub(super) fn broken(model: &Model, before: &World, action: Action, after: &World) -> Option<&'static str> {
    let guard = model.plan.downstream.first()?;
    if matches!(action, Action::Promote { .. } | Action::Resume) && waits_for_a_number(&before.rollout) {
        return Some("I3 no-number-no-promotion");
    }
    if matches!(action, Action::Decides) && widens_unseen(before, after) {
        return Some("I3 no-number-no-stage");
    }
    // What is decided next, as soon as somebody decides.
    if after.coordinator.is_some() || after.is_over() {
        return None;
    }
    must_follow(guard, after, after.due(model))
}

const fn waits_for_a_number(rollout: &Rollout) -> bool {
    matches!(rollout, Rollout::Paused(Paused { why: Pause::NoData, .. }))
}

/// A stage is to open, a gate is passed, or what waited for a number is to go on, and the number is not seen to be fine.
fn widens_unseen(before: &World, after: &World) -> bool {
    let goes_on = match after.coordinator.map(|decision| decision.due) {
        Some(Due::Open(_)) => true,
        Some(Due::Resume) => waits_for_a_number(&before.rollout),
        _ => false,
    };
    goes_on && before.seen != Seen::Fine
}

/// What must be due, by what was seen: unless its time is over, which ends it as well.
fn must_follow(guard: &FrozenDownstream, world: &World, due: Option<Due>) -> Option<&'static str> {
    if due == Some(Due::Expire) {
        return None;
    }
    // Somebody was rung: wherever it stands since, those open the app now.
    if world.opened > 0 && !world.rollout.is_watched() {
        return Some("I5 breach-halts");
    }
    let sends = matches!(world.rollout, Rollout::Running(_) | Rollout::Baking(_));
    let ends = match world.seen {
        Seen::Breach => true,
        Seen::Blind => guard.no_data == WhenBlind::Halt,
        Seen::Fine | Seen::Nears | Seen::Slow => false,
    };
    match world.seen {
        _ if ends && world.opened > 0 => (due != Some(Due::Halt)).then_some("I5 breach-halts"),
        Seen::Blind | Seen::Slow if sends => {
            (due != Some(Due::Pause(Pause::NoData))).then_some("I3 no-number-no-stage")
        }
        Seen::Fine if waits_for_a_number(&world.rollout) => {
            (!matches!(due, Some(Due::Resume | Due::Void))).then_some("goes-on-by-itself")
        }
        _ => None,
    }
}
