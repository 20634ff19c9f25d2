//! The publishing connection: opened, kept, opened again; and messages that are published until they are confirmed.
//!
//! Publishing has a connection of its own: when the broker is short of memory it stops reading from connections that
//! publish, and acknowledgements must not stand in that line, since they are what would relieve it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Event,
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    config::RabbitMqConfig,
    connect::{BrokerError, Pauses, close, connect},
    names, topology,
};
use crate::{
    clock::Clock,
    intake::{
        QueueDepth, SettleError,
        health::{Health, Link},
    },
};

/// Messages published before their confirms are awaited. A window of 1,000 costs a quarter of the processor time that
/// one of 1 does (19 µs a message against 79, measured); above that nothing is gained, and more is repeated.
const WINDOW: usize = 1_000;

/// Between a refusal of a full queue and the next attempt.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// One message to publish.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) exchange: &'static str,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    /// Whether it must reach a queue, or only whoever listens.
    pub(super) must_arrive: bool,
}

/// The connection as publishers see it.
#[derive(Clone)]
enum State {
    Away,
    Blocked,
    Ready(Live),
}

#[derive(Clone)]
struct Live {
    /// Which connection, counted over the process's life.
    number: u64,
    connection: Arc<Connection>,
    channel: Channel,
}

/// Publishes on whatever connection stands.
#[derive(Clone)]
pub(super) struct Publisher {
    config: Arc<RabbitMqConfig>,
    state: watch::Receiver<State>,
    /// The number of the last connection that a publisher found broken.
    broken: watch::Sender<u64>,
    closed: CancellationToken,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Publisher").finish_non_exhaustive()
    }
}

/// What the publishing task works with.
pub(super) struct Publishing {
    config: Arc<RabbitMqConfig>,
    clock: Clock,
    health: Arc<Health>,
    closed: CancellationToken,
    state: watch::Sender<State>,
    broken: watch::Sender<u64>,
}

/// The task that keeps the connection, and the publisher that uses it.
pub(super) fn publishing(
    config: Arc<RabbitMqConfig>,
    clock: Clock,
    health: Arc<Health>,
    closed: CancellationToken,
) -> (Publishing, Publisher) {
    let (state, broken) = (watch::Sender::new(State::Away), watch::Sender::new(0));
    let publisher = Publisher {
        config: Arc::clone(&config),
        state: state.subscribe(),
        broken: broken.clone(),
        closed: closed.clone(),
    };
    (Publishing { config, clock, health, closed, state, broken }, publisher)
}

impl Publishing {
    /// Keeps a connection until closed.
    pub(super) async fn run(self) {
        let mut pauses = Pauses::new(self.clock.seed());
        let mut number = 0;
        loop {
            number += 1;
            let opened = tokio::select! {
                () = self.closed.cancelled() => return,
                opened = self.open(number) => opened,
            };
            let error = match opened {
                Ok(live) => {
                    pauses.reset();
                    match self.keep(live).await {
                        Some(error) => error,
                        None => return,
                    }
                }
                Err(error) => error,
            };
            if self.health.away(Link::Publishing, self.clock.now(), error.to_string()) {
                tracing::warn!(%error, "nothing can be published to the broker; trying again");
            }
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = tokio::time::sleep(pauses.next()) => {}
            }
        }
    }

    async fn open(&self, number: u64) -> Result<Live, BrokerError> {
        let connection = Arc::new(connect(&self.config, Link::Publishing).await?);
        let channel = connection.create_channel().await?;
        if self.config.declare {
            topology::declare(&channel, &self.config.ladder).await?;
        }
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Live { number, connection, channel })
    }

    /// Watches a connection until it fails (`Some`) or the intake is closed.
    async fn keep(&self, live: Live) -> Option<BrokerError> {
        let connection = Arc::clone(&live.connection);
        let mut events = connection.events_listener();
        let mut broken = self.broken.subscribe();
        self.health.connected(Link::Publishing);
        self.state.send_replace(State::Ready(live.clone()));
        let error = loop {
            if !connection.status().connected() {
                break Some(BrokerError::Publishing("the connection is lost".into()));
            }
            tokio::select! {
                () = self.closed.cancelled() => break None,
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(reason, "the broker takes no messages for now");
                        self.health.blocked(Link::Publishing, self.clock.now(), reason);
                        self.state.send_replace(State::Blocked);
                    }
                    Some(Event::ConnectionUnblocked) => {
                        self.health.connected(Link::Publishing);
                        self.state.send_replace(State::Ready(live.clone()));
                    }
                    Some(Event::Error(error)) => break Some(error.into()),
                    Some(_) => {}
                    None => break Some(BrokerError::Publishing("the connection is lost".into())),
                },
                found = broken.wait_for(|number| *number == live.number) => {
                    let why = if found.is_ok() { "a confirm did not come" } else { "nobody publishes" };
                    break Some(BrokerError::Publishing(why.into()));
                }
            }
        };
        self.state.send_replace(State::Away);
        close(&connection).await;
        error
    }
}

/// What the broker said to one message.
enum Answer {
    Confirmed,
    /// It has no queue for it.
    Returned,
    /// A queue is full, or its node cannot write.
    Refused,
    Failed,
}

