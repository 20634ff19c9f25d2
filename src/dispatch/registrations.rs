//! Registrations of devices: read, judged, applied, acknowledged; one batch after the other.
//!
//! ```text
//! batch ─▶ read ─▶ guard::refuse_registration ─▶ ledger.apply_registrations ─▶ acknowledge
//!           │ malformed     │ refused               │ unknown phone          ▲
//!           └───────────────┴──▶ ledger.refuse_registrations ──▶ `dead` ─────┘
//! ```
//!
//! - **I7 nothing-lost**: a message is acknowledged when the registry has it, or when its refusal is on record and its copy
//!   in `dead`.
//! - While the ledger is away no batch is taken: the broker keeps the rest, and no delivery limit is spent.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    commit::put_in_dead,
    direct::not_recordable,
    in_force::InForce,
    patience::{NoAnswer, Patience},
};
use crate::{
    audience::Policy,
    clock::Clock,
    guard,
    intake::{DeadLetter, DeadReason, Receipt, RegistrationDelivery, Registrations, Settle},
    ledger::{Applied, Ledger},
    metrics::{Metrics, RegistrationOutcome},
    model::{Digest, Event, EventBody, FindingNote, Malformed, MalformedCode, ProducerId, Registration},
};
use tokio_util::sync::CancellationToken;

/// Registrations that are applied together. More would only wait for each other.
const BATCH: usize = 500;

/// What the way of registrations is built from.
#[derive(Debug)]
pub struct RegistrationParts {
    /// Where they arrive.
    pub registrations: Registrations,
    /// Where they are settled.
    pub settle: Settle,
    /// The registry.
    pub ledger: Arc<Ledger>,
    /// Who may.
    pub policy: Arc<Policy>,
    /// Whether that is in force.
    pub in_force: InForce,
    /// What is counted.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// Set when the process is to stop.
    pub stop: CancellationToken,
}

/// Takes registrations until told to stop, and finishes the batch that it has.
pub async fn run(parts: RegistrationParts) {
    let RegistrationParts { mut registrations, settle, ledger, policy, in_force, metrics, clock, stop } =
        parts;
    let patience = Patience::until(stop.clone(), metrics);
    let way = Way { settle, ledger, policy, clock, patience };
    while let Some(deliveries) = registrations.batch(BATCH).await {
        if !in_force.comes(&stop).await {
            return;
        }
        way.batch(deliveries).await;
    }
}

struct Way {
    settle: Settle,
    ledger: Arc<Ledger>,
    policy: Arc<Policy>,
    clock: Clock,
    patience: Patience,
}

/// A registration whose form is right and whose producer may.
struct Asked {
    registration: Registration,
    producer: ProducerId,
    delivery: RegistrationDelivery,
}

/// A message that changes nothing: what is told, the copy for `dead`, and what is acknowledged once both are safe.
struct Refusal {
    event: Event,
    dead: DeadLetter,
    receipt: Receipt,
    outcome: RegistrationOutcome,
}

impl Way {
    async fn batch(&self, deliveries: Vec<RegistrationDelivery>) {
        let (now, mut asked, mut refusals) =
            (self.clock.now(), Vec::with_capacity(deliveries.len()), Vec::new());
        for delivery in deliveries {
            match self.read(delivery, now) {
                Ok(read) => asked.push(read),
                Err(refusal) => refusals.push(*refusal),
            }
        }
        let mut groups = vec![asked];
        while let Some(group) = groups.pop() {
            match self.apply(group, now).await {
                Ok(unknown) => refusals.extend(unknown),
                Err(Unapplied::Stopping) => return,
                Err(Unapplied::OneByOne(group)) => {
                    // From the end, so that they come in their order.
                    groups.extend(group.into_iter().rev().map(|asked| vec![asked]));
                }
            }
        }
        self.refuse(refusals).await;
    }

    /// The error is boxed: it is rare, and large.
    fn read(&self, delivery: RegistrationDelivery, now: Timestamp) -> Result<Asked, Box<Refusal>> {
        let producer = match delivery.producer.clone() {
            Ok(producer) => producer,
            Err(error) => {
                let (code, field) = (MalformedCode::MissingField, "user_id".to_owned());
                let malformed = Malformed { code, field, problem: error.to_string(), id: None };
                return Err(malformed_refusal(&delivery, malformed, now));
            }
        };
        // A parser that panics must not take the others with it.
        let parsed = catch_unwind(AssertUnwindSafe(|| Registration::parse(&delivery.body)));
        let registration = match parsed.unwrap_or_else(|_| Err(unreadable())) {
            Ok(registration) => registration,
            Err(malformed) => return Err(malformed_refusal(&delivery, malformed, now)),
        };
        let asked = Asked { registration, producer, delivery };
        match guard::refuse_registration(&asked.producer, &asked.registration.phone.app, &self.policy) {
            None => Ok(asked),
            Some(finding) => {
                self.patience.metrics.finding(finding.rule.id(), finding.severity.as_str());
                Err(Box::new(refusal(&asked, finding.note(), now)))
            }
        }
    }

