//! How many distinct devices there were, of any number, in 16 KiB: exact up to 1,024, beyond that a `HyperLogLog`.
//!
//! The estimate is that of O. Ertl, "New cardinality estimation algorithms for `HyperLogLog` sketches" (2017), which needs no
//! corrections at either end. Its standard error is 1.04/√16384, or 0.81 %. [`Sketch::at_most`] adds three of them, so that a
//! limit errs to being met too early: it may be 2.4 % below its number, and in one of a thousand days a little above.

use std::{collections::BTreeSet, f64::consts::LN_2};

use crate::model::DeviceId;

/// So many bits of a hash choose a register.
const PRECISION: u32 = 14;
const REGISTERS: usize = 1 << PRECISION;
/// The bits that are left, in which leading zeros are counted.
const REST: u32 = 64 - PRECISION;
/// The rank of a register whose rest is zero.
const FULL: usize = REST as usize + 1;
/// Hashes that are kept as they are; beyond that, registers are smaller.
const FEW: usize = 1_024;

/// 1.04/√m.
const STANDARD_ERROR: f64 = 1.04 / 128.0;

/// A set of devices of which only the size can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Few(BTreeSet<u64>),
    Many(Box<[u8]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Self(Kind::Few(BTreeSet::new()))
    }
}

impl Sketch {
    /// The hash by which every process knows a device. Ids are random, so mixing is enough; who chose them could fool it.
    #[must_use]
    pub fn hash(device: DeviceId) -> u64 {
        let (high, low) = device.as_uuid().as_u64_pair();
        mixed(high ^ mixed(low))
    }

    /// Adds a device by its hash.
    pub fn add(&mut self, hash: u64) {
        match &mut self.0 {
            Kind::Few(hashes) => {
                hashes.insert(hash);
                if hashes.len() > FEW {
                    let hashes = std::mem::take(hashes);
                    let mut registers = vec![0; REGISTERS].into_boxed_slice();
                    for hash in hashes {
                        note(&mut registers, hash);
                    }
                    self.0 = Kind::Many(registers);
                }
            }
            Kind::Many(registers) => note(registers, hash),
        }
    }

    /// Adds whatever is in the other.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.0, &other.0) {
            (_, Kind::Few(hashes)) => hashes.iter().for_each(|hash| self.add(*hash)),
            (Kind::Many(mine), Kind::Many(theirs)) => {
                for (mine, theirs) in mine.iter_mut().zip(theirs) {
                    *mine = (*mine).max(*theirs);
                }
            }
            (Kind::Few(_), Kind::Many(_)) => {
                let few = std::mem::replace(self, other.clone());
                self.merge(&few);
            }
        }
    }

    /// True if nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Kind::Few(hashes) if hashes.is_empty())
    }

    /// True if the device is known to be in it. Of many nobody knows: a register says little of one device.
    #[must_use]
    pub fn surely_has(&self, hash: u64) -> bool {
        matches!(&self.0, Kind::Few(hashes) if hashes.contains(&hash))
    }

    /// So many there are at most: exact of few, else the estimate and three standard errors.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        match &self.0 {
            Kind::Few(hashes) => hashes.len() as u64,
            Kind::Many(registers) => {
                let above = estimate(registers) * (1.0 + 3.0 * STANDARD_ERROR);
                // `as` saturates, and a count below 2^53 is whole.
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive")]
                let count = above.ceil() as u64;
                count
            }
        }
    }

    /// As it is stored: 8 bytes a hash, or a byte a register.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        match &self.0 {
            Kind::Few(hashes) => hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect(),
            Kind::Many(registers) => registers.to_vec(),
        }
    }

    /// As it was stored; `None` if that makes no sense.
    #[must_use]
    pub fn unpack(packed: &[u8]) -> Option<Self> {
        if packed.len() == REGISTERS {
            let is_sound = packed.iter().all(|register| usize::from(*register) <= FULL);
            return is_sound.then(|| Self(Kind::Many(packed.into())));
        }
        let (hashes, rest) = packed.as_chunks::<8>();
        let is_sound = rest.is_empty() && hashes.len() <= FEW;
        is_sound.then(|| Self(Kind::Few(hashes.iter().map(|hash| u64::from_be_bytes(*hash)).collect())))
    }
}

/// The finaliser of `splitmix64`: every bit of the result depends on every bit of the input.
const fn mixed(mut bits: u64) -> u64 {
    bits ^= bits >> 30;
    bits = bits.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^= bits >> 27;
    bits = bits.wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn note(registers: &mut [u8], hash: u64) {
    let register = usize::try_from(hash >> REST).expect("14 bits");
    // The bit below the rest ends the count where all of it is zero.
    let zeros = ((hash << PRECISION) | (1 << (PRECISION - 1))).leading_zeros();
    let rank = u8::try_from(zeros + 1).expect("at most 51");
    registers[register] = registers[register].max(rank);
}

/// Ertl's improved estimator.
fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0_u32; FULL + 1];
    for register in registers {
        counts[usize::from(*register)] += 1;
    }
    let m = f64::from(1_u32 << PRECISION);
    let mut z = m * tau(1.0 - f64::from(counts[FULL]) / m);
    for count in counts[1..FULL].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(counts[0]) / m);
    m * m / (2.0 * LN_2 * z)
}

