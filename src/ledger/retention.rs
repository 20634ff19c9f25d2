//! Forgetting: what is kept, and for how long.
//!
//! A job's key is kept for 30 days after its end (then its producer may use it again), its text for 90 days.
//! Then only the digest, the devices and the outcomes remain.

use std::time::Duration;

use jiff::Timestamp;

use super::{Ledger, LedgerError, rows::micros, tx::on_either};

/// How long the text of a notification is kept after the job's end.
const TEXT_KEPT: Duration = Duration::from_hours(90 * 24);

/// Rows changed at once: some milliseconds, so that nobody waits.
const BATCH: i64 = 1_000;

/// What was forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Jobs whose text is gone.
    pub texts: u64,
    /// Texts that are counted no longer.
    pub reach: u64,
    /// Days of producers that are long over.
    pub days: u64,
}

impl Ledger {
    /// Forgets what was kept long enough by `now`. Run it daily; it may be cut short at any point.
    pub async fn forget_old(&self, now: Timestamp) -> Result<Forgotten, LedgerError> {
        const SQL: &str = "update direct_job set job = null where (producer, job_id) in ( \
             select producer, job_id from direct_job where finished_at < $1 and job is not null limit $2)";
        let before = micros(now.checked_sub(TEXT_KEPT).unwrap_or(Timestamp::MIN));
        let (reach, days) = (self.forget_reach(now).await?, self.forget_days(now).await?);
        let mut forgotten = Forgotten { reach, days, ..Forgotten::default() };
        loop {
            let mut tx = self.begin().await?;
            let texts = on_either!(&mut tx, c => {
                sqlx::query(SQL).bind(before).bind(BATCH).execute(c).await?.rows_affected()
            });
            tx.commit().await?;
            if texts == 0 {
                return Ok(forgotten);
            }
            forgotten.texts += texts;
        }
    }
}
