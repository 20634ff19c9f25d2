//! Sends one open segment.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;

use super::{Shared, flow::Flow, limits::Limits};
use crate::{
    deliver::{Permit, Sent},
    dispatch::burst::Belief,
    guard::Cleared,
    ledger::{OpenSegment, SegmentEnd, Started},
    model::{ChunkNumber, Device, Lane, NotSent, Outcome, Reason, StageNumber},
};

/// How often a refused stream is offered again before the device is deferred: a provider that closes a
/// connection in an orderly way refuses a stream once or twice, not more.
const OFFERS: usize = 5;

/// Which segment it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) chunk: ChunkNumber,
    pub(super) stage: StageNumber,
    pub(super) claim: u32,
}

/// A segment that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: SegmentEnd,
    /// Whose token is to be marked gone.
    pub(super) gone: Vec<(Device, Outcome)>,
}

/// Rings every device of the segment whose owner is not asleep, and returns when each has its outcome. The permits borrow
/// from the segment: they cannot outlive it.
///
/// `asleep` says until when, by position; what it does not reach is awake.
pub(super) async fn send(
    shared: Arc<Shared>,
    cleared: Arc<Cleared>,
    limits: Arc<Limits>,
    flow: Arc<Flow>,
    place: Place,
    mut open: OpenSegment,
    asleep: Vec<Option<Timestamp>>,
) -> Ended {
    let (first, n) = (open.first(), open.len());
    let mut outcomes: Vec<Option<(Device, Outcome)>> = (0..n).map(|_| None).collect();
    let mut gone = Vec::new();
    // One lease serves this segment and the others that are under way.
    let waiting = u32::try_from(flow.on_the_way()).unwrap_or(u32::MAX);
    let mut sends = FuturesUnordered::new();
    for started in open.start() {
        let position = started.position();
        match asleep.get(position).copied().flatten() {
            None => sends.push(send_one(&shared, &cleared, &limits, &flow, started, waiting)),
            Some(until) => {
                outcomes[position] = Some((started.device().clone(), Outcome::QuietHours { until }));
            }
        }
    }
    // Whoever sleeps, or left since the freeze, is over at once.
    flow.finish(n - sends.len());
    while let Some((position, device, outcome, belief)) = sends.next().await {
        flow.finish(1);
        if belief == Some(Belief::Gone) {
            gone.push((device.clone(), outcome.clone()));
        }
        if let Some(place) = outcomes.get_mut(position) {
            *place = Some((device, outcome));
        }
    }
    drop(sends);
    let Place { chunk, stage, claim } = place;
    Ended { end: SegmentEnd { chunk, stage, claim, first, outcomes }, gone }
}

async fn send_one(
    shared: &Shared,
    cleared: &Cleared,
    limits: &Limits,
    flow: &Flow,
    started: Started<'_>,
    waiting: u32,
) -> (usize, Device, Outcome, Option<Belief>) {
    let (device, position) = (started.device(), started.position());
    let outcome = match Permit::new(cleared, started) {
        Ok(permit) => offer(shared, cleared, limits, permit, waiting).await,
        Err(refused) => {
            // The guard cleared the campaign, and not this device: whoever it became since is left out.
            tracing::error!(campaign = %cleared.key(), device = %device.id, %refused, "no permit");
            Outcome::Rejected { reason: Reason::new("no_permit") }
        }
    };
    let provider = device.platform.provider();
    if outcome.was_asked() && flow.ends_after_halt() {
        shared.metrics.sent_after_halt(Lane::Campaign);
    }
    shared.throttles.note(&device.app, provider, &outcome);
    let belief = shared.bursts.believes_gone(&device.app, provider, &outcome, shared.clock.monotonic());
    if belief == Some(Belief::Held) {
        shared.metrics.token_gone_held(&device.app, provider);
    }
    (position, device.clone(), outcome, belief)
}

/// Offers the permit until the provider takes it.
async fn offer(
    shared: &Shared,
    cleared: &Cleared,
    limits: &Limits,
    mut permit: Permit<'_>,
    waiting: u32,
) -> Outcome {
    let (app, provider) = (&permit.device().app, permit.device().platform.provider());
    let Some(rate) = limits.provider(provider) else { return Outcome::NotSent(NotSent::NotConfigured) };
    for _ in 0..OFFERS {
        // Asked before the wait as well: what is stopped must not use up the slots of what goes on.
        if let Err(why) = permit.is_valid(shared.clock.monotonic()) {
            return Outcome::NotSent(why);
        }
        let Ok(slot) = shared.pacer.slot([limits.rollout(), Some(rate)], waiting).await else {
            // The ledger is away: nothing is sent (I3).
            return Outcome::NotSent(NotSent::Throttled);
        };
        let began = shared.clock.monotonic();
        match shared.deliver.send(permit, slot, cleared.message()).await {
            Sent::Done(outcome) => {
                shared.metrics.send(provider, app, &outcome, shared.clock.monotonic().duration_since(began));
                return outcome;
            }
            Sent::NotTaken(again) => permit = again,
        }
    }
    Outcome::NotSent(NotSent::NoConnection)
}
