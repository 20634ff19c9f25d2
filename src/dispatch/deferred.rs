//! Deferred jobs that are due: by a pointer that came down the ladder, or found by the sweeper.

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    commit::Ended,
    direct::DirectLane,
    halts::Arrived,
    judge,
    patience::NoAnswer,
    send::send_job,
    tries::Attempt,
    watched::{Asking, GivenUp},
};
use crate::{
    guard::{DirectReach, Finding, Verdict},
    intake::Receipt,
    ledger::{DeferredJob, NotDue, Pointer, RefusedJob, TargetOutcome},
    model::{Outcome, Reason},
};

impl DirectLane {
    /// Takes up what is due. A receipt is there when a message brought the pointer.
    pub(super) async fn deferred(&self, due: Vec<(Pointer, Option<Receipt>)>) {
        // A claim can lapse while the ledger is away, before what was sent under it is on record.
        let (held, due): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(pointer, _)| !self.in_flight.hold(&pointer.key));
        for (pointer, receipt) in held {
            self.later(pointer, receipt).await;
        }
        if due.is_empty() {
            return;
        }
        let pointers: Vec<_> = due.iter().map(|(pointer, _)| pointer.clone()).collect();
        let arrived = self.arrived();
        let taken =
            self.patience.ask("take deferred", || self.ledger.take_deferred(&pointers, self.claim)).await;
        let mut taken = match taken {
            Ok(taken) => taken,
            Err(NoAnswer::Stopping) => return,
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, jobs = due.len(), "deferred jobs cannot be read; they are tried again");
                for (pointer, receipt) in due {
                    self.not_now(pointer, receipt).await;
                }
                return;
            }
        };
        let reach = match self.patience.ask("reach", || self.reach_of_deferred(&taken)).await {
            Ok(reach) => reach,
            Err(NoAnswer::Stopping) => return,
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, jobs = due.len(), "deferred jobs cannot be counted; they are tried again");
                for (pointer, receipt) in due {
                    self.not_now(pointer, receipt).await;
                }
                return;
            }
        };
        let Ok(verdicts) = self.asked_again(&mut taken, reach).await else { return };
        let resends = due.into_iter().zip(taken).zip(verdicts).map(
            |(((pointer, receipt), taken), verdict)| async move {
                match (taken, verdict) {
                    (Ok(job), Some(verdict)) => self.resend(job, receipt, verdict, arrived).await,
                    (Ok(_), None) | (Err(NotDue::Later), _) => self.not_now(pointer, receipt).await,
                    (Err(NotDue::Done | NotDue::Expired), _) => {
                        self.end(Ended::settled(receipt, Some(pointer.key))).await;
                    }
                }
            },
        );
        resends.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// Somebody is at it: the pointer goes back to the ladder. What the sweeper found, it finds again.
    async fn later(&self, pointer: Pointer, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt {
            self.end(Ended::later(pointer, receipt, None)).await;
        }
    }

    /// Not to be done yet, after all: the key is free again.
    async fn not_now(&self, pointer: Pointer, receipt: Option<Receipt>) {
        let held = Some(pointer.key.clone());
        self.end(match receipt {
            Some(receipt) => Ended::later(pointer, receipt, held),
            None => Ended::settled(None, held),
        })
        .await;
    }

    /// Asks the guard again of what is due, in one go.
    async fn asked_again(
        &self,
        taken: &mut [Result<DeferredJob, NotDue>],
        reach: Vec<DirectReach>,
    ) -> Result<Vec<Option<Verdict>>, GivenUp> {
        let question = |job: &mut DeferredJob, reach| {
            let (what, recipients) =
                ((job.key.clone(), job.job.clone()), std::mem::take(&mut job.recipients));
            self.question(Asking::Again, what, recipients, job.received_at, reach)
        };
        let due =
            taken.iter_mut().zip(reach).filter_map(|(taken, reach)| Some((taken.as_mut().ok()?, reach)));
        let questions = due.map(|(job, reach)| question(job, reach)).collect();
        let mut answered = self.guard.ask(questions, self.clock.now()).await?.into_iter();
        let mut verdict = |job: &mut DeferredJob| {
            let (question, verdict) = answered.next()?;
            job.recipients = question.recipients;
            Some(verdict)
        };
        Ok(taken.iter_mut().map(|taken| taken.as_mut().ok().and_then(&mut verdict)).collect())
    }

    async fn resend(
        &self,
        deferred: DeferredJob,
        receipt: Option<Receipt>,
        verdict: Verdict,
        arrived: Arrived,
    ) {
        let attempt = Attempt::next(&deferred);
        let held = Some(attempt.key.clone());
        let now = self.clock.now();
        match verdict {
            Verdict::Clear(proof, _) => {
                let mut open = deferred.open(&proof);
                let tried = send_job(self, &mut open, &proof, arrived).await;
                let (hash, now) = (self.policy.hash(), self.clock.now());
                let (finished, deferral) = attempt.over(tried, &proof, &self.ladder, hash, now);
                self.end(Ended::finished(finished, deferral, receipt, held)).await;
            }
            // The policy changed while the job rested: what was clear then is not clear now.
            Verdict::Hold(findings) | Verdict::Refuse(findings) => {
                judge::count_findings(&findings, &self.metrics);
                let outcomes = rejected(&deferred, &findings);
                let notes = findings.iter().map(Finding::note).collect();
                let event =
                    judge::refused_event(&deferred.key, &deferred.job, deferred.traceparent, notes, now);
                let finished = attempt.refused(self.policy.hash(), outcomes);
                self.end(Ended::refused_after_all(finished, RefusedJob { event }, receipt, held)).await;
            }
        }
    }
}

fn rejected(deferred: &DeferredJob, findings: &[Finding]) -> Vec<TargetOutcome> {
    let reason = Reason::new(findings.first().map_or("guard", |finding| finding.rule.id()));
    let target = |(position, device): (usize, &crate::model::Device)| TargetOutcome {
        position,
        record: device.record,
        device: device.id,
        outcome: Outcome::Rejected { reason: reason.clone() },
    };
    deferred.targets().map(target).collect()
}
