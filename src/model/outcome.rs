//! What became of one notification to one device: the closed set that a provider's answer is read into.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;

/// The provider's own word for what it did, such as `BadDeviceToken`; cleaned, so that it can be logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason(Arc<str>);

impl Reason {
    /// Longest reason that is kept, in bytes; the vendors' longest is 27.
    const MAX_BYTES: usize = 64;

    /// Keeps letters, digits, `_`, `-` and `.` of what the provider said.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let keep = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let clean: String = text.chars().filter(keep).take(Self::MAX_BYTES).collect();
        Self(if clean.is_empty() { "unnamed".into() } else { clean.into() })
    }

    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reason({})", self.0)
    }
}

/// How much of the traffic a throttle speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleScope {
    /// This device only.
    Device,
    /// One topic of the app.
    Topic,
    /// The whole project or team.
    Project,
}

/// Why a request was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotSent {
    /// A halt covers it.
    #[error("halted")]
    Halted,
    /// The worker's claim on its chunk ended first; another worker has it now.
    #[error("claim lost")]
    ClaimLost,
    /// The process is shutting down.
    #[error("draining")]
    Draining,
    /// The app's credentials were refused; its sender is stopped.
    #[error("credentials stopped")]
    CredentialsStopped,
    /// No connection to the provider could be made.
    #[error("no connection to the provider")]
    NoConnection,
    /// The provider asked everyone of this app to wait.
    #[error("throttled")]
    Throttled,
    /// The app has no credentials for this provider in the configuration.
    #[error("no credentials configured")]
    NotConfigured,
}

/// What became of one request (or of the decision not to make it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider took it.
    Accepted {
        /// The provider's name for the message.
        provider_id: Option<Arc<str>>,
    },
    /// The token is dead for this app and environment.
    TokenGone {
        /// Since when, if the provider says so. A later registration of the token wins.
        since: Option<Timestamp>,
        /// The provider's word.
        reason: Reason,
        /// False where a wrong key or topic of ours would look the same, so that one refused burst does
        /// not empty the registry.
        certain: bool,
    },
    /// This message can never be accepted. Never retried.
    Rejected {
        /// The provider's word.
        reason: Reason,
    },
    /// Slow down. No failure.
    Throttled {
        /// Whom it speaks for.
        scope: ThrottleScope,
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's word.
        reason: Reason,
    },
    /// The provider is unwell and took nothing.
    Unavailable {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
        /// The provider's word.
        reason: Reason,
    },
    /// It may have been taken. Resent with the same ids, or, under `at_most_once`, left alone.
    Unknown {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
        /// What happened.
        reason: Reason,
    },
    /// Not written; stays to do.
    NotSent(NotSent),
    /// Not written: by its owner's clock it is night. Stays to do.
    QuietHours {
        /// When the night is over there.
        until: Timestamp,
    },
    /// The app's credentials are refused: stop its sender, keep the work, page someone.
    CredentialStop {
        /// The provider's word.
        reason: Reason,
    },
    /// Its deadline passed before it could be sent. Never sent.
    Expired,
}

/// An outcome as one byte of the ledger's packed history. Zero is never written: it means "intent only".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OutcomeCode {
    /// Recorded as to do; nothing is known yet.
    ToDo = 0,
    /// See [`Outcome::Accepted`].
    Accepted = 1,
    /// See [`Outcome::TokenGone`].
    TokenGone = 2,
    /// See [`Outcome::Rejected`].
    Rejected = 3,
    /// See [`Outcome::Throttled`].
    Throttled = 4,
    /// See [`Outcome::Unavailable`].
    Unavailable = 5,
    /// See [`Outcome::Unknown`].
    Unknown = 6,
    /// See [`Outcome::NotSent`].
    NotSent = 7,
    /// See [`Outcome::CredentialStop`].
    CredentialStop = 8,
    /// See [`Outcome::Expired`].
    Expired = 9,
    /// Its producer withdrew the job first.
    Cancelled = 10,
    /// In the frozen list, and not sent: gone, forgotten, or its token moved to somebody else since.
    LeftOut = 11,
    /// See [`Outcome::QuietHours`].
    QuietHours = 12,
}

