//! What a campaign says, in a form in which two that say the same are alike: another number, another blank or another capital
//! is no other message.

use unicode_normalization::UnicodeNormalization as _;

use crate::model::{Digest, Notification};

/// Bits in which two long texts may differ and still say the same: one word of forty changes about as many.
const NEAR: u32 = 3;

/// Words of a shingle: the order of words counts, and a word that is moved changes few shingles.
const SHINGLE: usize = 3;

/// Names what a notification says, in all its languages. It does not give the text away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The digest of the normalised texts.
    pub exact: Digest,
    /// The 64 bits of a `SimHash` (Charikar, STOC 2002) over the words' shingles: texts that differ little differ in few bits.
    pub simhash: u64,
}

impl Fingerprint {
    /// Of every title and body, after NFKC, case folding, blanks and punctuation collapsed, each digit a 0.
    #[must_use]
    pub fn of(notification: &Notification) -> Self {
        let texts: Vec<String> =
            notification.texts().map(|(field, text)| format!("{field}\n{}", normalised(text))).collect();
        let parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
        Self { exact: Digest::of_parts(&parts), simhash: simhash(&texts) }
    }

    /// Do both say the same, or nearly?
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.exact == other.exact || (self.simhash ^ other.simhash).count_ones() <= NEAR
    }
}

fn normalised(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for c in text.nfkc().flat_map(char::to_lowercase) {
        if c.is_numeric() {
            words.push('0');
        } else if c.is_alphanumeric() {
            words.push(c);
        } else if !words.is_empty() && !words.ends_with(' ') {
            words.push(' ');
        }
    }
    words.truncate(words.trim_end().len());
    words
}

fn simhash(texts: &[String]) -> u64 {
    let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
    let mut weights = [0_i32; 64];
    for shingle in words.windows(SHINGLE.min(words.len().max(1))) {
        let digest = Digest::of(shingle.join(" ").as_bytes());
        let bytes = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
        let bits = u64::from_be_bytes(*bytes);
        for (n, weight) in weights.iter_mut().enumerate() {
            *weight += if bits >> n & 1 == 1 { 1 } else { -1 };
        }
    }
    weights.iter().enumerate().fold(0, |bits, (n, weight)| bits | (u64::from(*weight > 0) << n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(title: &str, body: &str) -> Fingerprint {
        let json = serde_json::json!({ "title": title, "body": body });
        Fingerprint::of(&serde_json::from_value(json).expect("a notification"))
    }

    /// Fingerprints are on record: another way to make them would know nothing of what was before.
    #[test]
    fn a_fingerprint_is_the_same_in_every_version() {
        // Four shingles, so that some bits are set in as many of them as not.
        assert_eq!(of("Nowa oferta", "lokaty roczne").simhash, 0x5120_9C05_40C3_9491);
    }

    #[test]
    fn another_number_blank_or_capital_is_no_other_message() {
        let one = of("Nowa oferta", "Od 17 maja lokaty na 5,5%!");
        for same in [
            of("NOWA  OFERTA", "od 23 maja lokaty na 6,1 %"),
            of("Ｎｏｗａ oferta", "Od 17 maja: lokaty na 5,5%"),
        ] {
            assert!(one.exact == same.exact && one.is_like(&same));
        }
        assert!(!one.is_like(&of("Od 17 maja", "Nowa oferta lokaty na 5,5%!")), "another order");
    }

    #[test]
    fn a_long_text_with_a_word_changed_is_near_and_another_text_is_far() {
        let words: Vec<String> = (0..120)
            .map(|n| format!("słowo{}", "abcdefghij".repeat(1 + n % 7).get(..1 + n % 9).unwrap_or("x")))
            .collect();
        let mut other = words.clone();
        other[60] = "inne".to_owned();
        assert!(of("t", &words.join(" ")).is_like(&of("t", &other.join(" "))));
        assert!(!of("t", "Kod do logowania").is_like(&of("t", "Zablokowaliśmy płatność kartą")));
        assert!(!of("", "test").is_like(&of("", "ęśąćż")));
    }
}
