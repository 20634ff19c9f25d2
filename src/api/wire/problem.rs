//! Errors, as RFC 9457 has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An answer that is none: what went wrong, and what to do (`application/problem+json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// In a few words, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    /// For programs.
    pub code: Code,
    /// How the policy in force differs from what was approved, for `stale_digest`: as `diff -u` writes it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub diff: Vec<String>,
}

/// What kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request cannot be understood.
    Malformed,
    /// No token, or one that is unknown, expired or revoked.
    NotAuthenticated,
    /// The token does not allow this, or the person may not do it.
    NotAllowed,
    /// There is no such thing.
    NotFound,
    /// The address does not know this method.
    WrongMethod,
    /// It may not happen in this state.
    Conflict,
    /// It waits: for approvals, or for an answer of what is watched.
    Waits,
    /// It is not what was shown.
    StaleDigest,
    /// The guard refuses it.
    RefusedByGuard,
    /// A halt in force covers it.
    Halted,
    /// It is over, and nothing happens to it any more.
    Over,
    /// The same idempotency key stands for another request.
    KeyReused,
    /// Too many requests.
    TooMany,
    /// The body is too large.
    TooLarge,
    /// Something that the service depends on is away.
    Unavailable,
    /// A defect.
    Internal,
}

impl Code {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotAuthenticated => 401,
            Self::NotAllowed => 403,
            Self::NotFound => 404,
            Self::WrongMethod => 405,
            Self::Conflict | Self::Waits | Self::Halted | Self::Over => 409,
            Self::StaleDigest => 412,
            Self::TooLarge => 413,
            Self::RefusedByGuard | Self::KeyReused => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAuthenticated => "not_authenticated",
            Self::NotAllowed => "not_allowed",
            Self::NotFound => "not_found",
            Self::WrongMethod => "wrong_method",
            Self::Conflict => "conflict",
            Self::Waits => "waits",
            Self::StaleDigest => "stale_digest",
            Self::RefusedByGuard => "refused_by_guard",
            Self::Halted => "halted",
            Self::Over => "over",
            Self::KeyReused => "key_reused",
            Self::TooMany => "too_many",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// In a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "the request cannot be understood",
            Self::NotAuthenticated => "who are you?",
            Self::NotAllowed => "not allowed",
            Self::NotFound => "not found",
            Self::WrongMethod => "not that method",
            Self::Conflict => "not in this state",
            Self::Waits => "it waits",
            Self::StaleDigest => "not what was shown",
            Self::RefusedByGuard => "refused by the guard",
            Self::Halted => "a halt in force covers it",
            Self::Over => "it is over",
            Self::KeyReused => "the idempotency key stands for another request",
            Self::TooMany => "too many requests",
            Self::TooLarge => "too large",
            Self::Unavailable => "something that the service depends on is away",
            Self::Internal => "a defect of the service",
        }
    }
}

impl Problem {
    /// A problem of this kind, in these words.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            diff: Vec::new(),
        }
    }
}
