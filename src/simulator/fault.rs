//! Faults that a test asks for by name: which requests they meet, and what happens to those.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::dice::Dice;

/// One of the three endpoints of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
    /// The token endpoint that FCM's bearer tokens come from.
    OAuth,
}

/// What a throttle covers, as FCM's `QuotaFailure` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaScope {
    /// Too many messages to one device.
    #[default]
    Device,
    /// Too many messages to one topic.
    Topic,
    /// The project's messages a minute.
    Project,
}

/// An answer in the provider's own form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultAnswer {
    /// The HTTP status.
    pub status: u16,
    /// APNs: the `reason`. FCM: the `errorCode`. OAuth: the `error`.
    pub reason: String,
    /// Seconds for a `retry-after` header.
    #[serde(default)]
    pub retry_after: Option<u32>,
    /// APNs 410: since when the token is gone, in ms since 1970; now, unless given.
    #[serde(default)]
    pub timestamp_ms: Option<i64>,
    /// FCM: answer as Google's front end does, without an `FcmError` in the details.
    #[serde(default)]
    pub without_fcm_error: bool,
    /// FCM 429: which quota.
    #[serde(default)]
    pub quota: QuotaScope,
    /// Whether the phone shows the notification all the same.
    #[serde(default)]
    pub taken: bool,
}

/// What happens instead of the ordinary answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultAction {
    /// This answer.
    Answer(FaultAnswer),
    /// `RST_STREAM` with `REFUSED_STREAM`: not looked at, may be sent again.
    RefuseStream,
    /// `RST_STREAM` with `INTERNAL_ERROR` after the request was read.
    ResetStream {
        /// Whether the phone shows the notification all the same.
        #[serde(default)]
        taken: bool,
    },
    /// The connection is dropped after the request was read, without GOAWAY.
    CloseConnection {
        /// Whether the phone shows the notification all the same.
        #[serde(default)]
        taken: bool,
    },
    /// GOAWAY, then the connection closes once what it still owes is answered.
    GoAway {
        /// `true`: every stream received so far, this one too, is answered. `false`: this one and
        /// all that were not yet looked at lie above the last stream id and are dropped.
        graceful: bool,
        /// The JSON `reason` in the debug data, as APNs sends it.
        #[serde(default)]
        reason: Option<String>,
    },
    /// No answer for as long as the connection lasts.
    Silence {
        /// Whether the phone shows the notification all the same.
        #[serde(default)]
        taken: bool,
    },
    /// The ordinary answer: for a fault that is only a delay.
    Proceed,
}

#[expect(clippy::unnecessary_wraps, reason = "serde wants the type of the field")]
fn once() -> Option<u64> {
    Some(1)
}

/// A fault and the requests that it meets. Only requests that passed every check meet one, so that a
/// fault never hides a wrong request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Meets only this provider's requests.
    #[serde(default)]
    pub provider: Option<Provider>,
    /// Meets only this device token.
    #[serde(default)]
    pub token: Option<String>,
    /// How often it strikes; `null` for without end. Once, unless given.
    #[serde(default = "once")]
    pub times: Option<u64>,
    /// Strikes each n-th request that it meets; every one, unless given.
    #[serde(default)]
    pub every: Option<u64>,
    /// Strikes this part of the devices that it meets, in millionths: the same ones each time.
    #[serde(default)]
    pub millionths: Option<u32>,
    /// Another seed strikes others.
    #[serde(default)]
    pub seed: u64,
    /// Milliseconds before anything happens, instead of the profile's latency.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// What happens.
    pub action: FaultAction,
}

impl Fault {
    /// Strikes the next correct request, whoever it is for.
    pub fn once(action: FaultAction) -> Self {
        let (provider, token, every, millionths, delay_ms) = (None, None, None, None, None);
        Self { provider, token, times: once(), every, millionths, seed: 0, delay_ms, action }
    }

    /// Strikes the next correct request with an answer.
    pub fn answer(status: u16, reason: impl Into<String>) -> Self {
        Self::once(FaultAction::Answer(FaultAnswer {
            status,
            reason: reason.into(),
            retry_after: None,
            timestamp_ms: None,
            without_fcm_error: false,
            quota: QuotaScope::Device,
            taken: false,
        }))
    }

    /// Changes the answer, if this is one.
    #[must_use]
    pub fn amended(mut self, amend: impl FnOnce(&mut FaultAnswer)) -> Self {
        if let FaultAction::Answer(answer) = &mut self.action {
            amend(answer);
        }
        self
    }

