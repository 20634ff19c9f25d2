//! The version of an app, as something that can be compared.

/// An app's version, compared by its numbers and not as a text: 5.10 is later than 5.9.
///
/// It is read as numbers with dots between them; a `v` before them is passed over. What follows the numbers counts only if
/// it begins with `-`: that is something before the release (`5.2-beta` is earlier than `5.2`), and two of those are
/// alike. Zeros at the end say nothing: 5.2 is 5.2.0. So `5.2.0 (1234)` and `v5.2+build` are 5.2.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppVersion(String);

impl AppVersion {
    /// Most digits of one number: a letter says how many there are. A build's date and time have 14.
    const MAX_DIGITS: usize = 26;

    /// The key under which the registry keeps what is no version: before every other.
    pub const UNREADABLE: &'static str = "";

    /// Reads a version; `None` if it does not begin with a number.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let run = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (run, rest) = text.split_at(run);
        let numbers: Vec<&str> = run.split('.').take_while(|digits| !digits.is_empty()).collect();
        let is_whole = numbers.len() == run.split('.').count();
        let numbers: Vec<&str> = numbers.iter().map(|digits| digits.trim_start_matches('0')).collect();
        if numbers.is_empty() || numbers.iter().any(|digits| digits.len() > Self::MAX_DIGITS) {
            return None;
        }
        let said = numbers.iter().rposition(|digits| !digits.is_empty()).map_or(0, |last| last + 1);
        let mut key = String::with_capacity(run.len() + 2);
        for digits in &numbers[..said] {
            let digits = if digits.is_empty() { "0" } else { digits };
            // A longer number is a larger one, and a letter is later than the digit at a key's end.
            let length = u8::try_from(digits.len()).expect("at most 26 digits");
            key.push(char::from(b'a' + length - 1));
            key.push_str(digits);
        }
        key.push(if is_whole && rest.starts_with('-') { '0' } else { '1' });
        Some(Self(key))
    }

    /// A text that sorts by its bytes as versions do: what the registry has a column and an index for. Each number is a
    /// letter for how many digits it has and then the digits; at the end stands 1 for a release and 0 for what comes
    /// before it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }

    /// The key of whatever a device says of its app's version; [`Self::UNREADABLE`] for what is none.
    #[must_use]
    pub fn key_of(text: &str) -> String {
        Self::read(text).map_or_else(|| Self::UNREADABLE.to_owned(), |version| version.0)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> AppVersion {
        AppVersion::read(text).unwrap_or_else(|| panic!("{text} is a version"))
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let rising = [
            "0", "0.0.1", "0.9", "1-rc.1", "1", "1.0.1", "1.2-beta", "1.2", "1.2.3", "1.10", "2", "10.0",
            "20261121",
        ];
        for pair in rising.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        for (one, other) in [
            ("5.2", "5.2.0"),
            ("5.2", "v05.02"),
            ("5.2", "5.2.0 (1234)"),
            ("5.2", "5.2+b-1"),
            ("5-a", "5.0-b"),
        ] {
            assert_eq!(version(one), version(other), "{one} {other}");
        }
        // A dot without a number ends the numbers.
        assert_eq!(version("5..2"), version("5"));
        assert_eq!(version("5.-1"), version("5"));
        for none in ["", "beta", "v", ".5", "-1", "ż1", &"9".repeat(27)] {
            assert_eq!(AppVersion::read(none), None, "{none}");
        }
        assert!(AppVersion::UNREADABLE < version("0-a").key());
    }

    proptest! {
        #[test]
        fn keys_sort_as_numbers_do(
            one in prop::collection::vec(0..2_000_u32, 1..5),
            other in prop::collection::vec(0..2_000_u32, 1..5),
        ) {
            let text = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
            let length = one.len().max(other.len());
            let padded = |numbers: &[u32]| {
                let mut numbers = numbers.to_vec();
                numbers.resize(length, 0);
                numbers
            };
            let expected: Ordering = padded(&one).cmp(&padded(&other));
            prop_assert_eq!(version(&text(&one)).key().cmp(version(&text(&other)).key()), expected);
        }
    }
}
