//! Enqueues many jobs as a producer under load does: for `bellwether bench`.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use lapin::{PublisherConfirm, options::ConfirmSelectOptions};
use tokio::time::sleep_until;

use super::{
    config::RabbitMqConfig,
    connect::{BrokerError, close, connect},
    enqueue::{confirmed, hand_over},
};
use crate::{clock::Clock, intake::health::Link, model::Lane};

/// Jobs handed over before the oldest has to be confirmed; at 1,000 a second a broker may fall a second behind
/// before it slows the load down.
const WINDOW: usize = 1_000;

/// When each job was handed over.
#[derive(Debug)]
pub struct Enqueued {
    /// One instant for each job, in order, right before the client had it.
    pub at: Vec<Timestamp>,
    /// The longest that a job was handed over after it was due. A load that runs late hides latency.
    pub latest: Duration,
}

/// Puts jobs on the queue of `lane`, each `every` after the one before, whatever becomes of those: an open loop, so
/// that a service that falls behind is not spared. Returns when the broker has confirmed all.
pub async fn enqueue_all(
    config: &RabbitMqConfig,
    lane: Lane,
    jobs: &[Vec<u8>],
    every: Duration,
    clock: &Clock,
) -> Result<Enqueued, BrokerError> {
    let connection = connect(config, Link::Publishing).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut open: VecDeque<PublisherConfirm> = VecDeque::with_capacity(WINDOW);
    let mut enqueued = Enqueued { at: Vec::with_capacity(jobs.len()), latest: Duration::ZERO };
    let mut due = clock.monotonic();
    for job in jobs {
        if clock.monotonic() < due {
            sleep_until(due.into()).await;
        }
        if !every.is_zero() {
            enqueued.latest = enqueued.latest.max(clock.monotonic().saturating_duration_since(due));
        }
        enqueued.at.push(clock.now());
        open.push_back(hand_over(&channel, config, lane, job).await?);
        if open.len() >= WINDOW
            && let Some(oldest) = open.pop_front()
        {
            confirmed(&oldest.await?)?;
        }
        due += every;
    }
    for confirm in open {
        confirmed(&confirm.await?)?;
    }
    close(&connection).await;
    Ok(enqueued)
}
