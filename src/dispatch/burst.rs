//! The burst breaker: a wrong key, topic or environment of ours must not empty the registry.
//!
//! Some answers ("bad device token", "sender id mismatch") mean a dead token when they are rare and a
//! mistake of ours when they come in a burst. A token is marked gone on such an answer only when the recent
//! answers for its app and provider show that most tokens are fine. Answers that cannot be our mistake (410
//! Unregistered) are believed at once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::{AppId, Outcome, Provider};

/// Answers older than this say nothing about now.
const WINDOW: Duration = Duration::from_mins(5);

/// How many answers are remembered: enough for the share below to be more than chance.
const REMEMBERED: usize = 500;

/// With fewer answers than this nothing is judged, and no doubtful token is marked.
const FEWEST: usize = 20;

/// Above this share of doubtful answers it is a burst. On an ordinary day 1 % of tokens are bad; a list that
/// was never cleaned has 20 %.
const BURST_SHARE: f64 = 0.3;

/// The recent answers of every app and provider.
#[derive(Debug, Default)]
pub(super) struct Bursts(Mutex<HashMap<(AppId, Provider), Window>>);

#[derive(Debug, Default)]
struct Window {
    answers: VecDeque<(Instant, bool)>,
    doubtful: usize,
}

impl Bursts {
    /// Takes note of an outcome, and says whether its token is to be marked gone.
    pub(super) fn believes_gone(
        &self,
        app: &AppId,
        provider: Provider,
        outcome: &Outcome,
        now: Instant,
    ) -> Option<Belief> {
        let doubtful = match outcome {
            Outcome::TokenGone { certain, .. } => !certain,
            Outcome::Accepted { .. } => false,
            _ => return None,
        };
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry((app.clone(), provider)).or_default();
        window.note(now, doubtful);
        match outcome {
            Outcome::TokenGone { .. } if !doubtful || window.is_calm() => Some(Belief::Gone),
            Outcome::TokenGone { .. } => Some(Belief::Held),
            _ => None,
        }
    }
}

/// What is made of a provider's word that a token is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// Mark it.
    Gone,
    /// Too many at once, or too little to go by: keep the token.
    Held,
}

impl Window {
    fn note(&mut self, now: Instant, doubtful: bool) {
        self.answers.push_back((now, doubtful));
        self.doubtful += usize::from(doubtful);
        while let Some(&(at, was_doubtful)) = self.answers.front() {
            if self.answers.len() <= REMEMBERED && now.duration_since(at) <= WINDOW {
                break;
            }
            self.answers.pop_front();
            self.doubtful -= usize::from(was_doubtful);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "at most 500 answers")]
    fn is_calm(&self) -> bool {
        let share = self.doubtful as f64 / self.answers.len() as f64;
        self.answers.len() >= FEWEST && share <= BURST_SHARE
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{clock::Clock, model::Reason};

    fn gone(certain: bool) -> Outcome {
        Outcome::TokenGone { since: None, reason: Reason::new("BadDeviceToken"), certain }
    }

    fn ask(bursts: &Bursts, outcome: &Outcome, now: Instant) -> Option<Belief> {
        let app = AppId::parse("pl.example.bank").expect("an app");
        bursts.believes_gone(&app, Provider::Apns, outcome, now)
    }

    #[test]
    fn a_wrong_key_does_not_empty_the_registry() {
        let (bursts, now) = (Bursts::default(), Clock::manual(Timestamp::UNIX_EPOCH, 0).monotonic());
        assert!((0..1_000).all(|_| ask(&bursts, &gone(false), now) == Some(Belief::Held)));
    }

    #[test]
    fn a_rare_bad_token_is_marked_and_a_certain_one_at_once() {
        let (bursts, now) = (Bursts::default(), Clock::manual(Timestamp::UNIX_EPOCH, 0).monotonic());
        assert_eq!(ask(&bursts, &gone(true), now), Some(Belief::Gone));
        for _ in 0..30 {
            assert_eq!(ask(&bursts, &Outcome::Accepted { provider_id: None }, now), None);
        }
        assert_eq!(ask(&bursts, &gone(false), now), Some(Belief::Gone));
    }

    #[test]
    fn what_was_long_ago_says_nothing_about_now() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH, 0);
        let bursts = Bursts::default();
        for _ in 0..30 {
            ask(&bursts, &Outcome::Accepted { provider_id: None }, clock.monotonic());
        }
        clock.advance(WINDOW + Duration::from_secs(1));
        assert_eq!(ask(&bursts, &gone(false), clock.monotonic()), Some(Belief::Held));
    }
}
