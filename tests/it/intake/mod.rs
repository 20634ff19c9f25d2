//! The intake against a real RabbitMQ.

mod arriving;
mod outage;
mod settling;
mod topology;

use bellwether::{
    clock::Clock,
    intake::{Arrival, BrokerHealth, Delivery, Intake, RabbitMqConfig, Receipt},
    ledger::Pointer,
    model::{JobId, JobKey, ProducerId},
};
use tokio_util::sync::CancellationToken;

use crate::harness::broker::within;

/// An intake that stands.
async fn connected(config: RabbitMqConfig) -> Intake {
    let intake = Intake::rabbitmq(config, Clock::system(), CancellationToken::new());
    healthy(&intake).await;
    intake
}

async fn healthy(intake: &Intake) {
    let mut health = intake.health();
    let connected = health.wait_for(|health| *health == BrokerHealth::Connected);
    within("a healthy broker", connected).await.expect("the intake is open");
}

async fn unhealthy(intake: &Intake) -> BrokerHealth {
    let mut health = intake.health();
    let away = health.wait_for(|health| *health != BrokerHealth::Connected);
    within("an unhealthy broker", away).await.expect("the intake is open").clone()
}

/// Takes exactly `count` arrivals, in as many batches as it takes.
async fn arrivals(intake: &mut Intake, count: usize) -> Vec<Arrival> {
    let mut all = Vec::new();
    while all.len() < count {
        let wanted = count - all.len();
        all.extend(within("arrivals", intake.batch(wanted)).await.expect("not cancelled"));
    }
    assert_eq!(all.len(), count, "a batch is never larger than asked for");
    all
}

async fn delivery(intake: &mut Intake) -> Delivery {
    match arrivals(intake, 1).await.pop() {
        Some(Arrival::Message(delivery)) => delivery,
        other => panic!("no message: {other:?}"),
    }
}

fn receipt(arrival: &Arrival) -> Receipt {
    match arrival {
        Arrival::Message(delivery) => delivery.receipt,
        Arrival::Due(_, receipt) => *receipt,
    }
}

/// The bodies, sorted: after a redelivery the order is the broker's.
fn bodies(arrivals: &[Arrival]) -> Vec<String> {
    let body = |arrival: &Arrival| match arrival {
        Arrival::Message(delivery) => String::from_utf8_lossy(&delivery.body).into_owned(),
        Arrival::Due(pointer, _) => format!("{}#{}", pointer.key, pointer.tries),
    };
    let mut bodies: Vec<_> = arrivals.iter().map(body).collect();
    bodies.sort();
    bodies
}

fn producer(name: &str) -> ProducerId {
    ProducerId::parse(name).expect("a producer")
}

fn pointer(job: &str, tries: u32) -> Pointer {
    Pointer { key: JobKey { producer: producer("cards"), id: JobId::parse(job).expect("an id") }, tries }
}
