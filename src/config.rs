//! The service's configuration: a file and the environment, parsed once into checked types.
//!
//! What is *policy* (who may send what to whom) is not here but in `audiences/`; here is where things are
//! and which secrets open them. Errors name the file, the line and the key.

mod api;
mod campaign;
mod downstream;
mod notify;
mod registry;
mod send;
mod worker;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use serde::Deserialize;

pub use api::{Api, ApiTls};
pub use campaign::Campaign;
pub use downstream::Downstream;
pub use notify::Notify;
pub use registry::Registry;
pub use send::Send;
pub use worker::Worker;

use crate::{
    intake::Ladder,
    model::{AppId, ProducerId},
    pace::Rung,
};

/// Where the configuration is looked for when nobody says.
pub const DEFAULT_FILE: &str = "bellwether.toml";

/// Everything that `serve` needs to know.
#[derive(Debug)]
pub struct Config {
    /// The folder with the policy files.
    pub policy: PathBuf,
    /// The ledger's address, with its password.
    pub ledger_url: SecretString,
    /// How many connections to the ledger this process may hold.
    pub ledger_connections: NonZeroU32,
    /// The broker.
    pub amqp: Amqp,
    /// Where `/livez`, `/readyz` and `/metrics` listen.
    pub health_listen: SocketAddr,
    /// The operators' API.
    pub api: Api,
    /// The direct lane.
    pub direct: Direct,
    /// The registry of devices.
    pub registry: Registry,
    /// Campaigns' coordinator.
    pub campaign: Campaign,
    /// Campaigns' workers.
    pub worker: Worker,
    /// How providers are reached, for every app.
    pub send: Send,
    /// Who is told that something waits for people.
    pub notify: Notify,
    /// Where the numbers of our own systems are read.
    pub downstream: Downstream,
    /// Endpoints and credentials of each app.
    pub providers: BTreeMap<AppId, Providers>,
}

/// The broker's settings.
#[derive(Debug)]
pub struct Amqp {
    /// Its address, with its password.
    pub url: SecretString,
    /// Unacknowledged direct jobs that this process holds at most.
    pub prefetch_direct: NonZeroU16,
    /// Queues whose every message is one producer's, whatever `user_id` says.
    pub single_producer: BTreeMap<String, ProducerId>,
    /// False where somebody else declares queues and exchanges.
    pub declare: bool,
    /// A PEM file with the CA of an `amqps://` broker; the system's trust store otherwise.
    pub ca_file: Option<PathBuf>,
}

/// The direct lane's settings.
#[derive(Debug, Clone, Copy)]
pub struct Direct {
    /// Most recipients of one job.
    pub max_recipients: NonZeroUsize,
    /// How long a job on record belongs to the process that sends it.
    pub claim: Duration,
    /// The waits of the retry ladder.
    pub ladder: Ladder,
}

/// Where one app's notifications go, and with which credentials.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Providers {
    /// Apple.
    pub apns: Option<ApnsAccess>,
    /// Google.
    pub fcm: Option<FcmAccess>,
}

/// Access to APNs. Topic, team and environment are policy (`apps.toml`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApnsAccess {
    /// The signing key, a `.p8` file.
    pub key_file: PathBuf,
    /// The key's id, ten characters.
    pub key_id: String,
    /// Endpoint for production devices; Apple's, unless it is set.
    pub endpoint: Option<String>,
    /// Endpoint for sandbox devices.
    pub sandbox_endpoint: Option<String>,
    /// A PEM file with the CA to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// Access to FCM. The project is policy (`apps.toml`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FcmAccess {
    /// The service account's key, a JSON file.
    pub service_account_file: PathBuf,
    /// The endpoint.
    #[serde(default = "google")]
    pub endpoint: String,
    /// A PEM file with the CA to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

// The vendors' documented addresses.
// <https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns>
const APPLE_PRODUCTION: &str = "https://api.push.apple.com";
const APPLE_SANDBOX: &str = "https://api.sandbox.push.apple.com";
// <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send>
fn google() -> String {
    "https://fcm.googleapis.com".to_owned()
}

