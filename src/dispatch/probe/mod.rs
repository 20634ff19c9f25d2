//! Reading the numbers of our own systems: one question, one number, or the reason why there is none.
//!
//! **I3 unknown-is-no**: whatever is not exactly one finite number, whole and in time, is [`NoNumber`]; nothing is guessed, and
//! nobody is asked twice. What was answered goes nowhere but into the number.

mod answer;
mod no_number;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use http::{HeaderValue, StatusCode, header};
use reqwest::{Client, RequestBuilder, Url};
use secrecy::{ExposeSecret as _, SecretString};

use super::outward::{self, ClientUnusable};
use crate::{audience::Probe, config::Downstream};

pub use no_number::NoNumber;

/// No more of an answer is read: one number needs some hundred bytes, and a status document is small.
const ANSWER_BYTES: usize = 64 * 1024;

/// A longer query is posted: proxies take a request line of 8 KiB at least, and a query is up to three times as long in it.
const LONGEST_IN_A_URL: usize = 2_000;

/// The numbers cannot be read as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ProbesUnusable {
    /// Prometheus's address is none.
    #[error("downstream.prometheus is no URL; expected something like http://prometheus.example:9090")]
    NoUrl,
    /// It holds a password.
    #[error(
        "downstream.prometheus holds a user or a password, which is not sent; write downstream.bearer_file"
    )]
    Password,
    /// Others could read the token.
    #[error(
        "downstream.bearer_file is sent by https:// alone (http:// is accepted for this machine's own addresses only)"
    )]
    InTheClear,
    /// There is no Prometheus that would want it.
    #[error(
        "downstream.bearer_file is sent to Prometheus alone; write downstream.prometheus, or leave it out"
    )]
    NobodyToSendItTo,
    /// The token cannot be read.
    #[error("downstream.bearer_file: {}: expected one line, the token", path.display())]
    BearerFile {
        /// Which file.
        path: PathBuf,
    },
    /// The CA cannot be used.
    #[error("downstream.ca_file: {}: expected PEM with at least one CERTIFICATE block", path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
    },
    /// There is no HTTP client.
    #[error("no HTTP client for downstream numbers can be made; is there a system trust store?")]
    Client,
}

/// Reads the numbers of our own systems.
#[derive(Debug)]
pub struct Probes {
    client: Client,
    prometheus: Option<Prometheus>,
    every: Duration,
    pace_every: Duration,
    timeout: Duration,
}

/// The Prometheus that is asked.
#[derive(Debug)]
struct Prometheus {
    /// Of its instant queries.
    url: Url,
    bearer_file: Option<PathBuf>,
    /// What it is told to give up after: nobody waits any more by then.
    timeout: String,
}

impl Probes {
    /// As it is configured.
    pub fn open(config: &Downstream) -> Result<Self, ProbesUnusable> {
        let (every, pace_every, wait) = (config.every, config.pace_every, config.timeout);
        let client = outward::client(config.timeout, config.ca_file.as_deref()).map_err(|why| match why {
            ClientUnusable::CaFile(path) => ProbesUnusable::CaFile { path },
            ClientUnusable::NoTrust => ProbesUnusable::Client,
        })?;
        let Some(base) = &config.prometheus else {
            let nobody = || Err(ProbesUnusable::NobodyToSendItTo);
            return config
                .bearer_file
                .as_ref()
                .map_or(Ok(Self { client, prometheus: None, every, pace_every, timeout: wait }), |_| {
                    nobody()
                });
        };
        let url = instant_queries(base)?;
        if let Some(path) = &config.bearer_file {
            if url.scheme() != "https" && !outward::is_ours(&url) {
                return Err(ProbesUnusable::InTheClear);
            }
            let text = std::fs::read_to_string(path).ok();
            text.and_then(bearer).ok_or_else(|| ProbesUnusable::BearerFile { path: path.clone() })?;
        }
        let timeout = format!("{}ms", config.timeout.as_millis());
        let prometheus = Prometheus { url, bearer_file: config.bearer_file.clone(), timeout };
        Ok(Self { client, prometheus: Some(prometheus), every, pace_every, timeout: wait })
    }

    /// How long between two looks at a number.
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// How long between two steps of a rate that follows a number.
    pub const fn pace_every(&self) -> Duration {
        self.pace_every
    }

    /// How long an answer may take.
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The number that `probe` has now: always a finite one.
    pub async fn read(&self, probe: &Probe) -> Result<f64, NoNumber> {
        match probe {
            Probe::Prometheus(query) => {
                let prometheus = self.prometheus.as_ref().ok_or(NoNumber::NotConfigured)?;
                let request = prometheus.ask(&self.client, query).await?;
                answer::of_prometheus(&fetch(request).await?)
            }
            Probe::Http { url, pointer } => {
                let url = Url::parse(url).map_err(|_| NoNumber::NoUrl)?;
                answer::of_document(&fetch(self.client.get(url)).await?, pointer)
            }
        }
    }
}

impl Prometheus {
    async fn ask(&self, client: &Client, query: &str) -> Result<RequestBuilder, NoNumber> {
        let asked = [("query", query), ("timeout", self.timeout.as_str())];
        let request = if query.len() > LONGEST_IN_A_URL {
            client.post(self.url.clone()).form(&asked)
        } else {
            let mut url = self.url.clone();
            url.query_pairs_mut().extend_pairs(asked);
            client.get(url)
        };
        let Some(path) = &self.bearer_file else { return Ok(request) };
        // Read anew each time: whoever issues it replaces it before it expires.
        let text = tokio::fs::read_to_string(path).await.map_err(|_| NoNumber::NoToken)?;
        let token = bearer(text).ok_or(NoNumber::NoToken)?;
        Ok(request.header(header::AUTHORIZATION, token))
    }
}

/// `Bearer` and the token, kept out of what is printed.
fn bearer(text: String) -> Option<HeaderValue> {
    let text = SecretString::from(text);
    let token = text.expose_secret().trim();
    if token.is_empty() {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where a Prometheus, also one behind a path, answers instant queries.
fn instant_queries(base: &str) -> Result<Url, ProbesUnusable> {
    let mut url = Url::parse(base).map_err(|_| ProbesUnusable::NoUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ProbesUnusable::NoUrl);
    }
    if outward::holds_a_password(&url) {
        return Err(ProbesUnusable::Password);
    }
    url.path_segments_mut()
        .map_err(|()| ProbesUnusable::NoUrl)?
        .pop_if_empty()
        .extend(["api", "v1", "query"]);
    Ok(url)
}

/// The body of a good answer, whole.
async fn fetch(request: RequestBuilder) -> Result<Vec<u8>, NoNumber> {
    let request = request.header(header::ACCEPT, "application/json");
    let mut answer = request.send().await.map_err(|error| why(&error))?;
    match answer.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(NoNumber::Redirected(status)),
        status => return Err(NoNumber::Status(status)),
    }
    let mut body = Vec::new();
    while let Some(bytes) = answer.chunk().await.map_err(|error| why(&error))? {
        body.extend_from_slice(&bytes);
        if body.len() > ANSWER_BYTES {
            return Err(NoNumber::TooLong);
        }
    }
    Ok(body)
}

/// An error's own text has the address in it, and an address may have a secret.
fn why(error: &reqwest::Error) -> NoNumber {
    if error.is_timeout() {
        NoNumber::TimedOut
    } else if error.is_connect() {
        NoNumber::NoConnection
    } else if error.is_builder() {
        NoNumber::NoUrl
    } else {
        NoNumber::Broken
    }
}
