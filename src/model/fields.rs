//! The rules of a device's fields, wherever they are read: from a file, or from a queue.

use std::borrow::Cow;

use super::Platform;

/// Longest free text that is kept (a time zone, an app's version), in bytes.
pub(crate) const MAX_TEXT: usize = 64;

/// APNs tokens are hexadecimal, and the same phone in either case: two spellings must not be two owners.
pub(crate) fn one_case(platform: Platform, token: &str) -> Cow<'_, str> {
    match platform {
        Platform::Ios if token.bytes().all(|c| c.is_ascii_hexdigit()) => token.to_ascii_lowercase().into(),
        Platform::Ios | Platform::Android => token.into(),
    }
}

/// What is wrong with a field whose rule is broken. Never what stood there.
pub(crate) fn rule(field: &str) -> &'static str {
    match field {
        "user_id" => "is not 1 to 128 characters without control characters",
        "app" => "is not 1 to 155 letters, digits, '.', '-' or '_'",
        "platform" => "is not ios or android",
        "token" => "is not 1 to 4000 letters, digits, '-', '_', ':', '.' or '~'",
        "environment" => "is not production or sandbox",
        "country" => "is not two upper-case letters (ISO 3166-1)",
        "language" => "is not a language tag such as de or de-AT (BCP 47)",
        "last_seen_at" => "is not an instant such as 2026-11-21T20:00:00Z (RFC 3339)",
        _ => "is not 1 to 64 bytes without control characters",
    }
}

/// ISO 3166-1 alpha-2.
pub(crate) fn country_code(text: &str) -> Option<String> {
    (text.len() == 2 && text.bytes().all(|c| c.is_ascii_uppercase())).then(|| text.to_owned())
}

/// A free text that fits.
pub(crate) fn short_text(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}