    /// Only one provider's requests.
    #[must_use]
    pub fn on(self, provider: Provider) -> Self {
        Self { provider: Some(provider), ..self }
    }

    /// Only one device's requests.
    #[must_use]
    pub fn for_token(self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self }
    }

    /// As often as given.
    #[must_use]
    pub fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Without end.
    #[must_use]
    pub fn always(self) -> Self {
        Self { times: None, ..self }
    }

    /// Only each n-th request that it meets.
    #[must_use]
    pub fn every(self, n: u64) -> Self {
        Self { every: Some(n), ..self }
    }

    /// Only so many millionths of the devices that it meets, chosen by a seed.
    #[must_use]
    pub fn for_part(self, millionths: u32, seed: u64) -> Self {
        Self { millionths: Some(millionths), seed, ..self }
    }

    /// After a delay.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay_ms: u64::try_from(delay.as_millis()).ok(), ..self }
    }
}

/// What struck a request.
#[derive(Debug)]
pub(super) struct Strike {
    pub(super) delay: Option<Duration>,
    pub(super) action: FaultAction,
}

/// The script: the first fault that meets a request and is due strikes it.
#[derive(Debug, Default)]
pub(super) struct Faults {
    // Read before the lock is taken: most requests of a measured run meet an empty script.
    any: AtomicBool,
    script: Mutex<Vec<Scripted>>,
}

#[derive(Debug)]
struct Scripted {
    fault: Fault,
    met: u64,
    struck: u64,
}

impl Faults {
    pub(super) fn push(&self, fault: Fault) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.push(Scripted { fault, met: 0, struck: 0 });
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn clear(&self) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.any.store(false, Ordering::Release);
    }

    pub(super) fn strike(&self, provider: Provider, token: &str) -> Option<Strike> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let position = script.iter_mut().position(|scripted| scripted.strikes(provider, token))?;
        let scripted = &script[position];
        let strike = Strike {
            delay: scripted.fault.delay_ms.map(Duration::from_millis),
            action: scripted.fault.action.clone(),
        };
        if scripted.fault.times.is_some_and(|times| scripted.struck >= times) {
            script.remove(position);
        }
        Some(strike)
    }
}

impl Scripted {
    fn strikes(&mut self, provider: Provider, token: &str) -> bool {
        let fault = &self.fault;
        let meets = fault.provider.is_none_or(|wanted| wanted == provider)
            && fault.token.as_deref().is_none_or(|wanted| wanted == token)
            && fault
                .millionths
                .is_none_or(|part| Dice::for_text(fault.seed, token).share() < f64::from(part) / 1_000_000.0);
        if !meets {
            return false;
        }
        self.met += 1;
        let due = fault.every.is_none_or(|n| self.met.is_multiple_of(n.max(1)));
        self.struck += u64::from(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultAction, Faults, Provider};

    fn strikes(faults: &Faults, provider: Provider, token: &str) -> bool {
        faults.strike(provider, token).is_some()
    }

    #[test]
    fn a_fault_strikes_as_often_as_it_says_and_only_whom_it_names() {
        let faults = Faults::default();
        faults.push(Fault::answer(503, "Shutdown").on(Provider::Apns).for_token("a").times(2));
        assert!(!strikes(&faults, Provider::Fcm, "a"));
        assert!(!strikes(&faults, Provider::Apns, "b"));
        let struck = (0..4).map(|_| strikes(&faults, Provider::Apns, "a"));
        assert_eq!(struck.collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn every_third_is_every_third() {
        let faults = Faults::default();
        faults.push(Fault::once(FaultAction::RefuseStream).always().every(3));
        let struck: Vec<_> = (0..7).map(|_| strikes(&faults, Provider::Fcm, "a")).collect();
        assert_eq!(struck, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn faults_are_read_from_json_and_a_typo_is_refused() {
        let fault: Fault = serde_json::from_str(
            r#"{"provider":"apns","action":{"kind":"answer","status":410,"reason":"Unregistered"}}"#,
        )
        .expect("a fault");
        assert_eq!(fault, Fault::answer(410, "Unregistered").on(Provider::Apns));
        let typo = r#"{"tokem":"a","action":{"kind":"refuse_stream"}}"#;
        assert!(serde_json::from_str::<Fault>(typo).is_err());
    }
}
