//! Telling people that something waits for them: whoever coordinates posts what the ledger holds to be told.
//!
//! At least once, and of one rollout in order: the next notice is posted when the one before was taken, or given up. A
//! receiver that is away holds up its own notices and nothing else: a rollout waits for people whether they know or not.

mod post;

use std::time::Duration;

use futures_util::future::join_all;

use self::post::Posted;
use crate::{
    clock::Clock,
    ledger::{Ledger, LedgerError, Untold},
    metrics::Metrics,
};

pub use post::{Webhook, WebhookUnusable};

/// How long between two looks: a person takes longer than that to look.
const LOOK: Duration = Duration::from_secs(1);

/// Posts at once: so many receivers of slow answers are waited for together.
const AT_ONCE: i64 = 8;

/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait: so long after a receiver is back, at most, people are told.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Approvals are asked for from one working day to the next; what nobody could be told of for a day is in the log.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// Posts notices.
#[derive(Debug)]
pub(super) struct Teller<'a> {
    pub(super) ledger: &'a Ledger,
    /// Where to. `None`: nobody is told, and what is older than a day is forgotten.
    pub(super) webhook: Option<&'a Webhook>,
    pub(super) metrics: &'a Metrics,
    pub(super) clock: &'a Clock,
    /// The wait after the first failure.
    pub(super) first_wait: Duration,
}

impl<'a> Teller<'a> {
    pub(super) const fn new(
        ledger: &'a Ledger,
        webhook: Option<&'a Webhook>,
        metrics: &'a Metrics,
        clock: &'a Clock,
    ) -> Self {
        Self { ledger, webhook, metrics, clock, first_wait: FIRST_WAIT }
    }

    /// Until it is dropped; what was posted then and not recorded is posted again, under the same id.
    pub(super) async fn run(self) {
        loop {
            match self.round().await {
                Ok(told) if told > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "nobody is told until the ledger answers"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Posts what is due; answers how many notices were taken.
    async fn round(&self) -> Result<usize, LedgerError> {
        let oldest = self.ledger.oldest_notice().await?;
        let age = oldest.unwrap_or_default();
        self.metrics.set_oldest_notice(if self.webhook.is_some() { age } else { Duration::ZERO });
        if age > GIVE_UP_AFTER {
            self.give_up().await?;
        }
        let Some(webhook) = self.webhook.filter(|_| oldest.is_some()) else { return Ok(0) };
        let due = self.ledger.notices_due(AT_ONCE).await?;
        let posts = join_all(due.iter().map(|notice| self.tell(webhook, notice))).await;
        posts.into_iter().try_fold(0, |told, posted| Ok(told + usize::from(posted? == Posted::Told)))
    }

    async fn tell(&self, webhook: &Webhook, notice: &Untold) -> Result<Posted, LedgerError> {
        let posted = webhook.post(notice).await;
        self.metrics.webhook(posted.as_str());
        if posted == Posted::Told {
            tracing::debug!(notice = %notice.id, "people are told that something waits");
            self.ledger.notice_told(notice.seq).await?;
            return Ok(posted);
        }
        let wait = wait(self.first_wait, notice.tries, self.clock.seed());
        tracing::warn!(notice = %notice.id, %posted, tries = notice.tries + 1, wait = wait.as_secs_f32(), "the webhook did not take a notice");
        self.ledger.notice_failed(notice.seq, wait).await?;
        Ok(posted)
    }

    async fn give_up(&self) -> Result<(), LedgerError> {
        for notice in self.ledger.notices_given_up(GIVE_UP_AFTER).await? {
            if self.webhook.is_some() {
                self.metrics.webhook("given_up");
                tracing::error!(%notice, "nobody could be told for a day that something waits; the notice is given up");
            }
        }
        Ok(())
    }
}

/// How long until the next try, after so many that failed before this one: doubled each time, within bounds, and somewhere
/// in the upper half of that, so that receivers that come back are not met by everything at once.
fn wait(first: Duration, tries: u32, seed: u64) -> Duration {
    let whole = first.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST_WAIT);
    let part = u32::try_from(seed % 1_024).unwrap_or_default();
    whole / 2 + whole / 2 * part / 1_024
}

#[cfg(test)]
mod tests;
