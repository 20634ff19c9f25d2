//! Finds what a template engine, a formatter or a translation table should have replaced.
//!
//! A percent sign, a price or a web address stands in every third real notification: each pattern asks for
//! more than its first character. What remains ambiguous ("null" is a number in several languages) counts
//! only where a name would stand.

use crate::guard::Span;

/// What was left unfilled; shown as part of the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guard) enum Kind {
    /// `{{name}}`, `{% if %}`, `<%= name %>`, `[[name]]`.
    Template,
    /// `${name}`.
    Shell,
    /// `{0}`, `{name}`.
    Braces,
    /// `%s`, `%1$s`, `%@`.
    Format,
    /// `%NAME%`, `%%name%%`, `__NAME__`.
    Token,
    /// `undefined`, `NaN`, `null`, `[object Object]`.
    NoValue,
    /// `push.title.welcome`, `NOTIFICATION_TITLE`, `@string/title`.
    ResourceKey,
}

impl Kind {
    /// As told to a person.
    pub(in crate::guard) const fn as_str(self) -> &'static str {
        match self {
            Self::Template => "a template's placeholder",
            Self::Shell => "a ${…} placeholder",
            Self::Braces => "a {…} placeholder",
            Self::Format => "a formatter's placeholder, such as %s",
            Self::Token => "a marker for a name, such as %NAME%",
            Self::NoValue => "a program's word for no value",
            Self::ResourceKey => "the key of a text instead of the text",
        }
    }
}

/// Longest placeholder that is looked for, in bytes: behind an opening brace that nobody closes there may
/// be a whole text.
const LONGEST: usize = 120;

/// Everything unfilled in `text`, in order of the patterns.
pub(in crate::guard) fn placeholders(text: &str) -> Vec<(Span, Kind)> {
    let mut found = Vec::new();
    let mut at = 0;
    let opens = |byte: &u8| matches!(byte, b'{' | b'$' | b'%' | b'[' | b'<' | b'_' | b'@');
    while let Some(step) = text.as_bytes()[at..].iter().position(opens) {
        let start = at + step;
        // An ASCII byte is a character of its own, so both cuts are on a border.
        let (before, rest) = text.split_at(start);
        at = match opened(before, rest) {
            Some((length, kind)) => {
                found.push((start..start + length, kind));
                start + length
            }
            None => start + 1,
        };
    }
    no_values(text, &mut found);
    found.extend(resource_keys(text).map(|span| (span, Kind::ResourceKey)));
    found
}

/// The placeholder that `rest` begins with: its length in bytes and its kind.
fn opened(before: &str, rest: &str) -> Option<(usize, Kind)> {
    let closed = |open: &str, close: &str| {
        let inside = rest.strip_prefix(open)?;
        let end = inside.find(close).filter(|end| *end > 0 && *end <= LONGEST)?;
        Some((&inside[..end], open.len() + end + close.len()))
    };
    let any = |open, close, kind| closed(open, close).map(|(_, length)| (length, kind));
    let named = |open, close, kind| {
        closed(open, close).filter(|(inside, _)| is_name(inside)).map(|(_, length)| (length, kind))
    };
    match rest.as_bytes().first()? {
        b'{' => any("{{", "}}", Kind::Template)
            .or_else(|| any("{%", "%}", Kind::Template))
            .or_else(|| named("{", "}", Kind::Braces)),
        b'$' => any("${", "}", Kind::Shell),
        b'<' => any("<%", "%>", Kind::Template),
        b'[' => named("[[", "]]", Kind::Template).or_else(|| {
            rest.starts_with("[object Object]").then_some(("[object Object]".len(), Kind::NoValue))
        }),
        b'_' if !before.ends_with(is_word) => named("__", "__", Kind::Token),
        b'@' => {
            let name = rest.strip_prefix("@string/")?;
            let length = name.find(|c: char| !is_word(c)).unwrap_or(name.len());
            (length > 0).then_some(("@string/".len() + length, Kind::ResourceKey))
        }
        b'%' => named("%%", "%%", Kind::Token)
            .or_else(|| {
                closed("%", "%")
                    .filter(|(inside, _)| is_marker(before, inside))
                    .map(|(_, n)| (n, Kind::Token))
            })
            .or_else(|| format(before, rest).map(|length| (length, Kind::Format))),
        _ => None,
    }
}

/// The name of a variable, in any script: `0`, `first_name`, `이름`, `price:.2f`.
fn is_name(inside: &str) -> bool {
    let part = |c: char| !c.is_ascii() && !c.is_whitespace() || c.is_ascii_alphanumeric();
    inside.chars().count() <= 40
        && inside.starts_with(|c: char| part(c) || c == '_')
        && inside.chars().all(|c| part(c) || matches!(c, '_' | '.' | ':' | '-' | '#'))
}

