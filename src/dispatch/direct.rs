//! The direct lane: named recipients, now.
//!
//! ```text
//! batch ─▶ read ─▶ ledger.read_direct ─▶ guard::clear ─▶ ledger.open_direct ─▶ send ─▶ commit ─▶ acknowledge
//!           │ malformed      │ known           │ refused         │ halted, early, late      ▲
//!           └────────────────┴─────────────────┴─────────────────┴──────────────────────────┘
//! ```
//!
//! - **I7 nothing-lost**: every arrival ends as one `Ended` at the committer, which acknowledges only what
//!   is durable. An arrival that does not get there stays unacknowledged, and comes back.
//! - **I3 unknown-is-no**: while the ledger is away nothing is sent; the batch waits.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    burst::Bursts,
    commit::{Committer, Ended},
    control::Control,
    days::Days,
    halts::{self, Arrived, HaltsHeard},
    in_flight::InFlight,
    in_force::InForce,
    judge::{self, Asked, Judged},
    keeping,
    patience::Patience,
    reach::Reached,
    relay::{self, Relay},
    send::send_job,
    slots::DirectSlots,
    sweep,
    throttles::Throttles,
    tries::{Attempt, Rest},
    watched::Watched,
};
use crate::{
    audience::Policy,
    clock::Clock,
    deliver::Deliver,
    guard::{Cleared, FoundRecipient},
    intake::{Arrival, Delivery, Intake, Ladder},
    ledger::{DirectAnswer, DirectAsk, Ledger, LedgerError, NotStarted, OpenJob, OpenRequest},
    metrics::{JobVerdict, Metrics},
    model::{FindingNote, Lane},
};

/// Jobs that are read, judged and opened together. More would only wait for each other.
const BATCH: usize = 200;

/// How long a stopping process still waits for a ledger that is away, to record what it has sent. What is
/// not recorded by then is sent again, with the same ids.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// What the lane is built from.
#[derive(Debug)]
pub struct Parts {
    /// Where jobs come from.
    pub intake: Intake,
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
    /// How long a job on record belongs to the process that sends it: if that dies, another takes it up after this, or,
    /// under `at_most_once`, gives it up as Unknown.
    pub claim: Duration,
    /// The waits of the retry ladder.
    pub ladder: Ladder,
    /// Most recipients of one job.
    pub max_recipients: usize,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Set when the process is to stop: take nothing new, finish what is begun.
    pub stop: CancellationToken,
    /// Where processes tell each other what cannot wait.
    pub control: Control,
    /// Set once nothing else in this process writes what is to be told: the outbox is emptied after that.
    pub others_ended: CancellationToken,
}

/// What every step of the lane works with.
#[derive(Debug)]
pub struct DirectLane {
    pub(super) ledger: Arc<Ledger>,
    pub(super) deliver: Arc<Deliver>,
    pub(super) policy: Arc<Policy>,
    pub(super) guard: Watched,
    pub(super) in_force: InForce,
    pub(super) slots: DirectSlots,
    pub(super) throttles: Throttles,
    pub(super) halts: Arc<HaltsHeard>,
    pub(super) claim: Duration,
    pub(super) ladder: Ladder,
    pub(super) max_recipients: usize,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) bursts: Bursts,
    pub(super) stop: CancellationToken,
    pub(super) control: Control,
    pub(super) patience: Patience,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) reached: Reached,
    pub(super) days: Days,
    ended: mpsc::Sender<Ended>,
}

