//! What is declared, and what happens when it contradicts what exists.

use bellwether::intake::{BrokerError, Intake, probe};
use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable},
};
use tokio_util::sync::CancellationToken;

use super::{connected, unhealthy};
use crate::harness::broker::Broker;

#[tokio::test(flavor = "multi_thread")]
async fn declaring_twice_changes_nothing_and_every_queue_is_there() {
    let broker = Broker::start().await;
    probe(&broker.config()).await.expect("the first declares");
    probe(&broker.config()).await.expect("the second finds the same");
    let client = broker.client(broker.service()).await;
    for queue in [
        "jobs.direct",
        "jobs.campaign",
        "devices",
        "dead",
        "retry.5s",
        "retry.30s",
        "retry.2m",
        "retry.10m",
        "retry.1h",
    ] {
        assert_eq!(client.ready(queue).await, Some(0), "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_declaration_of_a_queue_is_named_with_what_to_do() {
    let broker = Broker::start().await;
    let client = broker.client(broker.service()).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    client.channel.queue_declare("jobs.campaign".into(), options, arguments).await.expect("a queue");

    let error = probe(&broker.config()).await.expect_err("the arguments differ");
    assert!(matches!(&error, BrokerError::Differs { name, .. } if name == "jobs.campaign"), "{error:?}");
    let told = error.to_string();
    assert!(told.contains("jobs.campaign") && told.contains("amqp.declare = false"), "{told}");

    let (clock, cancel) = (bellwether::clock::Clock::system(), CancellationToken::new());
    let intake = Intake::rabbitmq(broker.config(), clock, cancel);
    let mut health = intake.health();
    let telling = health.wait_for(|health| format!("{health:?}").contains("jobs.campaign"));
    crate::harness::broker::within("the reason", telling).await.expect("the intake is open");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_declaring_what_exists_is_used_and_what_does_not_is_told() {
    let broker = Broker::start().await;
    let mut config = broker.config();
    config.declare = false;
    let clock = bellwether::clock::Clock::system();
    let missing = Intake::rabbitmq(config.clone(), clock, CancellationToken::new());
    let mut health = missing.health();
    let telling = health.wait_for(|health| format!("{health:?}").contains("jobs.direct"));
    crate::harness::broker::within("the reason", telling).await.expect("the intake is open");
    assert_ne!(unhealthy(&missing).await, bellwether::intake::BrokerHealth::Connected);
    missing.close().await;
    probe(&broker.config()).await.expect("declared by somebody else");
    connected(config).await.close().await;
}
