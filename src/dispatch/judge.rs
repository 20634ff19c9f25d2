//! From a message to a judged job: read it, ask the guard, and say what is told when the answer is no.

use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;

use super::{
    direct::DirectLane,
    watched::{Asking, GivenUp, Question},
};
use crate::{
    guard::{Cleared, DirectReach, Finding, FoundRecipient, Past, Verdict},
    intake::{DeadLetter, DeadReason, Delivery},
    ledger::{DirectAnswer, PriorJob, RefusedJob},
    metrics::{JobVerdict, Metrics},
    model::{Digest, Event, EventBody, FindingNote, Job, JobKey, Lane, Malformed, MalformedCode},
};

/// A message whose form is right and whose producer is known.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: JobKey,
    pub(super) job: Job,
    pub(super) delivery: Delivery,
}

/// A message that will ring no phone: what the ledger records and tells, and the copy for `dead`.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) refused: RefusedJob,
    pub(super) dead: DeadLetter,
}

/// Reads a delivery. The error is boxed: it is rare, and large.
pub(super) fn read(
    delivery: &Delivery,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<(JobKey, Job), Box<Refusal>> {
    let parsed = delivery
        .producer
        .clone()
        .map_err(|error| Malformed {
            code: MalformedCode::MissingField,
            field: "user_id".to_owned(),
            problem: error.to_string(),
            id: None,
        })
        // A parser that panics must not take the lane with it; the job is told as unreadable.
        .and_then(|producer| {
            let job = catch_unwind(AssertUnwindSafe(|| Job::parse(&delivery.body)));
            let job = job.unwrap_or_else(|_| Err(unreadable()))?;
            Ok((job.key(&producer), job))
        });
    parsed.map_err(|malformed| {
        metrics.job(delivery.lane, JobVerdict::Malformed);
        Box::new(malformed_refusal(delivery, malformed, now))
    })
}

fn unreadable() -> Malformed {
    Malformed {
        code: MalformedCode::NotJson,
        field: "job".to_owned(),
        problem: "could not be read; report this job to the service's operators".to_owned(),
        id: None,
    }
}

fn malformed_refusal(delivery: &Delivery, malformed: Malformed, now: Timestamp) -> Refusal {
    let producer = delivery.producer.clone().ok();
    let Malformed { code, field, problem, id } = malformed;
    let body = EventBody::JobMalformed {
        producer: producer.clone(),
        job: id,
        code,
        field: field.clone(),
        problem: problem.clone(),
    };
    let subject = Digest::of(&delivery.body);
    let event = Event::new(now, delivery.traceparent.clone(), subject.as_bytes(), body);
    let reason = DeadReason::Malformed { code: code.as_str(), field, problem };
    Refusal { refused: RefusedJob { event }, dead: delivery.dead_letter(reason) }
}

/// What becomes of a job after the guard and the record have been asked.
#[derive(Debug)]
pub(super) enum Judged {
    /// Cleared for sending; a campaign with these findings, which are notes.
    Clear(Box<Cleared>, Vec<FindingNote>),
    /// A campaign that a person must look at first, because of these findings.
    Held(Vec<FindingNote>),
    /// On record with the same content: nothing to do but acknowledge.
    Known,
    /// Refused, with the reasons as they are told.
    Refused(Vec<FindingNote>),
}

/// What becomes of a job whose id is on record already.
pub(super) fn on_record(asked: &Asked, prior: &PriorJob, metrics: &Metrics) -> Judged {
    if prior.digest == asked.job.digest() {
        metrics.job(asked.job.lane(), JobVerdict::Known);
        return Judged::Known;
    }
    metrics.job(asked.job.lane(), JobVerdict::Refuse);
    Judged::Refused(vec![id_reused()])
}

/// What becomes of a new job, by the guard's verdict.
pub(super) fn by_verdict(lane: Lane, verdict: Verdict, metrics: &Metrics) -> Judged {
    count_findings(verdict.findings(), metrics);
    match verdict {
        Verdict::Clear(cleared, findings) => {
            metrics.job(lane, JobVerdict::Clear);
            Judged::Clear(Box::new(cleared), findings.iter().map(Finding::note).collect())
        }
        Verdict::Hold(findings) => {
            metrics.job(lane, JobVerdict::Hold);
            Judged::Held(findings.iter().map(Finding::note).collect())
        }
        Verdict::Refuse(findings) => {
            metrics.job(lane, JobVerdict::Refuse);
            Judged::Refused(findings.iter().map(Finding::note).collect())
        }
    }
}

impl DirectLane {
    /// Has the guard judge what is new of a batch, in one go. The order is lost.
    pub(super) async fn judge_group(
        &self,
        group: Vec<Asked>,
        answers: Vec<DirectAnswer>,
        reach: Vec<DirectReach>,
        now: Timestamp,
    ) -> Result<Vec<(Asked, DirectAnswer, Judged)>, GivenUp> {
        let (mut judged, mut waiting) = (Vec::with_capacity(group.len()), Vec::with_capacity(group.len()));
        let mut questions = Vec::with_capacity(group.len());
        for ((asked, mut answer), reach) in group.into_iter().zip(answers).zip(reach) {
            if let Some(prior) = &answer.prior {
                let on_record = on_record(&asked, prior, &self.metrics);
                judged.push((asked, answer, on_record));
                continue;
            }
            let Asked { key, job, delivery } = asked;
            let recipients = std::mem::take(&mut answer.recipients);
            questions.push(self.question(Asking::All, (key, job), recipients, delivery.received_at, reach));
            waiting.push((delivery, answer));
        }
        let answered = self.guard.ask(questions, now).await?;
        for ((question, verdict), (delivery, mut answer)) in answered.into_iter().zip(waiting) {
            let Question { key, job, recipients, .. } = question;
            answer.recipients = recipients;
            let by_verdict = by_verdict(job.lane(), verdict, &self.metrics);
            judged.push((Asked { key, job, delivery }, answer, by_verdict));
        }
        Ok(judged)
    }

    /// What the guard is asked of a job of named recipients.
    pub(super) fn question(
        &self,
        asking: Asking,
        (key, job): (JobKey, Job),
        recipients: Vec<FoundRecipient>,
        received_at: Timestamp,
        reach: DirectReach,
    ) -> Question {
        let (max_recipients, past) = (self.max_recipients, Past::default());
        Question { asking, key, job, recipients, max_recipients, received_at, past, reach }
    }
}

/// Counts what the guard found.
pub(super) fn count_findings(findings: &[Finding], metrics: &Metrics) {
    for finding in findings {
        metrics.finding(finding.rule.id(), finding.severity.as_str());
    }
}

/// The same id with another content: a bug of the producer's that must be heard, not half obeyed.
pub(super) fn id_reused() -> FindingNote {
    FindingNote {
        rule: "id-reused".to_owned(),
        verdict: "refuse".to_owned(),
        field: "id".to_owned(),
        span: None,
        reason: "this id was used before, with another content".to_owned(),
        fix: "give every new job a new id; repeat an id only to repeat the very same job".to_owned(),
    }
}

pub(super) fn refuse(asked: &Asked, findings: Vec<FindingNote>, now: Timestamp) -> Refusal {
    let event =
        refused_event(&asked.key, &asked.job, asked.delivery.traceparent.clone(), findings.clone(), now);
    Refusal { refused: RefusedJob { event }, dead: asked.delivery.dead_letter(DeadReason::Refused(findings)) }
}

pub(super) fn refused_event(
    key: &JobKey,
    job: &Job,
    traceparent: Option<String>,
    findings: Vec<FindingNote>,
    now: Timestamp,
) -> Event {
    let body = EventBody::JobRefused {
        producer: key.producer.clone(),
        job: key.id.clone(),
        app: job.app().cloned(),
        digest: job.digest(),
        findings,
    };
    Event::new(now, traceparent, job.digest().as_bytes(), body)
}
