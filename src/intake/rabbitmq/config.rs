//! How the service uses the broker, parsed once.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use lapin::uri::AMQPUri;
use reqwest::Url;

use super::names;
use crate::{
    intake::{Ladder, WorkQueue},
    model::ProducerId,
};

/// What is wrong with the configuration of the broker. Never quotes the URL: it holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an AMQP URL.
    #[error("not an AMQP URL ({0}); write amqp://user:password@host:5672/%2f, or amqps:// for TLS")]
    Url(String),
    /// The client library would take it for `localhost`.
    #[error("an IPv6 address cannot be the broker's host; give it a name")]
    Ipv6,
    /// A name longer than AMQP can say.
    #[error("the user name has more than 255 bytes")]
    UserTooLong,
    /// No such queue.
    #[error("single_producer names the queue {0:?}; it may name jobs.direct, jobs.campaign and devices")]
    UnknownQueue(String),
}

/// How the service uses the broker.
#[derive(Clone)]
pub struct RabbitMqConfig {
    pub(super) uri: AMQPUri,
    pub(super) ca_file: Option<PathBuf>,
    single_producer: BTreeMap<WorkQueue, ProducerId>,
    /// Whether to declare exchanges and queues. Without, they must exist.
    pub declare: bool,
    /// Whether jobs are taken from the queues. Without, this process only publishes.
    pub consume: bool,
    /// Messages held at once from `jobs.direct`: two batches of 100, one at work and one ready.
    pub prefetch_direct: u16,
    /// Messages held at once from `jobs.campaign`: each is a long piece of work, and others may do the next.
    pub prefetch_campaign: u16,
    /// Messages held at once from `devices`: two batches, one at work and one ready.
    pub prefetch_devices: u16,
    /// How long the broker may take to confirm before the connection is taken for broken. It confirms after a write to
    /// disk on most nodes: milliseconds, seconds under load.
    pub confirm_timeout: Duration,
    /// How long a publication waits for the broker to come back before the caller is told.
    pub settle_deadline: Duration,
    /// How long connecting may take, from the name look-up to the broker's last word.
    pub connect_timeout: Duration,
    /// The waits of the retry queues.
    pub ladder: Ladder,
}

impl RabbitMqConfig {
    /// Reads an AMQP URL (<https://www.rabbitmq.com/docs/uri-spec>). `amqps://` speaks TLS; of the query parameters
    /// `heartbeat`, `channel_max` and `cacertfile` (PEM, in addition to the system's authorities) are known.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let parts = Url::parse(url).map_err(|error| ConfigError::Url(error.to_string()))?;
        if parts.cannot_be_a_base() {
            return Err(ConfigError::Url("no host".into())); // the client library's error would quote all of it
        }
        if parts.host_str().is_some_and(|host| host.starts_with('[')) {
            return Err(ConfigError::Ipv6);
        }
        let mut uri: AMQPUri = url.parse().map_err(ConfigError::Url)?;
        if uri.authority.userinfo.username.len() > 255 {
            return Err(ConfigError::UserTooLong);
        }
        // The broker's default of 60 s leaves a silent network unnoticed for two minutes; RabbitMQ advises 5 to 20 s.
        uri.query.heartbeat = uri.query.heartbeat.or(Some(10));
        // The broker's own, always: it sends a producer's headers in one frame, however long a frame was agreed with us,
        // and the client library would be stuck on one that is longer.
        uri.query.frame_max = None;
        let ca_file = parts.query_pairs().find(|(key, _)| key == "cacertfile");
        Ok(Self {
            uri,
            ca_file: ca_file.map(|(_, path)| PathBuf::from(path.as_ref())),
            single_producer: BTreeMap::new(),
            declare: true,
            consume: true,
            prefetch_direct: 200,
            prefetch_campaign: 4,
            prefetch_devices: 1_000,
            confirm_timeout: Duration::from_secs(5),
            settle_deadline: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            ladder: Ladder::default(),
        })
    }

    /// Trusts the authorities in this PEM file, unless the URL names another by `cacertfile`.
    #[must_use]
    pub fn with_ca_file(mut self, file: PathBuf) -> Self {
        self.ca_file = self.ca_file.or(Some(file));
        self
    }

    /// Takes every message of `queue` as `producer`'s, whatever its `user_id`: for clients that cannot set one. Whoever
    /// may publish there then speaks for that producer.
    pub fn with_single_producer(mut self, queue: &str, producer: ProducerId) -> Result<Self, ConfigError> {
        let known = match queue {
            names::DIRECT => WorkQueue::Direct,
            names::CAMPAIGN => WorkQueue::Campaign,
            names::DEVICES => WorkQueue::Devices,
            _ => return Err(ConfigError::UnknownQueue(queue.to_owned())),
        };
        self.single_producer.insert(known, producer);
        Ok(self)
    }

    /// Whose all messages of a queue are, if that is configured.
    pub(super) fn single_producer(&self, queue: WorkQueue) -> Option<&ProducerId> {
        self.single_producer.get(&queue)
    }

    /// The user that the service is on the broker.
    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// The broker without the credentials, for logs and `bellwether check`.
    #[must_use]
    pub fn place(&self) -> String {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        format!("{scheme}://{}:{} (virtual host {vhost})", authority.host, authority.port)
    }
}

impl fmt::Debug for RabbitMqConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqConfig").field("place", &self.place()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_with_its_tls_authority_and_never_shown_with_its_password() {
        let url =
            "amqps://us%40er:secret@broker.example:5671/vh%2fost?cacertfile=%2fetc%2fca.pem&heartbeat=7";
        let config = RabbitMqConfig::new(url).expect("a URL").with_ca_file("/etc/other.pem".into());
        assert_eq!(config.user(), "us@er");
        assert_eq!(config.uri.vhost, "vh/ost");
        assert_eq!(config.uri.query.heartbeat, Some(7));
        assert_eq!(config.ca_file.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));
        let shown = format!("{config:?}");
        assert!(shown.contains("broker.example") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_would_lead_elsewhere_is_refused() {
        assert_eq!(RabbitMqConfig::new("amqp://u:p@[::1]:5672/").expect_err("IPv6"), ConfigError::Ipv6);
        for url in ["http://u:secret@host/", "amqp:secret", "secret"] {
            let error = RabbitMqConfig::new(url).expect_err("no AMQP URL").to_string();
            assert!(error.starts_with("not an AMQP URL"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let config = RabbitMqConfig::new("amqp://host").expect("a URL");
        let cards = ProducerId::parse("cards").expect("a producer");
        assert!(config.clone().with_single_producer("jobs.direct", cards.clone()).is_ok());
        let unknown = ConfigError::UnknownQueue("jobs".into());
        assert_eq!(config.with_single_producer("jobs", cards).expect_err("no such queue"), unknown);
    }
}