/// `%NAME%` and `%first_name%`, but neither `5%–10%` nor `%al%`.
fn is_marker(before: &str, inside: &str) -> bool {
    let shouted = inside.len() >= 3 && inside.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let joined = inside.contains('_') && inside.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    !before.ends_with(|c: char| c.is_numeric()) && (shouted || joined)
}

/// The length of a printf conversion. A bare one must not follow a digit (`50%d…` is a percentage) nor run
/// on into a word (`%discount`); Turkish writes the sign before the number (`%20`), so that a width counts
/// only if it begins with 0. A position (`%1$s`) is never anything else.
fn format(before: &str, rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = 1 + digits(1);
    let positional = at > 1 && bytes.get(at) == Some(&b'$');
    if positional {
        at += 1;
    } else if before.ends_with(|c: char| c.is_numeric()) || (at > 1 && bytes[1] != b'0') {
        return None;
    }
    if bytes.get(at) == Some(&b',') {
        at += 1;
    }
    if bytes.get(at) == Some(&b'.') {
        at += 1 + digits(at + 1);
    }
    at += bytes[at..].iter().take(2).take_while(|b| **b == b'l').count();
    let conversion = *bytes.get(at)?;
    if !matches!(conversion, b's' | b'd' | b'i' | b'f' | b'u' | b'@') {
        return None;
    }
    let runs_on = bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (positional || conversion == b'@' || !runs_on).then_some(at + 1)
}

/// After these a name stands, whatever the language of the rest.
const GREETINGS: [&str; 17] = [
    "hi",
    "hello",
    "hey",
    "dear",
    "welcome",
    "hallo",
    "liebe",
    "lieber",
    "hej",
    "cześć",
    "witaj",
    "hola",
    "ciao",
    "bonjour",
    "olá",
    "merhaba",
    "привет",
];

fn no_values(text: &str, found: &mut Vec<(Span, Kind)>) {
    for word in ["undefined", "NaN", "null", "nil", "None"] {
        for (start, _) in text.match_indices(word) {
            let (before, after) = (&text[..start], &text[start + word.len()..]);
            let whole = !before.ends_with(is_word) && !after.starts_with(is_word);
            let counts = match word {
                "undefined" | "NaN" => true,
                // A number in German and the Nordic languages, and part of "null and void".
                "null" => {
                    alone(before, after) || bracketed(before, after) || greeted(before) || before.is_empty()
                }
                _ => alone(before, after) || bracketed(before, after),
            };
            if whole && counts {
                found.push((start..start + word.len(), Kind::NoValue));
            }
        }
    }
}

fn alone(before: &str, after: &str) -> bool {
    !before.contains(char::is_alphanumeric) && !after.contains(char::is_alphanumeric)
}

fn bracketed(before: &str, after: &str) -> bool {
    [("(", ")"), ("[", "]"), ("<", ">"), ("{", "}")]
        .iter()
        .any(|(open, close)| before.ends_with(open) && after.starts_with(close))
}

fn greeted(before: &str) -> bool {
    let last = before.trim_end_matches([' ', ',']).rsplit(|c: char| !c.is_alphabetic()).next();
    last.is_some_and(|word| GREETINGS.contains(&word.to_lowercase().as_str()))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Parts that keys of texts have, and few other words with dots between them.
const KEY_PARTS: [&str; 14] = [
    "push",
    "notification",
    "notifications",
    "title",
    "subtitle",
    "body",
    "message",
    "text",
    "label",
    "string",
    "strings",
    "i18n",
    "key",
    "placeholder",
];

/// Last parts of host names that are long enough to be a word.
const HOST_ENDS: [&str; 16] = [
    "com", "net", "org", "edu", "gov", "info", "app", "dev", "shop", "bank", "store", "online", "site",
    "page", "blog", "mobi",
];

/// `push.order.shipped.body` anywhere; `NOTIFICATION_TITLE` as the whole text. Neither has a space in it.
fn resource_keys(text: &str) -> impl Iterator<Item = Span> {
    let whole = text.trim();
    let alone = whole.contains('_') && is_key(whole.split('_'), 2);
    let snake = alone.then(|| offset(text, whole)).into_iter();
    let dotted = text.split_whitespace().filter_map(|word| {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let host = word.rsplit('.').next().is_some_and(|end| end.len() == 2 || HOST_ENDS.contains(&end));
        (word.contains('.') && !host && is_key(word.split('.'), 3)).then(|| offset(text, word))
    });
    snake.chain(dotted.collect::<Vec<_>>())
}

fn is_key<'t>(parts: impl Iterator<Item = &'t str>, at_least: usize) -> bool {
    let (mut count, mut known) = (0, false);
    for part in parts {
        let plain = part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if part.is_empty() || !plain {
            return false;
        }
        count += 1;
        known |= KEY_PARTS.iter().any(|key| part.eq_ignore_ascii_case(key));
    }
    known && count >= at_least
}

