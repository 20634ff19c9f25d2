//! Pace: how fast, and when again. Pure arithmetic; who waits is the shell's affair.

pub mod lease;
pub mod slow_start;

use std::{collections::HashMap, num::NonZeroU32, time::Duration};

use governor::{Quota, RateLimiter, clock::Clock as _};

use crate::model::{AppId, Outcome, Provider};

/// Permission to send *now*: one request, by value. Only a [`Ceiling`] and a [`lease::Reserved`] make it.
#[derive(Debug)]
#[must_use = "a slot that is not used still counts against the rate"]
pub struct Slot(());

/// A process-wide ceiling in requests a second, with at most a tenth of a second's worth at once.
///
/// It guards what is local: one process can never send faster than this, whatever the ledger leases it.
#[derive(Debug)]
pub struct Ceiling {
    limiter: governor::DefaultDirectRateLimiter,
}

impl Ceiling {
    /// A ceiling of `per_second` requests.
    #[must_use]
    pub fn per_second(per_second: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        Self { limiter: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)) }
    }

    /// A slot now, or how long to wait before asking again.
    pub fn slot(&self) -> Result<Slot, Duration> {
        match self.limiter.check() {
            Ok(()) => Ok(Slot(())),
            Err(not_until) => Err(not_until.wait_time_from(self.limiter.clock().now())),
        }
    }
}

/// The ceilings of every app and provider.
#[derive(Debug)]
pub struct Ceilings {
    named: HashMap<(AppId, Provider), Ceiling>,
    others: Ceiling,
}

/// FCM's own default quota for a project, 600,000 a minute; a ceiling for whoever names none.
/// <https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas>
const DEFAULT_PER_SECOND: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");

impl Ceilings {
    /// The ceilings that the policy names; every other app and provider shares one of 10,000 a second.
    #[must_use]
    pub fn new(named: impl IntoIterator<Item = ((AppId, Provider), NonZeroU32)>) -> Self {
        let named = named.into_iter().map(|(key, rate)| (key, Ceiling::per_second(rate))).collect();
        Self { named, others: Ceiling::per_second(DEFAULT_PER_SECOND) }
    }

    /// The ceiling of one app and provider.
    #[must_use]
    pub fn of(&self, app: &AppId, provider: Provider) -> &Ceiling {
        // The key is cloned for the look-up; an app id is a shared string.
        self.named.get(&(app.clone(), provider)).unwrap_or(&self.others)
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
    fn a_ceiling_lets_a_tenth_of_a_second_through_and_then_asks_for_patience() {
        let ceiling = Ceiling::per_second(NonZeroU32::new(50).expect("not zero"));
        let granted = std::iter::from_fn(|| ceiling.slot().ok()).take(20).count();
        assert!((5..=6).contains(&granted), "{granted} slots at once");
        let wait = ceiling.slot().expect_err("the burst is spent");
        assert!(wait <= Duration::from_millis(20), "{wait:?}");
    }

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
