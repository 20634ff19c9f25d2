//! Every exchange and queue that the service declares on the broker, in one table.
//!
//! Declaring is idempotent, and done on every connection: whoever comes first makes them. Who may do what is for the
//! broker's permissions to say (README): a producer needs to write to `bellwether.jobs`, or to
//! `bellwether.devices` if it has that scope, and to nothing else.

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

use super::connect::BrokerError;
use crate::{intake::Ladder, pace::Rung};

/// The names of exchanges and queues.
pub mod names {
    /// Exchange (direct): where producers publish jobs, under the lane's name.
    pub const JOBS: &str = "bellwether.jobs";
    /// Exchange (direct): where producers publish registrations of devices. Not the jobs' exchange: the broker's
    /// permissions tell exchanges apart, not routing keys.
    pub const REGISTRATIONS: &str = "bellwether.devices";
    /// Exchange (fanout): whatever is dead, whatever its key.
    pub const DEAD_LETTERS: &str = "bellwether.dlx";
    /// Exchange (fanout): halts and wake-ups, to every process.
    pub const CONTROL: &str = "bellwether.control";
    /// Exchange (topic): what is told to whoever binds.
    pub const EVENTS: &str = "bellwether.events";
    /// Queue: jobs for named recipients.
    pub const DIRECT: &str = "jobs.direct";
    /// Queue: jobs for a named audience.
    pub const CAMPAIGN: &str = "jobs.campaign";
    /// Queue: registrations and removals of devices.
    pub const DEVICES: &str = "devices";
    /// Queue: what nobody will deliver.
    pub const DEAD: &str = "dead";
    /// Routing key of the direct lane.
    pub const DIRECT_KEY: &str = "direct";
    /// Routing key of the campaign lane.
    pub const CAMPAIGN_KEY: &str = "campaign";
    /// Routing key of registrations.
    pub const DEVICES_KEY: &str = "devices";
}

/// The queue of a rung: `retry.5s`.
pub(super) fn retry_queue(rung: Rung) -> String {
    format!("retry.{}", rung.as_str())
}

/// Deliveries of one message that nobody acknowledges before the broker takes it for poison. Twenty crashes in a row
/// with the same message in hand are no accident; RabbitMQ 4 has the same default, 3.10 has none.
const DELIVERY_LIMIT: i64 = 20;

/// For `dead`: looking at a message takes it and puts it back, which counts. RabbitMQ 4 would drop it after 20 looks;
/// 3.10 knows no word for "unlimited".
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

const EXCHANGES: [(&str, ExchangeKind); 5] = [
    (names::JOBS, ExchangeKind::Direct),
    (names::REGISTRATIONS, ExchangeKind::Direct),
    (names::DEAD_LETTERS, ExchangeKind::Fanout),
    (names::CONTROL, ExchangeKind::Fanout),
    (names::EVENTS, ExchangeKind::Topic),
];

fn queues(ladder: &Ladder) -> Vec<Queue> {
    let mut queues = vec![
        Queue::quorum(names::DIRECT)
            .bound_to(names::JOBS, names::DIRECT_KEY)
            .delivery_limit(DELIVERY_LIMIT)
            .dead_letters_to(names::DEAD_LETTERS),
        Queue::quorum(names::CAMPAIGN)
            .bound_to(names::JOBS, names::CAMPAIGN_KEY)
            .delivery_limit(DELIVERY_LIMIT)
            .dead_letters_to(names::DEAD_LETTERS),
        Queue::quorum(names::DEVICES)
            .bound_to(names::REGISTRATIONS, names::DEVICES_KEY)
            .delivery_limit(DELIVERY_LIMIT)
            .dead_letters_to(names::DEAD_LETTERS)
            .one_consumer_at_a_time(),
        Queue::quorum(names::DEAD).bound_to(names::DEAD_LETTERS, "").delivery_limit(NO_DELIVERY_LIMIT),
    ];
    // Nobody consumes these: a message leaves when its time is over, back to the direct lane. One queue for each wait,
    // because a queue expires messages from its head only.
    queues.extend(Rung::ALL.map(|rung| {
        Queue::quorum(&retry_queue(rung))
            .time_to_live(ladder.wait(rung))
            .dead_letters_to(names::JOBS)
            .dead_letters_as(names::DIRECT_KEY)
    }));
    queues
}

