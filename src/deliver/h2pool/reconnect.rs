//! When a connection may be opened again.
//!
//! Apple treats rapid connects and disconnects as an attack. A connection that did its work and ended is
//! replaced at once; one that did not makes the next one wait, twice as long each time.

use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// The first wait; short, because one hiccup should not be felt.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait: a provider that is back is found within a minute.
const LONGEST: Duration = Duration::from_mins(1);
/// The longest wait after a connection that brought at least an answer: the provider is there and works, it only
/// closes early, and a one-time code does not live a minute.
const LONGEST_AFTER_AN_ANSWER: Duration = Duration::from_secs(2);
/// A connection that brought so many answers was worth opening.
const WORTHWHILE_ANSWERS: u64 = 100;
/// A connection that lived so long was worth opening.
const WORTHWHILE_AGE: Duration = Duration::from_mins(1);

/// The pause between connections to one endpoint.
#[derive(Debug)]
pub(super) struct Reconnect {
    in_a_row: u32,
    not_before: Option<Instant>,
    rng: StdRng,
}

impl Reconnect {
    pub(super) fn new(seed: u64) -> Self {
        Self { in_a_row: 0, not_before: None, rng: StdRng::seed_from_u64(seed) }
    }

    /// How long the next attempt has to wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// No connection could be made.
    pub(super) fn failed(&mut self, now: Instant) {
        self.pause(now, LONGEST);
    }

    fn pause(&mut self, now: Instant, longest: Duration) {
        let doubled = FIRST.saturating_mul(1_u32.checked_shl(self.in_a_row.min(16)).unwrap_or(u32::MAX));
        self.in_a_row = self.in_a_row.saturating_add(1);
        // Half of it is jitter, so that a fleet does not come back in step.
        let wait = doubled.min(longest).mul_f64(self.rng.random_range(0.5..=1.0));
        self.not_before = Some(now + wait);
    }

    /// A connection ended after so many answers, at this age.
    pub(super) fn ended(&mut self, now: Instant, answers: u64, age: Duration) {
        if answers >= WORTHWHILE_ANSWERS || age >= WORTHWHILE_AGE {
            self.in_a_row = 0;
            self.not_before = None;
        } else if answers > 0 {
            self.pause(now, LONGEST_AFTER_AN_ANSWER);
        } else {
            self.failed(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn failures_wait_longer_and_longer_but_never_over_a_minute() {
        let now = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1).monotonic();
        let mut reconnect = Reconnect::new(7);
        assert_eq!(reconnect.wait(now), Duration::ZERO);
        let waits: Vec<_> = (0..14)
            .map(|_| {
                reconnect.failed(now);
                reconnect.wait(now)
            })
            .collect();
        for (n, wait) in waits.iter().enumerate() {
            let full = FIRST.saturating_mul(1 << n).min(LONGEST);
            assert!(*wait >= full / 2 && *wait <= full, "{n}: {wait:?}");
        }
    }

    #[test]
    fn a_connection_that_worked_is_replaced_at_once() {
        let now = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1).monotonic();
        let mut reconnect = Reconnect::new(7);
        reconnect.ended(now, 3, Duration::from_secs(1));
        assert!(reconnect.wait(now) > Duration::ZERO, "three answers are no reason to connect again");
        reconnect.ended(now, WORTHWHILE_ANSWERS, Duration::from_secs(1));
        assert_eq!(reconnect.wait(now), Duration::ZERO);
        reconnect.failed(now);
        reconnect.ended(now, 0, WORTHWHILE_AGE);
        assert_eq!(reconnect.wait(now), Duration::ZERO);
    }

    #[test]
    fn a_provider_that_answers_and_closes_early_is_never_left_for_long() {
        let now = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1).monotonic();
        let mut reconnect = Reconnect::new(7);
        for _ in 0..20 {
            reconnect.ended(now, 3, Duration::from_secs(1));
            assert!(reconnect.wait(now) <= LONGEST_AFTER_AN_ANSWER);
        }
    }
}
