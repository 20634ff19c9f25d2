//! What the service tells: events on `bellwether.events`, copies in `dead`, and entries in the audit.

use std::collections::BTreeMap;

use lapin::{
    message::Delivery,
    options::{QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

use super::{broker::TestClient, service::Stage};

/// The W3C trace context of the n-th message of a test, by which what is told of it is known again.
pub(crate) fn trace(n: usize) -> String {
    format!("00-{:032x}-{:016x}-01", n + 1, n + 1)
}

/// Listens to everything on `bellwether.events`.
pub(crate) struct Events {
    client: TestClient,
    queue: String,
}

impl Events {
    /// From now on; the service has declared the exchange.
    pub(crate) async fn of(stage: &Stage) -> Self {
        let client = stage.broker.client(stage.broker.service()).await;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let declared = client.channel.queue_declare("".into(), options, FieldTable::default()).await;
        let queue = declared.expect("a queue of its own").name().to_string();
        let (name, exchange) = (queue.as_str().into(), "bellwether.events".into());
        let (all, options) = ("#".into(), QueueBindOptions::default());
        let bound = client.channel.queue_bind(name, exchange, all, options, FieldTable::default());
        bound.await.expect("events are published somewhere");
        Self { client, queue }
    }

    /// The next event: its routing key and its text.
    pub(crate) async fn next(&self) -> (String, Value) {
        let message = self.client.take(&self.queue).await;
        let event = serde_json::from_slice(&message.data).expect("an event is JSON");
        (message.routing_key.to_string(), event)
    }

    /// The next event of one of these types.
    pub(crate) async fn next_of(&self, types: &[&str]) -> Value {
        loop {
            let (_, event) = self.next().await;
            if types.iter().any(|kind| event["type"] == *kind) {
                return event;
            }
        }
    }
}

/// A copy in `dead`.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Dead {
    /// The next one.
    pub(crate) async fn next(client: &TestClient) -> Self {
        client.take("dead").await.into()
    }

    /// The rules that refused it, or the kind of mistake.
    pub(crate) fn code(&self) -> &str {
        &self.headers["x-bellwether-code"]
    }

    /// The field.
    pub(crate) fn field(&self) -> &str {
        &self.headers["x-bellwether-field"]
    }

    /// The trace that the message brought.
    pub(crate) fn trace(&self) -> &str {
        self.headers.get("traceparent").map_or("", String::as_str)
    }
}

impl From<Delivery> for Dead {
    fn from(message: Delivery) -> Self {
        let table = message.properties.headers().clone().unwrap_or_default();
        let text = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        let headers = table.inner().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Self { headers, body: message.data }
    }
}

/// Everything that the audit says was refused, after its chain was verified.
pub(crate) async fn audited_refusals(stage: &Stage) -> Vec<Value> {
    let ledger = stage.ledger().await;
    ledger.audit_verify(None).await.expect("the ledger answers").expect("the chain is whole");
    let entries = ledger.audit_entries(1, 10_000).await.expect("the ledger answers");
    let verdicts = entries.iter().filter(|entry| entry.kind == "direct.verdicts");
    let bodies = verdicts.map(|entry| serde_json::from_str::<Value>(&entry.body).expect("a JSON body"));
    bodies.flat_map(|body| body["refused"].as_array().cloned().unwrap_or_default()).collect()
}
