//! A sliding window of what was given, in slices: how many people a text may still reach.
//!
//! A window of any length within the limit's time touches at most [`SLICES`] + 1 slices, and no more than the limit is
//! given in so many; so none exceeds it. What was given up to a slice too long ago still counts: the window errs to
//! refusing, by at most one part in [`SLICES`].

use std::time::Duration;

use jiff::Timestamp;

/// Slices of a window. More would forget sooner, and be more to keep.
const SLICES: usize = 5;

/// What was given in the newest slice and in those before it that still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    newest: i64,
    /// By age in slices, the newest first.
    given: [u32; SLICES + 1],
}

/// How long a slice is, in microseconds.
fn slice_micros(within: Duration) -> i64 {
    i64::try_from(within.as_micros().div_ceil(SLICES as u128)).unwrap_or(i64::MAX).max(1)
}

impl Window {
    /// Which slice of a window of this length it is.
    #[must_use]
    pub fn slice(now: Timestamp, within: Duration) -> i64 {
        now.as_microsecond().div_euclid(slice_micros(within))
    }

    /// Nothing was given yet.
    #[must_use]
    pub const fn new(slice: i64) -> Self {
        Self { newest: slice, given: [0; SLICES + 1] }
    }

    /// The newest slice that was counted in.
    #[must_use]
    pub const fn newest(&self) -> i64 {
        self.newest
    }

    /// Gives up to `want` of what `max` leaves, and counts it. A slice that is over is counted as the newest.
    pub fn give(&mut self, slice: i64, want: u64, max: u64) -> u64 {
        if slice > self.newest {
            let slices = self.given.len();
            let ahead = usize::try_from(slice - self.newest).unwrap_or(usize::MAX).min(slices);
            self.given.rotate_right(ahead % slices);
            self.given[..ahead].fill(0);
            self.newest = slice;
        }
        let given: u64 = self.given.iter().copied().map(u64::from).sum();
        let room = u64::from(u32::MAX - self.given[0]);
        let now = max.saturating_sub(given).min(want).min(room);
        self.given[0] += u32::try_from(now).expect("within the room");
        now
    }

    /// When the last of it no longer counts, seen from `now`.
    #[must_use]
    pub fn over_at(now: Timestamp, within: Duration) -> Timestamp {
        now.checked_add(within.saturating_mul(2)).unwrap_or(Timestamp::MAX)
    }

    /// As it is stored.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        self.given.iter().flat_map(|given| given.to_be_bytes()).collect()
    }

    /// As it was stored; `None` if that makes no sense.
    #[must_use]
    pub fn unpack(newest: i64, packed: &[u8]) -> Option<Self> {
        let (counts, rest) = packed.as_chunks::<4>();
        let given: [[u8; 4]; SLICES + 1] = counts.try_into().ok()?;
        rest.is_empty().then(|| Self { newest, given: given.map(u32::from_be_bytes) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("an instant")
    }

    proptest! {
        #[test]
        fn no_window_of_the_time_is_given_more_than_the_limit(
            asks in proptest::collection::vec((0..3_000_i64, 0..40_u64), 1..60),
            millis in 1..20_000_u64,
            max in 1..100_u64,
        ) {
            let within = Duration::from_millis(millis);
            let (mut window, mut now, mut given) = (None::<Window>, 0, Vec::new());
            for (later, want) in asks {
                now += later;
                let slice = Window::slice(at(now), within);
                let window = window.get_or_insert(Window::new(slice));
                *window = Window::unpack(window.newest(), &window.packed()).expect("as it was stored");
                given.push((now, window.give(slice, want, max)));
            }
            for (end, _) in &given {
                let start = end - i64::try_from(millis).expect("small");
                let inside = given.iter().filter(|(at, _)| (start..=*end).contains(at));
                prop_assert!(inside.map(|(_, given)| given).sum::<u64>() <= max);
            }
        }
    }

    #[test]
    fn all_of_it_is_given_and_given_again_once_it_is_over() {
        let slice = |seconds: i64| Window::slice(at(seconds * 1_000), WITHIN);
        let mut window = Window::new(slice(0));
        assert_eq!((window.give(slice(1), 60, 100), window.give(slice(9), 60, 100)), (60, 40));
        assert_eq!(window.give(slice(11), 60, 100), 0, "it may still lie within one window");
        assert_eq!(window.give(slice(12), 100, 100), 60);
        assert_eq!(window.give(slice(3), 100, 100), 0, "a slow clock is given nothing twice");
        assert_eq!(window.give(slice(10_000), 200, 100), 100);
    }

    #[test]
    fn it_is_kept_until_none_of_it_counts() {
        let over = Window::over_at(at(7_000), WITHIN);
        assert_eq!(over, at(27_000));
        let mut window = Window::new(Window::slice(at(7_000), WITHIN));
        assert_eq!(window.give(window.newest(), 100, 100), 100);
        assert_eq!(window.give(Window::slice(over, WITHIN), 100, 100), 100);
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        assert_eq!(Window::unpack(1, &[0; 23]), None);
        assert_eq!(Window::unpack(1, &[0; 28]), None);
    }
}
