//! What arrives, and in whose name.

use bellwether::{
    intake::{Arrival, DeadReason, Deferral, KEPT_BODY_BYTES, NoProducer, RabbitMqConfig, header_names},
    model::{Job, Lane, MalformedCode},
    pace::Rung,
};
use lapin::{
    BasicProperties, ErrorKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

use super::{arrivals, connected, delivery, pointer, producer};
use crate::harness::broker::Broker;

#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_user_id_is_the_producer() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
    let properties = client.properties().with_headers(headers);
    client.publish("bellwether.jobs", "direct", properties, b"{}").await.expect("published");
    let direct = delivery(&mut intake).await;
    assert_eq!(direct.producer, Ok(producer(&cards)));
    assert_eq!((direct.lane, &direct.body[..], direct.size), (Lane::Direct, &b"{}"[..], 2));
    assert_eq!(direct.traceparent.as_deref(), Some(trace));

    client.publish("bellwether.jobs", "campaign", client.properties(), b"{}").await.expect("published");
    assert_eq!(delivery(&mut intake).await.lane, Lane::Campaign);
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_user_id_closes_the_publishers_channel_and_never_arrives() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let (cards, loans) = (broker.producer("cards").await, broker.producer("loans").await);
    let client = broker.client(&cards).await;
    for forged in [loans.as_str(), broker.service()] {
        let client = broker.client(&cards).await;
        let properties = client.properties().with_user_id(forged.into());
        let error = client.publish("bellwether.jobs", "direct", properties, b"forged").await;
        let error = error.expect_err("the broker refuses another's user_id");
        let ErrorKind::ProtocolError(amqp) = error.kind() else { panic!("no answer of the broker: {error}") };
        assert_eq!(*amqp.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED));
        assert_eq!(amqp.get_id(), 406);
        assert!(!client.channel.status().connected(), "the channel is closed");
    }
    client.enqueue("true").await;
    assert_eq!(delivery(&mut intake).await.body, "true", "nothing came before it");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_user_id_there_is_no_producer_unless_the_queue_has_one() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let publish = || client.publish("bellwether.jobs", "direct", BasicProperties::default(), b"{}");
    publish().await.expect("published");
    let nobody = delivery(&mut intake).await;
    assert_eq!(nobody.producer, Err(NoProducer));
    intake.settle().ack(vec![nobody.receipt]).await;
    intake.close().await;

    let single = broker.config().with_single_producer("jobs.direct", producer("cards")).expect("a queue");
    let mut intake = connected(single).await;
    publish().await.expect("published");
    assert_eq!(delivery(&mut intake).await.producer, Ok(producer("cards")));
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_goes_down_the_ladder_and_comes_back() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let settle = intake.settle();
    let deferrals = Rung::ALL.map(|rung| Deferral { pointer: pointer(rung.as_str(), 3), rung });
    settle.defer(deferrals.to_vec()).await.expect("confirmed");
    let due = arrivals(&mut intake, Rung::ALL.len()).await;
    for (arrival, rung) in due.iter().zip(Rung::ALL) {
        let Arrival::Due(back, _) = arrival else { panic!("no pointer: {arrival:?}") };
        assert_eq!(*back, pointer(rung.as_str(), 3), "the shorter rung comes first");
    }
    settle.ack(due.iter().map(super::receipt).collect()).await;
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producers_pointer_is_a_malformed_job() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let body = br#"{"producer":"cards","job":"j","tries":1}"#;
    let properties = client.properties().with_type("bellwether.pointer".into());
    client.publish("bellwether.jobs", "direct", properties, body).await.expect("published");
    let forged = delivery(&mut intake).await;
    assert_eq!(forged.producer, Ok(producer(&cards)));
    assert!(Job::parse(&forged.body).is_err(), "a pointer is no job");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_are_cut_refused_and_told() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let size = 10 * 1024 * 1024;
    let body = vec![b' '; size];
    client.publish("bellwether.jobs", "direct", client.properties(), &body).await.expect("published");
    let long = delivery(&mut intake).await;
    assert_eq!((long.body.len(), long.size), (KEPT_BODY_BYTES, size));
    let malformed = Job::parse(&long.body).expect_err("too large");
    assert_eq!(malformed.code, MalformedCode::TooLarge);
    let reason = DeadReason::Malformed {
        code: malformed.code.as_str(),
        field: malformed.field,
        problem: malformed.problem,
    };
    intake.settle().dead(vec![long.dead_letter(reason)]).await.expect("confirmed");
    let dead = broker.client(broker.service()).await.take("dead").await;
    assert_eq!(dead.data.len(), KEPT_BODY_BYTES);
    let headers = dead.properties.headers().as_ref().expect("headers").inner();
    assert_eq!(headers[header_names::SIZE], AMQPValue::LongString(size.to_string().into()));
    assert_eq!(headers[header_names::TRUNCATED], AMQPValue::LongString("true".into()));
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amqps_is_trusted_by_the_configured_authority_only() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (listener, ca) = (variable("AMQPS_URL"), variable("CA_FILE"));
    let broker = Broker::start().await;
    let url = broker.url_at(broker.service(), &listener.parse().expect("AMQPS_URL is a URL"));
    let unknown = bellwether::intake::probe(&RabbitMqConfig::new(&url).expect("a URL")).await;
    let unknown = unknown.expect_err("nobody vouches for the server").to_string();
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");

    let by_url = RabbitMqConfig::new(&format!("{url}?cacertfile={ca}")).expect("a URL");
    let mut intake = connected(by_url).await;
    let cards = broker.producer("cards").await;
    broker.client(&cards).await.enqueue("{}").await;
    assert_eq!(delivery(&mut intake).await.producer, Ok(producer(&cards)));
    intake.close().await;
    let by_file = RabbitMqConfig::new(&url).expect("a URL").with_ca_file(ca.into());
    connected(by_file).await.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_headers_that_the_broker_takes_arrive_even_if_the_url_asks_for_smaller_frames() {
    let broker = Broker::start().await;
    let url = format!("{}?frame_max=32768", broker.url(broker.service()));
    let mut intake = connected(RabbitMqConfig::new(&url).expect("a URL")).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let mut headers = FieldTable::default();
    headers.insert("long".into(), AMQPValue::LongString("x".repeat(120_000).into()));
    let properties = client.properties().with_headers(headers);
    client.publish("bellwether.jobs", "direct", properties, b"{}").await.expect("published");
    assert_eq!(delivery(&mut intake).await.body, "{}");
    intake.close().await;
}
