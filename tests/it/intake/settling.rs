//! What becomes of arrivals: acknowledgements, dead letters, events.

use std::collections::BTreeMap;

use bellwether::{
    intake::{DeadReason, SettleError, header_names as name},
    model::{FindingNote, ProducerId},
};
use bytes::Bytes;
use lapin::{
    options::{BasicGetOptions, BasicNackOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{arrivals, bodies, connected, delivery, receipt};
use crate::harness::broker::{Broker, eventually, within};

/// The headers that are texts; the broker adds numbers of its own.
fn texts(headers: &FieldTable) -> BTreeMap<String, String> {
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        _ => None,
    };
    headers.inner().iter().filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_acknowledged_in_whatever_order_exactly_the_rest_comes_again() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    let client = broker.client(&cards).await;
    for number in 0..20 {
        client.enqueue(&format!("{number:02}")).await;
    }
    let all = arrivals(&mut intake, 20).await;
    let of = |numbers: &[usize]| numbers.iter().map(|number| receipt(&all[*number])).collect::<Vec<_>>();
    let settle = intake.settle();
    settle.ack(of(&[3, 1, 0])).await;
    settle.ack(of(&[7, 5])).await;
    // Two at once, of which one closes the other's gap.
    tokio::join!(settle.ack(of(&[2, 9])), settle.ack(of(&[4, 10, 5])));
    settle.ack(of(&[0, 7, 19])).await;
    intake.close().await;

    let mut intake = connected(broker.config()).await;
    settle.ack(of(&[6, 8])).await; // of a channel that is no more
    let rest = arrivals(&mut intake, 10).await;
    assert_eq!(bodies(&rest), ["06", "08", "11", "12", "13", "14", "15", "16", "17", "18"]);
    let settle = intake.settle();
    settle.ack(of(&[6, 8])).await; // receipts of another intake's first channel void nothing here
    settle.ack(rest.iter().map(receipt).collect()).await;
    intake.close().await;
    let client = broker.client(broker.service()).await;
    eventually("an empty queue", async || (client.ready("jobs.direct").await == Some(0)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_says_why_in_its_headers() {
    let broker = Broker::start().await;
    let mut intake = connected(broker.config()).await;
    let cards = broker.producer("cards").await;
    broker.client(&cards).await.enqueue("{\"v\":1}").await;
    let refused = delivery(&mut intake).await;
    let finding = FindingNote {
        rule: "test-to-production".into(),
        verdict: "refuse".into(),
        field: "to.audience".into(),
        span: None,
        reason: "customers-pl is no test audience".into(),
        fix: "name a test audience".into(),
    };
    let malformed = DeadReason::Malformed {
        code: "missing-field",
        field: "expires_at".into(),
        problem: "is required for an audience".into(),
    };
    let settle = intake.settle();
    let letters =
        vec![refused.dead_letter(DeadReason::Refused(vec![finding])), refused.dead_letter(malformed)];
    settle.dead(letters).await.expect("confirmed");
    settle.ack(vec![refused.receipt]).await;

    let client = broker.client(broker.service()).await;
    let dead = client.take("dead").await;
    assert_eq!(dead.data, b"{\"v\":1}");
    assert_eq!(dead.properties.delivery_mode(), &Some(2), "persistent");
    assert_eq!(dead.properties.user_id().as_ref().map(ShortString::as_str), Some(broker.service()));
    let headers = texts(dead.properties.headers().as_ref().expect("headers"));
    assert_eq!(headers[name::REASON], "refused");
    assert_eq!(headers[name::CODE], "test-to-production");
    assert_eq!(headers[name::FIELD], "to.audience");
    assert_eq!(headers[name::PRODUCER], cards);
    assert_eq!(headers[name::LANE], "direct");
    assert!(headers[name::TIME].ends_with('Z'), "{}", headers[name::TIME]);
    let findings: serde_json::Value = serde_json::from_str(&headers[name::FINDINGS]).expect("JSON");
    assert_eq!(findings[0]["fix"], "name a test audience");

    let headers = texts(client.take("dead").await.properties.headers().as_ref().expect("headers"));
    assert_eq!(headers[name::REASON], "malformed");
    assert_eq!(headers[name::CODE], "missing-field");
    assert_eq!(headers[name::PROBLEM], "is required for an audience");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_nobody_can_finish_is_buried_by_the_broker_with_its_producer() {
    let broker = Broker::start().await;
    bellwether::intake::probe(&broker.config()).await.expect("declared");
    let cards = broker.producer("cards").await;
    broker.client(&cards).await.enqueue("poison").await;
    // What a consumer's death does, without the deaths: the message goes back, and is counted.
    let client = broker.client(broker.service()).await;
    let mut deliveries = 0;
    let dead = eventually("the broker gives up", async || {
        let got = client
            .channel
            .basic_get("jobs.direct".into(), BasicGetOptions::default())
            .await
            .expect("a queue");
        if let Some(message) = got {
            deliveries += 1;
            message.nack(BasicNackOptions { requeue: true, multiple: false }).await.expect("returned");
            return None;
        }
        client.channel.basic_get("dead".into(), BasicGetOptions::default()).await.expect("a queue")
    })
    .await;
    assert_eq!(deliveries, 21, "the first and 20 more");
    assert_eq!(dead.properties.user_id().as_ref().map(ShortString::as_str), Some(cards.as_str()));
    let headers = texts(dead.properties.headers().as_ref().expect("headers"));
    assert_eq!(headers["x-first-death-reason"], "delivery_limit");
    assert_eq!(headers["x-first-death-queue"], "jobs.direct");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_reach_who_is_bound_and_nobody_need_be() {
    let broker = Broker::start().await;
    let intake = connected(broker.config()).await;
    let settle = intake.settle();
    let event = |key: &str| vec![(key.to_owned(), Bytes::from(format!("{{\"of\":\"{key}\"}}")))];
    settle.publish_events(event("job.refused.nobody")).await.expect("confirmed");
    let client = broker.client(broker.service()).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue = client.channel.queue_declare("mine".into(), options, FieldTable::default()).await;
    let queue = queue.expect("a queue").name().clone();
    let bound = client.channel.queue_bind(
        queue,
        "bellwether.events".into(),
        "job.refused.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("bound");
    settle
        .publish_events([event("audit.head"), event("job.refused.cards")].concat())
        .await
        .expect("confirmed");
    assert_eq!(client.take("mine").await.data, b"{\"of\":\"job.refused.cards\"}");
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_messages_are_confirmed_in_windows_and_counted() {
    let broker = Broker::start().await;
    let intake = connected(broker.config()).await;
    let settle = intake.settle();
    let letter = |number: usize| bellwether::intake::DeadLetter {
        body: Bytes::from(number.to_string()),
        size: number.to_string().len(),
        producer: ProducerId::parse("cards").ok(),
        queue: bellwether::intake::WorkQueue::Direct,
        reason: DeadReason::Refused(Vec::new()),
        traceparent: None,
    };
    within("2,500 confirms", settle.dead((0..2_500).map(letter).collect())).await.expect("confirmed");
    let depths = settle.queue_depths().await.expect("an answer");
    let depths: BTreeMap<_, _> = depths.iter().map(|depth| (depth.queue, depth.ready)).collect();
    let expected = [("jobs.direct", 0), ("jobs.campaign", 0), ("devices", 0), ("dead", 2_500)];
    assert_eq!(depths, BTreeMap::from(expected));
    intake.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_closing_nothing_is_settled() {
    let broker = Broker::start().await;
    let intake = connected(broker.config()).await;
    let settle = intake.settle();
    intake.close().await;
    let error = settle.publish_events(vec![("a".into(), Bytes::new())]).await.expect_err("closed");
    assert_eq!(error, SettleError::Closed);
    assert!(!error.is_transient());
}
