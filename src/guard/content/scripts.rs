//! Which script a text is written in, and which scripts people of a country, or readers of a language, read.
//!
//! Scripts, not languages: telling Polish from Czech in forty letters is guessing, telling Cyrillic from Latin is reading.

/// A script, as far as it is told apart here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::guard) enum Script {
    /// Latin.
    Latin,
    /// Cyrillic.
    Cyrillic,
    /// Greek.
    Greek,
    /// Arabic.
    Arabic,
    /// Hebrew.
    Hebrew,
    /// Armenian.
    Armenian,
    /// Georgian.
    Georgian,
    /// Thai.
    Thai,
    /// Devanagari and the other scripts of India.
    Indic,
    /// Han, kana and hangul, which texts mix.
    EastAsian,
}

use Script::{Arabic, Armenian, Cyrillic, EastAsian, Georgian, Greek, Hebrew, Indic, Latin, Thai};

/// The first and last letter of each block (Unicode 16, Blocks.txt), in order.
const BLOCKS: &[(char, char, Script)] = &[
    ('A', 'Z', Latin),
    ('a', 'z', Latin),
    ('\u{c0}', '\u{24f}', Latin),
    ('\u{370}', '\u{3ff}', Greek),
    ('\u{400}', '\u{52f}', Cyrillic),
    ('\u{531}', '\u{58f}', Armenian),
    ('\u{5d0}', '\u{5f2}', Hebrew),
    ('\u{620}', '\u{6ff}', Arabic),
    ('\u{750}', '\u{77f}', Arabic),
    ('\u{900}', '\u{d7f}', Indic),
    ('\u{e00}', '\u{e7f}', Thai),
    ('\u{10a0}', '\u{10ff}', Georgian),
    ('\u{1100}', '\u{11ff}', EastAsian),
    ('\u{1e00}', '\u{1eff}', Latin),
    ('\u{1f00}', '\u{1fff}', Greek),
    ('\u{3040}', '\u{30ff}', EastAsian),
    ('\u{3400}', '\u{9fff}', EastAsian),
    ('\u{ac00}', '\u{d7a3}', EastAsian),
    ('\u{fb50}', '\u{fdff}', Arabic),
];

/// Countries (ISO 3166-1) whose people read something else than Latin alone.
const COUNTRIES: &[(&str, &[Script])] = &[
    ("AE SA EG IQ JO KW OM QA YE SY LY SD BH PS", &[Arabic]),
    ("LB MA DZ TN MR DJ SO TD KM", &[Arabic, Latin]),
    ("IR", &[Arabic]),
    ("PK", &[Arabic, Latin]),
    ("RU BY UA BG KG TJ", &[Cyrillic]),
    ("KZ RS BA ME MK MD UZ MN", &[Cyrillic, Latin]),
    ("GR", &[Greek]),
    ("CY", &[Greek, Latin]),
    ("IL", &[Hebrew, Arabic]),
    ("AM", &[Armenian]),
    ("GE", &[Georgian]),
    ("TH", &[Thai]),
    ("IN NP LK BD", &[Indic, Latin]),
    ("CN JP KR KP", &[EastAsian]),
    ("TW HK MO SG MY", &[EastAsian, Latin, Indic, Arabic]),
];

/// Countries whose scripts are not told apart here: nothing is said about them.
const UNKNOWN: &[&str] = &["AF", "ET", "ER", "KH", "LA", "MM", "BT", "MV"];

/// Languages (ISO 639) that are not written in Latin.
const LANGUAGES: &[(&str, &[Script])] = &[
    ("ar fa ur ps", &[Arabic]),
    ("ru be uk bg mk ky tg", &[Cyrillic]),
    ("kk sr bs mn uz az", &[Cyrillic, Latin]),
    ("el", &[Greek]),
    ("he iw yi", &[Hebrew]),
    ("hy", &[Armenian]),
    ("ka", &[Georgian]),
    ("th", &[Thai]),
    ("hi mr ne bn ta te ml kn gu pa si sa", &[Indic, Latin]),
    ("zh ja ko yue", &[EastAsian]),
    ("am ti km lo my dz dv", &[]),
];

/// What people of this country read; empty: not known.
pub(in crate::guard) fn of_country(country: &str) -> &'static [Script] {
    if UNKNOWN.contains(&country) { &[] } else { of(COUNTRIES, country) }
}

/// What a text in this language (a tag's first part) is written in; empty: not known.
pub(in crate::guard) fn of_language(language: &str) -> &'static [Script] {
    of(LANGUAGES, language)
}

fn of(table: &'static [(&str, &[Script])], word: &str) -> &'static [Script] {
    let line = table.iter().find(|(words, _)| words.split(' ').any(|known| known == word));
    line.map_or(&[Latin], |(_, scripts)| scripts)
}

/// Fewer letters are a name or a unit.
const FEWEST: usize = 4;

/// The script of more than half of a text's letters; `None` for a text of few letters, or of many scripts.
pub(in crate::guard) fn script_of(text: &str) -> Option<Script> {
    let mut counts = [0_usize; 10];
    let scripts = [Latin, Cyrillic, Greek, Arabic, Hebrew, Armenian, Georgian, Thai, Indic, EastAsian];
    for script in text.chars().filter_map(of_letter) {
        counts[script as usize] += 1;
    }
    let letters: usize = counts.iter().sum();
    let most = scripts.into_iter().max_by_key(|script| counts[*script as usize])?;
    (letters >= FEWEST && counts[most as usize] * 2 > letters).then_some(most)
}

fn of_letter(letter: char) -> Option<Script> {
    if letter.is_ascii() {
        return letter.is_ascii_alphabetic().then_some(Latin);
    }
    BLOCKS.iter().find(|(first, last, _)| (*first..=*last).contains(&letter)).map(|(.., script)| *script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_s_script_is_that_of_most_of_its_letters() {
        for (text, expected) in [
            ("Życzymy miłego dnia", Some(Latin)),
            ("Ваш код 4711 для Bank", Some(Cyrillic)),
            ("お知らせがあります", Some(EastAsian)),
            ("한국어 알림입니다", Some(EastAsian)),
            ("إشعار جديد", Some(Arabic)),
            ("50 zł", None),
            ("🎉🎉🎉", None),
            ("abcабв", None),
        ] {
            assert_eq!(script_of(text), expected, "{text}");
        }
    }

    #[test]
    fn countries_and_languages_have_their_scripts() {
        assert_eq!((of_country("PL"), of_country("GR")), (&[Latin][..], &[Greek][..]));
        assert_eq!((of_country("MM"), of_language("uk")), (&[][..], &[Cyrillic][..]));
        assert!(BLOCKS.windows(2).all(|pair| pair[0].1 < pair[1].0), "in order, and apart");
    }
}
