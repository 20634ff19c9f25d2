//! Whether an app's sender may send at all: refused credentials stop it, a throttle pauses it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    model::{NotSent, Outcome, Reason, ThrottleScope},
};

/// A stopped sender tries one notification this often, so that mended credentials need no restart.
const PROBE_EVERY: Duration = Duration::from_mins(1);
/// Google: after a 429 without Retry-After wait 60 s.
/// <https://firebase.google.com/docs/cloud-messaging/scale-fcm#handling-retries>
const DEFAULT_PAUSE: Duration = Duration::from_mins(1);
/// So many `Forbidden` in a row are not the messages' fault.
const FORBIDDEN_IN_A_ROW: u32 = 3;

/// The state of one app's sender to one provider.
#[derive(Debug)]
pub(super) struct Gate {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stopped: Option<Stopped>,
    paused_until: Option<Instant>,
    forbidden: u32,
}

#[derive(Debug)]
struct Stopped {
    probe_at: Instant,
    /// One notification is on its way to find out whether the credentials have been mended.
    probing: bool,
}

/// Leave to try one send. A probe that ends without an answer lets another one go.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    probe: bool,
}

impl Gate {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Asked before every send.
    pub(super) fn pass(&self) -> Result<Pass<'_>, NotSent> {
        let mut state = self.state();
        if state.stopped.is_none() && state.paused_until.is_none() {
            return Ok(Pass { gate: self, probe: false });
        }
        let now = self.clock.monotonic();
        let mut probe = false;
        if let Some(stopped) = &mut state.stopped {
            if stopped.probing || now < stopped.probe_at {
                return Err(NotSent::CredentialsStopped);
            }
            stopped.probing = true;
            stopped.probe_at = now + PROBE_EVERY;
            probe = true;
        }
        match state.paused_until {
            Some(until) if now < until && !probe => return Err(NotSent::Throttled),
            Some(until) if now >= until => state.paused_until = None,
            _ => {}
        }
        Ok(Pass { gate: self, probe })
    }

    /// Learns from what came of a send. True if the sender stops now and did not stand still before.
    pub(super) fn learn(&self, outcome: &Outcome) -> bool {
        match outcome {
            Outcome::CredentialStop { .. } => {
                let mut state = self.state();
                let probe_at = self.clock.monotonic() + PROBE_EVERY;
                state.stopped.replace(Stopped { probe_at, probing: false }).is_none()
            }
            Outcome::Throttled {
                scope: ThrottleScope::Topic | ThrottleScope::Project, retry_after, ..
            } => {
                let until = self.clock.monotonic() + retry_after.unwrap_or(DEFAULT_PAUSE);
                let mut state = self.state();
                state.paused_until = state.paused_until.max(Some(until));
                false
            }
            _ => false,
        }
    }

    /// The provider looked past the credentials: they are good.
    pub(super) fn proven(&self) {
        let mut state = self.state();
        state.forbidden = 0;
        state.stopped = None;
    }

    /// The provider said `Forbidden` once more: what that is worth.
    pub(super) fn forbidden(&self, once: Outcome, reason: Reason) -> Outcome {
        let mut state = self.state();
        state.forbidden = state.forbidden.saturating_add(1);
        if state.forbidden >= FORBIDDEN_IN_A_ROW { Outcome::CredentialStop { reason } } else { once }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(stopped) = &mut self.gate.state().stopped
        {
            stopped.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> (Gate, Clock) {
        let clock = Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1);
        (Gate::new(clock.clone()), clock)
    }

    fn stop() -> Outcome {
        Outcome::CredentialStop { reason: Reason::new("InvalidProviderToken") }
    }

    #[test]
    fn refused_credentials_stop_the_sender_and_one_probe_a_minute_finds_them_mended() {
        let (gate, clock) = gate();
        assert!(gate.learn(&stop()));
        assert!(!gate.learn(&stop()), "it is told once");
        assert_eq!(gate.pass().err(), Some(NotSent::CredentialsStopped));
        clock.advance(PROBE_EVERY);
        let probe = gate.pass().expect("a probe");
        assert_eq!(gate.pass().err(), Some(NotSent::CredentialsStopped), "one at a time");
        drop(probe);
        assert_eq!(gate.pass().err(), Some(NotSent::CredentialsStopped), "and one a minute");
        clock.advance(PROBE_EVERY);
        let probe = gate.pass().expect("the next probe");
        gate.proven();
        drop(probe);
        assert!(gate.pass().is_ok() && gate.pass().is_ok());
    }

    #[test]
    fn a_throttle_of_all_pauses_the_sender_and_one_of_a_device_does_not() {
        let (gate, clock) = gate();
        let throttled = |scope, seconds| Outcome::Throttled {
            scope,
            retry_after: Some(Duration::from_secs(seconds)),
            reason: Reason::new("QUOTA_EXCEEDED"),
        };
        gate.learn(&throttled(ThrottleScope::Device, 50));
        assert!(gate.pass().is_ok());
        gate.learn(&throttled(ThrottleScope::Project, 30));
        gate.learn(&throttled(ThrottleScope::Topic, 10));
        clock.advance(Duration::from_secs(29));
        assert_eq!(gate.pass().err(), Some(NotSent::Throttled));
        clock.advance(Duration::from_secs(1));
        assert!(gate.pass().is_ok());
    }

    #[test]
    fn forbidden_counts_only_in_a_row() {
        let (gate, _) = gate();
        let reason = || Reason::new("Forbidden");
        let once = || Outcome::Rejected { reason: reason() };
        assert_eq!(gate.forbidden(once(), reason()), once());
        assert_eq!(gate.forbidden(once(), reason()), once());
        gate.proven();
        assert_eq!(gate.forbidden(once(), reason()), once());
        assert_eq!(gate.forbidden(once(), reason()), once());
        assert_eq!(gate.forbidden(once(), reason()), Outcome::CredentialStop { reason: reason() });
    }
}
