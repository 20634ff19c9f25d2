//! RabbitMQ: two connections that are kept up, one to consume and one to publish.
//!
//! Neither fails its caller when the broker goes away. The consuming side opens the next connection and gets again
//! what it had not acknowledged; the publishing side waits and repeats. Both pause between attempts, for ever.

mod acks;
mod config;
mod connect;
mod consume;
mod control;
mod enqueue;
mod load;
mod publish;
mod topology;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use config::{ConfigError, RabbitMqConfig};
pub use connect::BrokerError;
pub use control::{ControlSpeaker, Heard, control, say_once};
pub use enqueue::enqueue;
pub use load::{Enqueued, enqueue_all};
pub use topology::names;

pub(super) use consume::Inbox;

use self::{
    acks::OpenChannels,
    consume::Consuming,
    publish::{Outgoing, Publisher, publishing},
};
use super::{
    Arrival, BrokerHealth, DeadLetter, Deferral, QueueDepth, Receipt, RegistrationDelivery, Registrations,
    SettleError, dead, health,
};
use crate::clock::Clock;

/// Connects once, declares if the configuration says so, and hangs up: for `bellwether check`.
pub async fn probe(config: &RabbitMqConfig) -> Result<(), BrokerError> {
    let connection = connect::connect(config, health::Link::Publishing).await?;
    if config.declare {
        topology::declare(&connection.create_channel().await?, &config.ladder).await?;
    }
    connect::close(&connection).await;
    Ok(())
}

/// The consuming end.
#[derive(Debug)]
pub struct RabbitMqIntake {
    inbox: Arc<Inbox<Arrival>>,
    registrations: Arc<Inbox<RegistrationDelivery>>,
    settle: RabbitMqSettle,
    health: Arc<health::Health>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    /// Both end the tasks also when the intake is dropped without being closed.
    stop: DropGuard,
    closed: DropGuard,
}

impl RabbitMqIntake {
    #[expect(clippy::needless_pass_by_value, reason = "a token is a handle; the other intake keeps it")]
    pub(super) fn start(config: RabbitMqConfig, clock: Clock, cancel: CancellationToken) -> Self {
        let config = Arc::new(config);
        let health = Arc::new(health::Health::new(clock.now()));
        let (inbox, registrations) = (Arc::<Inbox<_>>::default(), Arc::<Inbox<_>>::default());
        let channels = Arc::<OpenChannels>::default();
        let (cancel, closed) = (cancel.child_token(), CancellationToken::new());
        let (publishing, publisher) =
            publishing(Arc::clone(&config), clock.clone(), Arc::clone(&health), closed.clone());
        let consuming = Consuming {
            config: Arc::clone(&config),
            clock: clock.clone(),
            inbox: Arc::clone(&inbox),
            registrations: Arc::clone(&registrations),
            channels: Arc::clone(&channels),
            health: Arc::clone(&health),
            cancel: cancel.clone(),
            closed: closed.clone(),
        };
        let tasks = TaskTracker::new();
        tasks.spawn(publishing.run());
        if config.consume {
            tasks.spawn(consuming.run());
        } else {
            // Nothing is awaited from there, so nothing is away.
            health.connected(health::Link::Consuming);
        }
        tasks.close();
        let settle = RabbitMqSettle { config, clock, channels, publisher };
        let (stop, closed) = (cancel.clone().drop_guard(), closed.drop_guard());
        Self { inbox, registrations, settle, health, cancel, tasks, stop, closed }
    }

    pub(super) async fn batch(&mut self, max: usize) -> Option<Vec<Arrival>> {
        self.inbox.batch(max, &self.cancel).await
    }

    pub(super) fn registrations(&self) -> Registrations {
        Registrations { inbox: Arc::clone(&self.registrations), cancel: self.cancel.clone() }
    }

    pub(super) fn settle(&self) -> RabbitMqSettle {
        self.settle.clone()
    }

    pub(super) fn health(&self) -> watch::Receiver<BrokerHealth> {
        self.health.watch()
    }

    pub(super) async fn close(self) {
        drop(self.stop);
        drop(self.closed);
        self.tasks.wait().await;
    }
}

/// Settles what came from RabbitMQ.
#[derive(Debug, Clone)]
pub struct RabbitMqSettle {
    config: Arc<RabbitMqConfig>,
    clock: Clock,
    channels: Arc<OpenChannels>,
    publisher: Publisher,
}

impl RabbitMqSettle {
    pub(super) async fn ack(&self, receipts: Vec<Receipt>) {
        self.channels.ack(&receipts).await;
    }

    pub(super) async fn dead(&self, letters: Vec<DeadLetter>) -> Result<(), SettleError> {
        let now = self.clock.now();
        let copy = |letter: DeadLetter| Outgoing {
            exchange: names::DEAD_LETTERS,
            routing_key: letter.queue.key().to_owned(), // as the broker's own dead letters have it
            properties: wire::dead_properties(&self.config, dead::headers(&letter, now), now),
            body: letter.body,
            must_arrive: true,
        };
        self.publisher.publish(letters.into_iter().map(copy).collect()).await
    }

    pub(super) async fn defer(&self, deferrals: Vec<Deferral>) -> Result<(), SettleError> {
        let rest = |Deferral { pointer, rung }| {
            let (properties, body) = wire::pointer_message(&self.config, pointer);
            // The default exchange leads to the queue of that name.
            Outgoing {
                exchange: "",
                routing_key: topology::retry_queue(rung),
                properties,
                body,
                must_arrive: true,
            }
        };
        self.publisher.publish(deferrals.into_iter().map(rest).collect()).await
    }

    pub(super) async fn publish_events(&self, events: Vec<(String, Bytes)>) -> Result<(), SettleError> {
        let tell = |(routing_key, body)| Outgoing {
            exchange: names::EVENTS,
            routing_key,
            properties: wire::event_properties(&self.config),
            body,
            must_arrive: false,
        };
        self.publisher.publish(events.into_iter().map(tell).collect()).await
    }

    pub(super) async fn queue_depths(&self) -> Result<Vec<QueueDepth>, SettleError> {
        self.publisher.queue_depths().await
    }
}
