//! Declared direct texts: literal parts, and `{placeholders}` for what differs from person to person.

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

impl DirectText {
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
}
