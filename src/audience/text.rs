//! Declared direct texts: literal parts, and `{placeholders}` for what differs from person to person.

use std::collections::BTreeSet;

use super::read::Wrong;

/// A text with places for what differs, such as `Your code is {code}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectText(Vec<Part>);

/// A run of a declared text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Stands in every message as it is.
    Literal(String),
    /// Differs; the name is for people.
    Placeholder(String),
}

/// Fewer letters than this would match other texts too.
const LITERAL_LETTERS: usize = 4;

/// Longest value of a placeholder, in characters: a code, an amount, a name. Anything longer is a text of its own.
const VALUE_LETTERS: usize = 64;

impl DirectText {
    /// Is `text` this one, with something in each place? Letter for letter: the literal parts stand in it in order and
    /// nothing else does; a value is one line of 1 to 64 characters.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        // Where in the text the parts so far can end. A set, so that no text costs more than its length × 64.
        let mut ends = BTreeSet::from([0]);
        for part in &self.0 {
            ends = match part {
                Part::Literal(literal) => {
                    let stands = |end: &usize| text[*end..].starts_with(literal.as_str());
                    ends.into_iter().filter(stands).map(|end| end + literal.len()).collect()
                }
                Part::Placeholder(_) => ends.into_iter().flat_map(|end| values(text, end)).collect(),
            };
        }
        ends.contains(&text.len())
    }

    /// Its runs in order; two placeholders are never neighbours.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, behind) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if literal.contains('}') {
                return Err(Wrong::new("closes a placeholder that is not open", "write {name}"));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(inside) = behind.strip_prefix('{') else { break };
            let Some((name, behind)) = inside.split_once('}') else {
                return Err(Wrong::new("opens a placeholder that is not closed", "write {name}"));
            };
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let fix = "name it with letters, digits and '_'";
                return Err(Wrong::new(format!("has a placeholder {{{name}}}"), fix));
            }
            if matches!(parts.last(), Some(Part::Placeholder(_))) {
                let problem = "has two placeholders side by side, which cannot be told apart";
                return Err(Wrong::new(problem, "put text between them, or make them one"));
            }
            parts.push(Part::Placeholder(name.to_owned()));
            rest = behind;
        }
        let literals = parts.iter().filter_map(|part| match part {
            Part::Literal(text) => Some(text),
            Part::Placeholder(_) => None,
        });
        let letters = literals.flat_map(|text| text.chars()).filter(|c| c.is_alphabetic()).count();
        if letters < LITERAL_LETTERS {
            let problem = "has so little fixed text that it would match anything";
            return Err(Wrong::new(problem, format!("write at least {LITERAL_LETTERS} fixed letters")));
        }
        Ok(Self(parts))
    }
}

/// Where a value that begins at `start` can end.
fn values(text: &str, start: usize) -> impl Iterator<Item = usize> {
    let line = text[start..].char_indices().take(VALUE_LETTERS).take_while(|(_, letter)| *letter != '\n');
    line.map(move |(at, letter)| start + at + letter.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_placeholders() {
        let text = DirectText::read("Your code is {code}.").expect("a text");
        let literal = |text: &str| Part::Literal(text.into());
        assert_eq!(text.parts(), [literal("Your code is "), Part::Placeholder("code".into()), literal(".")]);
    }

    #[test]
    fn a_text_that_would_match_anything_or_cannot_be_read_is_refused() {
        for bad in
            ["", "{a}", "{a}: {b}", "Your code {a}{b}", "Your code {", "Your code }", "Your code {a b}"]
        {
            assert!(DirectText::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_known_by_its_literal_parts() {
        let text = DirectText::read("Kod {code}. Ważny {time}.").expect("a text");
        for same in ["Kod 1. Ważny 5 min.", "Kod 12. 34. Ważny do jutra, godz. 5.", "Kod Ważny. Ważny Ważny."]
        {
            assert!(text.matches(same), "{same}");
        }
        let long = format!("Kod {}. Ważny 5 min.", "1".repeat(65));
        let others = [
            "Kod . Ważny 5 min.",
            "Kod 1. Ważny 5 min.!",
            "kod 1. Ważny 5 min.",
            "Kod 1\n2. Ważny x.",
            "",
            &long,
        ];
        for other in others {
            assert!(!text.matches(other), "{other}");
        }
        let last = DirectText::read("Code: {code}").expect("a text");
        assert!(last.matches("Code: 1") && !last.matches("Code: "));
    }
}
