//! Google's access token: a service account's assertion, exchanged at its `token_uri` for a bearer token.
//!
//! Source: Using OAuth 2.0 for server to server applications; RFC 7523.
//! <https://developers.google.com/identity/protocols/oauth2/service-account#httprest>

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::CredentialError;
use crate::{clock::Clock, deliver::tls::exchange_tls, model::Reason};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest validity of an assertion that Google accepts.
const ASSERTION_SECONDS: i64 = 3_600;
/// Refreshed this long before it expires, in the background, so that no send waits for it.
const REFRESH_AHEAD: Duration = Duration::from_mins(5);
/// How long the token endpoint is waited for.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(15);
/// After an exchange that failed nobody asks again at once: a thousand sends would ask a thousand times.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

const REMEDY: &str = "expected the JSON key file of a Google service account";

/// A service account, and the bearer token that it has at the moment.
pub(in crate::deliver) struct AccessToken {
    account: Account,
    key: EncodingKey,
    client: reqwest::Client,
    clock: Clock,
    current: Mutex<Option<Bearer>>,
    /// One exchange at a time; remembers the last failure.
    exchange: tokio::sync::Mutex<Option<(Instant, NoAccess)>>,
    refreshing: AtomicBool,
}

#[derive(Deserialize)]
struct Account {
    client_email: String,
    #[serde(deserialize_with = "secret")]
    private_key: SecretString,
    #[serde(default)]
    private_key_id: Option<String>,
    token_uri: String,
}

#[derive(Clone)]
struct Bearer {
    authorization: HeaderValue,
    /// From here on it is renewed in the background.
    renew_at: Instant,
    until: Instant,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(deserialize_with = "secret")]
    access_token: SecretString,
    expires_in: u64,
}

#[derive(Deserialize)]
struct Denied {
    error: String,
}

/// There is no bearer token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::deliver) enum NoAccess {
    /// The token endpoint refuses this account.
    #[error("the token endpoint refuses the service account: {0}")]
    Refused(Reason),
    /// The token endpoint cannot be reached or is unwell.
    #[error("the token endpoint does not answer: {0}")]
    Unavailable(Reason),
}