/// Where `part`, a slice of `text`, lies in it.
fn offset(text: &str, part: &str) -> Span {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, Kind)> {
        placeholders(text).into_iter().map(|(span, kind)| (&text[span], kind)).collect()
    }

    #[test]
    fn each_kind_is_told_in_words_of_its_own() {
        use Kind::{Braces, Format, NoValue, ResourceKey, Shell, Template, Token};
        let all = [Template, Shell, Braces, Format, Token, NoValue, ResourceKey].map(Kind::as_str);
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len());
    }

    #[test]
    fn each_kind_is_found_where_it_stands() {
        for (text, matched, kind) in [
            ("Witaj {{imię}}!", "{{imię}}", Kind::Template),
            (
                "{{ user.name | default: \"friend\" }}",
                "{{ user.name | default: \"friend\" }}",
                Kind::Template,
            ),
            ("Dear [[customer_name]]", "[[customer_name]]", Kind::Template),
            ("Hi <%= name %>", "<%= name %>", Kind::Template),
            ("Ihr Saldo: ${betrag} €", "${betrag}", Kind::Shell),
            ("{0} is now following you", "{0}", Kind::Braces),
            ("{이름}님, 주문이 도착했습니다", "{이름}", Kind::Braces),
            ("नमस्ते {नाम}", "{नाम}", Kind::Braces),
            ("Price: {price:.2f}", "{price:.2f}", Kind::Braces),
            ("%s sent you a message", "%s", Kind::Format),
            ("%1$s liked your photo", "%1$s", Kind::Format),
            ("Za %02d min, %.2f zł", "%02d", Kind::Format),
            ("Hej %@", "%@", Kind::Format),
            ("%s님", "%s", Kind::Format),
            ("%%first_name%%", "%%first_name%%", Kind::Token),
            ("Dear %NAME%,", "%NAME%", Kind::Token),
            ("__NAME__", "__NAME__", Kind::Token),
            ("Hi [object Object]", "[object Object]", Kind::NoValue),
            ("Your driver undefined is here", "undefined", Kind::NoValue),
            ("Arriving in NaN min", "NaN", Kind::NoValue),
            ("Hi (null)!", "null", Kind::NoValue),
            ("Cześć, null!", "null", Kind::NoValue),
            ("null", "null", Kind::NoValue),
            ("push.order.shipped.body", "push.order.shipped.body", Kind::ResourceKey),
            ("Nowość: push.title.welcome.", "push.title.welcome", Kind::ResourceKey),
            ("i18n.key.not.found", "i18n.key.not.found", Kind::ResourceKey),
            ("NOTIFICATION_TITLE", "NOTIFICATION_TITLE", Kind::ResourceKey),
            ("@string/notification_title", "@string/notification_title", Kind::ResourceKey),
        ] {
            assert_eq!(found(text).first(), Some(&(matched, kind)), "{text}");
        }
    }

    #[test]
    fn what_people_write_is_clear() {
        for text in [
            "50% zniżki na wszystko",
            "100 % sure",
            "Rabat 20%do piątku",
            "%20 indirim, %50'ye varan",
            "%5i geçti",
            "od 5%–10% taniej",
            "Cena: 49,99 zł ($12.50)",
            "$5.000 per orang",
            "{uśmiech :-}",
            "Kiel gewinnt 3 zu null gegen Köln",
            "This contract is null and void",
            "NaNo, Nullify, Vanilla, undefinedness",
            "Zaloguj się na www.bank.example.pl",
            "push.bank.com działa znów",
            "Zamówienie 12.03.2026 o 10.30.",
            "order #735571_428_1777",
            "Dear [Kunde]",
            "snake_case to styl",
            "a < b i c > d",
            "TxnId: TIPS.Selcom_MFB.2.Tigo",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn several_are_all_found() {
        let kinds: Vec<_> = found("{0} {1}, %s").into_iter().map(|(text, _)| text).collect();
        assert_eq!(kinds, ["{0}", "{1}", "%s"]);
    }
}
