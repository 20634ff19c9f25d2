//! Downstream guards: what the numbers of our own systems say of a rollout. Pure: readings are noted one after the other, and
//! judged at any moment.
//!
//! - **I3 unknown-is-no**: a number that is not there, is none, or is too old, is never fine.
//! - A number that was beyond a bound counts as beyond it until one is read that is not: not knowing mends nothing. So a
//!   guard whose source fails halfway through a breach goes on counting when the source is back.
//! - What was seen ([`Watched`]) is a value: whoever coordinates next goes on where the last one stood.
//!
//! All instants are of one clock, the ledger's: coordinators' own may differ.

mod frozen;
mod lag;
mod number;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use frozen::FrozenDownstream;
pub use lag::{Lag, Looks};
pub use number::Number;

use crate::audience::WhenBlind;

/// One look at a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it was asked for.
    pub at: Timestamp,
    /// What was answered. `None`: nothing that is a number. What is not finite counts as that.
    pub value: Option<f64>,
}

/// What was seen of one guard's number. Kept in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The last number, and when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<(Timestamp, Number)>,
    /// Since when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blind_since: Option<Timestamp>,
    /// Since when it is beyond the bound at which a rollout waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pauses_since: Option<Timestamp>,
    /// Since when it is beyond the bound at which a rollout ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    halts_since: Option<Timestamp>,
}

/// What a guard says of its rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judgement {
    /// The number was read just now, and is within every bound.
    Fine {
        /// The number.
        value: Number,
    },
    /// It is beyond a bound, and not for long enough yet. Nothing is to be widened.
    Waiting {
        /// Whether that will end the rollout, or let it wait.
        halts: bool,
        /// Since when.
        since: Timestamp,
        /// The number.
        value: Number,
    },
    /// It was beyond a bound for long enough.
    Breached {
        /// Whether that ends the rollout, or lets it wait.
        halts: bool,
        /// Since when.
        since: Timestamp,
        /// The last number.
        value: Number,
    },
    /// There is no number.
    Blind {
        /// Whether that ends the rollout, or lets it wait.
        halts: bool,
        /// Since when.
        since: Timestamp,
    },
}

impl Watched {
    /// A number that is watched from this moment on, and has not been read.
    #[must_use]
    pub const fn from(at: Timestamp) -> Self {
        Self { last: None, blind_since: Some(at), pauses_since: None, halts_since: None }
    }

    /// Takes note of a reading.
    pub fn note(&mut self, guard: &FrozenDownstream, reading: Reading) {
        let Reading { at, value } = reading;
        let Some(value) = value.and_then(Number::new) else {
            self.blind_since = Some(earlier(self.blind_since, at));
            return;
        };
        self.blind_since = None;
        self.last = Some((at, value));
        let since = |bound: Option<Number>, since| {
            let is_beyond = bound.is_some_and(|bound| guard.beyond.is_breached(bound.get(), value.get()));
            is_beyond.then(|| earlier(since, at))
        };
        self.pauses_since = since(guard.pause, self.pauses_since);
        self.halts_since = since(guard.halt, self.halts_since);
    }

    /// What that comes to at `now`, if a number older than `stale_after` is as good as none. The gravest is answered: what
    /// ends the rollout before what lets it wait, and what was seen before what was not.
    #[must_use]
    pub fn judge(&self, guard: &FrozenDownstream, now: Timestamp, stale_after: Duration) -> Judgement {
        let blind = |since| Judgement::Blind { halts: guard.no_data == WhenBlind::Halt, since };
        let blind_since = self.blind_since(now, stale_after);
        // Without a number it is blind since it is watched.
        let Some((at, value)) = self.last else { return blind(blind_since.unwrap_or(now)) };
        let beyond = [(true, self.halts_since), (false, self.pauses_since)];
        let mut beyond = beyond.into_iter().filter_map(|(halts, since)| Some((halts, since?)));
        let lasted = |(_, since): &(bool, Timestamp)| at.duration_since(*since) >= guard.hold();
        match (beyond.clone().find(lasted), blind_since.map(blind)) {
            (Some((halts, since)), blind) => match blind {
                Some(blind) if blind.halts() && !halts => blind,
                _ => Judgement::Breached { halts, since, value },
            },
            (None, Some(blind)) => blind,
            (None, None) => beyond.next().map_or(Judgement::Fine { value }, |(halts, since)| {
                Judgement::Waiting { halts, since, value }
            }),
        }
    }

    /// The last number, and when it was read.
    #[must_use]
    pub const fn last(&self) -> Option<(Timestamp, Number)> {
        self.last
    }

    /// Since when it is beyond a bound, as far as is known: the one at which the rollout ends, else the one at which it waits.
    #[must_use]
    pub fn beyond_since(&self) -> Option<Timestamp> {
        self.halts_since.or(self.pauses_since)
    }

    /// Since when nothing is known. A number of the future is no better than one that is too old: the clock was set, and
    /// nobody knows how old it is.
    #[must_use]
    pub fn blind_since(&self, now: Timestamp, stale_after: Duration) -> Option<Timestamp> {
        self.blind_since.or_else(|| {
            let (at, _) = self.last?;
            let age = now.duration_since(at);
            let stale_after = SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::MAX);
            (age.is_negative() || age > stale_after).then(|| at.min(now))
        })
    }
}

/// Since when something holds that holds at `at`. Behind a clock that was set back it is counted anew: nothing began in the
/// future.
fn earlier(since: Option<Timestamp>, at: Timestamp) -> Timestamp {
    since.map_or(at, |since| since.min(at))
}

impl Judgement {
    /// True if the rollout is to end.
    #[must_use]
    pub const fn halts(&self) -> bool {
        matches!(self, Self::Breached { halts: true, .. } | Self::Blind { halts: true, .. })
    }

    /// True if the rollout is to wait.
    #[must_use]
    pub const fn pauses(&self) -> bool {
        matches!(self, Self::Breached { halts: false, .. } | Self::Blind { halts: false, .. })
    }

    /// True if the rollout may widen.
    #[must_use]
    pub const fn is_fine(&self) -> bool {
        matches!(self, Self::Fine { .. })
    }

    /// As operators see it, beside the state.
    #[must_use]
    pub const fn of<'a>(&'a self, guard: &'a FrozenDownstream) -> Words<'a> {
        Words { guard, judgement: self }
    }
}

/// A guard's judgement, in words.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    guard: &'a FrozenDownstream,
    judgement: &'a Judgement,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guard, judgement } = self;
        let name = &guard.name;
        let bound = |halts| if halts { guard.halt } else { guard.pause };
        let beyond = |f: &mut fmt::Formatter<'_>, halts, value, since| {
            write!(f, "{name} is {value}")?;
            if let Some(bound) = bound(halts) {
                write!(f, ", {} {bound}", guard.beyond)?;
            }
            write!(f, ", since {since:.0}")
        };
        match judgement {
            Judgement::Fine { value } => write!(f, "{name} is {value}"),
            Judgement::Waiting { halts, since, value } => {
                beyond(f, *halts, value, since)?;
                write!(f, "; it must not be so for {} s", guard.hold().as_secs())
            }
            Judgement::Breached { halts, since, value } => beyond(f, *halts, value, since),
            Judgement::Blind { since, .. } => write!(f, "{name} cannot be read, since {since:.0}"),
        }
    }
}
