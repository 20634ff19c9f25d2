//! The one place that reads the machine's clock and its randomness.
//!
//! Everything else is given a [`Clock`]. A test can then stand still, run ahead, or repeat a failure
//! from its seed. The lint configuration bans the ambient calls outside this file.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rand::{TryRng as _, rngs::SysRng};

/// Where a component gets the time and its random seeds from. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Manual>),
}

struct Manual {
    start: Timestamp,
    origin: Instant,
    /// Milliseconds since `start`.
    elapsed: AtomicI64,
    seed: AtomicU64,
}

impl Clock {
    /// The machine's own clock and randomness.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until [`Clock::advance`] moves it, and whose seeds count up from
    /// `seed`: the same run twice.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a manual clock needs one origin to count from")]
    pub fn manual(start: Timestamp, seed: u64) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            start,
            origin: Instant::now(),
            elapsed: AtomicI64::new(0),
            seed: AtomicU64::new(seed),
        })))
    }

    /// The wall clock. It may jump; use it for what is written down, never to measure.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the wall clock is read")]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Manual(manual) => {
                let elapsed = jiff::SignedDuration::from_millis(manual.elapsed.load(Ordering::Acquire));
                manual.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// The monotonic clock: use it for deadlines and durations.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where the monotonic clock is read")]
    pub fn monotonic(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual(manual) => {
                let elapsed = manual.elapsed.load(Ordering::Acquire).unsigned_abs();
                manual.origin + Duration::from_millis(elapsed)
            }
        }
    }

    /// A fresh seed for a generator of the caller's own.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is where randomness enters")]
    pub fn seed(&self) -> u64 {
        match &self.0 {
            Source::System => rand::random(),
            Source::Manual(manual) => manual.seed.fetch_add(1, Ordering::AcqRel),
        }
    }

    /// 256 bits that nobody can guess: from the operating system.
    #[must_use]
    pub fn secret(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        match &self.0 {
            Source::System => {
                SysRng.try_fill_bytes(&mut bytes).expect("an operating system that runs has randomness");
            }
            Source::Manual(_) => {
                for eight in bytes.chunks_exact_mut(8) {
                    eight.copy_from_slice(&self.seed().to_be_bytes());
                }
            }
        }
        bytes
    }

    /// Moves a manual clock forward; the system's clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            manual.elapsed.fetch_add(by, Ordering::AcqRel);
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_repeats_its_seeds() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH, 7);
        let (wall, mono) = (clock.now(), clock.monotonic());
        assert_eq!(clock.now(), wall);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().duration_since(wall).as_secs(), 5);
        assert_eq!(clock.monotonic() - mono, Duration::from_secs(5));
        assert_eq!((clock.seed(), clock.seed()), (7, 8));
    }
}