/// x + Σ x^(2^k)·2^(k-1), for the registers that are empty.
fn sigma(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * power;
        power += power;
        // It ends: x < 1, since a sketch of many has no more than some registers empty.
        if sum.total_cmp(&before).is_eq() || !sum.is_finite() {
            return sum;
        }
    }
}

/// (1 - x - Σ (1 - x^(2^-k))²·2^-k)/3, for the registers that are full.
fn tau(mut x: f64) -> f64 {
    let (mut power, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        power *= 0.5;
        sum -= (1.0 - x).powi(2) * power;
        if sum.total_cmp(&before).is_eq() {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use uuid::Uuid;

    use super::*;

    fn of(numbers: impl Iterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::default();
        numbers.for_each(|n| sketch.add(Sketch::hash(device(n))));
        sketch
    }

    /// The numbers' own mixing, so that ids look random and every run is the same.
    fn device(n: u64) -> DeviceId {
        DeviceId::from_uuid(Uuid::from_u64_pair(mixed(n + 1), mixed(n + 0x9E37_79B9_7F4A_7C15)))
    }

    /// Processes of two versions count one day together.
    #[test]
    fn a_device_has_the_same_hash_in_every_version() {
        let hash = |high, low| Sketch::hash(DeviceId::from_uuid(Uuid::from_u64_pair(high, low)));
        assert_eq!(hash(0x0123_4567_89AB_CDEF, 2), 0x30C2_1050_0A78_ABD0);
    }

    #[test]
    fn few_are_counted_exactly_and_each_once() {
        assert!(Sketch::default().is_empty() && !of(0..1).is_empty());
        let has = |many: u64, n: u64| of(0..many).surely_has(Sketch::hash(device(n)));
        assert!(has(3, 2) && !has(3, 3));
        assert!(!has(2_000, 2), "of many nobody knows");
        for count in [0, 1, 7, 1_024] {
            assert_eq!(of((0..count).chain(0..count)).at_most(), count);
        }
    }

    #[test]
    fn a_limit_of_many_errs_to_being_met_and_by_no_more_than_the_stated_error() {
        for count in [1_025_u64, 5_000, 20_000, 45_000, 90_000, 300_000] {
            // Ten sketches of other devices: none is below, and none above six standard errors.
            for sample in 0..10 {
                let from = sample * 100_000_000;
                let at_most = of(from..from + count).at_most();
                let above = at_most.checked_sub(count).expect("it errs to too many");
                assert!(above * 1_000 <= 49 * count, "{at_most} of {count}");
            }
        }
    }

    /// No number of devices that there are fills a register; what is computed of full ones is the series all the same.
    #[test]
    fn registers_that_are_full_are_counted_by_their_series() {
        let is = |value: f64, expected: f64| (value / expected - 1.0).abs() < 1e-12;
        assert!(is(tau(0.25), 0.199_964_747_932_044_05) && is(tau(0.75), 0.079_880_941_437_337_83));
        assert!(tau(0.0).abs() + tau(1.0).abs() == 0.0, "all of them, or none");
        let mut registers = [50; REGISTERS];
        registers[..12_288].fill(51);
        assert!(is(estimate(&registers), 2.957_234_574_263_569e19));
    }

    proptest! {
        #[test]
        fn what_two_count_is_what_one_would_count(
            (one, both, other) in (0..1_500_u64, 0..1_500_u64, 0..1_500_u64),
        ) {
            let mut mine = of(0..one + both);
            let theirs = of(one..one + both + other);
            mine.merge(&theirs);
            prop_assert_eq!(&mine, &of(0..one + both + other));
            let mut again = theirs;
            again.merge(&of(0..one + both));
            prop_assert_eq!(&mine, &again, "in either order");
            again.merge(&mine);
            prop_assert_eq!(&mine, &again, "once and again");
            prop_assert_eq!(Sketch::unpack(&mine.packed()), Some(mine));
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        assert_eq!(Sketch::unpack(&[0; 7]), None);
        assert_eq!(Sketch::unpack(&[0; 8 * (FEW + 1)]), None);
        assert_eq!(Sketch::unpack(&[52; REGISTERS]), None);
        assert!(Sketch::unpack(&[51; REGISTERS]).is_some());
    }

    #[test]
    fn every_hash_has_its_register_and_its_rank() {
        let rank = |hash: u64| {
            let mut registers = vec![0; REGISTERS];
            note(&mut registers, hash);
            registers.iter().position(|rank| *rank > 0).map(|register| (register, registers[register]))
        };
        assert_eq!(rank(0), Some((0, 51)));
        assert_eq!(rank(1), Some((0, 50)));
        assert_eq!(rank(u64::MAX), Some((REGISTERS - 1, 1)));
        assert_eq!(rank(1 << REST), Some((1, 51)));
    }
}
