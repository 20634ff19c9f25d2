//! Enqueues one job as a producer does: for `bellwether job send`.

use lapin::{
    BasicProperties, Channel, Confirmation, PublisherConfirm,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::time::timeout;

use super::{
    config::RabbitMqConfig,
    connect::{BrokerError, close, connect},
    names,
};
use crate::{intake::health::Link, model::Lane};

/// AMQP 0-9-1: a message that outlives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Puts `body` on the queue of `lane` in the name of the connection's user, and returns when the broker has it on disk.
pub async fn enqueue(config: &RabbitMqConfig, lane: Lane, body: &[u8]) -> Result<(), BrokerError> {
    let connection = connect(config, Link::Publishing).await?;
    let published = publish(&connection, config, lane, body);
    let published = match timeout(config.confirm_timeout, published).await {
        Ok(published) => published,
        Err(_) => Err(BrokerError::Timeout(config.confirm_timeout)),
    };
    close(&connection).await;
    published
}

async fn publish(
    connection: &lapin::Connection,
    config: &RabbitMqConfig,
    lane: Lane,
    body: &[u8],
) -> Result<(), BrokerError> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let confirm = hand_over(&channel, config, lane, body).await?;
    confirmed(&confirm.await?)
}

/// Hands one job to the broker; what it says to it is in the confirm.
pub(super) async fn hand_over(
    channel: &Channel,
    config: &RabbitMqConfig,
    lane: Lane,
    body: &[u8],
) -> Result<PublisherConfirm, BrokerError> {
    let key = match lane {
        Lane::Direct => names::DIRECT_KEY,
        Lane::Campaign => names::CAMPAIGN_KEY,
    };
    // Mandatory: a job that no queue takes must come back, not vanish.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default()
        .with_user_id(config.user().into())
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT);
    Ok(channel.basic_publish(names::JOBS.into(), key.into(), options, body, properties).await?)
}

/// What the broker's answer means to a producer.
pub(super) fn confirmed(answer: &Confirmation) -> Result<(), BrokerError> {
    match answer {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(BrokerError::Publishing(format!(
            "no queue takes jobs of this lane from {}; start `bellwether serve` once to declare it",
            names::JOBS
        ))),
        Confirmation::Nack(None) | Confirmation::NotRequested => {
            Err(BrokerError::Publishing("the broker does not take the job: its queue is full".to_owned()))
        }
    }
}
