//! How long a pointer rests on each rung.

use std::time::Duration;

use crate::pace::Rung;

/// The waits of the retry ladder, one for each rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder([Duration; Rung::ALL.len()]);

impl Default for Ladder {
    /// As the rungs are named.
    fn default() -> Self {
        Self(Rung::ALL.map(Rung::wait))
    }
}

impl Ladder {
    /// Other waits, from the first rung to the last: for tests, and for a demonstration that cannot wait.
    #[must_use]
    pub const fn of(waits: [Duration; Rung::ALL.len()]) -> Self {
        Self(waits)
    }

    /// How long a pointer rests on `rung`.
    #[must_use]
    pub fn wait(&self, rung: Rung) -> Duration {
        let place = Rung::ALL.iter().position(|known| *known == rung);
        self.0[place.expect("every rung is in Rung::ALL")]
    }

    /// The shortest rung that waits at least `wait`; the longest one if none does.
    #[must_use]
    pub fn at_least(&self, wait: Duration) -> Rung {
        Rung::ALL.into_iter().find(|rung| self.wait(*rung) >= wait).unwrap_or(Rung::Hour)
    }
}
