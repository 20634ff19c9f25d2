//! From an expiry on the wall clock to a deadline on the monotonic one.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::clock::Clock;

/// **I9 nothing-late**: a wall clock that is set back must not make an expired message young again.
///
/// The two clocks are read together once. After that the monotonic one counts; the wall clock may only make a message
/// older (a host that was suspended does not count the time on its monotonic clock).
#[derive(Debug)]
pub(super) struct Horizon {
    wall: Timestamp,
    monotonic: Instant,
}

impl Horizon {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic() }
    }

    /// When `expires_at` is, on the monotonic clock; now or earlier if it is over.
    pub(super) fn until(&self, expires_at: Timestamp, clock: &Clock) -> Instant {
        let now = clock.monotonic();
        let counted = self.wall + now.saturating_duration_since(self.monotonic);
        let left = expires_at.duration_since(counted.max(clock.now()));
        now + Duration::try_from(left).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_deadline_that_comes_nearer() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH, 1);
        let horizon = Horizon::new(&clock);
        let expires_at = Timestamp::UNIX_EPOCH + Duration::from_mins(1);
        let deadline = clock.monotonic() + Duration::from_mins(1);
        assert_eq!(horizon.until(expires_at, &clock), deadline);
        clock.advance(Duration::from_secs(59));
        assert_eq!(horizon.until(expires_at, &clock), deadline);
        clock.advance(Duration::from_secs(2));
        assert!(horizon.until(expires_at, &clock) <= clock.monotonic());
    }
}