/// One queue with its arguments and bindings.
struct Queue {
    name: String,
    arguments: FieldTable,
    bindings: Vec<(&'static str, &'static str)>,
}

impl Queue {
    /// Replicated and written to disk before it confirms: a job that was confirmed survives a node.
    fn quorum(name: &str) -> Self {
        let queue = Self { name: name.to_owned(), arguments: FieldTable::default(), bindings: Vec::new() };
        queue.with("x-queue-type", text("quorum"))
    }

    /// A message that crashes its consumer again and again must not do so for ever.
    fn delivery_limit(self, limit: i64) -> Self {
        self.with("x-delivery-limit", AMQPValue::LongLongInt(limit))
    }

    /// At least once: without it, a quorum queue publishes what it dead-letters without waiting for a confirm, and a
    /// node that fails in between loses it. The strategy needs `reject-publish`, which also is what we want of a queue
    /// that somebody gave a length by policy: tell the publisher, rather than drop the oldest job.
    fn dead_letters_to(self, exchange: &str) -> Self {
        self.with("x-dead-letter-exchange", text(exchange))
            .with("x-dead-letter-strategy", text("at-least-once"))
            .with("x-overflow", text("reject-publish"))
    }

    /// The next process takes over when it is gone. Versions keep a phone's changes in order in any case; this keeps an
    /// update from overtaking the registration that it is of, in another process.
    fn one_consumer_at_a_time(self) -> Self {
        self.with("x-single-active-consumer", AMQPValue::Boolean(true))
    }

    /// A dead letter keeps the routing key it had (the queue's own name, here) unless another is named.
    fn dead_letters_as(self, key: &str) -> Self {
        self.with("x-dead-letter-routing-key", text(key))
    }

    /// On the queue rather than on each message: an argument cannot be forgotten by a publisher.
    fn time_to_live(self, wait: std::time::Duration) -> Self {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        self.with("x-message-ttl", AMQPValue::LongLongInt(millis))
    }

    fn bound_to(mut self, exchange: &'static str, key: &'static str) -> Self {
        self.bindings.push((exchange, key));
        self
    }

    fn with(mut self, key: &str, value: AMQPValue) -> Self {
        self.arguments.insert(key.into(), value);
        self
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Declares everything. `channel` is of no use after an error.
pub(super) async fn declare(channel: &Channel, ladder: &Ladder) -> Result<(), BrokerError> {
    for (name, kind) in EXCHANGES {
        // Durable: it is still there after the broker has restarted.
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await;
        declared.map_err(|error| differs("exchange", name, error))?;
    }
    for Queue { name, arguments, bindings } in queues(ladder) {
        // Durable, as every quorum queue must be.
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(name.as_str().into(), options, arguments).await;
        declared.map_err(|error| differs("queue", &name, error))?;
        for (exchange, key) in bindings {
            let options = QueueBindOptions::default();
            let (queue, exchange) = (name.as_str().into(), exchange.into());
            channel.queue_bind(queue, exchange, key.into(), options, FieldTable::default()).await?;
        }
    }
    Ok(())
}

/// The broker answers 406 to a declaration that contradicts what exists.
fn differs(what: &'static str, name: &str, error: lapin::Error) -> BrokerError {
    let contradicts = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
    match error.kind() {
        ErrorKind::ProtocolError(amqp) if *amqp.kind() == contradicts => {
            let detail = amqp.get_message().to_string();
            BrokerError::Differs { what, name: name.to_owned(), detail }
        }
        _ => error.into(),
    }
}
