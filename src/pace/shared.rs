//! A provider's rate, shared by the two lanes.
//!
//! The rate of an app at a provider is cut into two schedules, each a row of evenly spaced slots that starts where the last
//! lease of it ended. Together they are the whole rate, so whatever becomes of each, **I11 paced** holds for both:
//!
//! - the *reserve* ([`RESERVED_PERCENT`]) is the direct lane's. Campaigns never take of it, so a one-time code does not
//!   wait for a campaign, however much of it there is.
//! - the *rest* is what campaigns take. The direct lane borrows of it what they leave: all that is near while they hold
//!   nothing, a sliver at a time while they do. Both reach less far ahead than a campaign does, so that a campaign that
//!   wants slots gets the next ones.
//!
//! What the direct lane does not use of its reserve is lost: campaigns stay below their share.
//!
//! A throttle that a provider means for everyone of an app lowers both schedules, at once and for the whole fleet:
//! half of the rate, and back to all of it within [`RECOVERY`].

use std::{num::NonZeroU32, time::Duration};

use super::lease::{Leased, grant_every};

/// The direct lane's own part of a provider's rate.
pub const RESERVED_PERCENT: u32 = 20;

/// How far ahead the direct lane leases of its reserve.
pub const DIRECT_HORIZON: Duration = Duration::from_millis(100);

/// How far ahead it borrows while campaigns hold nothing.
const BORROWED: Duration = Duration::from_millis(50);

/// The same while they do.
const SLIVER: Duration = Duration::from_millis(10);

/// While a rate was lowered by its provider, how fast it recovers: from nothing to all of it.
pub const RECOVERY: Duration = Duration::from_secs(20);

/// The answers to what was under way when a rate was lowered say nothing about the lowered rate.
const SETTLES: Duration = Duration::from_secs(1);

/// A rate is never lowered below this, in thousandths: what finds out that a provider has recovered must still go out.
const LOWEST: i64 = 50;

/// All of a rate, in thousandths.
const WHOLE: i64 = 1_000;

/// How a provider's rate stands. Times in microseconds since 1970, on the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// When the next slot of the reserve is free.
    pub reserve_next: i64,
    /// When the next slot of the rest is free.
    pub rest_next: i64,
    /// Until when campaigns hold slots of the rest.
    pub campaigns_until: i64,
    /// What a throttle has left of the rate, in thousandths, and since when.
    pub lowered: i64,
    /// See [`Shared::lowered`].
    pub lowered_at: i64,
}

