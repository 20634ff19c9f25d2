//! What the model assumes, each number with its reason.

use std::{num::NonZeroU32, time::Duration};

use crate::audience::Opens;

/// The model's time step: a tenth of what anybody here waits for.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Ticks in a second.
pub(super) const TICKS: u32 = 10;

/// Nobody tries more often than this, whatever [`Terms::tries`] says: attempts are counted by it.
pub(super) const MOST_TRIES: usize = 5;

/// A bank's login, and the people before it. The default is a mid-sized bank's on an afternoon; no bank was measured for it.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Logins a second that the backend can work through, and no more.
    pub capacity: u32,
    /// Logins a second that its owners name to others: three quarters of the capacity, the usual distance from the point at
    /// which waiting times begin to grow. Senders know this number, not the other.
    pub declared: u32,
    /// Logins that may wait. Beyond it they are turned away at once. Its length decides whether an overload ends with its
    /// cause: 30 s of work for callers who leave after ten is long enough for all of it to be in vain, and is what a
    /// backend has whose listen queues, proxies and thread pools nobody has added up.
    pub queue: u32,
    /// How long a login takes for which nobody has to wait.
    pub service_time: Duration,
    /// When the app gives up on an answer. The backend does not learn of it, and does the work all the same.
    pub time_out: Duration,
    /// How often somebody tries before they leave it for the day, 1 to 5. Who reads that their account cannot be reached
    /// tries again; five is what an app that repeats by itself and its owner's patience come to together.
    pub tries: usize,
    /// After a failure people try again after between this long …
    pub again_after: Duration,
    /// … and this long.
    pub again_within: Duration,
    /// What the owners promise: 99 of 100 logins within this time, a failure being none.
    pub promised: Duration,
    /// Logins a second of people whom nobody has rung, as the afternoon begins.
    pub ordinary: u32,
    /// The same in the evening, after [`Terms::evening`].
    pub ordinary_evening: u32,
    /// How long the afternoon takes to become the evening; meanwhile the ordinary logins fall evenly.
    pub evening: Duration,
    /// Ordinary logins a second in the busiest hour of the month. Whoever sets a cap once and for all must leave this free.
    pub busiest: u32,
    /// Who opens the app when their phone rings, and when.
    pub opens: Opens,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            capacity: 200,
            declared: 150,
            queue: 6_000,
            service_time: Duration::from_millis(300),
            time_out: Duration::from_secs(10),
            tries: 5,
            again_after: Duration::from_secs(5),
            again_within: Duration::from_secs(15),
            promised: Duration::from_millis(800),
            ordinary: 60,
            ordinary_evening: 20,
            evening: Duration::from_hours(4),
            busiest: 100,
            opens: Opens::default(),
        }
    }
}

/// What is sent, and how fast it may be sent at all.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// Phones to ring.
    pub phones: u64,
    /// Notifications a second that the providers take.
    pub quota: NonZeroU32,
    /// With feedback, never less a second.
    pub min: NonZeroU32,
    /// With feedback, never more.
    pub max: NonZeroU32,
}

impl Campaign {
    /// To so many phones, at the rates of an ordinary plan: the providers take 4,000 a second, and feedback may go from 50
    /// to 2,000.
    pub const fn to(phones: u64) -> Self {
        const fn rate(per_second: u32) -> NonZeroU32 {
            NonZeroU32::new(per_second).expect("not zero")
        }
        Self { phones, quota: rate(4_000), min: rate(50), max: rate(2_000) }
    }
}

/// A span in whole ticks.
pub(super) fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}
