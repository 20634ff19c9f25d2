//! Pace: how fast, and when again. Pure arithmetic; who waits is the shell's affair.

pub mod feedback;
pub mod lease;
pub mod shared;
pub mod slow_start;
pub mod stock;

use std::time::Duration;

use crate::model::Outcome;

/// Permission to send *now*: one request, by value. Only a [`lease::Reserved`] and a [`stock::Stock`] make it.
#[derive(Debug)]
#[must_use = "a slot that is not used still counts against the rate"]
pub struct Slot(());

#[cfg(test)]
impl Slot {
    /// A slot out of nowhere, for tests of what needs one. Not in a release build.
    pub(crate) const fn for_test() -> Self {
        Self(())
    }
}

/// The rungs of the direct lane's retry ladder: the waits that the broker keeps queues for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    /// 5 seconds.
    FiveSeconds,
    /// 30 seconds.
    HalfMinute,
    /// 2 minutes.
    TwoMinutes,
    /// 10 minutes.
    TenMinutes,
    /// 1 hour.
    Hour,
}

impl Rung {
    /// From the shortest to the longest.
    pub const ALL: [Self; 5] =
        [Self::FiveSeconds, Self::HalfMinute, Self::TwoMinutes, Self::TenMinutes, Self::Hour];

    /// How long a job rests on this rung.
    #[must_use]
    pub const fn wait(self) -> Duration {
        Duration::from_secs(match self {
            Self::FiveSeconds => 5,
            Self::HalfMinute => 30,
            Self::TwoMinutes => 120,
            Self::TenMinutes => 600,
            Self::Hour => 3_600,
        })
    }

    /// As the queue is named: `retry.5s`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveSeconds => "5s",
            Self::HalfMinute => "30s",
            Self::TwoMinutes => "2m",
            Self::TenMinutes => "10m",
            Self::Hour => "1h",
        }
    }

    /// The shortest rung that waits at least `wait`; the longest one if none does.
    #[must_use]
    pub fn at_least(wait: Duration) -> Self {
        Self::ALL.into_iter().find(|rung| rung.wait() >= wait).unwrap_or(Self::Hour)
    }
}

/// When to try again after `outcome`, the `tries`-th in a row that was deferred (counting from 1).
///
/// What the provider asks for is kept. Otherwise: Google wants at least 10 s with exponential backoff for
/// 500 and 503, and 60 s after a 429; Apple names 15 minutes for a 5xx, with backoff, which a one-time code does not
/// live to see, so the wait grows towards it. Shed by the ledger's expiry, never by a count.
#[must_use]
pub fn retry_rung(outcome: &Outcome, tries: u32) -> Rung {
    if let Some(asked) = outcome.retry_after() {
        return Rung::at_least(asked);
    }
    let ladder = |first: usize| {
        let step = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
        Rung::ALL[first.saturating_add(step).min(Rung::ALL.len() - 1)]
    };
    match outcome {
        Outcome::Throttled { .. } => ladder(2),
        Outcome::Unavailable { .. } | Outcome::Unknown { .. } | Outcome::CredentialStop { .. } => ladder(1),
        _ => ladder(0).min(Rung::TwoMinutes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;

    #[test]
    fn what_the_provider_asks_for_is_kept() {
        let outcome = |retry_after| Outcome::Unavailable { retry_after, reason: Reason::new("x") };
        assert_eq!(retry_rung(&outcome(Some(Duration::from_secs(45))), 1), Rung::TwoMinutes);
        assert_eq!(retry_rung(&outcome(Some(Duration::from_secs(9_999))), 1), Rung::Hour);
    }

    #[test]
    fn the_wait_grows_and_never_falls_below_what_google_asks() {
        let unknown = Outcome::Unknown { retry_after: None, reason: Reason::new("x") };
        let rungs: Vec<_> = (1..=6).map(|tries| retry_rung(&unknown, tries)).collect();
        assert!(rungs.is_sorted());
        assert!(rungs[0].wait() >= Duration::from_secs(10));
        assert_eq!(rungs[5], Rung::Hour);
    }
}