impl Default for Shared {
    /// As before the first lease.
    fn default() -> Self {
        Self { reserve_next: 0, rest_next: 0, campaigns_until: 0, lowered: WHOLE, lowered_at: 0 }
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Shared {
    /// What is left of the rate at `now`, in thousandths.
    fn left(&self, now: i64) -> i64 {
        let since = now.saturating_sub(self.lowered_at).max(0);
        let recovered = since.saturating_mul(WHOLE) / micros(RECOVERY);
        self.lowered.max(LOWEST).saturating_add(recovered).min(WHOLE)
    }

    /// From one slot to the next, in nanoseconds, for so many percent of the rate. Rounded up: rounding must never make a
    /// rate faster.
    fn apart(&self, rate: NonZeroU32, percent: u32, now: i64) -> i64 {
        let part = i128::from(rate.get()) * i128::from(percent) * i128::from(self.left(now));
        let nanos = 1_000_000_000_i128 * 100 * i128::from(WHOLE);
        i64::try_from((nanos + part - 1) / part).unwrap_or(i64::MAX)
    }

    fn of_rest(&mut self, now: i64, rate: NonZeroU32, want: u32, horizon: Duration) -> Leased {
        let apart = self.apart(rate, 100 - RESERVED_PERCENT, now);
        let (leased, next) = grant_every(self.rest_next, now, apart, want, horizon);
        self.rest_next = next;
        leased
    }

    /// Up to `want` slots for a campaign, none further ahead than `horizon`.
    pub fn campaign(&mut self, now: i64, rate: NonZeroU32, want: u32, horizon: Duration) -> Leased {
        let leased = self.of_rest(now, rate, want, horizon);
        if leased.slots > 0 {
            self.campaigns_until = self.rest_next;
        }
        leased
    }

    /// Up to `want` slots for the direct lane: of its reserve, and borrowed ones.
    pub fn direct(&mut self, now: i64, rate: NonZeroU32, want: u32) -> [Leased; 2] {
        let apart = self.apart(rate, RESERVED_PERCENT, now);
        let (own, next) = grant_every(self.reserve_next, now, apart, want, DIRECT_HORIZON);
        self.reserve_next = next;
        let more = want - own.slots;
        let borrowed = if self.campaigns_until <= now {
            self.of_rest(now, rate, more, BORROWED)
        } else if self.rest_next <= now {
            self.of_rest(now, rate, more, SLIVER)
        } else {
            Leased { slots: 0, ..own }
        };
        [own, borrowed]
    }

    /// A provider asked everyone of the app to be slower: half of what is left. Many answers at once say it once.
    pub fn lower(&mut self, now: i64) {
        if now.saturating_sub(self.lowered_at) >= micros(SETTLES) {
            self.lowered = (self.left(now) / 2).max(LOWEST);
            self.lowered_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HORIZON: Duration = Duration::from_millis(100);
    const START: i64 = 1_000_000_000;
    const SECOND: i64 = 1_000_000;

    /// What a lane asks for, after which pause.
    #[derive(Debug, Clone)]
    enum Ask {
        Campaign(u32),
        Direct(u32),
        Lower,
    }

    fn asks() -> impl Strategy<Value = Vec<(i64, Ask)>> {
        let ask = prop_oneof![
            4 => (1..3_000_u32).prop_map(Ask::Campaign),
            4 => (1..3_000_u32).prop_map(Ask::Direct),
            1 => Just(Ask::Lower),
        ];
        prop::collection::vec((0..120_000_i64, ask), 1..80)
    }

    fn rate(per_second: u32) -> NonZeroU32 {
        NonZeroU32::new(per_second).expect("not zero")
    }

    fn times(now: i64, leased: &Leased) -> impl Iterator<Item = i64> {
        let (start, apart) = (now + micros(leased.start), leased.apart.as_nanos());
        (0..leased.slots).map(move |k| start + i64::try_from(apart * u128::from(k) / 1_000).expect("small"))
    }

    /// The most that any second holds.
    fn busiest(slots: &mut [i64]) -> usize {
        slots.sort_unstable();
        let of = |first: usize| slots[first..].partition_point(|slot| *slot < slots[first] + SECOND);
        (0..slots.len()).map(of).max().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn i11_no_second_of_both_lanes_holds_more_than_the_rate_and_no_campaign_takes_of_the_reserve(
            per_second in 1..20_000_u32,
            asks in asks(),
        ) {
            let (mut row, mut now) = (Shared::default(), START);
            let (mut all, mut campaigns) = (Vec::new(), Vec::new());
            for (pause, ask) in asks {
                now += pause;
                match ask {
                    Ask::Campaign(want) => {
                        let leased = row.campaign(now, rate(per_second), want, HORIZON);
                        prop_assert!(leased.slots <= want);
                        campaigns.extend(times(now, &leased));
                        all.extend(times(now, &leased));
                    }
                    Ask::Direct(want) => {
                        let leased = row.direct(now, rate(per_second), want);
                        prop_assert!(leased.iter().map(|leased| leased.slots).sum::<u32>() <= want);
                        for leased in &leased {
                            all.extend(times(now, leased));
                        }
                    }
                    Ask::Lower => row.lower(now),
                }
            }
            // Each schedule may begin a second with a slot.
            let most = usize::try_from(per_second).expect("small");
            prop_assert!(busiest(&mut all) <= most + 2);
            prop_assert!(busiest(&mut campaigns) <= most * 4 / 5 + 2);
        }

        #[test]
        fn i11_within_its_reserve_a_direct_job_never_waits_for_a_campaign(
            per_second in 5..20_000_u32,
            wants in prop::collection::vec(1..5_000_u32, 20..200),
        ) {
            let (mut row, mut now) = (Shared::default(), START);
            for want in wants {
                row.campaign(now, rate(per_second), want, HORIZON);
                let own = row.direct(now, rate(per_second), 1)[0];
                prop_assert_eq!((own.slots, own.start), (1, Duration::ZERO));
                now += 5 * SECOND / i64::from(per_second) + 2;
            }
        }
    }

    /// Ten seconds of two lanes that want all they can get; answers with what each got, in percent of the rate.
    fn greedy(campaigns: bool) -> (u32, u32) {
        let (mut row, per_second) = (Shared::default(), 1_000);
        let (mut campaign, mut direct) = (0, 0);
        for now in (START..START + 10 * SECOND).step_by(5_000) {
            if campaigns {
                campaign += row.campaign(now, rate(per_second), 50, HORIZON).slots;
            }
            direct += row.direct(now, rate(per_second), 500).map(|leased| leased.slots).iter().sum::<u32>();
        }
        (campaign / 100, direct / 100)
    }

    #[test]
    fn the_direct_lane_has_the_whole_rate_alone_and_its_reserve_beside_a_campaign_that_is_not_starved() {
        let (_, direct) = greedy(false);
        assert!((99..=101).contains(&direct), "{direct} %");
        let (campaign, direct) = greedy(true);
        assert!(campaign >= 60 && direct >= 20, "{campaign} % and {direct} %");
    }

    #[test]
    fn a_throttle_halves_the_rate_once_for_many_answers_and_it_recovers() {
        let (mut row, now) = (Shared::default(), START);
        let got = |row: &Shared, now| {
            let mut row = *row;
            row.campaign(now, rate(1_000), 10_000, Duration::from_secs(1)).slots
        };
        assert_eq!(got(&row, now), 800);
        for answer in 0..100 {
            row.lower(now + answer);
        }
        assert_eq!(got(&row, now), 400, "a hundred answers, one throttle");
        let halfway = got(&row, now + 5 * SECOND);
        assert!((599..=600).contains(&halfway), "{halfway}");
        assert_eq!(got(&row, now + 10 * SECOND), 800);
        for second in 1..30 {
            row.lower(now + second * SECOND);
        }
        assert!(got(&row, now + 29 * SECOND) >= 40, "never to a standstill");
    }
}
