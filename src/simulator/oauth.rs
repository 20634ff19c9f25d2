//! The token endpoint of a Google service account: a signed assertion for a bearer token (RFC 7523).

#![expect(clippy::result_large_err, reason = "the error is the answer itself, made once and moved twice")]

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

use super::{dice::Dice, reply::Reply};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Either of these lets a service account send messages.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// Google accepts assertions of at most an hour.
const MAX_LIFETIME: i64 = 3600;
/// How far a sender's clock may be off, in seconds; an assumption.
const LEEWAY: i64 = 60;

/// Grants bearer tokens and knows those that it granted.
#[derive(Debug)]
pub(super) struct AccessTokens {
    key: DecodingKey,
    client_email: String,
    token_uri: String,
    lifetime: Duration,
    granted: Mutex<Granted>,
}

#[derive(Debug)]
struct Granted {
    dice: Dice,
    until: HashMap<String, Timestamp>,
}

/// The form that a client posts.
#[derive(Debug, Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    assertion: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: String,
    aud: String,
    iat: i64,
    exp: i64,
}

impl AccessTokens {
    pub(super) fn new(
        key: DecodingKey,
        client_email: String,
        token_uri: String,
        lifetime: Duration,
        seed: u64,
    ) -> Self {
        let granted = Granted { dice: Dice::for_text(seed, &token_uri), until: HashMap::new() };
        Self { key, client_email, token_uri, lifetime, granted: Mutex::new(granted) }
    }

    /// Checks an assertion; the error is the answer to it.
    pub(super) fn check(&self, request: &TokenRequest, now: Timestamp) -> Result<(), Reply> {
        let invalid = |why| Reply::oauth(400, "invalid_grant", why);
        if request.grant_type != GRANT_TYPE {
            return Err(Reply::oauth(400, "unsupported_grant_type", "Invalid grant_type"));
        }
        let mut rules = Validation::new(Algorithm::RS256);
        // Times and audience are judged below, on the simulator's clock and in Google's words.
        (rules.validate_exp, rules.validate_aud) = (false, false);
        rules.required_spec_claims.clear();
        let claims = decode::<Claims>(&request.assertion, &self.key, &rules)
            .map_err(|_| invalid("Invalid JWT Signature."))?
            .claims;
        if claims.iss != self.client_email {
            return Err(invalid("Invalid grant: account not found"));
        }
        if claims.aud != self.token_uri {
            return Err(invalid("Invalid JWT: Failed audience check."));
        }
        let now = now.as_second();
        let timely = claims.iat <= now + LEEWAY
            && claims.exp > now - LEEWAY
            && claims.exp - claims.iat <= MAX_LIFETIME;
        if !timely {
            let why = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                       reasonable timeframe. Check your iat and exp values in the JWT claim.";
            return Err(invalid(why));
        }
        if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
            return Err(Reply::oauth(400, "invalid_scope", "Invalid OAuth scope."));
        }
        Ok(())
    }

    /// A new bearer token.
    pub(super) fn grant(&self, now: Timestamp) -> Reply {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let token = format!("ya29.{}", granted.dice.text(b"abcdefghijklmnopqrstuvwxyz234567", 120));
        let lifetime = SignedDuration::try_from(self.lifetime).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        granted.until.retain(|_, until| *until > now);
        granted.until.insert(token.clone(), until);
        Reply::oauth_granted(&token, self.lifetime.as_secs())
    }

    /// Whether a header carries a bearer token that is valid now.
    pub(super) fn admits(&self, header: Option<&HeaderValue>, now: Timestamp) -> bool {
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        token.and_then(|token| granted.until.get(token)).is_some_and(|until| *until > now)
    }

    /// Forgets every bearer token, as when a service account's key is revoked.
    pub(super) fn revoke_all(&self) {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).until.clear();
    }
}
