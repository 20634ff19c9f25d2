//! The worker: claims chunks of what is running, and sends them.
//!
//! ```text
//! live_rollouts ─▶ a task for each that runs
//!   claim_chunks ─▶ pieces ─▶ exchange ─▶ open segments ─▶ slot, permit, send ─▶ outcomes ─▶ exchange …
//! ```
//!
//! - **I5 halt-is-now**: each rollout has a flag that a message on `bellwether.control`, a new epoch in the ledger or a
//!   refused exchange sets; every request looks at it last. What was not sent is recorded as `NotSent`.
//! - **I6 once**: a worker that dies leaves intents without outcomes; whoever claims the chunk after it sends those again,
//!   with the same ids, and nothing else of it.

mod cleared;
mod flow;
mod gone;
mod held;
mod limits;
mod numbers;
mod rollout;
mod segment;
mod sleepers;
mod watch;

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, broadcast},
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::flow::Flow;
use super::{
    burst::Bursts, control::ControlMessage, in_force::InForce, pacer::Pacer, patience::Patience,
    throttles::Throttles, watched::Watched,
};
use crate::{
    audience::Policy,
    clock::Clock,
    deliver::Deliver,
    ledger::{Ledger, RolloutRecord},
    metrics::Metrics,
    model::RolloutId,
};

/// How often the ledger is asked what runs, while something does: this is how late a halt is heard at worst where the broker
/// is away and nothing is exchanged.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The same while nothing runs.
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// What a worker is built from.
#[derive(Debug)]
pub struct WorkerParts {
    /// The record.
    pub ledger: Arc<Ledger>,
    /// The way to the providers.
    pub deliver: Arc<Deliver>,
    /// The rules of the house.
    pub policy: Arc<Policy>,
    /// Who judges by them.
    pub guard: Watched,
    /// Whether they are in force.
    pub in_force: InForce,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Set when the process is to stop: take nothing new, finish what is begun.
    pub stop: CancellationToken,
    /// What processes tell each other.
    pub control: broadcast::Receiver<ControlMessage>,
    /// As whom it claims: a name of this process's own.
    pub name: String,
    /// Most requests in flight, over all rollouts.
    pub streams: NonZeroUsize,
    /// For how long a chunk is claimed.
    pub lease: Duration,
}

/// What every task of the worker shares.
#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    deliver: Arc<Deliver>,
    policy: Arc<Policy>,
    guard: Watched,
    metrics: Metrics,
    clock: Clock,
    stop: CancellationToken,
    name: String,
    streams: NonZeroUsize,
    lease: Duration,
    /// For how long the ledger is waited for.
    patience: Patience,
    pacer: Pacer,
    throttles: Throttles,
    bursts: Bursts,
    /// How many rollouts have a chunk here: they share the streams.
    working: std::sync::atomic::AtomicUsize,
    /// There may be something to claim.
    work: Notify,
}

/// A rollout that this process works at.
#[derive(Debug)]
struct Working {
    seen: RolloutRecord,
    stopped: Arc<AtomicBool>,
    flow: Arc<Flow>,
}

impl Working {
    /// A halt that covers it was heard.
    fn halt(&self) {
        self.flow.halt(self.seen.id);
        self.stopped.store(true, Ordering::Release);
    }
}

/// Sends campaigns.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Works until it is told to stop; then what was begun is finished and recorded, and every claim given back.
    pub async fn run(parts: WorkerParts) {
        let WorkerParts { ledger, deliver, policy, in_force, metrics, clock, stop, .. } = parts;
        let WorkerParts { mut control, guard, name, streams, lease, .. } = parts;
        let patience = Patience::until(stop.clone(), metrics.clone());
        let shared = Arc::new(Shared {
            pacer: Pacer::new(Arc::clone(&ledger), patience.clone(), clock.clone()),
            throttles: Throttles::new(Arc::clone(&ledger), clock.clone()),
            bursts: Bursts::default(),
            working: std::sync::atomic::AtomicUsize::new(0),
            work: Notify::new(),
            patience,
            ledger,
            deliver,
            policy,
            guard,
            metrics,
            clock,
            stop,
            name,
            streams,
            lease,
        });
        let mut working: HashMap<RolloutId, Working> = HashMap::new();
        let mut tasks = JoinSet::new();
        while !shared.stop.is_cancelled() {
            match shared.patience.answer(shared.ledger.live_rollouts()).await {
                Ok(mut live) => {
                    // I3: under another policy nothing is claimed, and what runs here winds up.
                    if !in_force.is() {
                        live.clear();
                    }
                    follow(&shared, &live, &mut working, &mut tasks);
                    count_unheard(&shared, &working).await;
                }
                Err(error) => tracing::debug!(%error, "what runs is not known; nothing new is begun"),
            }
            let pause = if working.is_empty() { LOOK_SELDOM } else { LOOK_EVERY };
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = sleep(pause) => {}
                Some(ended) = tasks.join_next() => match ended {
                    Ok(rollout) => drop(working.remove(&rollout)),
                    Err(error) => {
                        tracing::error!(%error, "a rollout's task died; its claims will lapse");
                        working.clear();
                    }
                },
                message = control.recv() => hear(&shared, message, &working),
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Begins what runs, and stops what does not any more.
fn follow(
    shared: &Arc<Shared>,
    live: &[RolloutRecord],
    working: &mut HashMap<RolloutId, Working>,
    tasks: &mut JoinSet<RolloutId>,
) {
    for (rollout, work) in &*working {
        let goes_on = live
            .iter()
            .any(|seen| seen.rollout == *rollout && seen.epoch == work.seen.epoch && seen.stands.sends());
        if !goes_on {
            work.stopped.store(true, Ordering::Release);
        }
    }
    for seen in live.iter().filter(|seen| seen.stands.sends()) {
        match working.get_mut(&seen.rollout) {
            Some(work) if work.seen.stage != seen.stage => {
                work.seen = seen.clone();
                shared.work.notify_waiters();
            }
            Some(_) => {}
            None => {
                let stopped = Arc::new(AtomicBool::new(false));
                let flow = Arc::new(Flow::default());
                let task =
                    rollout::work(Arc::clone(shared), seen.clone(), Arc::clone(&stopped), Arc::clone(&flow));
                working.insert(seen.rollout, Working { seen: seen.clone(), stopped, flow });
                tasks.spawn(task);
            }
        }
    }
}

/// A halt that was not heard is seen here by what it stopped.
async fn count_unheard(shared: &Shared, working: &HashMap<RolloutId, Working>) {
    let unheard = |work: &&Working| work.stopped.load(Ordering::Acquire) && !work.flow.is_halted();
    if !working.values().any(|work| unheard(&work)) {
        return;
    }
    // What is stopped for another reason is over in a moment, and asked about until then.
    let Ok(halts) = shared.patience.answer(shared.ledger.halts()).await else { return };
    for work in working.values().filter(unheard) {
        if halts.iter().any(|halt| work.seen.is_covered_by(&halt.scope)) {
            work.halt();
        }
    }
}

fn hear(
    shared: &Shared,
    message: Result<ControlMessage, broadcast::error::RecvError>,
    working: &HashMap<RolloutId, Working>,
) {
    match message {
        Ok(ControlMessage::Halted(scope)) => {
            for work in working.values().filter(|work| work.seen.is_covered_by(&scope)) {
                work.halt();
            }
        }
        // Missed messages are made good by the look at the ledger that follows.
        Ok(ControlMessage::Work | ControlMessage::Policy) | Err(_) => shared.work.notify_waiters(),
    }
}
