//! The rate of a rollout that follows a signal: noted by whoever rules, in the row that its slots are leased of.

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;

use super::{Deposed, Ruling};
use crate::{
    ledger::{
        LeaseKey, Ledger, LedgerError, on_pool,
        rows::{column, instant, micros},
        tx::on_either,
    },
    model::{RolloutId, StageNumber},
};

/// How fast a rollout may go, by its signal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paced {
    /// Notifications a second, over the whole fleet.
    pub rate: NonZeroU32,
    /// What the signal said; `None`: nothing.
    pub headroom: Option<f64>,
    /// Behind this it is the least again, whatever was noted.
    pub until: Timestamp,
}

impl Ledger {
    /// Notes how fast a stage of a rollout may go, and by which headroom, for so long. A rollout that is in another stage by now
    /// is left alone: what was heard says nothing of that.
    pub async fn note_pace(
        &self,
        ruling: &Ruling,
        (rollout, stage): (RolloutId, StageNumber),
        (rate, headroom): (NonZeroU32, Option<f64>),
        lasts: Duration,
    ) -> Result<(), Deposed> {
        const SQL: &str = "insert into lease (key, next_at, paced, paced_until, headroom) values ($1, 0, $2, $3, $4) \
             on conflict (key) do update set paced = excluded.paced, paced_until = excluded.paced_until, \
             headroom = excluded.headroom";
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        // Under its lock, as a stage opens.
        if tx.locked_rollout(rollout).await?.is_none_or(|seen| seen.stage != Some(stage)) {
            return Ok(());
        }
        let lasts = i64::try_from(lasts.as_micros()).unwrap_or(i64::MAX);
        let noted = on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(LeaseKey::Rollout(rollout).stored())
                .bind(i32::try_from(rate.get()).unwrap_or(i32::MAX))
                .bind(micros(now).saturating_add(lasts))
                .bind(headroom)
                .execute(c)
                .await
                .map(drop)
        });
        noted.map_err(LedgerError::from)?;
        tx.commit().await?;
        Ok(())
    }

    /// What was noted last, also when its time is over; `None` if nothing ever was.
    pub async fn pace(&self, rollout: RolloutId) -> Result<Option<Paced>, LedgerError> {
        const SQL: &str =
            "select paced, paced_until, headroom from lease where key = $1 and paced is not null";
        let key = LeaseKey::Rollout(rollout).stored();
        let row: Option<(i32, i64, Option<f64>)> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(&key).fetch_optional(pool).await?);
        let Some((paced, until, headroom)) = row else { return Ok(None) };
        let rate =
            column("lease", rollout, "paced", NonZeroU32::try_from(u32::try_from(paced).unwrap_or(0)))?;
        Ok(Some(Paced { rate, headroom, until: instant("lease", rollout, until)? }))
    }
}
