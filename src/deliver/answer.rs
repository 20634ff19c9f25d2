//! What a provider's answer means, before anybody acts on it.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::Timestamp;

use crate::model::{Outcome, Reason};

/// No provider asks for more; a number beyond it is a mistake.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// An answer as it was read: the outcome, and what the sender does first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// What is told if the step below cannot be taken, or has been taken already.
    pub(super) outcome: Outcome,
    /// What the sender does.
    pub(super) step: Step,
    /// The provider has accepted our credentials: it looked past them at the message.
    pub(super) proves: bool,
}

/// What the sender does about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Tells the outcome.
    Tell,
    /// Gets a new token and sends again, once.
    Reauthorize,
    /// Sends again on a new connection, once.
    Reconnect,
    /// Sends again, once.
    Repeat,
    /// Uses the connection no more, and tells the outcome.
    Retire,
    /// Signs no new token for a while, and tells the outcome.
    KeepToken,
    /// Tells the outcome; several in a row mean that the credentials are at fault.
    CountForbidden,
}

impl Answer {
    pub(super) const fn tell(outcome: Outcome) -> Self {
        let proves = matches!(
            outcome,
            Outcome::Accepted { .. } | Outcome::TokenGone { .. } | Outcome::Rejected { .. }
        );
        Self { outcome, step: Step::Tell, proves }
    }

    pub(super) fn step(self, step: Step) -> Self {
        Self { step, ..self }
    }

    /// The outcome says nothing about the credentials.
    pub(super) fn unproven(self) -> Self {
        Self { proves: false, ..self }
    }

    pub(super) const fn rejected(reason: Reason) -> Self {
        Self::tell(Outcome::Rejected { reason })
    }

    pub(super) const fn stop(reason: Reason) -> Self {
        Self::tell(Outcome::CredentialStop { reason })
    }

    pub(super) const fn gone(reason: Reason, since: Option<Timestamp>, certain: bool) -> Self {
        Self::tell(Outcome::TokenGone { since, reason, certain })
    }
}

/// RFC 9110, section 10.2.3: seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().expect("a header value"));
        let now = "1994-11-06T08:49:00Z".parse().expect("a timestamp");
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_read_in_both_its_forms_and_bounded() {
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(37));
        assert_eq!(asked("Sun, 06 Nov 1994 08:48:37 GMT"), Some(0), "it is over");
        assert_eq!(asked("99999999999"), Some(24 * 3_600));
        for nonsense in ["soon", "", "-5", "1.5"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }
}