impl DirectLane {
    /// Runs the lane until it is told to stop, then drains it: what was begun is finished and recorded.
    pub async fn run(parts: Parts) {
        let Parts { mut intake, ledger, deliver, policy, in_force, claim, ladder, .. } = parts;
        let Parts { guard, max_recipients, metrics, clock, stop, control, others_ended, .. } = parts;
        let (settle, drained) = (intake.settle(), CancellationToken::new());
        let (committed, in_flight) = (Arc::new(Notify::new()), Arc::new(InFlight::default()));
        let (ended, to_commit) = mpsc::channel(4 * BATCH);
        let (again, mut parked) = mpsc::unbounded_channel();
        let abandon = CancellationToken::new();
        let heard = Arc::new(HaltsHeard::default());
        let listening = tokio::spawn(halts::listen(Arc::clone(&heard), control.subscribe()));
        let writer = Committer {
            ledger: Arc::clone(&ledger),
            settle: settle.clone(),
            patience: Patience::until(abandon.clone(), metrics.clone()),
            clock: clock.clone(),
            in_flight: Arc::clone(&in_flight),
            committed: Arc::clone(&committed),
            again,
        };
        let relay = Relay {
            ledger: Arc::clone(&ledger),
            settle: settle.clone(),
            committed: Arc::clone(&committed),
            patience: Patience::until(drained.clone(), metrics.clone()),
        };
        let days = Days::new(&clock);
        let lane = Arc::new(Self {
            days,
            patience: Patience::until(stop.clone(), metrics.clone()),
            bursts: Bursts::default(),
            slots: DirectSlots::new(&policy, &ledger, &clock, &stop),
            throttles: Throttles::new(Arc::clone(&ledger), clock.clone()),
            halts: Arc::clone(&heard),
            ledger,
            deliver,
            policy,
            guard,
            in_force,
            claim,
            ladder,
            max_recipients,
            metrics,
            clock,
            stop,
            control,
            in_flight,
            reached: Reached::default(),
            ended,
        });
        let committing = tokio::spawn(writer.run(to_commit));
        let relay = tokio::spawn(relay::run(relay));
        let batches = TaskTracker::new();
        batches.spawn(sweep::run(Arc::clone(&lane)));
        batches.spawn(keeping::run(Arc::clone(&lane.ledger), lane.patience.clone()));
        loop {
            let arrivals = tokio::select! {
                Some(delivery) = parked.recv() => vec![Arrival::Message(delivery)],
                arrivals = intake.batch(BATCH) => match arrivals {
                    Some(arrivals) => arrivals,
                    None => break,
                },
            };
            batches.spawn(Arc::clone(&lane).batch(arrivals));
        }
        batches.close();
        let last_words = tokio::spawn(abandon_after(abandon, drained.clone()));
        batches.wait().await;
        listening.abort();
        lane.days.hand_back(&lane.ledger).await;
        // The last sender goes with the lane, so the committer records what it has and returns.
        drop(lane);
        report("committer", committing.await);
        others_ended.cancelled().await;
        drained.cancel();
        report("relay", relay.await);
        report("deadline", last_words.await);
        intake.close().await;
    }

    async fn batch(self: Arc<Self>, arrivals: Vec<Arrival>) {
        // I3: what arrived waits, unacknowledged; a process that stops leaves it to the broker.
        if !self.in_force.comes(&self.stop).await {
            return;
        }
        let (mut messages, mut due) = (Vec::new(), Vec::new());
        for arrival in arrivals {
            match arrival {
                Arrival::Message(delivery) => messages.push(delivery),
                Arrival::Due(pointer, receipt) => due.push((pointer, Some(receipt))),
            }
        }
        tokio::join!(self.messages(messages), self.deferred(due));
    }

    /// Now, for what is taken up now.
    pub(super) fn arrived(&self) -> Arrived {
        Arrived { at: self.clock.monotonic(), halts: self.halts.mark() }
    }

    async fn messages(&self, deliveries: Vec<Delivery>) {
        let arrived = self.arrived();
        let (mut asked, mut campaigns) = (Vec::with_capacity(deliveries.len()), Vec::new());
        for delivery in deliveries {
            match judge::read(&delivery, self.clock.now(), &self.metrics) {
                Ok((key, job)) => {
                    if let Some(delivery) = self.in_flight.enter(&key, delivery) {
                        // By what it asks for, whichever queue it came by.
                        let lane = match job.lane() {
                            Lane::Direct => &mut asked,
                            Lane::Campaign => &mut campaigns,
                        };
                        lane.push(Asked { key, job, delivery });
                    }
                }
                Err(refusal) => self.end(Ended::refused(*refusal, delivery.receipt, None)).await,
            }
        }
        tokio::join!(self.until_ended(asked, arrived), self.campaigns(campaigns));
    }