    /// Has a group applied and acknowledges it, but for those of which the phone is not known.
    async fn apply(&self, group: Vec<Asked>, now: Timestamp) -> Result<Vec<Refusal>, Unapplied> {
        if group.is_empty() {
            return Ok(Vec::new());
        }
        let batch: Vec<Registration> = group.iter().map(|asked| asked.registration.clone()).collect();
        let answer = self.patience.ask("registrations", || self.ledger.apply_registrations(&batch)).await;
        let batch = match answer {
            Ok(batch) => batch,
            Err(NoAnswer::Stopping) => return Err(Unapplied::Stopping),
            Err(NoAnswer::Refused(error)) if group.len() > 1 => {
                tracing::error!(%error, messages = group.len(), "the ledger refused registrations; trying one by one");
                return Err(Unapplied::OneByOne(group));
            }
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, "the ledger refused a registration");
                return Ok(group.iter().map(|asked| refusal(asked, not_recordable(), now)).collect());
            }
        };
        self.patience.metrics.displaced(batch.displaced);
        let (mut receipts, mut unknown) = (Vec::with_capacity(group.len()), Vec::new());
        for (asked, applied) in group.iter().zip(batch.applied) {
            if applied == Applied::Unknown {
                unknown.push(refusal(asked, device_unknown(), now));
            } else {
                self.patience.metrics.registration(RegistrationOutcome::Applied(applied));
                receipts.push(asked.delivery.receipt);
            }
        }
        self.settle.ack(receipts).await;
        Ok(unknown)
    }

    async fn refuse(&self, refusals: Vec<Refusal>) {
        if refusals.is_empty() {
            return;
        }
        let events: Vec<Event> = refusals.iter().map(|refusal| refusal.event.clone()).collect();
        match self.patience.ask("refused registrations", || self.ledger.refuse_registrations(&events)).await {
            Ok(()) => {}
            Err(NoAnswer::Stopping) => return,
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, "refusals cannot be recorded; their messages stay in the queue");
                return;
            }
        }
        let (mut letters, mut receipts) = (Vec::with_capacity(refusals.len()), Vec::new());
        for Refusal { dead, receipt, outcome, .. } in refusals {
            self.patience.metrics.registration(outcome);
            letters.push(dead);
            receipts.push(receipt);
        }
        tokio::select! {
            put = put_in_dead(&self.settle, letters) => if put {
                self.settle.ack(receipts).await;
            },
            () = self.patience.over() => tracing::warn!("stopping before the broker is back; it delivers again what is not settled"),
        }
    }
}

/// Why a group is not in the registry.
enum Unapplied {
    Stopping,
    /// One of them is to blame.
    OneByOne(Vec<Asked>),
}

fn malformed_refusal(delivery: &RegistrationDelivery, malformed: Malformed, now: Timestamp) -> Box<Refusal> {
    let Malformed { code, field, problem, id: _ } = malformed;
    let producer = delivery.producer.clone().ok();
    let (told, said) = (field.clone(), problem.clone());
    let body = EventBody::DeviceMalformed { producer, code, field: told, problem: said };
    let subject = Digest::of(&delivery.body);
    Box::new(Refusal {
        event: Event::new(now, delivery.traceparent.clone(), subject.as_bytes(), body),
        dead: delivery.dead_letter(DeadReason::Malformed { code: code.as_str(), field, problem }),
        receipt: delivery.receipt,
        outcome: RegistrationOutcome::Malformed,
    })
}

fn refusal(asked: &Asked, finding: FindingNote, now: Timestamp) -> Refusal {
    let Asked { registration, producer, delivery } = asked;
    let body = EventBody::DeviceRefused {
        producer: producer.clone(),
        app: registration.phone.app.clone(),
        device: registration.device(),
        version: registration.version,
        findings: vec![finding.clone()],
    };
    let subject = Digest::of(&delivery.body);
    Refusal {
        event: Event::new(now, delivery.traceparent.clone(), subject.as_bytes(), body),
        dead: delivery.dead_letter(DeadReason::Refused(vec![finding])),
        receipt: delivery.receipt,
        outcome: RegistrationOutcome::Refused,
    }
}

/// A change to nothing: whoever sent it believes that the phone is registered, and must hear that it is not.
fn device_unknown() -> FindingNote {
    FindingNote {
        rule: "device-unknown".to_owned(),
        verdict: "refuse".to_owned(),
        field: "token".to_owned(),
        span: None,
        reason: "this phone is not registered, or not any more".to_owned(),
        fix: "register it, with everything that is known of it".to_owned(),
    }
}

fn unreadable() -> Malformed {
    Malformed {
        code: MalformedCode::NotJson,
        field: "registration".to_owned(),
        problem: "could not be read; report this message to the service's operators".to_owned(),
        id: None,
    }
}
