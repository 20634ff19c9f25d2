//! Messages as AMQP has them, and as the rest of the service does.
//!
//! **Pointers.** What rests on the retry ladder is a message of type `bellwether.pointer` that names a job in the
//! ledger, and carries the service's own `user_id`. The broker lets nobody publish under another's `user_id`, and keeps
//! it when it dead-letters, so a producer cannot forge one: its message of that type is read as a job, and is
//! malformed. Whoever shares the service's account can, and gains no more than a look-up of a job that is in the
//! ledger: a pointer has no recipient and no text, and one that is behind the record is dropped.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::{BasicProperties, message::Delivery as Message, types::AMQPValue};
use serde::{Deserialize, Serialize};

use super::config::RabbitMqConfig;
use crate::{
    intake::{
        Arrival, Delivery, KEPT_BODY_BYTES, NoProducer, Receipt, RegistrationDelivery, WorkQueue,
        header_names,
    },
    ledger::Pointer,
    model::{JobId, JobKey, Lane, ProducerId},
};

/// The `type` property of a pointer.
const POINTER: &str = "bellwether.pointer";
/// The `type` property of a copy in `dead`.
const DEAD_LETTER: &str = "bellwether.dead";

/// A pointer's body.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PointerBody {
    producer: ProducerId,
    job: JobId,
    tries: u32,
}

/// What a message is to the service.
pub(super) fn arrival(
    config: &RabbitMqConfig,
    lane: Lane,
    channel: u64,
    message: Message,
    received_at: Timestamp,
) -> Arrival {
    let Message { delivery_tag: tag, properties, data, .. } = message;
    let receipt = Receipt { channel, tag };
    if let Some(pointer) = pointer(config, &properties, &data) {
        return Arrival::Due(pointer, receipt);
    }
    Arrival::Message(Delivery {
        lane,
        producer: producer(config, lane.into(), &properties),
        size: data.len(),
        body: kept(data),
        traceparent: traceparent(&properties),
        received_at,
        receipt,
    })
}

/// What a message of the devices' queue is to the service.
pub(super) fn registration(config: &RabbitMqConfig, channel: u64, message: Message) -> RegistrationDelivery {
    let Message { delivery_tag: tag, properties, data, .. } = message;
    RegistrationDelivery {
        producer: producer(config, WorkQueue::Devices, &properties),
        size: data.len(),
        body: kept(data),
        traceparent: traceparent(&properties),
        receipt: Receipt { channel, tag },
    }
}

fn pointer(config: &RabbitMqConfig, properties: &BasicProperties, body: &[u8]) -> Option<Pointer> {
    let of_type = properties.kind().as_ref().is_some_and(|kind| kind.as_str() == POINTER);
    let ours = properties.user_id().as_ref().is_some_and(|user| user.as_str() == config.user());
    if !of_type || !ours {
        return None;
    }
    let PointerBody { producer, job, tries } = serde_json::from_slice(body).ok()?;
    Some(Pointer { key: JobKey { producer, id: job }, tries })
}

fn producer(
    config: &RabbitMqConfig,
    queue: WorkQueue,
    properties: &BasicProperties,
) -> Result<ProducerId, NoProducer> {
    if let Some(producer) = config.single_producer(queue) {
        return Ok(producer.clone());
    }
    let user = properties.user_id().as_ref().ok_or(NoProducer)?;
    ProducerId::parse(user.as_str()).map_err(|_| NoProducer)
}

/// A long body is copied, so that its own memory goes at once.
fn kept(body: Vec<u8>) -> Bytes {
    if body.len() > KEPT_BODY_BYTES {
        Bytes::copy_from_slice(&body[..KEPT_BODY_BYTES])
    } else {
        Bytes::from(body)
    }
}

fn traceparent(properties: &BasicProperties) -> Option<String> {
    let headers = properties.headers().as_ref()?.inner();
    let value = match headers.get(header_names::TRACEPARENT)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?,
        _ => return None,
    };
    is_traceparent(value).then(|| value.to_owned())
}

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>. Anything else could smuggle text into logs.
fn is_traceparent(value: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_zero = |part: &str| part.bytes().any(|byte| byte != b'0');
    let parts: Vec<_> = value.split('-').collect();
    matches!(parts[..], ["00", trace, parent, flags]
        if hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && not_zero(trace) && not_zero(parent))
}

