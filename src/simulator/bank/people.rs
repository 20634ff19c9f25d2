//! The people: those whose phones ring, those who come anyway, and both again when they were not let in.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::dice::Dice,
    terms::{MOST_TRIES, TICKS, Terms, ticks},
};
use crate::audience::Opens;

/// Attempts to log in, by how many failures each had before.
pub(super) type Attempts = [u32; MOST_TRIES];

/// How many there are.
pub(super) fn count(attempts: &Attempts) -> u32 {
    attempts.iter().sum()
}

#[derive(Debug, Clone)]
pub(super) struct People {
    terms: Terms,
    /// Who opens the app when. Times are ticks since the beginning.
    opening: BTreeMap<u64, u32>,
    /// Who tries again when.
    again: BTreeMap<u64, Attempts>,
    /// Each kind of chance has its own stream, so that the same people come anyway however fast the phones ring.
    openers: Dice,
    ordinary: Dice,
    pauses: Dice,
    /// People who left after their last try.
    pub(super) gave_up: u64,
}

impl People {
    pub(super) fn new(terms: Terms, seed: u64) -> Self {
        let dice = |stream| Dice::new(seed, &[stream]);
        Self {
            terms,
            opening: BTreeMap::new(),
            again: BTreeMap::new(),
            openers: dice(1),
            ordinary: dice(2),
            pauses: dice(3),
            gave_up: 0,
        }
    }

    /// So many phones ring now; some of their owners will open the app, each in their own time.
    pub(super) fn hear(&mut self, now: u64, phones: u64) {
        let Opens { share, median_delay, .. } = self.terms.opens;
        for _ in 0..phones {
            if self.openers.share() < share {
                let delay = median_delay.as_secs_f64() * (Opens::SPREAD * self.openers.normal()).exp();
                // Rounded to a tick: how a platform rounds the last digit of an exponential does not matter then.
                *self.opening.entry(now + ticks(Duration::from_secs_f64(delay))).or_default() += 1;
            }
        }
    }

    /// Who tries to log in in this tick.
    pub(super) fn come(&mut self, now: u64) -> Attempts {
        let mut attempts = self.again.remove(&now).unwrap_or_default();
        let mean = self.ordinary_per_second(now) / f64::from(TICKS);
        attempts[0] += self.opening.remove(&now).unwrap_or(0) + poisson(&mut self.ordinary, mean);
        attempts
    }

    /// These attempts failed; their people try again, or have had enough.
    pub(super) fn fail(&mut self, now: u64, failed: &Attempts) {
        let first = ticks(self.terms.again_after).max(1);
        let span = ticks(self.terms.again_within).saturating_sub(first) + 1;
        for (before, people) in failed.iter().enumerate() {
            if before + 1 >= self.terms.tries.min(MOST_TRIES) {
                self.gave_up += u64::from(*people);
                continue;
            }
            for _ in 0..*people {
                let pause = first + self.pauses.next() % span;
                self.again.entry(now + pause).or_default()[before + 1] += 1;
            }
        }
    }

    /// The mean of the ordinary logins: from the afternoon's to the evening's in a straight line.
    fn ordinary_per_second(&self, now: u64) -> f64 {
        let evening = ticks(self.terms.evening).max(1);
        // Both are far below 2^32 ticks, which are thirteen years.
        let as_float = |ticks: u64| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
        let passed = (as_float(now) / as_float(evening)).min(1.0);
        let (from, to) = (f64::from(self.terms.ordinary), f64::from(self.terms.ordinary_evening));
        from + (to - from) * passed
    }
}

/// How many independent arrivals fall into a span in which `mean` are expected (Knuth, The Art of Computer Programming,
/// volume 2, 3.4.1): small means only, as those of a tick are.
fn poisson(dice: &mut Dice, mean: f64) -> u32 {
    let limit = (-mean).exp();
    let (mut arrivals, mut product) = (0, dice.share());
    while product > limit {
        arrivals += 1;
        product *= dice.share();
    }
    arrivals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_open_are_the_share_that_was_assumed_and_half_of_them_within_the_median() {
        let mut people = People::new(Terms { ordinary: 0, ordinary_evening: 0, ..Terms::default() }, 1);
        people.hear(0, 100_000);
        let opened: u32 = people.opening.values().sum();
        let by_median: u32 = people.opening.range(..900).map(|(_, people)| people).sum();
        assert!((7_700..8_300).contains(&opened), "{opened}");
        assert!((by_median * 2).abs_diff(opened) < 300, "{by_median} of {opened}");
    }

    #[test]
    fn the_ordinary_day_goes_on_and_becomes_evening() {
        let mut people = People::new(Terms::default(), 1);
        let hour = |people: &mut People, from: u64| -> u32 {
            (from * 36_000..(from + 1) * 36_000).map(|now| count(&people.come(now))).sum()
        };
        // 60 a second falling to 20 over four hours: 55 in the mean of the first hour, 20 after the fourth.
        let (first, fifth) = (hour(&mut people, 0), hour(&mut people, 4));
        assert!(first.abs_diff(55 * 3_600) < 2_000, "{first}");
        assert!(fifth.abs_diff(20 * 3_600) < 1_200, "{fifth}");
    }

    #[test]
    fn who_fails_comes_again_within_the_pause_and_leaves_after_the_last_try() {
        let mut people = People::new(Terms { ordinary: 0, ordinary_evening: 0, ..Terms::default() }, 1);
        people.fail(0, &[100, 0, 0, 0, 7]);
        assert_eq!(people.gave_up, 7);
        let came: Vec<u64> = (0..=200).filter(|now| count(&people.come(*now)) > 0).collect();
        assert!(came.first() >= Some(&50) && came.last() <= Some(&150), "{came:?}");
        people.fail(0, &[100, 0, 0, 0, 0]);
        let again: Attempts = (0..=150).fold([0; MOST_TRIES], |mut sum, now| {
            sum.iter_mut().zip(people.come(now)).for_each(|(sum, more)| *sum += more);
            sum
        });
        assert_eq!(again, [0, 100, 0, 0, 0]);
    }
}
