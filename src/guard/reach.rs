//! Which direct text a job carries, and how many people it may reach.
//!
//! A text that its producer has declared is known by its literal parts, so that one-time codes are one text and have the
//! limit of their declaration. Every other text is itself: letter for letter, but for compatibility forms, case and
//! white space. A text that names its reader is another text for each; what such texts come to is blast-radius's affair.

use jiff::Timestamp;
use unicode_normalization::UnicodeNormalization as _;

use super::Window;
use crate::{
    audience::{DirectText, Part, Producer, ReachLimit},
    model::{Digest, Notification},
};

/// A direct text, and how many people it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLimit {
    /// Names the text of this producer under this window; says nothing of what it reads.
    pub text: Digest,
    /// How many people, within which time.
    pub limit: ReachLimit,
    /// Whether the producer has declared it.
    pub declared: bool,
}

/// What the direct lane knows of whom a job's text and its producer have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectReach {
    /// Set if the fleet has no leave left for the job's people: the limit that is met.
    pub over_text: Option<TextLimit>,
    /// Set if the fleet has no leave left for the job's devices today: how many its producer may reach.
    pub over_day: Option<u64>,
}

impl TextLimit {
    /// Of this notification from this producer. A title is not looked at where the body is declared.
    #[must_use]
    pub fn of(notification: &Notification, producer: &Producer) -> Self {
        let declared = |body: &str| producer.direct_texts.iter().find(|known| known.text.matches(body));
        let bodies = notification.localized.values().map(|text| text.body.as_str());
        let known =
            declared(&notification.body).filter(|_| bodies.into_iter().all(|body| declared(body).is_some()));
        let id = producer.id.as_str().as_bytes();
        let (limit, kind, text) = match known {
            Some(known) => {
                let limit = ReachLimit { max_users: known.max_users, within: known.within };
                (limit, &b"declared"[..], shape(&known.text))
            }
            None => (producer.undeclared, &b"undeclared"[..], folded(notification)),
        };
        // Another window counts from nothing: its slices are others.
        let within = limit.within.as_micros().to_be_bytes();
        Self {
            text: Digest::of_parts(&[b"reach", kind, id, &within, &text]),
            limit,
            declared: known.is_some(),
        }
    }

    /// Which slice of its window it is.
    #[must_use]
    pub fn slice(&self, now: Timestamp) -> i64 {
        Window::slice(now, self.limit.within)
    }
}

/// Apart by what no text contains.
const BETWEEN: char = '\0';

fn shape(text: &DirectText) -> Vec<u8> {
    let mut shape = String::new();
    for part in text.parts() {
        match part {
            Part::Literal(literal) => shape.push_str(literal),
            Part::Placeholder(_) => shape.push(BETWEEN),
        }
    }
    shape.into_bytes()
}

fn folded(notification: &Notification) -> Vec<u8> {
    let mut all = String::new();
    for (field, text) in notification.texts() {
        all.push_str(&field);
        all.push(BETWEEN);
        fold(text, &mut all);
        all.push(BETWEEN);
    }
    all.into_bytes()
}

/// Case goes twice: a compatibility form can bring capitals in, and a small letter can have one.
fn fold(text: &str, all: &mut String) {
    let plain: String = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        text.nfkc().flat_map(char::to_lowercase).nfkc().collect()
    };
    for (n, word) in plain.split_whitespace().enumerate() {
        if n > 0 {
            all.push(' ');
        }
        all.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{guard::rules::sample_policy, model::ProducerId};

    fn of_producer(producer: &str, notification: serde_json::Value) -> TextLimit {
        let policy = sample_policy();
        let producer = policy.producer(&ProducerId::parse(producer).expect("a producer")).expect("is known");
        TextLimit::of(&serde_json::from_value(notification).expect("a notification"), producer)
    }

    fn of(body: &str) -> TextLimit {
        of_producer("cards", json!({"title": "Bank", "body": body}))
    }

    #[test]
    fn one_time_codes_are_one_text_with_the_limit_of_their_declaration() {
        let code = of("Twój kod: 123 456");
        assert!(code.declared && code.limit.max_users == 1_000);
        assert_eq!(code, of("Twój kod: 7"));
        let bare = of_producer("cards", json!({"body": "Twój kod: 7"}));
        assert_eq!(code, bare, "whatever the title");
        let localized = json!({"body": "Twój kod: 7", "localized": {"de": {"body": "Alle herhören!"}}});
        assert!(!of_producer("cards", localized).declared, "a language that hides another text");
    }

    #[test]
    fn a_text_is_counted_by_its_shape_and_by_slices_of_its_window() {
        let policy = sample_policy();
        let cards = policy.producer(&ProducerId::parse("cards").expect("a producer")).expect("is known");
        let shapes: Vec<_> = cards.direct_texts.iter().map(|known| shape(&known.text)).collect();
        assert_eq!(shapes, ["Twój kod: \0".as_bytes()]);
        let mut folded = String::new();
        fold(" Kod\u{a0} DLA  ﬁrmy\t", &mut folded);
        assert_eq!(folded, "kod dla firmy");
        let (code, at) = (of("Twój kod: 7"), |text: &str| text.parse().expect("an instant"));
        let now = at("2026-11-21T12:00:00Z");
        assert_eq!(code.slice(now), Window::slice(now, code.limit.within));
        assert!(code.slice(now) < code.slice(now + code.limit.within));
    }

    #[test]
    fn any_other_text_is_itself_but_for_how_it_is_written() {
        let text = of("Zapłacono  ﬁrmie X");
        assert!(!text.declared);
        assert_eq!(text.limit, ReachLimit::UNDECLARED);
        assert_eq!(text, of(" ZAPŁACONO\u{a0}firmie\tx "));
        assert_ne!(text.text, of("Zapłacono firmie Y").text);
        assert_ne!(text.text, of_producer("cards", json!({"body": "Zapłacono firmie X"})).text, "no title");
        assert_ne!(of("x").text, of_producer("qa", json!({"title": "Bank", "body": "x"})).text);
    }
}
