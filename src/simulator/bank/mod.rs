//! The bank's afternoon: people whose phones ring, and the login that they all want to use.
//!
//! A model in steps of a tenth of a second, without a clock and without a wire: whoever uses it says how much time has passed
//! and how many phones rang. With the same seed it does the same, whatever the platform: what is drawn is a number of ticks
//! or of people.
//!
//! - `people`: a phone that rings is opened with a probability, after a delay whose logarithm is normal, as
//!   [`crate::audience::Opens`] assumes of an app (8 %, half of them within 90 s). Others come anyway, independently of each
//!   other (Poisson), fewer towards the evening. Who is not let in tries again after 5 to 15 s, five times in all.
//! - `backend`: a queue, a speed, a time-out.
//! - [`Terms`] has every number with its reason; nothing else is put in.
//! - `live` is fed by a running simulator, and is watched over HTTP.
//! - [`afternoon`] sends the same campaign three times; [`plot`] draws it.
//!
//! What hangs on what, with a million phones: that the login collapses hangs on the peak of the openers (300,000 phones are
//! over before the queue is long). How long it stays so hangs on those who come anyway: as long as their tries, five times the
//! ordinary demand, are more than the capacity. With three tries, or half of the ordinary demand, it recovers soon after
//! its openers have left; with a queue that is worked off within the time-out it never works in vain. That feedback is sooner
//! than a cap hangs on the hour: the cap leaves room for the busiest one, and in that one there is nothing to gain.

pub mod afternoon;
mod backend;
pub(super) mod live;
mod people;
pub mod plot;
mod terms;

use std::{collections::VecDeque, time::Duration};

pub use live::LoginNow;
pub use terms::{Campaign, Terms};

use self::{
    backend::{Backend, Ended},
    people::{People, count},
    terms::{TICK, TICKS, ticks},
};

/// Over how long demand is measured: what a Prometheus server that asks every 15 s can tell apart.
pub const WINDOW: Duration = Duration::from_secs(15);

/// A bank, as time passes.
#[derive(Debug, Clone)]
pub struct Bank {
    terms: Terms,
    people: People,
    backend: Backend,
    /// Ticks since the beginning.
    now: u64,
    /// What has passed since the last tick.
    rest: Duration,
    /// Attempts in each tick of the last [`WINDOW`], and their sum.
    recent: VecDeque<u32>,
    recent_sum: u32,
    seen: Seen,
}

/// What has happened since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Attempts to log in, also the repeated ones.
    pub attempts: u64,
    /// Attempts that were let in while somebody waited for it.
    pub let_in: u64,
    /// Of these, later than was promised.
    pub late: u64,
    /// Attempts that were turned away, or that the app gave up on.
    pub failed: u64,
    /// People who left after their last try.
    pub gave_up: u64,
}

impl Bank {
    /// An ordinary afternoon begins; no phone has rung.
    pub fn new(terms: Terms, seed: u64) -> Self {
        Self {
            people: People::new(terms, seed),
            backend: Backend::new(terms),
            terms,
            now: 0,
            rest: Duration::ZERO,
            recent: VecDeque::new(),
            recent_sum: 0,
            seen: Seen::default(),
        }
    }

    /// Lets time pass, at whose beginning so many phones rang. What is less than a tick is kept for the next time.
    pub fn step(&mut self, elapsed: Duration, rang: u64) {
        self.people.hear(self.now, rang);
        self.rest += elapsed;
        while self.rest >= TICK {
            self.rest -= TICK;
            self.tick();
        }
    }

    fn tick(&mut self) {
        let attempts = self.people.come(self.now);
        let Ended { let_in, late, failed } = self.backend.tick(self.now, &attempts);
        self.people.fail(self.now, &failed);
        self.now += 1;
        let came = count(&attempts);
        self.seen.attempts += u64::from(came);
        self.seen.let_in += u64::from(let_in);
        self.seen.late += u64::from(late);
        self.seen.failed += u64::from(count(&failed));
        self.seen.gave_up = self.people.gave_up;
        self.recent.push_back(came);
        self.recent_sum += came;
        if u64::try_from(self.recent.len()).is_ok_and(|ticks_kept| ticks_kept > ticks(WINDOW)) {
            self.recent_sum -= self.recent.pop_front().unwrap_or(0);
        }
    }

    /// Attempts to log in a second, over the last [`WINDOW`].
    pub fn demand(&self) -> f64 {
        let ticks_kept = u32::try_from(self.recent.len()).unwrap_or(u32::MAX).max(1);
        f64::from(self.recent_sum) * f64::from(TICKS) / f64::from(ticks_kept)
    }

    /// Demand as a share of what the backend can do; more than 1 while the queue grows.
    pub fn utilisation(&self) -> f64 {
        self.demand() / f64::from(self.terms.capacity)
    }

    /// What the backend's owners would say is left: the declared capacity less the demand, in logins a second. This is what
    /// a campaign's pace can follow.
    pub fn headroom(&self) -> f64 {
        f64::from(self.terms.declared) - self.demand()
    }

    /// What has happened so far.
    pub const fn seen(&self) -> Seen {
        self.seen
    }
}

#[cfg(test)]
mod tests;
