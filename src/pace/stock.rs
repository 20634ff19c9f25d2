//! The slots that one process's direct lane has at hand of one provider's rate.
//!
//! A lease of the direct lane is good as a whole from its start on, for [`GOOD_FOR`]: nobody who wants one of its slots
//! waits until its turn within the lease. **I11 paced**: a slot is used at most a lease earlier and [`GOOD_FOR`] later than
//! its time, so a second holds at most a second's slots and the leases that are alive at its ends.

use std::{collections::VecDeque, time::Duration};

use super::{Slot, lease::Leased, shared::DIRECT_HORIZON};

/// For how long a lease is good. What was not used by then has lapsed.
pub const GOOD_FOR: Duration = Duration::from_millis(150);

/// Leases of what is used in so much time, so that a ledger's round trip is shared by many sends.
const STRETCH: Duration = DIRECT_HORIZON;

/// A few slots more than are wanted, for who comes during the round trip; a hundredth of a second's worth at most.
const SPARE: u32 = 8;

/// How much of the last leases is left when the next one is asked for in the background: one in so many.
const RENEW_AT: u32 = 3;

/// What there is for one who wants to send.
#[derive(Debug)]
pub enum Taken {
    /// Send now.
    Now(Slot),
    /// Not before then.
    At(Duration),
    /// Nothing; ask the ledger.
    Nothing,
}

/// See the module. Times are those since an instant of the process's own.
#[derive(Debug)]
pub struct Stock {
    /// By their start.
    blocks: VecDeque<Block>,
    left: u32,
    /// With fewer than this left, the next lease is due.
    renew_below: u32,
    /// Slots taken since the last lease was asked for.
    taken: u32,
    asked: Duration,
}

#[derive(Debug)]
struct Block {
    from: Duration,
    void: Duration,
    left: u32,
}

impl Stock {
    /// Nothing at hand.
    #[must_use]
    pub const fn new(now: Duration) -> Self {
        Self { blocks: VecDeque::new(), left: 0, renew_below: 0, taken: 0, asked: now }
    }

    /// A slot, if one may be used now.
    pub fn take(&mut self, now: Duration) -> Taken {
        while let Some(block) = self.blocks.front_mut() {
            if block.left == 0 || now >= block.void {
                self.left -= block.left;
                self.blocks.pop_front();
            } else if block.from > now {
                return Taken::At(block.from);
            } else {
                block.left -= 1;
                self.left -= 1;
                self.taken = self.taken.saturating_add(1);
                return Taken::Now(Slot(()));
            }
        }
        Taken::Nothing
    }

    /// True when so little is left that the next lease should be asked for.
    #[must_use]
    pub const fn is_low(&self) -> bool {
        self.left < self.renew_below
    }

    /// How many to ask for at `now`, with so many waiting: those, and what the last stretch has used.
    pub fn want(&mut self, now: Duration, waiting: u32, per_second: u32) -> u32 {
        // Right after an ask a few slots say little about a stretch.
        let since = now.saturating_sub(self.asked).max(STRETCH / 10);
        let used = u128::from(self.taken) * STRETCH.as_micros() / since.as_micros();
        (self.taken, self.asked) = (0, now);
        let spare = (per_second / 100).min(SPARE);
        u32::try_from(used).unwrap_or(u32::MAX).saturating_add(waiting).saturating_add(spare).max(1)
    }

    /// Adds leases. They count from when their answer came: neither a slow answer nor a clock that differs from the
    /// database's makes the rate faster.
    pub fn add(&mut self, leases: &[Leased], answered: Duration) {
        for leased in leases.iter().filter(|leased| leased.slots > 0) {
            let from = answered + leased.start;
            let place = self.blocks.partition_point(|block| block.from <= from);
            self.blocks.insert(place, Block { from, void: from + GOOD_FOR, left: leased.slots });
            self.left += leased.slots;
        }
        self.renew_below = self.left.div_ceil(RENEW_AT);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::pace::shared::Shared;

    const START: i64 = 1_000_000_000;

    fn micros(duration: Duration) -> i64 {
        i64::try_from(duration.as_micros()).expect("small")
    }

    proptest! {
        #[test]
        fn i11_processes_that_use_their_leases_at_any_time_stay_within_the_rate_and_the_live_leases(
            per_second in 20..5_000_u32,
            steps in prop::collection::vec((0..3_usize, 0..30_000_u64, 0..200_u32), 1..300),
        ) {
            let rate = NonZeroU32::new(per_second).expect("not zero");
            let mut row = Shared::default();
            let mut stocks = [(); 3].map(|()| Stock::new(Duration::ZERO));
            let (mut used, mut passed) = (Vec::new(), Duration::ZERO);
            for (process, pause, wanted) in steps {
                passed += Duration::from_millis(pause / 1_000);
                let now = passed;
                let stock = &mut stocks[process];
                for _ in 0..wanted {
                    match stock.take(now) {
                        Taken::Now(_) => used.push(passed),
                        Taken::At(_) => break,
                        Taken::Nothing => {
                            let want = stock.want(now, wanted, per_second);
                            let leased = row.direct(START + micros(passed), rate, want);
                            if leased.iter().all(|leased| leased.slots == 0) {
                                break;
                            }
                            stock.add(&leased, now);
                        }
                    }
                }
            }
            // A lease ahead, and one that is good for a while yet; at a slow rate a lease is a slot.
            let live = Duration::from_secs(1) + DIRECT_HORIZON + GOOD_FOR;
            let most = u128::from(per_second) * live.as_micros() / 1_000_000 + 4;
            for (first, at) in used.iter().enumerate() {
                let window = used[first..].partition_point(|slot| *slot < *at + Duration::from_secs(1));
                prop_assert!(window as u128 <= most, "{window} in a second, {most} allowed");
            }
        }
    }

    #[test]
    fn a_lease_is_used_at_once_renewed_in_time_and_lapses() {
        let now = Duration::from_secs(7);
        let leased = |start, slots| Leased {
            start: Duration::from_millis(start),
            apart: Duration::from_millis(1),
            slots,
        };
        let mut stock = Stock::new(now);
        assert!(matches!(stock.take(now), Taken::Nothing));
        assert_eq!(stock.want(now, 1, 10_000), 9, "who waits, and a few more");
        stock.add(&[leased(40, 5), leased(0, 10)], now);
        for _ in 0..10 {
            assert!(!stock.is_low());
            assert!(matches!(stock.take(now), Taken::Now(_)), "without waiting for its turn");
        }
        assert!(matches!(stock.take(now), Taken::At(at) if at == now + Duration::from_millis(40)));
        let then = now + Duration::from_millis(50);
        assert_eq!(stock.want(then, 0, 50), 20, "ten in half a stretch");
        assert!(matches!(stock.take(then), Taken::Now(_)));
        assert!(stock.is_low());
        assert!(matches!(stock.take(now + Duration::from_millis(190)), Taken::Nothing), "lapsed");
        assert_eq!(stock.left, 0);
    }
}
