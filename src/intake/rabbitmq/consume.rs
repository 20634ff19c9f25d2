//! The consuming connection: opened, kept, opened again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, StreamExt, stream};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    acks::OpenChannels,
    config::RabbitMqConfig,
    connect::{BrokerError, Pauses, close, connect},
    topology, wire,
};
use crate::{
    clock::Clock,
    intake::{
        Arrival, RegistrationDelivery, WorkQueue,
        health::{Health, Link},
    },
    model::Lane,
};

/// The name of the consumer on each channel. Each channel has one, and a channel is never used for another: on 3.10 a
/// quorum queue loses track of a tag that is used again on the same channel.
const CONSUMER_TAG: &str = "bellwether";

/// What has arrived and was not taken yet: at most what the prefetch lets through.
#[derive(Debug)]
pub(in crate::intake) struct Inbox<T> {
    arrivals: Mutex<VecDeque<T>>,
    arrived: Notify,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { arrivals: Mutex::default(), arrived: Notify::new() }
    }
}

impl<T> Inbox<T> {
    /// Waits until something is there, then takes what is there, up to `max`. `None` once cancelled.
    pub(in crate::intake) async fn batch(&self, max: usize, cancel: &CancellationToken) -> Option<Vec<T>> {
        while !cancel.is_cancelled() {
            if let Some(arrivals) = self.take(max) {
                return Some(arrivals);
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.arrived.notified() => {}
            }
        }
        None
    }

    fn take(&self, max: usize) -> Option<Vec<T>> {
        let mut arrivals = self.arrivals();
        let count = arrivals.len().min(max.max(1));
        (count > 0).then(|| arrivals.drain(..count).collect())
    }

    fn put(&self, arrivals: Vec<T>) {
        if !arrivals.is_empty() {
            self.arrivals().extend(arrivals);
            self.arrived.notify_one();
        }
    }

    /// Forgets what the broker is going to deliver again.
    fn clear(&self) {
        self.arrivals().clear();
    }

    fn arrivals(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the consuming task works with.
pub(super) struct Consuming {
    pub(super) config: Arc<RabbitMqConfig>,
    pub(super) clock: Clock,
    pub(super) inbox: Arc<Inbox<Arrival>>,
    pub(super) registrations: Arc<Inbox<RegistrationDelivery>>,
    pub(super) channels: Arc<OpenChannels>,
    pub(super) health: Arc<Health>,
    /// No more arrivals; acknowledgements still.
    pub(super) cancel: CancellationToken,
    /// No acknowledgements any more either.
    pub(super) closed: CancellationToken,
}

/// A message, an error, or (`None`) the end that the broker has put to a consumer.
type Delivered = (WorkQueue, u64, Option<lapin::Result<lapin::message::Delivery>>);

/// One connection with a channel for each queue. Its receipts are void once it is dropped.
struct Session {
    connection: Connection,
    queues: Vec<(Channel, u64)>,
    channels: Arc<OpenChannels>,
    inbox: Arc<Inbox<Arrival>>,
    registrations: Arc<Inbox<RegistrationDelivery>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, number) in &self.queues {
            self.channels.close(*number);
        }
        self.inbox.clear();
        self.registrations.clear();
    }
}

