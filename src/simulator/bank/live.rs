//! A bank as time really passes: the phones of this simulator ring, and its login feels it. Others watch it over HTTP, as
//! they watch their own.

use std::{
    fmt::Write as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Bank, Terms, WINDOW};

/// How often the phones that rang are counted: what falls into it rings at its beginning.
pub const EVERY: Duration = Duration::from_millis(100);

/// What is seen of the login now.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoginNow {
    /// Logins a second that it can work through.
    pub capacity: u32,
    /// Logins a second that its owners name to others.
    pub declared: u32,
    /// Attempts a second, over the last quarter of a minute.
    pub demand: f64,
    /// Demand as a share of the capacity.
    pub utilisation: f64,
    /// The highest share so far, over a whole quarter of a minute: of less, chance would be the highest.
    pub peak_utilisation: f64,
    /// The declared capacity less the demand.
    pub headroom: f64,
    /// Attempts so far.
    pub attempts: u64,
    /// Let in while somebody waited for it.
    pub let_in: u64,
    /// Of these, later than was promised.
    pub late: u64,
    /// Turned away, or given up by the app.
    pub failed: u64,
}

impl LoginNow {
    /// For Prometheus.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        let gauges = [
            ("login_capacity", f64::from(self.capacity)),
            ("login_declared_capacity", f64::from(self.declared)),
            ("login_demand", self.demand),
            ("login_headroom", self.headroom),
        ];
        for (name, value) in gauges {
            writeln!(text, "# TYPE {name} gauge\n{name} {value}").expect("a string takes all");
        }
        writeln!(text, "# TYPE login_attempts counter").expect("a string takes all");
        let (late, failed) = (self.late, self.failed);
        for (outcome, count) in [("let_in", self.let_in - late), ("late", late), ("failed", failed)] {
            writeln!(text, "login_attempts_total{{outcome=\"{outcome}\"}} {count}")
                .expect("a string takes all");
        }
        text
    }
}

/// The bank of a running simulator.
#[derive(Debug)]
pub struct Live {
    terms: Terms,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bank: Bank,
    began: Instant,
    at: Instant,
    rung: u64,
    peak: f64,
}

impl Live {
    /// A bank of which nobody was rung so far; with the same seed the same people come anyway.
    pub fn new(terms: Terms, seed: u64, now: Instant) -> Self {
        let state = State { bank: Bank::new(terms, seed), began: now, at: now, rung: 0, peak: 0.0 };
        Self { terms, state: Mutex::new(state) }
    }

    /// It is `now`, and so many phones have rung so far.
    pub fn goes_on(&self, now: Instant, rung: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (elapsed, more) = (now.saturating_duration_since(state.at), rung.saturating_sub(state.rung));
        (state.at, state.rung) = (now, rung);
        state.bank.step(elapsed, more);
        if now.saturating_duration_since(state.began) >= WINDOW {
            state.peak = state.peak.max(state.bank.utilisation());
        }
    }

    /// What is seen of it now.
    pub fn now(&self) -> LoginNow {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = state.bank.seen();
        LoginNow {
            capacity: self.terms.capacity,
            declared: self.terms.declared,
            demand: state.bank.demand(),
            utilisation: state.bank.utilisation(),
            peak_utilisation: state.peak,
            headroom: state.bank.headroom(),
            attempts: seen.attempts,
            let_in: seen.let_in,
            late: seen.late,
            failed: seen.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn those_who_are_rung_are_felt_and_what_is_shown_adds_up() {
        let began = Clock::system().monotonic();
        let live = Live::new(Terms::default(), 1, began);
        let mut rung = 0;
        for second in 1..=180 {
            rung += 4_000;
            live.goes_on(began + Duration::from_secs(second), rung);
        }
        let now = live.now();
        // 4,000 a second of whom 8 % open it: more than the 200 that it can do.
        assert!(now.utilisation > 1.0 && now.peak_utilisation >= now.utilisation, "{now:?}");
        assert!((now.headroom - (f64::from(now.declared) - now.demand)).abs() < 1e-9, "{now:?}");
        assert!(now.failed > 0 && now.let_in + now.failed <= now.attempts, "{now:?}");
        let told = now.exposition();
        assert!(
            told.contains(&format!("login_attempts_total{{outcome=\"failed\"}} {}", now.failed)),
            "{told}"
        );
        assert!(told.contains("\nlogin_capacity 200\n"), "{told}");
    }

    #[test]
    fn the_first_few_logins_are_no_peak() {
        let began = Clock::system().monotonic();
        let live = Live::new(Terms::default(), 1, began);
        for tick in 1..=400 {
            live.goes_on(began + EVERY * tick, 0);
        }
        // 60 of 200 a second come anyway, in the mean.
        let peak = live.now().peak_utilisation;
        assert!((0.25..0.35).contains(&peak), "{peak}");
    }
}