impl AccessToken {
    /// Reads and checks the account; nothing is sent yet.
    pub(in crate::deliver) fn load(
        file: &Path,
        ca_file: Option<&Path>,
        clock: Clock,
    ) -> Result<Self, CredentialError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CredentialError::Unreadable { path: file.to_owned(), error })?;
        let text = SecretString::from(text);
        let unusable = |problem| CredentialError::Unusable { path: file.to_owned(), problem, remedy: REMEDY };
        let account: Account = serde_json::from_str(text.expose_secret())
            .map_err(|_| unusable("it is no JSON with client_email, private_key and token_uri as strings"))?;
        if !account.token_uri.starts_with("https://") {
            return Err(unusable("its token_uri does not begin with https://"));
        }
        let key = EncodingKey::from_rsa_pem(account.private_key.expose_secret().as_bytes())
            .map_err(|_| unusable("its private_key is no RSA key in PEM"))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(exchange_tls(ca_file)?)
            .https_only(true)
            .no_proxy()
            .timeout(EXCHANGE_TIMEOUT)
            .build()
            .map_err(|_| CredentialError::Client)?;
        let token = Self {
            account,
            key,
            client,
            clock,
            current: Mutex::new(None),
            exchange: tokio::sync::Mutex::new(None),
            refreshing: AtomicBool::new(false),
        };
        token.assertion().map_err(|_| unusable("its private_key cannot sign RS256"))?;
        Ok(token)
    }

    /// The value of the `authorization` header. It is renewed in the background shortly before it expires; only
    /// the first send waits for it.
    pub(in crate::deliver) async fn authorization(self: &Arc<Self>) -> Result<HeaderValue, NoAccess> {
        let now = self.clock.monotonic();
        if let Some(bearer) = self.valid(now) {
            if now >= bearer.renew_at && !self.refreshing.swap(true, Ordering::AcqRel) {
                let (token, used) = (Arc::clone(self), bearer.authorization.clone());
                tokio::spawn(async move {
                    // A failure is told when the token has expired; until then there is time to mend it.
                    if let Err(error) = token.renew(Some(&used)).await {
                        tracing::warn!(%error, "the access token could not be refreshed ahead of time");
                    }
                    token.refreshing.store(false, Ordering::Release);
                });
            }
            return Ok(bearer.authorization);
        }
        // Boxed: rare, and large. Every send's future would carry the room for it.
        Box::pin(self.renew(None)).await
    }

    /// Google refused the token `used`: gets another one, unless somebody has done so already.
    pub(in crate::deliver) async fn refused(&self, used: &HeaderValue) -> Result<HeaderValue, NoAccess> {
        Box::pin(self.renew(Some(used))).await
    }

    /// When the current token stops being valid.
    pub(in crate::deliver) fn expires_at(&self) -> Option<Timestamp> {
        self.current().as_ref().map(|bearer| bearer.expires_at)
    }

    /// A valid token that is not `unlike`; by exchange if need be, one at a time.
    async fn renew(&self, unlike: Option<&HeaderValue>) -> Result<HeaderValue, NoAccess> {
        let mut last_failure = self.exchange.lock().await;
        let now = self.clock.monotonic();
        if let Some(bearer) = self.valid(now)
            && unlike != Some(&bearer.authorization)
        {
            return Ok(bearer.authorization);
        }
        if let Some((at, error)) = &*last_failure
            && now.saturating_duration_since(*at) < FAILURE_PAUSE
        {
            return Err(error.clone());
        }
        match self.ask().await {
            Ok(bearer) => {
                let authorization = bearer.authorization.clone();
                *self.current() = Some(bearer);
                *last_failure = None;
                Ok(authorization)
            }
            Err(error) => {
                *last_failure = Some((self.clock.monotonic(), error.clone()));
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<Bearer, NoAccess> {
        let unavailable = |word: &str| NoAccess::Unavailable(Reason::new(word));
        let assertion =
            self.assertion().map_err(|_| NoAccess::Refused(Reason::new("assertion_not_signed")))?;
        let asked = (self.clock.monotonic(), self.clock.now());
        let response = self
            .client
            .post(&self.account.token_uri)
            .form(&[("grant_type", GRANT), ("assertion", assertion.expose_secret())])
            .send()
            .await
            .map_err(|error| unavailable(transport_word(&error)))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|_| unavailable("token_endpoint_broke_off"))?;
        if status.is_client_error() && status.as_u16() != 429 {
            let word = serde_json::from_slice::<Denied>(&body).map(|denied| denied.error);
            return Err(NoAccess::Refused(Reason::new(word.as_deref().unwrap_or(status.as_str()))));
        }
        if !status.is_success() {
            return Err(unavailable(&format!("token_endpoint_{}", status.as_str())));
        }
        let granted: Granted =
            serde_json::from_slice(&body).map_err(|_| unavailable("token_endpoint_garbage"))?;
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", granted.access_token.expose_secret()))
                .map_err(|_| unavailable("token_endpoint_garbage"))?;
        authorization.set_sensitive(true);
        let lifetime = Duration::from_secs(granted.expires_in.min(24 * 3_600));
        Ok(Bearer {
            authorization,
            renew_at: asked.0 + lifetime.saturating_sub(REFRESH_AHEAD).max(lifetime / 2),
            until: asked.0 + lifetime,
            expires_at: asked.1 + lifetime,
        })
    }

    fn assertion(&self) -> Result<SecretString, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.account.private_key_id);
        let iat = self.clock.now().as_second();
        let claims = Claims {
            iss: &self.account.client_email,
            scope: SCOPE,
            aud: &self.account.token_uri,
            iat,
            exp: iat + ASSERTION_SECONDS,
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map(SecretString::from)
    }

    fn valid(&self, now: Instant) -> Option<Bearer> {
        self.current().as_ref().filter(|bearer| bearer.until > now).cloned()
    }

    fn current(&self) -> MutexGuard<'_, Option<Bearer>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

/// An error's own text could carry the request; a word cannot.
fn transport_word(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "token_endpoint_timeout"
    } else if error.is_connect() {
        "token_endpoint_unreachable"
    } else {
        "token_endpoint_failed"
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("token_uri", &self.account.token_uri).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