impl Consuming {
    /// Consumes until cancelled, over as many connections as it takes, and ends when closed.
    pub(super) async fn run(self) {
        let mut pauses = Pauses::new(self.clock.seed());
        loop {
            let opened = tokio::select! {
                () = self.cancel.cancelled() => return,
                opened = self.open() => opened,
            };
            let error = match opened {
                Ok((session, deliveries)) => {
                    pauses.reset();
                    self.health.connected(Link::Consuming);
                    match self.consume(session, deliveries).await {
                        Some(error) => error,
                        None => return,
                    }
                }
                Err(error) => error,
            };
            if self.health.away(Link::Consuming, self.clock.now(), error.to_string()) {
                tracing::warn!(%error, "nothing is taken from the broker; trying again");
            }
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(pauses.next()) => {}
            }
        }
    }

    async fn open(&self) -> Result<(Session, impl Stream<Item = Delivered> + Unpin + use<>), BrokerError> {
        let config = &self.config;
        let connection = connect(config, Link::Consuming).await?;
        if config.declare {
            topology::declare(&connection.create_channel().await?, &config.ladder).await?;
        }
        let mut session = Session {
            connection,
            queues: Vec::new(),
            channels: Arc::clone(&self.channels),
            inbox: Arc::clone(&self.inbox),
            registrations: Arc::clone(&self.registrations),
        };
        let mut consumers = stream::SelectAll::new();
        for (queue, prefetch) in [
            (WorkQueue::Direct, config.prefetch_direct),
            (WorkQueue::Campaign, config.prefetch_campaign),
            (WorkQueue::Devices, config.prefetch_devices),
        ] {
            let channel = session.connection.create_channel().await?;
            // What is held unacknowledged is bounded: by this alone, when nobody takes a batch.
            channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let number = self.channels.open(channel.clone());
            session.queues.push((channel.clone(), number));
            // Acknowledged by hand (I7), and not exclusive: several processes share the queues.
            let options = BasicConsumeOptions::default();
            let (name, tag) = (queue.name().into(), CONSUMER_TAG.into());
            let consumer = channel.basic_consume(name, tag, options, FieldTable::default());
            consumers.push(delivered(queue, number, consumer.await?));
        }
        Ok((session, consumers))
    }

    /// Fills the inbox until the connection fails (`Some`), or until cancelled and closed.
    async fn consume(
        &self,
        session: Session,
        deliveries: impl Stream<Item = Delivered> + Unpin,
    ) -> Option<BrokerError> {
        // Whatever is there already goes to the inbox together, so that batches are as large as they can be.
        let mut deliveries = deliveries.ready_chunks(usize::from(self.config.prefetch_direct).max(1));
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    self.linger(session).await;
                    return None;
                }
                chunk = deliveries.next() => chunk.unwrap_or_default(),
            };
            let now = self.clock.now();
            let mut failed = None;
            let (mut arrivals, mut registrations) = (Vec::new(), Vec::new());
            for (queue, channel, delivered) in chunk {
                let message = match delivered {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => {
                        failed.get_or_insert(BrokerError::from(error));
                        continue;
                    }
                    None => {
                        failed.get_or_insert(BrokerError::Ended(queue.name()));
                        continue;
                    }
                };
                let lane = match queue {
                    WorkQueue::Direct => Lane::Direct,
                    WorkQueue::Campaign => Lane::Campaign,
                    WorkQueue::Devices => {
                        registrations.push(wire::registration(&self.config, channel, message));
                        continue;
                    }
                };
                arrivals.push(wire::arrival(&self.config, lane, channel, message, now));
            }
            self.inbox.put(arrivals);
            self.registrations.put(registrations);
            if let Some(error) = failed {
                close(&session.connection).await; // it may still stand: only a queue may be gone
                return Some(error);
            }
        }
    }

    /// Takes no more messages, and keeps the channels for acknowledgements until closed.
    async fn linger(&self, session: Session) {
        for (channel, _) in &session.queues {
            let cancelling = channel.basic_cancel(CONSUMER_TAG.into(), BasicCancelOptions::default());
            if !matches!(timeout(self.config.confirm_timeout, cancelling).await, Ok(Ok(()))) {
                tracing::debug!("the broker did not confirm that consuming ends");
            }
        }
        self.closed.cancelled().await;
        close(&session.connection).await;
    }
}

/// A consumer's messages, and an item more when it ends: merged streams would pass over the end of one of them.
fn delivered(queue: WorkQueue, channel: u64, consumer: Consumer) -> impl Stream<Item = Delivered> + Unpin {
    let end = stream::iter([(queue, channel, None)]);
    Box::pin(consumer.map(move |delivered| (queue, channel, Some(delivered))).chain(end))
}
