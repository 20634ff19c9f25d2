//! Who is the same person.

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::confusable_detection::skeleton;

use super::OperatorName;

/// What a name reads as. Two names with the same key are one person: where it takes two people, `ada` and `Ada`, or `ada`
/// with a Cyrillic `а`, are one.
///
/// Unicode Technical Standard 39, section 4 (the skeleton of confusables), over NFKC, without case and white space. Some
/// names of different people read alike as well; then they count as one, which is the safe side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonKey(String);

impl PersonKey {
    /// The key of a name, or of what was once written down as one.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let plain = |text: &str| text.nfkc().flat_map(char::to_lowercase).collect::<String>();
        // Capitals have other look-alikes than small letters: small ones are looked at, and what they look like is made
        // small again.
        let seen = plain(&skeleton(&plain(name)).collect::<String>());
        // A capital `i` is a small `l`.
        let letter = |c| if c == 'i' { 'l' } else { c };
        Self(seen.chars().filter(|c| !c.is_whitespace() && !is_invisible(*c)).map(letter).collect())
    }

    /// As stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Joiners, marks of direction and selectors of variants: they change nothing that a person sees.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{e0000}'..='\u{e0fff}')
}

impl OperatorName {
    /// Which person this name is.
    #[must_use]
    pub fn person(&self) -> PersonKey {
        PersonKey::of(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_read_alike_are_one_person() {
        let ada = PersonKey::of("ada");
        for same in ["Ada", "ADA", "\u{430}da", "ａｄａ", "a\u{200b}da", " ada ", "ad\u{fe0f}a", "аdа"] {
            assert_eq!(PersonKey::of(same), ada, "{same:?}");
        }
        for other in ["adam", "eda", "ada2", "адам"] {
            assert_ne!(PersonKey::of(other), ada, "{other:?}");
        }
        assert_eq!(PersonKey::of("paypal"), PersonKey::of("PAYPAI"), "a capital i");
    }
}
