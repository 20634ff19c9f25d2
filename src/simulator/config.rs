//! How a simulator is set up, and why it may not start.

use std::time::Duration;

use super::{Environment, Profile, RecordDetail, bank::Terms};
use crate::clock::Clock;

/// How a simulator is set up. A port of 0 takes any free one.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Where times come from.
    pub clock: Clock,
    /// The fate of tokens and everything else that is drawn.
    pub seed: u64,
    /// Latency and faults that come by themselves.
    pub profile: Profile,
    /// How much is recorded.
    pub detail: RecordDetail,
    /// APNs.
    pub apns_port: u16,
    /// FCM.
    pub fcm_port: u16,
    /// FCM's token endpoint.
    pub oauth_port: u16,
    /// Inspection by HTTP; none leaves it out.
    pub inspect_port: Option<u16>,
    /// The login that those whose phones ring want to use; none leaves it out.
    pub login: Option<Terms>,
    /// The `iss` of provider tokens.
    pub team: String,
    /// The `kid` of provider tokens.
    pub key_id: String,
    /// Bundle ids that may be sent to; the first is what phones are registered with.
    pub topics: Vec<String>,
    /// Which of Apple's two worlds this is.
    pub environment: Environment,
    /// The FCM project.
    pub project: String,
    /// Answers `TooManyProviderTokenUpdates` to new provider tokens that come sooner than this one after
    /// another. Apple says 20 minutes; none, because a restarted sender signs anew.
    pub provider_token_interval: Option<Duration>,
    /// How long FCM's bearer tokens are valid.
    pub access_token_lifetime: Duration,
}

impl SimulatorConfig {
    /// Free ports, no faults, no latency, everything recorded.
    pub fn quiet(clock: Clock) -> Self {
        Self {
            seed: 1,
            clock,
            profile: Profile::quiet(),
            detail: RecordDetail::Full,
            apns_port: 0,
            fcm_port: 0,
            oauth_port: 0,
            inspect_port: None,
            login: None,
            team: "TEAM123456".to_owned(),
            key_id: "KEY1234567".to_owned(),
            topics: vec!["pl.example.bank".to_owned()],
            environment: Environment::Production,
            project: "bank-prod".to_owned(),
            provider_token_interval: None,
            // Google's are valid for 3,599 s.
            access_token_lifetime: Duration::from_secs(3599),
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// A port is taken, or a file cannot be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A key or certificate could not be made.
    #[error("making keys: {0}")]
    Keys(#[from] rcgen::Error),
    /// A certificate could not be used.
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A key cannot be read back.
    #[error("reading a key: {0}")]
    Jwt(#[from] jsonwebtoken::errors::Error),
    /// There is no topic for phones to be registered with.
    #[error("at least one topic is needed")]
    NoTopic,
}

/// What was waited for did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{seen} requests came in time, {wanted} were waited for")]
pub struct TooFewRequests {
    /// So many came.
    pub seen: u64,
    /// So many were waited for.
    pub wanted: u64,
}
