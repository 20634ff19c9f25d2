//! `bellwether.control`: what every process hears at once.
//!
//! A connection of its own, with a queue that lives as long as it does: whoever is away misses what is said meanwhile,
//! and learns it from the ledger. Nothing waits for a confirm here, and nothing is repeated: the ledger is the truth.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use lapin::{
    Channel, Connection, Consumer, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    config::RabbitMqConfig,
    connect::{BrokerError, Pauses, close, connect, connect_control},
    enqueue::confirmed,
    names, wire,
};
use crate::{clock::Clock, intake::health::Link};

/// What waits to be said or to be heard. More would be old by the time it came to its turn; the ledger has it.
const ROOM: usize = 256;

/// What a process hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The connection stands, and was away before: something may have been missed.
    Connected,
    /// Somebody said this. It may be anything: whoever may publish on the exchange can say it.
    Message(Bytes),
}

/// Says things to every process, this one included. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ControlSpeaker(mpsc::Sender<Bytes>);

impl ControlSpeaker {
    /// Says it, if the broker is there; else nobody hears it, and all learn it from the ledger.
    pub fn say(&self, message: Bytes) {
        if self.0.try_send(message).is_err() {
            tracing::debug!("the control exchange is not reached; processes learn it from the ledger");
        }
    }
}

/// What the task works with.
struct Listening {
    config: RabbitMqConfig,
    clock: Clock,
    to_say: mpsc::Receiver<Bytes>,
    heard: mpsc::Sender<Heard>,
    cancel: CancellationToken,
}

/// Listens, and speaks, until `cancel`. A broker that is away is tried again.
#[must_use]
pub fn control(
    config: RabbitMqConfig,
    clock: Clock,
    cancel: CancellationToken,
) -> (ControlSpeaker, mpsc::Receiver<Heard>) {
    let (say, to_say) = mpsc::channel(ROOM);
    let (heard, hearing) = mpsc::channel(ROOM);
    tokio::spawn(Listening { config, clock, to_say, heard, cancel }.run());
    (ControlSpeaker(say), hearing)
}

/// Says one thing to every process over a connection of its own, and returns when the broker has passed it on.
pub async fn say_once(config: &RabbitMqConfig, message: &[u8]) -> Result<(), BrokerError> {
    let connection = connect(config, Link::Publishing).await?;
    let said = async {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let confirm = publish(&channel, config, message).await?;
        confirmed(confirm.await)
    };
    let said = match timeout(config.confirm_timeout, said).await {
        Ok(said) => said,
        Err(_) => Err(BrokerError::Timeout(config.confirm_timeout)),
    };
    close(&connection).await;
    said
}

async fn publish(
    channel: &Channel,
    config: &RabbitMqConfig,
    message: &[u8],
) -> Result<lapin::PublisherConfirm, lapin::Error> {
    // Not mandatory: where nobody listens, nobody needs to hear it.
    let (exchange, options) = (names::CONTROL.into(), BasicPublishOptions::default());
    channel.basic_publish(exchange, "".into(), options, message, wire::control_properties(config)).await
}

impl Listening {
    async fn run(mut self) {
        let (cancel, mut pauses) = (self.cancel.clone(), Pauses::new(self.clock.seed()));
        let mut is_news = true;
        loop {
            let error = tokio::select! {
                () = cancel.cancelled() => return,
                opened = open(&self.config) => match opened {
                    Ok(session) => {
                        pauses.reset();
                        is_news = true;
                        match self.serve(session).await {
                            Some(error) => error,
                            None => return,
                        }
                    }
                    Err(error) => error,
                },
            };
            if std::mem::replace(&mut is_news, false) {
                tracing::warn!(%error, "halts and wake-ups are not heard from the broker; they are read from the ledger");
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pauses.next()) => {}
            }
            // Said while nobody could hear it, and old by now.
            while self.to_say.try_recv().is_ok() {}
        }
    }

    /// Until the connection fails (`Some`) or it is cancelled.
    async fn serve(&mut self, session: Session) -> Option<BrokerError> {
        let Session { connection, channel, mut consumer } = session;
        let _full = self.heard.try_send(Heard::Connected);
        let error = loop {
            tokio::select! {
                () = self.cancel.cancelled() => break None,
                delivered = consumer.next() => match delivered {
                    Some(Ok(message)) => {
                        // A process that is behind with listening looks at the ledger anyway.
                        let _full = self.heard.try_send(Heard::Message(message.data.clone().into()));
                    }
                    Some(Err(error)) => break Some(error.into()),
                    None => break Some(BrokerError::Ended(names::CONTROL)),
                },
                Some(message) = self.to_say.recv() => {
                    if let Err(error) = publish(&channel, &self.config, &message).await {
                        break Some(error.into());
                    }
                }
            }
        };
        close(&connection).await;
        error
    }
}

struct Session {
    connection: Arc<Connection>,
    /// To publish on; the consumer has its own.
    channel: Channel,
    consumer: Consumer,
}

async fn open(config: &RabbitMqConfig) -> Result<Session, BrokerError> {
    let connection = Arc::new(connect_control(config).await?);
    let (hearing, channel) = (connection.create_channel().await?, connection.create_channel().await?);
    if config.declare {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = names::CONTROL.into();
        hearing.exchange_declare(exchange, ExchangeKind::Fanout, options, FieldTable::default()).await?;
    }
    // Exclusive: it is this connection's, and goes with it. The broker names it.
    let options =
        QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = hearing.queue_declare("".into(), options, FieldTable::default()).await?;
    let name = queue.name().clone();
    let (exchange, options) = (names::CONTROL.into(), QueueBindOptions::default());
    hearing.queue_bind(name.clone(), exchange, "".into(), options, FieldTable::default()).await?;
    // Not acknowledged: what was not heard is not repeated.
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..BasicConsumeOptions::default() };
    let consumer = hearing.basic_consume(name, "bellwether".into(), options, FieldTable::default()).await?;
    Ok(Session { connection, channel, consumer })
}