impl OutcomeCode {
    /// False if no provider was asked for what ended so. While there is no outcome one may have been.
    #[must_use]
    pub const fn may_have_been_asked(self) -> bool {
        match self {
            Self::ToDo
            | Self::Accepted
            | Self::TokenGone
            | Self::Rejected
            | Self::Throttled
            | Self::Unavailable
            | Self::Unknown
            | Self::CredentialStop => true,
            Self::NotSent | Self::Expired | Self::LeftOut | Self::QuietHours | Self::Cancelled => false,
        }
    }

    /// Every code, in order, so that `ALL[n]` has the value `n`.
    pub const ALL: [Self; 13] = [
        Self::ToDo,
        Self::Accepted,
        Self::TokenGone,
        Self::Rejected,
        Self::Throttled,
        Self::Unavailable,
        Self::Unknown,
        Self::NotSent,
        Self::CredentialStop,
        Self::Expired,
        Self::Cancelled,
        Self::LeftOut,
        Self::QuietHours,
    ];

    /// A code as it was stored; `None` if no version wrote it.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The byte.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// True when nothing more will be tried for this device: not for what is deferred. `at_most_once`
    /// makes Unknown final as well.
    #[must_use]
    pub const fn is_final(self, at_most_once: bool) -> bool {
        match self {
            Self::Accepted
            | Self::TokenGone
            | Self::Rejected
            | Self::Expired
            | Self::Cancelled
            | Self::LeftOut => true,
            Self::Unknown => at_most_once,
            Self::ToDo
            | Self::Throttled
            | Self::Unavailable
            | Self::NotSent
            | Self::CredentialStop
            | Self::QuietHours => false,
        }
    }

    /// As shown in metrics, tables and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ToDo => "to_do",
            Self::Accepted => "accepted",
            Self::TokenGone => "token_gone",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::NotSent => "not_sent",
            Self::CredentialStop => "credential_stop",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::LeftOut => "left_out",
            Self::QuietHours => "quiet_hours",
        }
    }
}

impl Outcome {
    /// True if a request was made, whatever came of it.
    #[must_use]
    pub const fn was_asked(&self) -> bool {
        !matches!(self, Self::NotSent(_) | Self::Expired | Self::QuietHours { .. })
    }

    /// The byte that the ledger keeps.
    #[must_use]
    pub const fn code(&self) -> OutcomeCode {
        match self {
            Self::Accepted { .. } => OutcomeCode::Accepted,
            Self::TokenGone { .. } => OutcomeCode::TokenGone,
            Self::Rejected { .. } => OutcomeCode::Rejected,
            Self::Throttled { .. } => OutcomeCode::Throttled,
            Self::Unavailable { .. } => OutcomeCode::Unavailable,
            Self::Unknown { .. } => OutcomeCode::Unknown,
            Self::NotSent(_) => OutcomeCode::NotSent,
            Self::QuietHours { .. } => OutcomeCode::QuietHours,
            Self::CredentialStop { .. } => OutcomeCode::CredentialStop,
            Self::Expired => OutcomeCode::Expired,
        }
    }

    /// The word that explains the outcome, where one byte does not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Accepted { .. } | Self::Expired | Self::QuietHours { .. } => None,
            Self::TokenGone { reason, .. }
            | Self::Rejected { reason }
            | Self::Throttled { reason, .. }
            | Self::Unavailable { reason, .. }
            | Self::Unknown { reason, .. }
            | Self::CredentialStop { reason } => Some(reason.clone()),
            Self::NotSent(why) => Some(Reason::new(&why.to_string().replace(' ', "_"))),
        }
    }

    /// How long the provider asked us to wait, if it did.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. }
            | Self::Unavailable { retry_after, .. }
            | Self::Unknown { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_they_were_when_they_were_written() {
        for (n, code) in OutcomeCode::ALL.iter().enumerate() {
            assert_eq!(usize::from(code.byte()), n);
            assert_eq!(OutcomeCode::from_byte(code.byte()), Some(*code));
        }
        assert_eq!(OutcomeCode::from_byte(13), None);
    }

    #[test]
    fn a_reason_cannot_carry_a_line_break_or_a_novel() {
        assert_eq!(Reason::new("Bad\r\nDevice Token").as_str(), "BadDeviceToken");
        assert_eq!(Reason::new(&"x".repeat(500)).as_str().len(), 64);
        assert_eq!(Reason::new("\u{1b}[").as_str(), "unnamed");
    }
}
