//! The operators' API, as the command line asks it.
//!
//! A mutation carries an `Idempotency-Key`: when a connection breaks, it is asked again under the same key, and happens
//! once. No error and no log has the token in it (I12).

use std::{error::Error as _, path::PathBuf, time::Duration};

use http::{Method, StatusCode};
use reqwest::{Certificate, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::wire::Problem;
use crate::clock::Clock;

/// Where the API is.
pub const URL_VARIABLE: &str = "BELLWETHER_URL";
/// The operator's token.
pub const TOKEN_VARIABLE: &str = "BELLWETHER_TOKEN";
/// A PEM file with the CA of the API's certificate.
pub const CA_VARIABLE: &str = "BELLWETHER_CA_FILE";

/// Longer than a halt that waits for every intent under way; shorter than a person's patience.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Three handshakes to the other side of the world.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The waits before a broken connection is tried again: a restart behind a load balancer takes about as long.
const TRY_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

/// The API did not do what it was asked, or nobody can say whether it did.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody said where the API is.
    #[error(
        "{URL_VARIABLE} is not set; set it to where the operators' API listens, such as https://bellwether:9470"
    )]
    NoUrl,
    /// That is no address.
    #[error("{URL_VARIABLE} is not usable: {0}; expected something like https://bellwether:9470")]
    BadUrl(String),
    /// Nobody said who is asking.
    #[error("{TOKEN_VARIABLE} is not set; an admin makes a token with `bellwether operator add`")]
    NoToken,
    /// The token has characters that no token has.
    #[error("{TOKEN_VARIABLE} does not hold a token: it must be `bw_` and what follows, without spaces")]
    BadToken,
    /// The CA cannot be used.
    #[error("{CA_VARIABLE}: {}: {why}; expected PEM with at least one CERTIFICATE block", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody listens there, or nobody answers.
    #[error("the operators' API at {url} cannot be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// In the system's words.
        why: String,
    },
    /// It is not the one that it should be.
    #[error("the operators' API at {url} is not trusted: {why}; is {CA_VARIABLE} right?")]
    Untrusted {
        /// Where it was looked for.
        url: String,
        /// In TLS's words.
        why: String,
    },
    /// It took too long. What was asked may have happened.
    #[error("the operators' API at {url} did not answer within {} s; what was asked may have happened", ANSWER_WITHIN.as_secs())]
    TooSlow {
        /// Where it was asked.
        url: String,
    },
    /// Something answers there, in other words than ours.
    #[error("what answers at {url} is not the operators' API (it said {status}); is {URL_VARIABLE} right?")]
    NotOurs {
        /// Where it was asked.
        url: String,
        /// What it said.
        status: StatusCode,
    },
    /// It said no.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
}

/// Asks the operators' API in the name of one person.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: SecretString,
    clock: Clock,
}

impl Client {
    /// True if the environment says where the API is: then commands go there.
    #[must_use]
    pub fn is_configured(variable: impl Fn(&str) -> Option<String>) -> bool {
        variable(URL_VARIABLE).is_some_and(|url| !url.is_empty())
    }

