//! One try of a direct job, and when the next one is due. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{direct::unreachable, judge::Asked, send::Tried};
use crate::{
    guard::Cleared,
    intake::{Deferral, Ladder},
    ledger::{DeferredJob, FinishedJob, Pointer, TargetOutcome},
    model::{Digest, Job, JobKey},
    pace::{Rung, retry_rung},
};

/// How long a halted job rests before it is looked at again.
const HALTED_REST: Rung = Rung::HalfMinute;

/// A try of a job: what is recorded of it whatever its outcome.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) key: JobKey,
    job: Job,
    traceparent: Option<String>,
    received_at: Timestamp,
    /// Which try this is, from 1; 0 if none has begun.
    tries: u32,
    unreachable: u32,
}

/// Why a job that was cleared is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Its time was over.
    Over,
    /// Its time has not come.
    UntilStart,
    /// A halt covers it.
    Halted,
}

impl Attempt {
    /// Of a job that has just arrived.
    pub(super) fn first(asked: Asked, tries: u32, unreachable: u32) -> Self {
        let Asked { key, job, delivery } = asked;
        let (traceparent, received_at) = (delivery.traceparent, delivery.received_at);
        Self { key, job, traceparent, received_at, tries, unreachable }
    }

    /// Of a job that was deferred.
    pub(super) fn next(deferred: &DeferredJob) -> Self {
        Self {
            key: deferred.key.clone(),
            job: deferred.job.clone(),
            traceparent: deferred.traceparent.clone(),
            received_at: deferred.received_at,
            tries: deferred.tries + 1,
            unreachable: unreachable(&deferred.recipients),
        }
    }

    /// The try is over: the record, and where the pointer rests if a device is not final.
    pub(super) fn over(
        self,
        tried: Tried,
        proof: &Cleared,
        ladder: &Ladder,
        policy: Digest,
        now: Timestamp,
    ) -> (FinishedJob, Option<Deferral>) {
        let at_most_once = self.job.at_most_once();
        let rung = tried
            .outcomes
            .iter()
            .filter(|target| !target.outcome.code().is_final(at_most_once))
            .map(|target| retry_rung(&target.outcome, self.tries))
            .max();
        let due = rung.map(|rung| within(ladder, rung, now, proof.expires_at()));
        let deferral = due.map(|(_, rung)| Deferral { pointer: self.pointer(), rung });
        let due_at = due.map(|(at, _)| at);
        (self.record(proof.expires_at(), policy, tried, due_at), deferral)
    }

    /// The try was not begun.
    pub(super) fn not_begun(
        self,
        rest: Rest,
        proof: &Cleared,
        ladder: &Ladder,
        policy: Digest,
        now: Timestamp,
    ) -> (FinishedJob, Option<Deferral>) {
        let (due_at, deferral) = match rest {
            // Due now and past its expiry: the ledger records every device as Expired when it is taken up.
            Rest::Over => (Some(now), None),
            Rest::UntilStart => (self.job.not_before(), None),
            Rest::Halted => {
                let (at, rung) = within(ladder, HALTED_REST, now, proof.expires_at());
                (Some(at), Some(Deferral { pointer: self.pointer(), rung }))
            }
        };
        (self.record(proof.expires_at(), policy, Tried::default(), due_at), deferral)
    }

    /// The guard said no to a job that it had cleared before: it ends here.
    pub(super) fn refused(self, policy: Digest, outcomes: Vec<TargetOutcome>) -> FinishedJob {
        let expires_at = self.job.expires_at(self.received_at);
        self.record(expires_at, policy, Tried { outcomes, gone: Vec::new() }, None)
    }

    fn pointer(&self) -> Pointer {
        Pointer { key: self.key.clone(), tries: self.tries }
    }

    fn record(
        self,
        expires_at: Timestamp,
        policy: Digest,
        tried: Tried,
        due_at: Option<Timestamp>,
    ) -> FinishedJob {
        let Self { key, job, traceparent, received_at, tries, unreachable } = self;
        let Tried { outcomes, gone } = tried;
        FinishedJob {
            key,
            job,
            policy,
            traceparent,
            received_at,
            expires_at,
            tries,
            outcomes,
            unreachable,
            due_at,
            gone,
        }
    }
}

/// The rung, but not far past the expiry: there the job only waits to be recorded as expired.
fn within(ladder: &Ladder, rung: Rung, now: Timestamp, expires_at: Timestamp) -> (Timestamp, Rung) {
    let left = expires_at.duration_since(now).max(SignedDuration::ZERO).unsigned_abs();
    let rung = rung.min(ladder.at_least(left));
    let wait = SignedDuration::try_from(ladder.wait(rung)).unwrap_or(SignedDuration::MAX);
    (now.checked_add(wait).unwrap_or(Timestamp::MAX), rung)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_ends_at_the_expiry_at_the_latest_rung_that_covers_it() {
        let (now, ladder) = (Timestamp::UNIX_EPOCH, Ladder::default());
        let after = |seconds| now + SignedDuration::from_secs(seconds);
        assert_eq!(within(&ladder, Rung::Hour, now, after(20)), (after(30), Rung::HalfMinute));
        assert_eq!(within(&ladder, Rung::HalfMinute, now, after(3_000)), (after(30), Rung::HalfMinute));
        assert_eq!(within(&ladder, Rung::Hour, now, after(-5)), (after(5), Rung::FiveSeconds));
    }
}
