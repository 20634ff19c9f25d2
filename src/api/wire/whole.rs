//! Whole numbers as JSON has them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// Reads `7`, and `7.0`, which is the same number to JSON (RFC 8259, section 6) and an integer to its schemas.
pub(super) fn number<'de, N: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<N, D::Error> {
    struct Whole;

    impl Visitor<'_> for Whole {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a whole number that is not negative")
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<u64, E> {
            // Above 2^53 not every whole number is a float, and none of these is meant.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            if number.fract() != 0.0 || !(0.0..EXACT).contains(&number) {
                return Err(E::invalid_value(Unexpected::Float(number), &self));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "looked at a line ago"
            )]
            let number = number as u64;
            Ok(number)
        }
    }

    let number = deserializer.deserialize_u64(Whole)?;
    N::try_from(number)
        .map_err(|_| D::Error::invalid_value(Unexpected::Unsigned(number), &"a smaller number"))
}

/// The same where there may be none.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Number(#[serde(deserialize_with = "number")] u64);

    Ok(Option::<Number>::deserialize(deserializer)?.map(|Number(number)| number))
}
