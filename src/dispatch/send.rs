//! Sends one open job to its devices.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{burst::Belief, direct::DirectLane, halts::Arrived};
use crate::{
    deliver::{Permit, Sent},
    guard::Cleared,
    ledger::{OpenJob, Started, TargetOutcome},
    model::{Device, Lane, NotSent, Outcome, Reason},
};

/// How often a refused stream is offered again before the device is deferred: a provider that closes a
/// connection in an orderly way refuses a stream once or twice, not more.
const OFFERS: usize = 5;

/// What a try came to.
#[derive(Debug, Default)]
pub(super) struct Tried {
    /// Every device's outcome.
    pub(super) outcomes: Vec<TargetOutcome>,
    /// The places in `outcomes` of devices whose token is to be marked gone.
    pub(super) gone: Vec<usize>,
}

/// Rings every device of the job and returns when each has its outcome.
///
/// The permits borrow from `open`: they cannot outlive it, and a second call finds none to start.
pub(super) async fn send_job(
    lane: &DirectLane,
    open: &mut OpenJob,
    cleared: &Cleared,
    arrived: Arrived,
) -> Tried {
    // I5 halt-is-now: from here on a halt is heard by every request that has not been written.
    let halted = &*lane.halts.watch(arrived.halts, cleared.app());
    let mut started = open.start();
    let mut tried = Tried::default();
    // Most jobs ring one phone; a set would only move its future about.
    if started.len() == 1
        && let Some(only) = started.pop()
    {
        tried.note(send_one(lane, cleared, only, halted, arrived.at).await);
        return tried;
    }
    let mut sends: FuturesUnordered<_> =
        started.into_iter().map(|started| send_one(lane, cleared, started, halted, arrived.at)).collect();
    while let Some(ended) = sends.next().await {
        tried.note(ended);
    }
    tried
}

impl Tried {
    fn note(&mut self, (target, belief): (TargetOutcome, Option<Belief>)) {
        if belief == Some(Belief::Gone) {
            self.gone.push(self.outcomes.len());
        }
        self.outcomes.push(target);
    }
}

async fn send_one(
    lane: &DirectLane,
    cleared: &Cleared,
    started: Started<'_>,
    halted: &AtomicBool,
    arrived: Instant,
) -> (TargetOutcome, Option<Belief>) {
    let (device, position) = (started.device(), started.position());
    let began = lane.clock.monotonic();
    let outcome = match Permit::new(cleared, started) {
        Ok(permit) => offer(lane, cleared, permit.unless(halted), halted).await,
        Err(refused) => {
            // The rules had cleared the job, and the last question did not: a defect, caught in time.
            tracing::error!(job = %cleared.key(), device = %device.id, %refused, "no permit");
            Outcome::Rejected { reason: Reason::new("no_permit") }
        }
    };
    let now = lane.clock.monotonic();
    let belief = measure(lane, device, &outcome, (arrived, began, now));
    (TargetOutcome { position, record: device.record, device: device.id, outcome }, belief)
}

/// Offers the permit until the provider takes it.
async fn offer(lane: &DirectLane, cleared: &Cleared, mut permit: Permit<'_>, halted: &AtomicBool) -> Outcome {
    for _ in 0..OFFERS {
        let device = permit.device();
        let slot = match lane.slots.slot(&device.app, device.platform.provider()).await {
            Ok(slot) => slot,
            Err(why) => return Outcome::NotSent(why),
        };
        match lane.deliver.send(permit, slot, cleared.message()).await {
            Sent::Done(outcome) => {
                if outcome.was_asked() && halted.load(Ordering::Acquire) {
                    lane.metrics.sent_after_halt(Lane::Direct);
                }
                return outcome;
            }
            Sent::NotTaken(again) => permit = again,
        }
    }
    Outcome::NotSent(NotSent::NoConnection)
}

fn measure(
    lane: &DirectLane,
    device: &Device,
    outcome: &Outcome,
    (arrived, began, now): (Instant, Instant, Instant),
) -> Option<Belief> {
    let provider = device.platform.provider();
    lane.metrics.send(provider, &device.app, outcome, now.duration_since(began));
    if matches!(outcome, Outcome::Accepted { .. }) {
        lane.metrics.accepted(Lane::Direct, now.duration_since(arrived));
    }
    lane.throttles.note(&device.app, provider, outcome);
    let belief = lane.bursts.believes_gone(&device.app, provider, outcome, now);
    if belief == Some(Belief::Held) {
        lane.metrics.token_gone_held(&device.app, provider);
    }
    belief
}