    /// As the environment has it; `variable` looks it up.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let url = set(URL_VARIABLE).ok_or(ClientError::NoUrl)?;
        let token = set(TOKEN_VARIABLE).map(SecretString::from).ok_or(ClientError::NoToken)?;
        Self::new(&url, token, set(CA_VARIABLE).map(PathBuf::from), clock)
    }

    /// At this address, with this token.
    pub fn new(
        url: &str,
        token: SecretString,
        ca_file: Option<PathBuf>,
        clock: Clock,
    ) -> Result<Self, ClientError> {
        let mut base = Url::parse(url).map_err(|error| ClientError::BadUrl(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(ClientError::BadUrl("it is neither http:// nor https://".to_owned()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(ClientError::BadUrl(format!(
                "it holds a password; that belongs in {TOKEN_VARIABLE}"
            )));
        }
        if !token.expose_secret().chars().all(|c| c.is_ascii_graphic()) {
            return Err(ClientError::BadToken);
        }
        // Who copied the address of an endpoint means the same API.
        let path = base.path().trim_end_matches('/');
        let path = format!("{}/", path.strip_suffix("/api/v1").unwrap_or(path));
        base.set_path(&path);
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            // A redirect would carry the token to whoever is named in it.
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = ca_file {
            http = http.tls_certs_only(certificates(path)?);
        }
        let http = http.build().map_err(|error| ClientError::BadUrl(error.to_string()))?;
        Ok(Self { http, base, token, clock })
    }

    /// Looks at `path` (below `/api/v1/`).
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Posts `body` to `path`; it happens once, however often the connection breaks.
    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("what goes over the wire has a JSON form");
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Deletes what is at `path`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T, ClientError> {
        let url = self
            .base
            .join(&format!("api/v1/{}", path.trim_start_matches('/')))
            .map_err(|error| ClientError::BadUrl(error.to_string()))?;
        let key = (method != Method::GET).then(|| self.key());
        let mut waits = TRY_AGAIN_AFTER.into_iter();
        loop {
            match self.send(&method, &url, body.as_deref(), key.as_deref()).await {
                Err(error) if may_try_again(&error) => match waits.next() {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(self.failed(&error)),
                },
                Err(error) => return Err(self.failed(&error)),
                Ok((status, bytes)) => return self.read(status, &bytes),
            }
        }
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        body: Option<&[u8]>,
        key: Option<&str>,
    ) -> Result<(StatusCode, bytes::Bytes), reqwest::Error> {
        let mut request =
            self.http.request(method.clone(), url.clone()).bearer_auth(self.token.expose_secret());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.bytes().await?))
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, bytes: &[u8]) -> Result<T, ClientError> {
        let not_ours = || ClientError::NotOurs { url: self.base.to_string(), status };
        if status.is_success() {
            return serde_json::from_slice(bytes).map_err(|_| not_ours());
        }
        let problem: Problem = serde_json::from_slice(bytes).map_err(|_| not_ours())?;
        Err(ClientError::Problem(Box::new(problem)))
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let url = self.base.to_string();
        match tls_reason(error) {
            Some(why) => ClientError::Untrusted { url, why },
            None if error.is_timeout() && !error.is_connect() => ClientError::TooSlow { url },
            // It was there and spoke, but not HTTP: most likely TLS.
            None if self.base.scheme() == "http" && !error.is_connect() => {
                let why = format!(
                    "{}; if it speaks TLS, {URL_VARIABLE} must begin with https://",
                    innermost(error)
                );
                ClientError::Unreachable { url, why }
            }
            None => ClientError::Unreachable { url, why: innermost(error) },
        }
    }

    /// Never the same twice.
    fn key(&self) -> String {
        let bits = u128::from(self.clock.seed()) << 64 | u128::from(self.clock.seed());
        Uuid::from_u128(bits).to_string()
    }
}

fn certificates(path: PathBuf) -> Result<Vec<Certificate>, ClientError> {
    let found = std::fs::read(&path)
        .map_err(|error| error.to_string())
        .and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(|error| innermost(&error)));
    match found {
        Ok(certificates) if certificates.is_empty() => {
            Err(ClientError::CaFile { path, why: "no certificate in it".to_owned() })
        }
        Ok(certificates) => Ok(certificates),
        Err(why) => Err(ClientError::CaFile { path, why }),
    }
}

/// The connection was refused or broke. A certificate that is not trusted will not be in a second either.
fn may_try_again(error: &reqwest::Error) -> bool {
    tls_reason(error).is_none() && !error.is_timeout() && (error.is_connect() || error.is_request())
}

/// What TLS has against the other side, if that is the cause.
fn tls_reason(error: &reqwest::Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(tls) = tls_in(error) {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}

/// An input/output error passes over what it holds when it is asked for its source.
fn tls_in(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls.to_string());
    }
    let held: &(dyn std::error::Error + 'static) = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_in(held)
}

/// The last cause: the others say that something went wrong, this one says what.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