    /// Brings every job to its end, or leaves it to the broker when the process stops first. A ledger that is
    /// away is waited for; one that refuses a group is asked job by job, so that one job that cannot be
    /// recorded does not take the others with it.
    async fn until_ended(&self, asked: Vec<Asked>, arrived: Arrived) {
        let mut wait = Patience::first_wait();
        let mut groups = vec![asked];
        while let Some(group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let Err((group, error)) = self.judge_and_send(group, arrived).await else { continue };
            if !error.is_about_the_request() {
                if self.patience.rest("direct batch", &error, &mut wait).await.is_err() {
                    return;
                }
                groups.push(group);
            } else if group.len() > 1 {
                tracing::error!(%error, jobs = group.len(), "the ledger refused a batch; trying job by job");
                groups.extend(group.into_iter().map(|asked| vec![asked]));
            } else {
                for asked in group {
                    tracing::error!(job = %asked.key, %error, "the ledger refused a job");
                    self.refuse(asked, vec![not_recordable()], self.clock.now()).await;
                }
            }
        }
    }

    /// One pass over a group. On an error of the ledger's nothing of the group was sent, and it comes back.
    async fn judge_and_send(
        &self,
        group: Vec<Asked>,
        arrived: Arrived,
    ) -> Result<(), (Vec<Asked>, LedgerError)> {
        let asks: Vec<_> = group
            .iter()
            .map(|asked| DirectAsk { key: &asked.key, app: asked.job.app(), to: asked.job.to() })
            .collect();
        let read = match self.patience.answer(self.ledger.read_direct(&asks)).await {
            Ok(read) => read,
            Err(error) => return Err((group, error)),
        };
        self.metrics.set_up(crate::metrics::Dependency::Ledger, true);
        let reach = match self.patience.answer(self.reach(&group, &read)).await {
            Ok(reach) => reach,
            Err(error) => return Err((group, error)),
        };
        let mut cleared = Vec::with_capacity(group.len());
        let Ok(judged) = self.judge_group(group, read.answers, reach, read.now).await else {
            // The process stops, and leaves them to the broker.
            return Ok(());
        };
        for (asked, answer, judged) in judged {
            match judged {
                Judged::Clear(proof, _) => cleared.push((asked, *proof, answer)),
                Judged::Known => {
                    self.end(Ended::settled(Some(asked.delivery.receipt), Some(asked.key))).await;
                }
                // The guard holds no direct job; whatever it means, nothing is sent.
                Judged::Held(findings) | Judged::Refused(findings) => {
                    self.refuse(asked, findings, read.now).await;
                }
            }
        }
        self.open_and_send(cleared, read.now, arrived).await
    }

    async fn open_and_send(
        &self,
        cleared: Vec<(Asked, Cleared, DirectAnswer)>,
        now: Timestamp,
        arrived: Arrived,
    ) -> Result<(), (Vec<Asked>, LedgerError)> {
        let mut jobs = Vec::with_capacity(cleared.len());
        let mut answers = Vec::with_capacity(cleared.len());
        for (asked, proof, answer) in cleared {
            let unreachable = unreachable(&answer.recipients);
            jobs.push((asked, proof, unreachable));
            answers.push(answer);
        }
        let requests = jobs.iter().zip(answers).map(|((asked, proof, _), answer)| OpenRequest {
            answer,
            cleared: proof,
            job: &asked.job,
            traceparent: asked.delivery.traceparent.as_deref(),
            received_at: asked.delivery.received_at,
        });
        let opening = self.ledger.open_direct(requests.collect(), now, self.claim);
        let opened = match self.patience.answer(opening).await {
            Ok(opened) => opened,
            Err(error) => return Err((jobs.into_iter().map(|(asked, ..)| asked).collect(), error)),
        };
        let sends = jobs.into_iter().zip(opened).map(|((asked, proof, unreachable), opened)| async move {
            match opened {
                Ok(open) => self.send(asked, &proof, open, unreachable, arrived).await,
                Err(why) => self.not_started(asked, &proof, why, unreachable).await,
            }
        });
        sends.collect::<FuturesUnordered<_>>().collect::<()>().await;
        Ok(())
    }

