//! Breakers: what stops a rollout at once, without statistics. Pure: a worker counts the outcomes of one rollout in the order
//! in which it records them, and is told when to stop.
//!
//! - **Credentials**: a provider refuses them. Nothing will be taken until a person mends that.
//! - **Rejections**: so many in a row with the same reason. It is the notification; nobody else is to be tried with it.
//! - **Provider down**: nothing was taken for a while. It is tried again after as long.
//!
//! After a pause for its own sake a provider is on probation: the first of what goes on decides, and a few devices are enough
//! for it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use super::FrozenBreakers;
pub use crate::model::BreakerKind;
use crate::model::{NotSent, Outcome, Provider, Reason};

/// A breaker that tripped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tripped {
    /// Which.
    pub kind: BreakerKind,
    /// At whom.
    pub provider: Provider,
    /// The provider's word.
    pub reason: Reason,
}

/// As operators see it, beside the state.
impl fmt::Display for Tripped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, provider, reason } = self;
        match kind {
            BreakerKind::Credentials => write!(
                f,
                "credentials-refused: {provider} refuses our credentials ({reason}); mend them, then resume"
            ),
            BreakerKind::Rejections => write!(
                f,
                "rejections-in-a-row: {provider} rejects every notification ({reason}); nobody else is tried"
            ),
            BreakerKind::Health => write!(
                f,
                "rejected-too-often: {provider} rejects more than chance explains ({reason}); nobody else is tried"
            ),
            BreakerKind::ProviderDown => {
                write!(f, "provider-down: {provider} takes nothing ({reason}); it is tried again by itself")
            }
        }
    }
}

/// What a worker has seen of one rollout.
#[derive(Debug)]
pub struct Breakers {
    bounds: FrozenBreakers,
    seen: BTreeMap<Provider, Seen>,
    tripped: Option<Tripped>,
}

/// What it has seen at one provider.
#[derive(Debug, Default)]
struct Seen {
    /// The last rejections in a row with one reason.
    rejected: Option<(Reason, u32)>,
    /// Since when nothing was taken.
    down_since: Option<Instant>,
    /// It was stopped before, and has not been seen to answer since.
    on_probation: bool,
}

/// What an outcome says about its provider.
enum Word {
    /// It looked at our message: it is there, and lets us in.
    Answered,
    /// It looked, and does not want it.
    Rejected(Reason),
    /// It does not let us in.
    Refused(Reason),
    /// Our own sender stands still since it was not let in.
    Stopped(Reason),
    /// It took nothing.
    Down(Reason),
    /// Nothing.
    Silent,
}

impl Word {
    fn of(outcome: &Outcome) -> Self {
        let reason = || outcome.reason().unwrap_or_else(|| Reason::new("unnamed"));
        match outcome {
            Outcome::Accepted { .. } | Outcome::TokenGone { .. } | Outcome::Throttled { .. } => {
                Self::Answered
            }
            Outcome::Rejected { reason } => Self::Rejected(reason.clone()),
            Outcome::CredentialStop { reason } => Self::Refused(reason.clone()),
            Outcome::NotSent(NotSent::CredentialsStopped) => Self::Stopped(reason()),
            Outcome::Unavailable { .. }
            | Outcome::Unknown { .. }
            | Outcome::NotSent(NotSent::NoConnection) => Self::Down(reason()),
            Outcome::NotSent(_) | Outcome::QuietHours { .. } | Outcome::Expired => Self::Silent,
        }
    }
}

impl Breakers {
    /// Those of a rollout with these bounds, of which these providers are on probation.
    #[must_use]
    pub fn new(bounds: FrozenBreakers, on_probation: impl IntoIterator<Item = Provider>) -> Self {
        let seen = |provider| (provider, Seen { on_probation: true, ..Seen::default() });
        Self { bounds, seen: on_probation.into_iter().map(seen).collect(), tripped: None }
    }

    /// What the counts of the whole fleet say: health fails at this provider.
    pub fn fail(&mut self, provider: Provider, reason: Reason) {
        self.trip(BreakerKind::Health, provider, reason);
    }

    /// What has tripped, if anything: nothing new is begun from then on.
    #[must_use]
    pub const fn tripped(&self) -> Option<&Tripped> {
        self.tripped.as_ref()
    }

    /// True while a provider has yet to be seen to answer: a few devices are enough to see that.
    #[must_use]
    pub fn are_on_probation(&self) -> bool {
        self.seen.values().any(|seen| seen.on_probation)
    }

    /// Takes note of one segment's outcomes, as they are recorded. Answers which providers are off probation by it.
    pub fn note<'o>(
        &mut self,
        outcomes: impl IntoIterator<Item = (Provider, &'o Outcome)>,
        now: Instant,
    ) -> Vec<Provider> {
        let mut mended = Vec::new();
        // Until the segment is read to its end it is not known whether somebody who stood still has been let in again.
        let mut shut: BTreeMap<Provider, (BreakerKind, Reason)> = BTreeMap::new();
        let mut let_in = Vec::new();
        for (provider, outcome) in outcomes {
            let seen = self.seen.entry(provider).or_default();
            let word = Word::of(outcome);
            if matches!(word, Word::Answered | Word::Rejected(_)) {
                seen.down_since = None;
                let_in.push(provider);
                if std::mem::take(&mut seen.on_probation) {
                    mended.push(provider);
                }
            }
            match word {
                // A dead token says nothing of the notification.
                Word::Answered if matches!(outcome, Outcome::Accepted { .. }) => seen.rejected = None,
                Word::Answered | Word::Silent => {}
                Word::Rejected(reason) => {
                    let count = match seen.rejected.take() {
                        Some((before, count)) if before == reason => count + 1,
                        _ => 1,
                    };
                    if count >= self.bounds.rejections_in_a_row {
                        self.trip(BreakerKind::Rejections, provider, reason);
                    } else {
                        seen.rejected = Some((reason, count));
                    }
                }
                Word::Refused(reason) => self.trip(BreakerKind::Credentials, provider, reason),
                Word::Stopped(reason) => drop(shut.insert(provider, (BreakerKind::Credentials, reason))),
                Word::Down(reason) if seen.on_probation => {
                    shut.entry(provider).or_insert((BreakerKind::ProviderDown, reason));
                }
                Word::Down(reason) => {
                    let since = *seen.down_since.get_or_insert(now);
                    let patience = Duration::from_millis(self.bounds.provider_down_after_ms);
                    if now.duration_since(since) >= patience {
                        self.trip(BreakerKind::ProviderDown, provider, reason);
                    }
                }
            }
        }
        for (provider, (kind, reason)) in shut {
            if !let_in.contains(&provider) {
                self.trip(kind, provider, reason);
            }
        }
        mended
    }

    /// The gravest of what trips at once stays: what ends a rollout before what lets it wait for a person.
    fn trip(&mut self, kind: BreakerKind, provider: Provider, reason: Reason) {
        let weight = |kind| match kind {
            BreakerKind::ProviderDown => 0,
            BreakerKind::Credentials => 1,
            BreakerKind::Rejections | BreakerKind::Health => 2,
        };
        if self.tripped.as_ref().is_none_or(|before| weight(before.kind) < weight(kind)) {
            self.tripped = Some(Tripped { kind, provider, reason });
        }
    }
}

#[cfg(test)]
mod tests;
