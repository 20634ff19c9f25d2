//! Where the providers are and which credentials each app has there. Plain checked types; no I/O.

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf, time::Duration};

use http::uri::Authority;
use serde::Deserialize;

use crate::model::AppId;

/// Shortest request timeout: Google asks senders to wait at least 10 s for an answer.
/// <https://firebase.google.com/docs/cloud-messaging/scale-fcm#handling-retries>
pub const MIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A provider's address: `https://host[:port]`, and nothing behind it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Endpoint {
    authority: Authority,
}

/// An endpoint that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no endpoint: {rule}")]
pub struct InvalidEndpoint {
    given: String,
    rule: &'static str,
}

impl Endpoint {
    /// Checks that `text` is `https://host[:port]`.
    pub fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let refuse = |rule| Err(InvalidEndpoint { given: text.chars().take(80).collect(), rule });
        let Ok(uri) = text.parse::<http::Uri>() else {
            return refuse("it must read https://host or https://host:port");
        };
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("it must begin with https:// (providers are reached over TLS only)");
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
            return refuse("it must be a host and a port only, without path, query or user");
        }
        Ok(Self { authority: authority.clone() })
    }

    /// The host, as it is looked up and as the certificate must name it.
    #[must_use]
    pub fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; 443 if none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(443)
    }

    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;
    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Endpoint {
    type Err = InvalidEndpoint;
    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        Self::parse(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An app's credentials at Apple.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsConfig {
    /// Where production tokens are sent.
    #[serde(default = "apns_production")]
    pub endpoint: Endpoint,
    /// Where sandbox tokens are sent. Without one, devices of the sandbox are not configured.
    #[serde(default)]
    pub sandbox_endpoint: Option<Endpoint>,
    /// PEM file with the roots to trust instead of the operating system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The `.p8` file: an EC P-256 private key in PKCS#8 PEM.
    pub key_file: PathBuf,
    /// The key's id, ten characters.
    pub key_id: String,
    /// The team's id, ten characters.
    pub team: String,
    /// `apns-topic`: the bundle id.
    pub topic: String,
}

/// An app's credentials at Google.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcmConfig {
    /// Where messages are sent.
    #[serde(default = "fcm_production")]
    pub endpoint: Endpoint,
    /// PEM file with the roots to trust instead of the operating system's; for the token endpoint too.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The service account's JSON key file. Its `token_uri` is honoured.
    pub service_account_file: PathBuf,
    /// The project's id.
    pub project: String,
}

/// The providers that one app is configured for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppSenders {
    /// Apple, if its phones are reached.
    #[serde(default)]
    pub apns: Option<ApnsConfig>,
    /// Google, if its phones are reached.
    #[serde(default)]
    pub fcm: Option<FcmConfig>,
}

/// Everything that `deliver` is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverConfig {
    /// Per app.
    pub apps: BTreeMap<AppId, AppSenders>,
    /// How connections are made and kept.
    pub transport: Transport,
}

/// How connections are made and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// Most connections for one (app, provider, environment). One carries about 10,000 notifications a
    /// second at a provider's usual latency.
    pub connections: NonZeroUsize,
    /// Most streams in flight on one connection, whatever the provider would allow.
    pub max_streams: NonZeroUsize,
    /// How long an answer is waited for; raised to [`MIN_REQUEST_TIMEOUT`].
    pub request_timeout: Duration,
    /// How long a caller waits for a connection (DNS, TCP, TLS and the provider's SETTINGS).
    pub connect_timeout: Duration,
    /// How long a connection may be quiet before a PING asks whether it lives. Apple: one hour.
    /// <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>
    pub ping_after: Duration,
    /// How long the answer to that PING is waited for before the connection counts as dead.
    pub ping_timeout: Duration,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            connections: NonZeroUsize::MIN,
            max_streams: NonZeroUsize::new(1_000).unwrap_or(NonZeroUsize::MIN),
            request_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            ping_after: Duration::from_hours(1),
            ping_timeout: Duration::from_secs(15),
        }
    }
}

impl Transport {
    /// The request timeout, never below what the providers ask for.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout.max(MIN_REQUEST_TIMEOUT)
    }
}

/// Apple's production endpoint.
fn apns_production() -> Endpoint {
    Endpoint { authority: Authority::from_static("api.push.apple.com:443") }
}

/// Google's endpoint.
fn fcm_production() -> Endpoint {
    Endpoint { authority: Authority::from_static("fcm.googleapis.com:443") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_over_tls_and_nothing_else() {
        let endpoint = Endpoint::parse("https://localhost:8443").expect("an endpoint");
        assert_eq!((endpoint.host(), endpoint.port()), ("localhost", 8443));
        assert_eq!(Endpoint::parse("https://[::1]").expect("an endpoint").host(), "::1");
        for bad in ["", "localhost", "http://x", "https://x/y", "https://a@x", "https://x?y", "https://"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configuration_says_which_key_it_does_not_know() {
        let error = toml::from_str::<AppSenders>("[apns]\nkey_fil = 'x'").expect_err("must be refused");
        assert!(error.to_string().contains("key_fil"), "{error}");
        let senders: AppSenders = toml::from_str(
            "[apns]\nkey_file = 'k.p8'\nkey_id = 'K'\nteam = 'T'\ntopic = 'pl.example.bank'\n",
        )
        .expect("a configuration");
        let apns = senders.apns.expect("Apple is configured");
        assert_eq!(apns.endpoint.to_string(), "https://api.push.apple.com:443");
        assert_eq!(apns.sandbox_endpoint, None);
    }

    #[test]
    fn a_request_is_waited_for_at_least_ten_seconds() {
        let hasty = Transport { request_timeout: Duration::from_secs(1), ..Transport::default() };
        assert_eq!(hasty.request_timeout(), Duration::from_secs(10));
    }
}
