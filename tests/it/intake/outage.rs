//! The broker goes away, wholly or in part, and comes back.

use bellwether::{
    clock::Clock,
    intake::{BrokerHealth, Deferral, Intake, SettleError},
    pace::Rung,
};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{arrivals, bodies, connected, delivery, healthy, pointer, receipt, unhealthy};
use crate::harness::{
    broker::{Broker, eventually, within},
    services::PrivateServices,
};

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_come_back_and_what_was_not_acknowledged_with_them() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    for number in 0..6 {
        client.enqueue(&number.to_string()).await;
    }
    let settle = intake.settle();
    let held = arrivals(&mut intake, 4).await;
    settle.ack(vec![receipt(&held[0]), receipt(&held[2])]).await;
    // The acknowledgements are on their way: the broker has them before it is told to cut.
    let operator = broker.client(&cards).await;
    for round in 0..3 {
        broker.cut(broker.service()).await;
        let away = unhealthy(&intake).await;
        assert!(matches!(away, BrokerHealth::Away { .. }), "{away:?}");
        // Published while the broker is away: it waits for the connection, and is repeated on it.
        let deferral = Deferral { pointer: pointer("deferred", round), rung: Rung::FiveSeconds };
        settle.defer(vec![deferral]).await.expect("confirmed after recovery");
        healthy(&intake).await;
    }
    settle.ack(held.iter().map(receipt).collect()).await; // void: the channel is no more
    let again = arrivals(&mut intake, 7).await;
    let expected = ["1", "3", "4", "5", "cards/deferred#0", "cards/deferred#1", "cards/deferred#2"];
    assert_eq!(bodies(&again), expected);
    settle.ack(again.iter().map(receipt).collect()).await;
    operator.enqueue("last").await;
    assert_eq!(delivery(&mut intake).await.body, "last");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_again() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    broker.delete_queue("jobs.direct").await;
    let away = unhealthy(&intake).await;
    assert!(format!("{away:?}").contains("jobs.direct"), "{away:?}");
    healthy(&intake).await;
    broker.client(&cards).await.enqueue("{}").await;
    delivery(&mut intake).await;

    broker.delete_queue("retry.5s").await;
    let deferral = Deferral { pointer: pointer("returned", 1), rung: Rung::FiveSeconds };
    intake.settle().defer(vec![deferral]).await.expect("returned, declared, and confirmed");
    assert_eq!(bodies(&arrivals(&mut intake, 1).await), ["cards/returned#1"]);
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_declares_is_told_as_no_passing_trouble() {
    let broker = Broker::start().await;
    connected(broker.config()).await.close().await;
    let mut config = broker.config();
    config.declare = false;
    let intake = connected(config).await;
    broker.delete_queue("retry.5s").await;
    let deferral = Deferral { pointer: pointer("lost", 1), rung: Rung::FiveSeconds };
    let error = intake.settle().defer(vec![deferral]).await.expect_err("there is no such queue");
    assert_eq!(error, SettleError::Unroutable { to: "/retry.5s".into() });
    assert!(!error.is_transient());
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_at_the_start_is_waited_for_and_cancelling_ends_the_wait() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = nobody.local_addr().expect("an address").port();
    drop(nobody);
    let mut config =
        bellwether::intake::RabbitMqConfig::new(&format!("amqp://u:p@127.0.0.1:{port}/")).expect("a URL");
    config.settle_deadline = std::time::Duration::from_millis(50);
    let cancel = CancellationToken::new();
    let mut intake = Intake::rabbitmq(config, Clock::system(), cancel.clone());
    let mut health = intake.health();
    let refused = health.wait_for(|health| format!("{health:?}").contains("refused"));
    within("the reason", refused).await.expect("the intake is open");
    let error = intake.settle().publish_events(vec![("a".into(), Bytes::new())]).await;
    let error = error.expect_err("nobody is there");
    assert!(error.is_transient(), "{error}");
    let ((), batch) = tokio::join!(async { cancel.cancel() }, within("the end", intake.batch(1)));
    assert!(batch.is_none());
    within("the end", intake.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_stops_taking_and_lets_what_is_held_be_settled() {
    let broker = Broker::start().await;
    let cancel = CancellationToken::new();
    let mut intake = Intake::rabbitmq(broker.config(), Clock::system(), cancel.clone());
    healthy(&intake).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    for body in ["a", "b", "c"] {
        client.enqueue(body).await;
    }
    let held = arrivals(&mut intake, 2).await;
    cancel.cancel();
    assert!(intake.batch(10).await.is_none(), "what was not taken stays with the broker");
    let settle = intake.settle();
    let deferral = Deferral { pointer: pointer("held", 1), rung: Rung::FiveSeconds };
    settle.defer(vec![deferral]).await.expect("publishing still works");
    settle.ack(held.iter().map(receipt).collect()).await;
    intake.close().await;
    let mut next = connected(broker.config()).await;
    assert_eq!(bodies(&arrivals(&mut next, 2).await), ["c", "cards/held#1"]);
    next.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intake_that_is_dropped_lets_go_of_the_broker() {
    let broker = Broker::start().await;
    let mut dropped = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    broker.client(&cards).await.enqueue("held").await;
    delivery(&mut dropped).await;
    drop(dropped);
    let mut next = connected(broker.config()).await;
    assert_eq!(delivery(&mut next).await.body, "held");
    next.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_and_then_restarted_broker_loses_nothing() {
    let services = PrivateServices::up().await;
    services.run(&["stop", "postgres"]).await;
    let broker = services.broker().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    let jobs: Vec<String> = (0..50).map(|number| format!("{number:02}")).collect();
    for job in &jobs {
        client.enqueue(job).await;
    }
    let settle = intake.settle();
    let held = arrivals(&mut intake, 50).await;

    services.set_memory_limit("0.000001").await;
    let deferral = |job| vec![Deferral { pointer: pointer(job, 1), rung: Rung::FiveSeconds }];
    let waiting = tokio::spawn({
        let settle = settle.clone();
        async move { settle.defer(deferral("blocked")).await }
    });
    let blocked = unhealthy(&intake).await;
    assert!(
        matches!(&blocked, BrokerHealth::Blocked { reason, .. } if reason.contains("memory")),
        "{blocked:?}"
    );
    settle.ack(vec![receipt(&held[0])]).await; // acknowledgements are not in that line
    assert!(!waiting.is_finished(), "a blocked broker confirms nothing");
    services.set_memory_limit("0.4").await;
    within("the confirm", waiting).await.expect("no panic").expect("confirmed");
    healthy(&intake).await;
    let unblocked = arrivals(&mut intake, 1).await;
    assert_eq!(bodies(&unblocked), ["cards/blocked#1"]);
    settle.ack(unblocked.iter().map(receipt).collect()).await;

    services.run(&["stop", "rabbitmq"]).await;
    let away = unhealthy(&intake).await;
    assert!(matches!(away, BrokerHealth::Away { .. }), "{away:?}");
    let waiting = tokio::spawn(async move { settle.defer(deferral("restart")).await });
    services.run(&["start", "rabbitmq"]).await;
    healthy(&intake).await;
    within("the confirm", waiting).await.expect("no panic").expect("confirmed after the restart");
    let mut again = arrivals(&mut intake, 50).await;
    let mut expected = jobs[1..].to_vec();
    expected.push("cards/restart#1".into());
    // An acknowledgement that the broker had not read when it was stopped is lost with it: that one comes once more.
    if bodies(&again).iter().any(|body| body == "cards/blocked#1") {
        again.extend(arrivals(&mut intake, 1).await);
        expected.insert(jobs.len() - 1, "cards/blocked#1".into());
    }
    assert_eq!(bodies(&again), expected);
    intake.settle().ack(again.iter().map(receipt).collect()).await;
    intake.close().await;
    let client = broker.client(broker.service()).await;
    eventually("an empty queue", async || (client.ready("jobs.direct").await == Some(0)).then_some(())).await;
}
