//! The one place that reads the ambient clock.

use std::time::Instant;

use jiff::Timestamp;

/// Wall clock, monotonic clock and a seed, handed to whatever needs them.
#[derive(Clone, Debug)]
pub struct Clock {
    seed: u64,
}

impl Clock {
    /// The operating system's clocks.
    pub fn system() -> Self {
        Self { seed: 1 }
    }

    /// The wall clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// A seed for this process.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}
