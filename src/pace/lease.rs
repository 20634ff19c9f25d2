//! Leases: a process's share of a fleet-wide rate.
//!
//! A rate is a row that says when its next slot is free. Whoever wants slots moves it on by as many as it gets, so that no
//! two processes hold the same one, and nobody gets one further ahead than a horizon. **I11 paced**: a slot may be used from
//! its time on, for [`GRACE`]; so a window of a second holds at most a second's slots and those of one such grace.

use std::{
    collections::VecDeque,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use super::Slot;

/// For how long after its time a slot may still be used. Whoever is later has missed it: what was not used is not caught
/// up with.
pub const GRACE: Duration = Duration::from_millis(200);

/// Slots: the k-th is at `start + k × apart` after the statement's instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leased {
    /// From the statement's instant to the first slot.
    pub start: Duration,
    /// Between two slots.
    pub apart: Duration,
    /// How many; 0 if the horizon is full: ask again later.
    pub slots: u32,
}

/// What an ask is given at `now`, of a rate whose next slot is free at `next_at` (both in microseconds since 1970), and
/// when the slot behind it is free.
#[must_use]
pub fn grant(next_at: i64, now: i64, rate: NonZeroU32, want: u32, horizon: Duration) -> (Leased, i64) {
    let rate = i64::from(rate.get());
    grant_every(next_at, now, (1_000_000_000 + rate - 1) / rate, want, horizon)
}

/// The same, of slots that are so many nanoseconds apart.
pub(super) fn grant_every(next_at: i64, now: i64, apart: i64, want: u32, horizon: Duration) -> (Leased, i64) {
    let start = next_at.max(now);
    let ahead = start - now;
    let room = i64::try_from(horizon.as_micros()).unwrap_or(i64::MAX) - ahead;
    // At a slow rate one slot is longer than the horizon: it is given once its time has come into it.
    let fits = if room < 0 { 0 } else { (room.saturating_mul(1_000) / apart).max(1) };
    let slots = fits.min(i64::from(want));
    // Rounded up: rounding must never make a rate faster.
    let span = (i128::from(slots) * i128::from(apart) + 999) / 1_000;
    let leased = Leased {
        start: Duration::from_micros(u64::try_from(ahead).unwrap_or_default()),
        apart: Duration::from_nanos(u64::try_from(apart).unwrap_or_default()),
        slots: u32::try_from(slots).unwrap_or_default(),
    };
    let next = start.saturating_add(i64::try_from(span).unwrap_or(i64::MAX));
    (leased, if slots == 0 { next_at } else { next })
}

/// A slot of a lease, taken by one request.
#[derive(Debug)]
#[must_use = "a slot that is not used lapses"]
pub struct Reserved {
    at: Instant,
    void: Instant,
}

impl Reserved {
    /// When it may be used.
    #[must_use]
    pub const fn at(&self) -> Instant {
        self.at
    }

    /// True once it is too late for it.
    #[must_use]
    pub fn has_lapsed(&self, now: Instant) -> bool {
        now >= self.void
    }

    /// Two rates at once: the later time, the earlier end.
    pub fn with(self, other: &Self) -> Self {
        Self { at: self.at.max(other.at), void: self.void.min(other.void) }
    }

    /// The permission, if it is time; `None` before its time and after its end.
    #[must_use]
    pub fn slot(self, now: Instant) -> Option<Slot> {
        (now >= self.at && now < self.void).then_some(Slot(()))
    }
}

/// The slots that a process holds of one rate.
#[derive(Debug, Default)]
pub struct Held {
    leases: VecDeque<Lease>,
}

#[derive(Debug)]
struct Lease {
    next: Instant,
    apart: Duration,
    left: u32,
}

impl Held {
    /// Adds a lease. Slots count from when its answer came: neither a slow answer nor a clock that differs from the database's
    /// makes the rate faster.
    pub fn add(&mut self, leased: Leased, answered: Instant) {
        if leased.slots > 0 {
            self.leases.push_back(Lease {
                next: answered + leased.start,
                apart: leased.apart,
                left: leased.slots,
            });
        }
    }

    /// The next slot, if one is left.
    pub fn take(&mut self, now: Instant) -> Option<Reserved> {
        while let Some(lease) = self.leases.front_mut() {
            while lease.left > 0 {
                let reserved = Reserved { at: lease.next, void: lease.next + GRACE };
                lease.next += lease.apart;
                lease.left -= 1;
                if now < reserved.void {
                    return Some(reserved);
                }
            }
            self.leases.pop_front();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HORIZON: Duration = Duration::from_millis(250);

    proptest! {
        #[test]
        fn i11_no_window_of_a_second_holds_more_than_the_rate_and_one_horizon(
            rate in 1..20_000_u32,
            asks in prop::collection::vec((0..400_000_i64, 1..5_000_u32), 1..60),
        ) {
            let rate = NonZeroU32::new(rate).expect("not zero");
            let (mut next, mut now, mut slots) = (0, 1_000_000_000_i64, Vec::new());
            for (pause, want) in asks {
                now += pause;
                let (leased, after) = grant(next, now, rate, want, HORIZON);
                prop_assert!(leased.slots <= want);
                next = after;
                let start = now + i64::try_from(leased.start.as_micros()).expect("small");
                for k in 0..leased.slots {
                    let apart = leased.apart.as_nanos() * u128::from(k) / 1_000;
                    slots.push(start + i64::try_from(apart).expect("small"));
                }
            }
            prop_assert!(slots.is_sorted());
            for (first, at) in slots.iter().enumerate() {
                let window = slots[first..].partition_point(|slot| *slot < at + 1_000_000);
                prop_assert!(window <= usize::try_from(rate.get()).expect("small") + 1, "{window} in a second of {rate}");
            }
        }
    }

    #[test]
    fn a_full_horizon_gives_nothing_until_time_goes_on() {
        let rate = NonZeroU32::new(500).expect("not zero");
        let (first, next) = grant(0, 1_000_000, rate, 1_000, HORIZON);
        assert_eq!(first.slots, 125);
        assert_eq!(grant(next, 1_000_000, rate, 1, HORIZON).0.slots, 1);
        let (none, after) = grant(next + 2_000, 1_000_000, rate, 10, HORIZON);
        assert_eq!((none.slots, after), (0, next + 2_000));
    }
}