/// Properties of everything that the service publishes.
fn ours(config: &RabbitMqConfig) -> BasicProperties {
    BasicProperties::default()
        .with_user_id(config.user().into()) // the broker vouches for it
        .with_delivery_mode(2) // persistent: quorum queues write to disk in any case, an event's queue may be a classic one
}

pub(super) fn pointer_message(config: &RabbitMqConfig, pointer: Pointer) -> (BasicProperties, Bytes) {
    let Pointer { key: JobKey { producer, id }, tries } = pointer;
    let body = PointerBody { producer, job: id, tries };
    let body = serde_json::to_vec(&body).expect("a pointer has only string keys");
    let properties = ours(config).with_type(POINTER.into()).with_content_type("application/json".into());
    (properties, body.into())
}

pub(super) fn dead_properties(
    config: &RabbitMqConfig,
    headers: Vec<(&'static str, String)>,
    now: Timestamp,
) -> BasicProperties {
    let mut table = lapin::types::FieldTable::default();
    for (name, value) in headers {
        table.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    ours(config)
        .with_type(DEAD_LETTER.into())
        .with_timestamp(u64::try_from(now.as_second()).unwrap_or_default())
        .with_headers(table)
}

pub(super) fn event_properties(config: &RabbitMqConfig) -> BasicProperties {
    ours(config).with_content_type("application/json".into())
}

/// Of what is said to every process: worth nothing once it is old.
pub(super) fn control_properties(config: &RabbitMqConfig) -> BasicProperties {
    const TRANSIENT: u8 = 1;
    event_properties(config).with_delivery_mode(TRANSIENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RabbitMqConfig {
        RabbitMqConfig::new("amqp://bellwether:p@host").expect("a URL")
    }

    fn message(properties: BasicProperties, body: &[u8]) -> Message {
        let mut message = Message::mock(1, "".into(), "".into(), false, body.to_vec());
        message.properties = properties;
        message
    }

    fn delivery(arrival: Arrival) -> Delivery {
        match arrival {
            Arrival::Message(delivery) => delivery,
            Arrival::Due(..) => panic!("taken for a pointer"),
        }
    }

    fn arrive(properties: BasicProperties, body: &[u8]) -> Arrival {
        arrival(&config(), Lane::Direct, 1, message(properties, body), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_pointer_is_one_only_under_our_own_user_id_and_type() {
        let key = JobKey {
            producer: ProducerId::parse("cards").expect("a name"),
            id: JobId::parse("j").expect("an id"),
        };
        let (properties, body) = pointer_message(&config(), Pointer { key, tries: 3 });
        let arrived = arrive(properties.clone(), &body);
        assert!(matches!(arrived, Arrival::Due(Pointer { tries: 3, .. }, _)), "{arrived:?}");

        let forged = delivery(arrive(properties.clone().with_user_id("cards".into()), &body));
        assert_eq!(forged.producer, ProducerId::parse("cards").map_err(|_| NoProducer));
        assert!(crate::model::Job::parse(&forged.body).is_err(), "a pointer is no job");
        delivery(arrive(BasicProperties::default().with_type(POINTER.into()), &body));
        delivery(arrive(properties.clone().with_type("job".into()), &body));
        delivery(arrive(properties, b"{\"producer\":\"cards\",\"job\":\"j\",\"tries\":3,\"token\":\"x\"}"));
    }

    #[test]
    fn a_user_id_that_is_no_producer_name_is_none() {
        assert_eq!(delivery(arrive(BasicProperties::default(), b"")).producer, Err(NoProducer));
        let blank = BasicProperties::default().with_user_id("my app".into());
        assert_eq!(delivery(arrive(blank, b"")).producer, Err(NoProducer));
    }

    #[test]
    fn a_long_body_is_cut_and_says_how_long_it_was() {
        let long = delivery(arrive(BasicProperties::default(), &vec![b'x'; KEPT_BODY_BYTES + 1]));
        assert_eq!((long.body.len(), long.size), (KEPT_BODY_BYTES, KEPT_BODY_BYTES + 1));
        let whole = delivery(arrive(BasicProperties::default(), &vec![b'x'; KEPT_BODY_BYTES]));
        assert_eq!((whole.body.len(), whole.size), (KEPT_BODY_BYTES, KEPT_BODY_BYTES));
    }

    #[test]
    fn only_a_well_formed_traceparent_is_carried() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_traceparent(good));
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\nx",
        ] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
