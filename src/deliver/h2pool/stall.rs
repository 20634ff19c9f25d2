//! A process that was stopped must not go on where it left off.
//!
//! Every request looks at its deadline right before it is queued, and then it may wait: in `h2` for the peer's window, in
//! our own buffer for the socket. A machine that stands still in between (SIGSTOP, a frozen container, swapping) would
//! write what waits when it goes on, long after another worker took the chunk over. So before every write the driver asks
//! whether it was running all the time; if it was not, and a deadline of what is in flight went by meanwhile, the
//! connection has written its last byte (**I5 halt-is-now**, **I9 nothing-late**).
//!
//! A slow provider is no such case: while requests are in flight the driver is woken often, and each time it notes
//! that it runs. Neither is a busy machine, as long as the deadlines are ahead.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use crate::clock::Clock;

/// Whoever did not run for longer than this was away. A deadline lies a second before anybody else may act on the same
/// intent; half of that is left for what is written after a pause that is just too short.
const AWAY: Duration = Duration::from_millis(500);

/// How often a driver with requests in flight notes that it runs.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// No deadline.
const NONE: u64 = u64::MAX;

/// When the driver last ran, and the earliest deadline of what is in flight on its connection.
///
/// Requests are counted in two generations, so that the deadlines of what ended long ago are forgotten without a list:
/// a new generation begins, at a tick, once the one before has nothing in flight. What is still looked at then is at most
/// some ticks and the longest request old, and errs towards an earlier deadline.
#[derive(Debug)]
pub(super) struct Stall {
    clock: Clock,
    origin: Instant,
    /// Microseconds since `origin`, as all times here.
    ran: AtomicU64,
    current: AtomicUsize,
    generations: [Generation; 2],
}

#[derive(Debug)]
struct Generation {
    in_flight: AtomicUsize,
    earliest: AtomicU64,
}

impl Default for Generation {
    fn default() -> Self {
        Self { in_flight: AtomicUsize::new(0), earliest: AtomicU64::new(NONE) }
    }
}

/// Which generation a request was counted in. One byte: every send's future carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Even,
    Odd,
}

impl Stall {
    pub(super) fn new(clock: Clock) -> Self {
        let origin = clock.monotonic();
        Self {
            clock,
            origin,
            ran: AtomicU64::new(0),
            current: AtomicUsize::new(0),
            generations: Default::default(),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(NONE)
    }

    /// A request is about to be queued. Calls to this and to [`Stall::turn`] must not overlap: both are made under the
    /// lock of the connection's requests.
    pub(super) fn enter(&self, until: Instant) -> Counted {
        let (current, until) = (self.current.load(Ordering::Relaxed), self.micros(until));
        let generation = &self.generations[current];
        let is_first = generation.in_flight.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first || generation.earliest.load(Ordering::SeqCst) > until {
            generation.earliest.store(until, Ordering::SeqCst);
        }
        if current == 0 { Counted::Even } else { Counted::Odd }
    }

    /// True if the driver is known to have run after `until`: it does not ask about this one's deadline any more. Asked
    /// after [`Stall::enter`]: of the two, one sees the other.
    pub(super) fn is_past(&self, until: Instant) -> bool {
        self.ran.load(Ordering::SeqCst) >= self.micros(until)
    }

    /// A request is over.
    pub(super) fn leave(&self, counted: Counted) {
        self.generations[counted as usize].in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Begins a new generation, if the one before is over.
    pub(super) fn turn(&self) {
        let other = 1 - self.current.load(Ordering::Relaxed);
        if self.generations[other].in_flight.load(Ordering::SeqCst) == 0 {
            self.current.store(other, Ordering::Relaxed);
        }
    }

    /// Notes that the driver runs. False if it was away while a deadline went by: then nothing more may be written.
    pub(super) fn goes_on(&self) -> bool {
        let now = self.micros(self.clock.monotonic());
        let away = now.saturating_sub(self.ran.swap(now, Ordering::SeqCst));
        u128::from(away) <= AWAY.as_micros() || self.earliest() > now
    }

    fn earliest(&self) -> u64 {
        let of = |generation: &Generation| match generation.in_flight.load(Ordering::SeqCst) {
            0 => NONE,
            _ => generation.earliest.load(Ordering::SeqCst),
        };
        self.generations.iter().map(of).min().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    fn stall() -> (Stall, Clock) {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1);
        (Stall::new(clock.clone()), clock)
    }

    #[test]
    fn i5_whoever_was_away_while_a_deadline_went_by_does_not_go_on() {
        let (stall, clock) = stall();
        stall.enter(clock.monotonic() + LONG);
        let _first = stall.enter(clock.monotonic() + Duration::from_secs(5));
        assert!(stall.goes_on());
        clock.advance(Duration::from_secs(5));
        assert!(!stall.goes_on());
    }

    #[test]
    fn neither_a_pause_before_the_deadlines_nor_a_slow_provider_ends_a_connection() {
        let (stall, clock) = stall();
        stall.enter(clock.monotonic() + LONG);
        clock.advance(LONG / 2);
        assert!(stall.goes_on(), "every deadline is ahead");
        // The answer takes longer than the deadline, and the driver runs all the while.
        for _ in 0..u32::try_from(LONG.as_millis() / TICK.as_millis()).expect("small") {
            clock.advance(TICK);
            assert!(stall.goes_on());
        }
    }

    #[test]
    fn an_idle_connection_and_what_is_over_have_no_deadline() {
        let (stall, clock) = stall();
        let counted = stall.enter(clock.monotonic() + Duration::from_secs(1));
        stall.leave(counted);
        clock.advance(LONG);
        assert!(stall.goes_on(), "nothing is in flight");
        stall.enter(clock.monotonic() + LONG);
        clock.advance(Duration::from_secs(2));
        assert!(stall.goes_on(), "the deadline of what is over does not come back");
    }

    #[test]
    fn under_a_steady_load_old_deadlines_are_forgotten() {
        let (stall, clock) = stall();
        let mut before = stall.enter(clock.monotonic() + Duration::from_secs(1));
        for _ in 0..10 {
            stall.turn();
            // Never without a request in flight.
            let next = stall.enter(clock.monotonic() + Duration::from_secs(1));
            assert_ne!(next, before);
            stall.leave(before);
            before = next;
            clock.advance(Duration::from_millis(400));
            assert!(stall.goes_on());
        }
        clock.advance(Duration::from_millis(600));
        assert!(!stall.goes_on(), "and the last one is not");
    }

    #[test]
    fn what_is_queued_too_late_for_the_drivers_question_is_told_so() {
        let (stall, clock) = stall();
        let until = clock.monotonic() + Duration::from_secs(1);
        clock.advance(Duration::from_secs(2));
        assert!(stall.goes_on());
        stall.enter(until);
        assert!(stall.is_past(until));
        assert!(!stall.is_past(clock.monotonic() + TICK));
    }
}
