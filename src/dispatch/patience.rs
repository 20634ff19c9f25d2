//! Waiting for the ledger: what cannot be recorded is not done, and not given up either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    ledger::LedgerError,
    metrics::{Dependency, Metrics},
};

/// The waits between two questions to a ledger that is away: soon at first, then every second, so that the
/// lane is back within a second of the ledger.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How long one question may take. No statement here takes a second; the server's own limits do not help when it is the
/// server that hangs, or a network that swallows what is said.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long it may still take once the process is to stop.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long another question may take after that: a moment, in which a ledger that is there has answered.
const LOST_ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The process is stopping; what was asked stays undone, and its message in the queue.
    Stopping,
    /// The ledger answered, and it would say the same again.
    Refused(LedgerError),
}

/// How long to wait for a ledger that is away: until told to stop.
///
/// **I3 unknown-is-no**: meanwhile nothing is sent. The jobs wait in RabbitMQ, neither acknowledged nor
/// rejected, so that no delivery limit is spent.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) metrics: Metrics,
    pub(super) until: CancellationToken,
    /// The process is to stop, and the ledger had its last time and did not answer: whatever else is asked may not take as
    /// long again.
    lost: Arc<AtomicBool>,
}

impl Patience {
    /// Patience until then.
    pub(super) fn until(until: CancellationToken, metrics: Metrics) -> Self {
        Self { metrics, until, lost: Arc::default() }
    }

    /// Asks until the ledger answers.
    pub(super) async fn ask<T, F>(&self, what: &'static str, question: impl Fn() -> F) -> Result<T, NoAnswer>
    where
        F: Future<Output = Result<T, LedgerError>>,
    {
        let mut wait = FIRST_WAIT;
        loop {
            match self.answer(question()).await {
                Ok(answer) => {
                    self.metrics.set_up(Dependency::Ledger, true);
                    if wait > FIRST_WAIT {
                        tracing::info!(what, "the ledger answers again");
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_about_the_request() => return Err(NoAnswer::Refused(error)),
                Err(error) => self.rest(what, &error, &mut wait).await?,
            }
        }
    }

    /// The ledger's answer to one question, or the error that there is none. What was asked may have happened: it must
    /// be safe to ask again.
    pub(super) async fn answer<T>(
        &self,
        question: impl Future<Output = Result<T, LedgerError>>,
    ) -> Result<T, LedgerError> {
        let within = if self.lost.load(Ordering::Acquire) { LOST_ANSWER_WITHIN } else { ANSWER_WITHIN };
        tokio::select! {
            biased;
            answer = question => {
                self.lost.store(false, Ordering::Release);
                answer
            }
            () = tokio::time::sleep(within) => Err(LedgerError::no_answer(within)),
            () = self.over() => {
                self.lost.store(true, Ordering::Release);
                Err(LedgerError::no_answer(LAST_ANSWER_WITHIN))
            }
        }
    }

    /// Returns when nothing is waited for any more: the process is to stop, and whatever was being asked then has had
    /// its time.
    pub(super) async fn over(&self) {
        self.until.cancelled().await;
        tokio::time::sleep(LAST_ANSWER_WITHIN).await;
    }

    /// Waits once, longer than the last time.
    pub(super) async fn rest(
        &self,
        what: &'static str,
        error: &LedgerError,
        wait: &mut Duration,
    ) -> Result<(), NoAnswer> {
        self.metrics.set_up(Dependency::Ledger, false);
        if *wait == FIRST_WAIT {
            tracing::warn!(what, %error, "the ledger is away; waiting for it, nothing is sent meanwhile");
        }
        tokio::select! {
            () = self.until.cancelled() => return Err(NoAnswer::Stopping),
            () = tokio::time::sleep(*wait) => {}
        }
        *wait = (*wait * 2).min(LONGEST_WAIT);
        Ok(())
    }

    /// The first wait, for [`Patience::rest`].
    pub(super) const fn first_wait() -> Duration {
        FIRST_WAIT
    }
}