    async fn send(
        &self,
        asked: Asked,
        proof: &Cleared,
        mut open: OpenJob,
        unreachable: u32,
        arrived: Arrived,
    ) {
        let tried = send_job(self, &mut open, proof, arrived).await;
        let receipt = asked.delivery.receipt;
        let attempt = Attempt::first(asked, open.tries(), unreachable);
        let held = Some(attempt.key.clone());
        let (finished, deferral) =
            attempt.over(tried, proof, &self.ladder, self.policy.hash(), self.clock.now());
        self.end(Ended::finished(finished, deferral, Some(receipt), held)).await;
    }

    /// A cleared job that the ledger did not open: recorded by its reason, never dropped.
    async fn not_started(&self, asked: Asked, proof: &Cleared, why: NotStarted, unreachable: u32) {
        let receipt = asked.delivery.receipt;
        let rest = match why {
            NotStarted::AlreadyKnown => {
                return self.end(Ended::settled(Some(receipt), Some(asked.key))).await;
            }
            NotStarted::KeyTaken => {
                self.metrics.job(Lane::Direct, JobVerdict::Refuse);
                return self.refuse(asked, vec![judge::id_reused()], self.clock.now()).await;
            }
            NotStarted::Expired => Rest::Over,
            NotStarted::NotYet => Rest::UntilStart,
            NotStarted::Halted => Rest::Halted,
        };
        self.metrics.job(Lane::Direct, JobVerdict::Waiting);
        let attempt = Attempt::first(asked, 0, unreachable);
        let held = Some(attempt.key.clone());
        let (finished, deferral) =
            attempt.not_begun(rest, proof, &self.ladder, self.policy.hash(), self.clock.now());
        self.end(Ended::finished(finished, deferral, Some(receipt), held)).await;
    }

    pub(super) async fn refuse(&self, asked: Asked, findings: Vec<FindingNote>, now: Timestamp) {
        let receipt = asked.delivery.receipt;
        let refusal = judge::refuse(&asked, findings, now);
        self.end(Ended::refused(refusal, receipt, Some(asked.key))).await;
    }

    /// Hands an end to the committer.
    pub(super) async fn end(&self, ended: Ended) {
        // The committer outlives every lane; if it died, nothing is acknowledged and the broker delivers again.
        if self.ended.send(ended).await.is_err() {
            tracing::error!("the committer is gone; nothing is acknowledged any more");
        }
    }
}

/// The recipients that have no device of the app.
pub(super) fn unreachable(recipients: &[FoundRecipient]) -> u32 {
    let none = recipients.iter().filter(|recipient| recipient.devices().is_empty()).count();
    u32::try_from(none).unwrap_or(u32::MAX)
}

pub(super) fn not_recordable() -> FindingNote {
    FindingNote {
        rule: "not-recordable".to_owned(),
        verdict: "refuse".to_owned(),
        field: "job".to_owned(),
        span: None,
        reason: "the ledger cannot record this job".to_owned(),
        fix: "report it to the service's operators; their log names the cause".to_owned(),
    }
}

async fn abandon_after(abandon: CancellationToken, drained: CancellationToken) {
    tokio::select! {
        () = drained.cancelled() => {}
        () = tokio::time::sleep(LAST_WORDS) => abandon.cancel(),
    }
}

fn report(task: &'static str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(task, %error, "a task of the direct lane died");
    }
}
