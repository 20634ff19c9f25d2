//! APNs provider tokens: ES256 JWTs of at most an hour.

#![expect(clippy::result_large_err, reason = "the error is the answer itself, made once and moved twice")]

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::reply::Reply;

/// Apple refuses tokens that are older than an hour.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(60);
/// Apple does not say how far ahead a sender's clock may be; this is an assumption.
const MAX_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// Enough for every sender of a test; more can only be an attempt to fill the memory.
const MAX_KNOWN: usize = 1024;

/// Checks provider tokens; each is verified once, since a signature costs more than a request.
#[derive(Debug)]
pub(super) struct ProviderTokens {
    key: DecodingKey,
    key_id: String,
    team: String,
    min_interval: Option<Duration>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each valid token was issued.
    issued: HashMap<HeaderValue, Timestamp>,
    last_new: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

impl ProviderTokens {
    pub(super) fn new(
        key: DecodingKey,
        key_id: String,
        team: String,
        min_interval: Option<Duration>,
    ) -> Self {
        Self { key, key_id, team, min_interval, known: Mutex::default() }
    }

    /// Passes a token that is valid now.
    pub(super) fn check(&self, header: Option<&HeaderValue>, now: Timestamp) -> Result<(), Reply> {
        let header = header.ok_or_else(|| Reply::apns(403, "MissingProviderToken"))?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let issued = if let Some(issued) = known.issued.get(header) {
            *issued
        } else {
            let invalid = || Reply::apns(403, "InvalidProviderToken");
            let issued = self.verify(header).ok_or_else(invalid)?;
            self.admit(&mut known, now)?;
            known.issued.insert(header.clone(), issued);
            issued
        };
        let age = now.duration_since(issued);
        if age > MAX_AGE {
            return Err(Reply::apns(403, "ExpiredProviderToken"));
        }
        if age < -MAX_AHEAD {
            return Err(Reply::apns(403, "InvalidProviderToken"));
        }
        Ok(())
    }

    /// When a correctly signed token was issued.
    fn verify(&self, header: &HeaderValue) -> Option<Timestamp> {
        let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut rules = Validation::new(Algorithm::ES256);
        // Apple's tokens have no `exp`; their age is judged on the simulator's clock.
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        let kid = decode_header(token).ok()?.kid?;
        let claims = decode::<Claims>(token, &self.key, &rules).ok()?.claims;
        let ours = kid == self.key_id && claims.iss == self.team;
        Timestamp::from_second(claims.iat).ok().filter(|_| ours)
    }

    /// Refuses a new token that follows the one before too soon.
    fn admit(&self, known: &mut Known, now: Timestamp) -> Result<(), Reply> {
        let interval = self.min_interval.and_then(|wait| SignedDuration::try_from(wait).ok());
        if let (Some(interval), Some(last)) = (interval, known.last_new)
            && now.duration_since(last) < interval
        {
            return Err(Reply::apns(429, "TooManyProviderTokenUpdates"));
        }
        if known.issued.len() >= MAX_KNOWN {
            known.issued.clear();
        }
        known.last_new = Some(now);
        Ok(())
    }
}