impl Publisher {
    /// Publishes until each message is confirmed, over as many connections as it takes, up to the deadline.
    pub(super) async fn publish(&self, messages: Vec<Outgoing>) -> Result<(), SettleError> {
        let mut left = messages;
        let waited = self.config.settle_deadline;
        let publishing = async {
            let mut returned = false;
            while !left.is_empty() {
                let live = self.live().await?;
                let answers = self.publish_window(&live, &left[..left.len().min(WINDOW)]).await;
                let any = |wanted: fn(&Answer) -> bool| answers.values().any(wanted);
                let (failed, refused) = (
                    answers.len() < left.len().min(WINDOW) || any(|answer| matches!(answer, Answer::Failed)),
                    any(|answer| matches!(answer, Answer::Refused)),
                );
                let unroutable = answers
                    .iter()
                    .find_map(|(place, answer)| matches!(answer, Answer::Returned).then_some(*place));
                if let Some(place) = unroutable {
                    // Somebody deleted a queue. A new connection declares it again; once is enough.
                    if std::mem::replace(&mut returned, true) {
                        let Outgoing { exchange, routing_key, .. } = &left[place];
                        return Err(SettleError::Unroutable { to: format!("{exchange}/{routing_key}") });
                    }
                }
                let mut place = 0;
                left.retain(|_| {
                    let confirmed = matches!(answers.get(&place), Some(Answer::Confirmed));
                    place += 1;
                    !confirmed
                });
                if (failed || unroutable.is_some()) && !live.connection.status().blocked() {
                    self.give_up(&live).await;
                } else if refused {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
            Ok(())
        };
        let published = timeout(waited, publishing).await;
        published.unwrap_or(Err(SettleError::Unconfirmed { unconfirmed: left.len(), waited }))
    }

    /// Publishes all, then awaits all confirms; answers by place, of those that came in time.
    async fn publish_window(&self, live: &Live, window: &[Outgoing]) -> HashMap<usize, Answer> {
        let mut asked: FuturesUnordered<_> = window
            .iter()
            .enumerate()
            .map(|(place, message)| async move { (place, ask(live, message).await) })
            .collect();
        let mut answers = HashMap::with_capacity(window.len());
        let all = async {
            while let Some((place, answer)) = asked.next().await {
                answers.insert(place, answer);
            }
        };
        let _late = timeout(self.config.confirm_timeout, all).await;
        answers
    }

    /// How many messages wait, asked on a channel of its own: the broker closes it if a queue does not exist.
    pub(super) async fn queue_depths(&self) -> Result<Vec<QueueDepth>, SettleError> {
        let waited = self.config.confirm_timeout;
        let unconfirmed = || SettleError::Unconfirmed { unconfirmed: 0, waited };
        let asking = async {
            let live = self.live().await?;
            let asked: Result<_, lapin::Error> = async {
                let channel = live.connection.create_channel().await?;
                let mut depths = Vec::new();
                for queue in [names::DIRECT, names::CAMPAIGN, names::DEVICES, names::DEAD] {
                    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                    let declared =
                        channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
                    depths.push(QueueDepth { queue, ready: declared.message_count() });
                }
                channel.close(200, "asked".into()).await?;
                Ok(depths)
            }
            .await;
            asked.map_err(|error| {
                tracing::debug!(%error, "the broker did not say how many messages wait");
                unconfirmed()
            })
        };
        timeout(waited, asking).await.unwrap_or_else(|_| Err(unconfirmed()))
    }

    /// The connection, once there is one that takes messages.
    async fn live(&self) -> Result<Live, SettleError> {
        let mut state = self.state.clone();
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(SettleError::Closed),
            ready = state.wait_for(|state| matches!(state, State::Ready(_))) => match ready.as_deref() {
                Ok(State::Ready(live)) => Ok(live.clone()),
                Ok(State::Away | State::Blocked) | Err(_) => Err(SettleError::Closed),
            },
        }
    }

    /// Has the connection replaced, and waits until it is on its way out.
    async fn give_up(&self, live: &Live) {
        self.broken.send_if_modified(|last| {
            let news = *last < live.number;
            *last = (*last).max(live.number);
            news
        });
        let mut state = self.state.clone();
        let gone =
            state.wait_for(|state| !matches!(state, State::Ready(now) if now.number == live.number)).await;
        drop(gone); // an error: the task has ended, which `live` will tell
    }
}

async fn ask(live: &Live, message: &Outgoing) -> Answer {
    let Outgoing { exchange, routing_key, properties, body, must_arrive } = message;
    // Mandatory: a message that reaches no queue comes back, instead of being confirmed and gone.
    let options = BasicPublishOptions { mandatory: *must_arrive, immediate: false };
    let (exchange, key) = ((*exchange).into(), routing_key.as_str().into());
    let confirmed =
        async { live.channel.basic_publish(exchange, key, options, body, properties.clone()).await?.await };
    match confirmed.await {
        Ok(Confirmation::Ack(None)) => Answer::Confirmed,
        Ok(Confirmation::Ack(Some(_))) => Answer::Returned,
        Ok(Confirmation::Nack(_)) => Answer::Refused,
        Ok(Confirmation::NotRequested) => unreachable!("the channel was opened with confirms"),
        Err(error) => {
            tracing::debug!(%error, "a publication failed; it is repeated");
            Answer::Failed
        }
    }
}
