//! Chance that repeats: every draw is a function of a seed and of what it is drawn for.
//!
//! The simulator must not agree with the code that it tests by sharing it, and a token's fate must
//! be the same in every run and every process with that seed, so nothing here comes from a library
//! whose algorithm may change between releases.

/// A stream of draws (`SplitMix64`; Steele, Lea & Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Draws for one thing, named by numbers.
    pub(super) fn new(seed: u64, about: &[u64]) -> Self {
        let mut dice = Self(seed);
        for part in about {
            dice.0 = dice.next().wrapping_add(*part);
        }
        dice
    }

    /// Draws for one text: FNV-1a folds it to a number.
    pub(super) fn for_text(seed: u64, text: &str) -> Self {
        let folded = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::new(seed, &[folded])
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`, with 32 bits: finer than any share that a profile names.
    pub(super) fn share(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / (f64::from(u32::MAX) + 1.0)
    }

    /// A standard normal draw (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        // 1 - [0, 1) is never 0, so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }

    /// `length` characters out of an alphabet of at most 256.
    pub(super) fn text(&mut self, alphabet: &[u8], length: usize) -> String {
        let mut text = String::with_capacity(length);
        while text.len() < length {
            for byte in self.next().to_le_bytes() {
                if text.len() < length {
                    text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn draws_repeat_for_the_same_thing_and_differ_for_another() {
        let first = Dice::for_text(7, "token").next();
        assert_eq!(first, Dice::for_text(7, "token").next());
        assert_ne!(first, Dice::for_text(8, "token").next());
        assert_ne!(first, Dice::for_text(7, "tokem").next());
        assert_ne!(Dice::new(7, &[1, 2]).next(), Dice::new(7, &[2, 1]).next());
    }

    #[test]
    fn shares_fill_the_unit_interval_evenly() {
        let mut dice = Dice::new(1, &[]);
        let mean = (0..10_000).map(|_| dice.share()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
    }
}
