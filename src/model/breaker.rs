//! The words for what stops a rollout at once.

use super::UnknownWord;

/// Which breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BreakerKind {
    /// A provider refuses our credentials: pause.
    Credentials,
    /// Rejections in a row with the same reason: halt.
    Rejections,
    /// A provider takes nothing: pause, and try again by itself.
    ProviderDown,
    /// Too many rejections to be chance: halt.
    Health,
}

impl BreakerKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Credentials, Self::Rejections, Self::ProviderDown, Self::Health];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::Rejections => "rejections",
            Self::ProviderDown => "provider_down",
            Self::Health => "health",
        }
    }
}

impl std::str::FromStr for BreakerKind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        const EXPECTED: &[&str] = &["credentials", "rejections", "provider_down", "health"];
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or(UnknownWord { expected: EXPECTED })
    }
}