/// A configuration that cannot be used: where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; name another with --config or BELLWETHER_CONFIG", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A key is unknown, missing or of the wrong kind.
    #[error("{}:{line}: {problem}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The key and what is wrong with it.
        problem: String,
    },
    /// Something required is neither in the file nor in the environment.
    #[error("{}: {key} is not set; set it there or in the environment as {variable}", file.display())]
    Missing {
        /// Which file.
        file: PathBuf,
        /// Which key.
        key: &'static str,
        /// The environment variable that would serve.
        variable: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "default_policy")]
    policy: PathBuf,
    #[serde(default)]
    ledger: LedgerTable,
    #[serde(default)]
    amqp: AmqpTable,
    #[serde(default)]
    listen: ListenTable,
    #[serde(default)]
    api: api::ApiTable,
    #[serde(default)]
    direct: DirectTable,
    #[serde(default)]
    registry: registry::RegistryTable,
    #[serde(default)]
    campaign: campaign::CampaignTable,
    #[serde(default)]
    worker: worker::WorkerTable,
    #[serde(default)]
    send: send::SendTable,
    #[serde(default)]
    notify: notify::NotifyTable,
    #[serde(default)]
    downstream: downstream::DownstreamTable,
    #[serde(default)]
    providers: BTreeMap<AppId, Providers>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LedgerTable {
    url: Option<SecretString>,
    connections: Option<NonZeroU32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AmqpTable {
    url: Option<SecretString>,
    prefetch_direct: Option<NonZeroU16>,
    single_producer: BTreeMap<String, ProducerId>,
    declare: Option<bool>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ListenTable {
    health: Option<SocketAddr>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct DirectTable {
    max_recipients: Option<NonZeroUsize>,
    claim_seconds: Option<NonZeroU16>,
    /// For trying out. The broker keeps the waits with its queues: to change them, the queues `retry.*` must go first.
    retry_seconds: Option<[NonZeroU16; Rung::ALL.len()]>,
}

impl From<DirectTable> for Direct {
    fn from(table: DirectTable) -> Self {
        let seconds = |seconds: NonZeroU16| Duration::from_secs(u64::from(seconds.get()));
        Self {
            max_recipients: table.max_recipients.unwrap_or(DEFAULT_MAX_RECIPIENTS),
            claim: table.claim_seconds.map_or(DEFAULT_CLAIM, seconds),
            ladder: table.retry_seconds.map_or_else(Ladder::default, |waits| Ladder::of(waits.map(seconds))),
        }
    }
}

fn default_policy() -> PathBuf {
    "audiences".into()
}

impl Config {
    /// Reads `file`; `variable` looks up the environment (`DATABASE_URL` and `AMQP_URL` win over the file,
    /// so that secrets need not stand in it). Relative paths count from the file's folder.
    pub fn load(file: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        Self::parse(file, &text, variable)
    }

    /// Reads the text of `file`.
    pub fn parse(
        file: &Path,
        text: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let parsed = read(text).map_err(|(line, problem)| ConfigError::Invalid {
            file: file.to_owned(),
            line,
            problem,
        })?;
        let required = |given: Option<SecretString>, key, name: &'static str| {
            let from_environment = variable(name).filter(|value| !value.is_empty()).map(SecretString::from);
            from_environment.or(given).ok_or(ConfigError::Missing {
                file: file.to_owned(),
                key,
                variable: name,
            })
        };
        let ledger_url = required(parsed.ledger.url, "ledger.url", "DATABASE_URL")?;
        let amqp_url = required(parsed.amqp.url, "amqp.url", "AMQP_URL")?;
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let mut providers = parsed.providers;
        for provider in providers.values_mut() {
            provider.resolve(folder);
        }
        Ok(Self {
            policy: folder.join(parsed.policy),
            ledger_url,
            ledger_connections: parsed.ledger.connections.unwrap_or(DEFAULT_LEDGER_CONNECTIONS),
            amqp: Amqp {
                url: amqp_url,
                prefetch_direct: parsed.amqp.prefetch_direct.unwrap_or(DEFAULT_PREFETCH),
                single_producer: parsed.amqp.single_producer,
                declare: parsed.amqp.declare.unwrap_or(true),
                ca_file: parsed.amqp.ca_file.map(|path| folder.join(path)),
            },
            health_listen: parsed.listen.health.unwrap_or(DEFAULT_HEALTH_LISTEN),
            api: parsed.api.resolve(folder),
            direct: parsed.direct.into(),
            registry: parsed.registry.into(),
            campaign: parsed.campaign.into(),
            worker: parsed.worker.into(),
            send: parsed.send.into(),
            notify: parsed.notify.resolve(folder),
            downstream: parsed.downstream.resolve(folder),
            providers,
        })
    }
}

/// The text as it is structured, or the line and what is wrong there, with the key.
fn read(text: &str) -> Result<File, (usize, String)> {
    let wrong = |error: &toml::de::Error, key: Option<String>| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        let told = error.message();
        // Some name it themselves.
        let key =
            key.filter(|key| key.rsplit('.').next().is_some_and(|last| last != "?" && !told.contains(last)));
        (line, key.map_or_else(|| told.to_owned(), |key| format!("{key}: {told}")))
    };
    let document = toml::Deserializer::parse(text).map_err(|error| wrong(&error, None))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        wrong(error.inner(), Some(key).filter(|key| key != "."))
    })
}

/// More recipients than this is a campaign, and takes a campaign's safety.
const DEFAULT_MAX_RECIPIENTS: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");

/// Longer than the slowest try of a job (a connection, a request and its resends), so that no second process takes it
/// meanwhile; short enough that a one-time code whose process died is not worthless when it is taken up.
const DEFAULT_CLAIM: Duration = Duration::from_mins(3);

/// The batch's read, its commit, the outbox relay, and room for an operator's question.
const DEFAULT_LEDGER_CONNECTIONS: NonZeroU32 = NonZeroU32::new(8).expect("not zero");

/// Enough to cover a provider's 70 ms at 2,800 jobs a second; what a crash repeats is at most this many.
const DEFAULT_PREFETCH: NonZeroU16 = NonZeroU16::new(200).expect("not zero");

/// Loopback only: metrics are for the machine's own collector unless somebody decides otherwise.
const DEFAULT_HEALTH_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9469);

impl ApnsAccess {
    /// Where production devices are reached.
    pub fn production(&self) -> &str {
        self.endpoint.as_deref().unwrap_or(APPLE_PRODUCTION)
    }

    /// Where sandbox devices are reached. Apple's, but only beside Apple's production: whoever sends production
    /// elsewhere, to a simulator say, must not reach Apple with the rest by a default.
    pub fn sandbox(&self) -> Option<&str> {
        let beside_apple = self.endpoint.is_none().then_some(APPLE_SANDBOX);
        self.sandbox_endpoint.as_deref().or(beside_apple)
    }
}

impl Providers {
    fn resolve(&mut self, folder: &Path) {
        if let Some(apns) = &mut self.apns {
            apns.key_file = folder.join(&apns.key_file);
            apns.ca_file = apns.ca_file.take().map(|path| folder.join(path));
        }
        if let Some(fcm) = &mut self.fcm {
            fcm.service_account_file = folder.join(&fcm.service_account_file);
            fcm.ca_file = fcm.ca_file.take().map(|path| folder.join(path));
        }
    }
}

#[cfg(test)]
mod tests;
