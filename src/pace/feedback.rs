//! Pace by feedback: a campaign's rate follows a number that our own systems give, so that those who open the app find it
//! working.
//!
//! The number is *headroom*: how much more of our own people's demand (logins a second, say) a system can take right now.
//! Once an interval the rate is told it, and goes up a little or down by half:
//!
//! - headroom left: [`STEP_PERCENT`] of `max` more, up to `max`;
//! - none left (0 or less): half of the rate, down to `min`;
//! - not known (nothing was answered, or what was answered is no number): `min`, at once. Whoever cannot see drives slowly.
//!
//! Up by a constant and down by a factor is what lets senders that know nothing of each other share one system fairly and
//! come to rest near what it can take; up by a factor would not (Chiu and Jain, *Analysis of the increase and decrease
//! algorithms for congestion avoidance in computer networks*, Computer Networks and ISDN Systems 17, 1989).
//!
//! Nothing else moves the rate. An expiry that comes near is no input here, so a campaign that is late is never hurried: what
//! it does not reach in time expires. A rate that nobody remembers (another process has taken over) begins at `min` again.

use std::{num::NonZeroU32, time::Duration};

/// How long an interval is, unless the service is told otherwise: as often as Prometheus usually scrapes. In less time a number is heard twice that was measured once.
pub const INTERVAL: Duration = Duration::from_secs(15);

/// How much of `max` a clean interval adds, in per cent: from a standstill to everything takes twenty intervals, which
/// is longer than most of those who open the app take to do so.
pub const STEP_PERCENT: u32 = 5;

/// Between which rates a campaign may go, in notifications a second; `min` is not above `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    min: NonZeroU32,
    max: NonZeroU32,
}

impl Bounds {
    /// From `min` to `max`; none if they are the wrong way round.
    #[must_use]
    pub const fn new(min: NonZeroU32, max: NonZeroU32) -> Option<Self> {
        if min.get() <= max.get() { Some(Self { min, max }) } else { None }
    }

    /// The rate without a signal, and never less.
    #[must_use]
    pub const fn min(self) -> NonZeroU32 {
        self.min
    }

    /// Never more.
    #[must_use]
    pub const fn max(self) -> NonZeroU32 {
        self.max
    }

    /// What a clean interval adds: at least one, or a small campaign would stand still for ever.
    fn step(self) -> u32 {
        let step = u64::from(self.max.get()) * u64::from(STEP_PERCENT) / 100;
        u32::try_from(step).expect("a part of a u32").max(1)
    }
}

/// The rate of one rollout, as its signal has moved it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    bounds: Bounds,
    rate: NonZeroU32,
}

impl Feedback {
    /// Begins at `min`: nothing is known yet.
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, rate: bounds.min }
    }

    /// Notifications a second, now.
    #[must_use]
    pub const fn rate(self) -> NonZeroU32 {
        self.rate
    }

    /// Hears the headroom once an interval, `None` if there was no answer, and says the rate until the next.
    ///
    /// Call it once for each interval, also for one without an answer; more often would be faster than the phones' owners
    /// can show what the last rate did.
    pub fn hear(&mut self, headroom: Option<f64>) -> NonZeroU32 {
        let Bounds { min, max } = self.bounds;
        self.rate = match headroom.filter(|number| number.is_finite()) {
            None => min,
            Some(left) if left > 0.0 => self.rate.saturating_add(self.bounds.step()).min(max),
            Some(_) => NonZeroU32::new(self.rate.get() / 2).map_or(min, |half| half.max(min)),
        };
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(per_second).expect("not zero")
    }

    fn between(min: u32, max: u32) -> Feedback {
        Feedback::new(Bounds::new(rate(min), rate(max)).expect("the right way round"))
    }

    /// Any headroom, with what is no number among them more often than by chance.
    fn headroom() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            4 => (-1e6..1e6_f64).prop_map(Some),
            1 => any::<f64>().prop_map(Some),
            1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]).prop_map(Some),
            1 => Just(None),
        ]
    }

    /// Two rates, the lower first.
    fn bounds() -> impl Strategy<Value = (u32, u32)> {
        let any_rate = prop_oneof![1..10_000_u32, 1..=u32::MAX];
        (any_rate.clone(), any_rate).prop_map(|(a, b)| (a.min(b), a.max(b)))
    }

    proptest! {
        #[test]
        fn the_rate_stays_between_its_bounds_and_moves_as_it_was_told(
            (min, max) in bounds(),
            heard in prop::collection::vec(headroom(), 0..200),
        ) {
            let mut feedback = between(min, max);
            prop_assert_eq!(feedback.rate().get(), min);
            for headroom in heard {
                let before = feedback.rate().get();
                let after = feedback.hear(headroom).get();
                prop_assert_eq!(after, feedback.rate().get());
                prop_assert!((min..=max).contains(&after), "{} is not within {}..={}", after, min, max);
                match headroom {
                    Some(left) if left.is_finite() && left > 0.0 => {
                        prop_assert!(after > before || before == max, "{} to {}", before, after);
                        let added = u64::from(after - before);
                        prop_assert!(added <= (u64::from(max) / 20).max(1), "{} was added", added);
                    }
                    Some(left) if left.is_finite() => {
                        prop_assert_eq!(after, (before / 2).max(min));
                    }
                    _ => prop_assert_eq!(after, min, "what nobody knows is no reason to go fast"),
                }
            }
        }

        #[test]
        fn whoever_was_faster_and_hears_the_same_is_never_slower(
            (min, max) in bounds(),
            lead in 0..100_usize,
            heard in prop::collection::vec(headroom(), 0..100),
        ) {
            let (mut ahead, mut behind) = (between(min, max), between(min, max));
            for _ in 0..lead {
                ahead.hear(Some(1.0));
            }
            for headroom in heard {
                prop_assert!(ahead.hear(headroom) >= behind.hear(headroom));
            }
        }

        #[test]
        fn more_headroom_never_makes_it_slower((min, max) in bounds(), a in -10.0..10.0_f64, b in -10.0..10.0_f64, clean in 0..60) {
            let mut feedback = between(min, max);
            for _ in 0..clean {
                feedback.hear(Some(1.0));
            }
            let (mut less, mut more) = (feedback, feedback);
            prop_assert!(less.hear(Some(a.min(b))) <= more.hear(Some(a.max(b))));
        }
    }

    #[test]
    fn it_climbs_by_a_twentieth_of_max_and_falls_by_half() {
        let mut feedback = between(50, 2_000);
        let up: Vec<u32> = (0..21).map(|_| feedback.hear(Some(3.5)).get()).collect();
        assert_eq!(up[..3], [150, 250, 350]);
        assert_eq!(up[18..], [1_950, 2_000, 2_000]);
        let down: Vec<u32> = (0..7).map(|_| feedback.hear(Some(0.0)).get()).collect();
        assert_eq!(down, [1_000, 500, 250, 125, 62, 50, 50]);
    }

    #[test]
    fn the_smallest_campaign_moves_too() {
        let mut feedback = between(1, 10);
        assert_eq!(feedback.hear(Some(1.0)).get(), 2);
        assert_eq!(feedback.hear(Some(-1.0)).get(), 1);
        assert_eq!(feedback.hear(Some(-1.0)).get(), 1);
    }

    #[test]
    fn bounds_that_are_the_wrong_way_round_are_none() {
        assert_eq!(Bounds::new(rate(2), rate(1)), None);
        assert!(Bounds::new(rate(1), rate(1)).is_some());
    }
}
