//! One connection to the broker, and how long to wait before the next attempt.

use std::{
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    AsyncTcpStream, Connection, ConnectionProperties, runtime,
    tcp::OwnedTLSConfig,
    uri::{AMQPScheme, AMQPUri},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::timeout;

use super::config::RabbitMqConfig;
use crate::intake::health::Link;

/// Why the broker cannot be used right now.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Neither an answer nor a refusal.
    #[error("the broker did not answer within {0:?}")]
    Timeout(Duration),
    /// The file of trusted authorities cannot be read.
    #[error("the CA file {path} cannot be read: {problem}")]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        problem: std::io::Error,
    },
    /// Somebody declared it before, in another way. Nothing is changed: messages may lie in it.
    #[error(
        "the {what} {name} exists with other arguments; delete or rename it, or run with amqp.declare = false ({detail})"
    )]
    Differs {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Which.
        name: String,
        /// The broker's words: which argument.
        detail: String,
    },
    /// The queue was deleted, or its leader moved.
    #[error("the broker ended the delivery from {0}")]
    Ended(&'static str),
    /// A confirm did not come, or was not to be had any more.
    #[error("publishing failed: {0}")]
    Publishing(String),
    /// Whatever else the broker or the network says.
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
}

/// Opens a connection. It has no recovery of its own: whoever holds it opens the next one, so that a receipt always
/// says which channel it is from.
pub(super) async fn connect(config: &RabbitMqConfig, link: Link) -> Result<Connection, BrokerError> {
    connect_as(config, link.as_str(), None).await
}

/// The same for what processes say to each other, which is a line at a time and has no headers. The client library holds
/// 64 frames of memory for a connection: with the broker's own frame size, 8 MiB.
pub(super) async fn connect_control(config: &RabbitMqConfig) -> Result<Connection, BrokerError> {
    const LARGEST_FRAME: u32 = 8 * 1024;
    connect_as(config, "control", Some(LARGEST_FRAME)).await
}

/// By the name that operators see on the broker.
async fn connect_as(
    config: &RabbitMqConfig,
    name: &str,
    largest_frame: Option<u32>,
) -> Result<Connection, BrokerError> {
    let tls = OwnedTLSConfig { identity: None, cert_chain: trusted(config).await? };
    let properties = ConnectionProperties::default()
        .with_connection_name(format!("bellwether {name}").into())
        .with_client_property("product".into(), "bellwether".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let limit = config.connect_timeout;
    let socket = Arc::new(Mutex::new(None));
    let opened = Arc::clone(&socket);
    let mut uri = config.uri.clone();
    uri.query.frame_max = largest_frame.or(uri.query.frame_max);
    let connecting = Connection::connector(
        uri,
        runtime::default_runtime()?,
        async move |uri: AMQPUri, runtime| {
            let stream = timeout(limit, async {
                let AMQPUri { scheme, authority, .. } = &uri;
                let mut last = std::io::Error::other("the broker's name has no address");
                for address in tokio::net::lookup_host((authority.host.as_str(), authority.port)).await? {
                    let stream = match AsyncTcpStream::connect(&runtime, address).await {
                        Ok(stream) => stream,
                        Err(error) => {
                            last = error;
                            continue;
                        }
                    };
                    if let AsyncTcpStream::Plain(plain) = &stream {
                        let handle = plain.get_ref().as_fd().try_clone_to_owned()?;
                        *opened.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some(TcpStream::from(handle));
                    }
                    return match scheme {
                        AMQPScheme::AMQP => Ok(stream),
                        AMQPScheme::AMQPS => stream.into_tls(&authority.host, tls.as_ref()).await,
                    };
                }
                Err(last)
            });
            let stream = stream.await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            stream.map_err(lapin::Error::from)
        },
        properties,
    );
    let connected = timeout(limit, connecting).await;
    let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
    connected.map_or_else(
        |_| {
            // The client's thread waits for ever for a broker that accepts and says nothing. Cut, it ends.
            if let Some(socket) = socket {
                let _already_gone = socket.shutdown(Shutdown::Both);
            }
            Err(BrokerError::Timeout(limit))
        },
        |connected| connected.map_err(BrokerError::from),
    )
}

/// The authorities of the configured file, in PEM. rustls with aws-lc-rs checks them, besides the system's own.
async fn trusted(config: &RabbitMqConfig) -> Result<Option<String>, BrokerError> {
    match &config.ca_file {
        Some(path) => match tokio::fs::read_to_string(path).await {
            Ok(pem) => Ok(Some(pem)),
            Err(problem) => Err(BrokerError::CaFile { path: path.clone(), problem }),
        },
        None => Ok(None),
    }
}

/// Closes a connection in order; a broker that does not answer is left alone.
pub(super) async fn close(connection: &Connection) {
    let closing = connection.close(200, "closed".into()); // 200: reply-success (AMQP 0-9-1, 1.2)
    if !matches!(timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(()))) {
        tracing::debug!("the broker did not confirm the end of a connection");
    }
}

/// A service that stops does not wait longer than this for a broker that may be stopping too.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The pauses between attempts: 200 ms, doubling to 2 s, for ever, each shortened by up to a half at random, so that
/// the processes of a fleet do not return to a restarted broker all at once.
pub(super) struct Pauses {
    next: Duration,
    random: StdRng,
}

impl Pauses {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(2);

    pub(super) fn new(seed: u64) -> Self {
        Self { next: Self::FIRST, random: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(self.random.random_range(0.5..=1.0));
        self.next = (self.next * 2).min(Self::LONGEST);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_two_seconds_and_are_spread() {
        let mut pauses = Pauses::new(7);
        for whole in [200, 400, 800, 1_600, 2_000, 2_000] {
            let (pause, whole) = (pauses.next(), Duration::from_millis(whole));
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} of {whole:?}");
        }
        pauses.reset();
        assert!(pauses.next() <= Pauses::FIRST);
        assert_ne!(Pauses::new(1).next(), Pauses::new(2).next());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_accepts_and_says_nothing_is_given_up_and_cut() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let mut config = RabbitMqConfig::new(&format!("amqp://u:p@127.0.0.1:{port}/")).expect("a URL");
        config.connect_timeout = Duration::from_millis(200);
        let accept = tokio::spawn(async move { silent.accept().await.expect("a client").0 });
        let error = connect(&config, Link::Consuming).await.expect_err("nobody answers");
        assert!(matches!(error, BrokerError::Timeout(_)), "{error}");
        let mut stream = accept.await.expect("accepted");
        let mut greeting = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut greeting);
        timeout(Duration::from_secs(5), read).await.expect("the client hung up").expect("in order");
        assert!(greeting.starts_with(b"AMQP"), "{greeting:?}");
    }
}
