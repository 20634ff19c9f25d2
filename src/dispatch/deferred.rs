//! Deferred jobs that are due: by a pointer that came down the ladder, or found by the sweeper.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{commit::Ended, direct::DirectLane, judge, patience::NoAnswer, send::send_job, tries::Attempt};
use crate::{
    guard::{self, Finding},
    intake::Receipt,
    ledger::{DeferredJob, NotDue, Pointer, RefusedJob, TargetOutcome},
    model::{Outcome, Reason},
};

/// How long a deferred job is claimed for a try: longer than its slowest request can take with its resends,
/// so that no second process takes it meanwhile.
const CLAIM: Duration = Duration::from_mins(3);

impl DirectLane {
    /// Takes up what is due. A receipt is there when a message brought the pointer.
    pub(super) async fn deferred(&self, due: Vec<(Pointer, Option<Receipt>)>) {
        if due.is_empty() {
            return;
        }
        let pointers: Vec<_> = due.iter().map(|(pointer, _)| pointer.clone()).collect();
        let taken = self.patience.ask("take deferred", || self.ledger.take_deferred(&pointers, CLAIM)).await;
        let taken = match taken {
            Ok(taken) => taken,
            Err(NoAnswer::Stopping) => return,
            Err(NoAnswer::Refused(error)) => {
                tracing::error!(%error, jobs = due.len(), "deferred jobs cannot be read; they are tried again");
                for (pointer, receipt) in due {
                    self.later(pointer, receipt).await;
                }
                return;
            }
        };
        let resends = due.into_iter().zip(taken).map(|((pointer, receipt), taken)| async move {
            match taken {
                Ok(job) => self.resend(job, receipt).await,
                Err(NotDue::Later) => self.later(pointer, receipt).await,
                Err(NotDue::Done | NotDue::Expired) => self.end(Ended::settled(receipt, None)).await,
            }
        });
        resends.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// Not now: the pointer goes back to the ladder. What the sweeper found, it finds again.
    async fn later(&self, pointer: Pointer, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt {
            self.end(Ended::later(pointer, receipt)).await;
        }
    }

    async fn resend(&self, deferred: DeferredJob, receipt: Option<Receipt>) {
        let facts = self.facts(&deferred.recipients, deferred.received_at);
        let attempt = Attempt::next(&deferred);
        let now = self.clock.now();
        match guard::recheck(&deferred.job, &deferred.key, &self.policy, &facts, now) {
            Ok(proof) => {
                let mut open = deferred.open(&proof);
                let tried = send_job(self, &mut open, &proof, self.clock.monotonic()).await;
                let (finished, deferral) = attempt.over(tried, &proof, self.policy.hash(), self.clock.now());
                self.end(Ended::finished(finished, deferral, receipt, None)).await;
            }
            // The policy changed while the job rested: what was clear then is not clear now.
            Err(findings) => {
                let outcomes = rejected(&deferred, &findings);
                let notes = findings.iter().map(Finding::note).collect();
                let event =
                    judge::refused_event(&deferred.key, &deferred.job, deferred.traceparent, notes, now);
                let finished = attempt.refused(self.policy.hash(), outcomes);
                self.end(Ended::refused_after_all(finished, RefusedJob { event }, receipt)).await;
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
