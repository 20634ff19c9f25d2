//! Apple's provider token: an ES256 JWT, one per key for all connections of the process.
//!
//! Source: Establishing a token-based connection to APNs.
//! <https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns>

use std::{
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderValue;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;

use super::CredentialError;
use crate::clock::Clock;

/// Apple refuses tokens older than an hour; a refresh at 40 minutes leaves room for a slow clock.
const REFRESH_AGE: Duration = Duration::from_mins(40);
/// Apple answers `TooManyProviderTokenUpdates` to tokens that are renewed sooner.
const MIN_AGE: Duration = Duration::from_mins(20);
/// Apple's limit.
const MAX_AGE: Duration = Duration::from_hours(1);

const REMEDY: &str = "expected the .p8 file that Apple issued: an EC P-256 private key in PKCS#8 PEM";

/// One key, and the token that is signed with it at the moment.
pub(in crate::deliver) struct ProviderToken {
    key: EncodingKey,
    header: Header,
    team: String,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    signed: Option<Signed>,
    /// Apple complained: no new token before this.
    hold_until: Option<Instant>,
}

struct Signed {
    authorization: HeaderValue,
    at: Instant,
    issued: Timestamp,
}

/// What came of a token that Apple called expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Renewal {
    /// There is a newer one: send again.
    Renewed,
    /// Ours is fresh. A token that is fresh and yet expired means that a clock is wrong.
    WasFresh,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

/// The key cannot sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the provider token cannot be signed")]
pub(in crate::deliver) struct CannotSign;

impl ProviderToken {
    /// Reads and checks the key. Signs once, so that a wrong kind of key is found now.
    pub(in crate::deliver) fn load(
        key_file: &Path,
        key_id: &str,
        team: &str,
        clock: Clock,
    ) -> Result<Self, CredentialError> {
        let bytes = std::fs::read(key_file)
            .map_err(|error| CredentialError::Unreadable { path: key_file.to_owned(), error })?;
        let pem: SecretSlice<u8> = SecretSlice::from(bytes);
        let unusable =
            |problem| CredentialError::Unusable { path: key_file.to_owned(), problem, remedy: REMEDY };
        let key = EncodingKey::from_ec_pem(pem.expose_secret())
            .map_err(|_| unusable("it holds no EC private key in PEM"))?;
        let mut header = Header::new(Algorithm::ES256);
        // Apple asks for `alg` and `kid`, nothing else.
        header.typ = None;
        header.kid = Some(key_id.to_owned());
        let state = Mutex::new(State { signed: None, hold_until: None });
        let token = Self { key, header, team: team.to_owned(), clock, state };
        token.authorization().map_err(|CannotSign| unusable("it cannot sign ES256"))?;
        Ok(token)
    }

    /// The value of the `authorization` header, at most 40 minutes old.
    pub(in crate::deliver) fn authorization(&self) -> Result<HeaderValue, CannotSign> {
        let mut state = self.state();
        let now = self.clock.monotonic();
        let due = state.signed.as_ref().is_none_or(|signed| now.duration_since(signed.at) >= REFRESH_AGE);
        if due && state.may_sign(now) {
            self.sign(&mut state)?;
        }
        state.signed.as_ref().map(|signed| signed.authorization.clone()).ok_or(CannotSign)
    }

    /// Apple called the token `used` expired. The lock makes this single-flight: of many who come with the same
    /// token, the first one renews it.
    pub(in crate::deliver) fn expired(&self, used: &HeaderValue) -> Result<Renewal, CannotSign> {
        let mut state = self.state();
        let now = self.clock.monotonic();
        let Some(signed) = &state.signed else {
            return self.sign(&mut state).map(|()| Renewal::Renewed);
        };
        if signed.authorization != used {
            return Ok(Renewal::Renewed);
        }
        if now.duration_since(signed.at) <= MIN_AGE || !state.may_sign(now) {
            return Ok(Renewal::WasFresh);
        }
        self.sign(&mut state).map(|()| Renewal::Renewed)
    }

    /// Apple has seen too many new tokens: keeps this one for 20 minutes.
    pub(in crate::deliver) fn keep(&self) {
        self.state().hold_until = Some(self.clock.monotonic() + MIN_AGE);
    }

    /// When the current token stops being valid.
    pub(in crate::deliver) fn expires_at(&self) -> Option<Timestamp> {
        self.state().signed.as_ref().map(|signed| signed.issued + MAX_AGE)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign(&self, state: &mut State) -> Result<(), CannotSign> {
        let (at, issued) = (self.clock.monotonic(), self.clock.now());
        let claims = Claims { iss: &self.team, iat: issued.as_second() };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|_| CannotSign)?;
        let mut authorization = HeaderValue::try_from(format!("bearer {token}")).map_err(|_| CannotSign)?;
        authorization.set_sensitive(true);
        state.signed = Some(Signed { authorization, at, issued });
        Ok(())
    }
}

impl State {
    fn may_sign(&self, now: Instant) -> bool {
        self.signed.is_none() || self.hold_until.is_none_or(|until| now >= until)
    }
}

impl fmt::Debug for ProviderToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderToken").field("team", &self.team).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
