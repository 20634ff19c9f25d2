//! What was seen of the numbers of our own systems: noted by whoever rules, read by everyone who judges.

use std::{collections::BTreeMap, time::Duration};

use super::{Deposed, Ruling};
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, json_text},
        tx::on_either,
    },
    model::RolloutId,
    rollout::downstream::Watched,
};

/// What was seen of one guard's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenDownstream {
    /// What was seen.
    pub watched: Watched,
    /// A number that is older is as good as none.
    pub stale_after: Duration,
}

impl Ledger {
    /// What was seen of a rollout's guards, by their names.
    pub async fn downstream(
        &self,
        rollout: RolloutId,
    ) -> Result<BTreeMap<String, SeenDownstream>, LedgerError> {
        const SQL: &str =
            "select name, seen, stale_after_ms from downstream where rollout = $1 order by name";
        let rows: Vec<(String, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_all(pool).await?);
        let seen = |(name, seen, stale_after): (String, String, i64)| {
            let watched = column("downstream", rollout, "seen", serde_json::from_str(&seen))?;
            let stale_after = column("downstream", rollout, "stale_after_ms", u64::try_from(stale_after))?;
            Ok((name, SeenDownstream { watched, stale_after: Duration::from_millis(stale_after) }))
        };
        rows.into_iter().map(seen).collect()
    }

    /// Notes what was seen of one of them.
    pub async fn note_downstream(
        &self,
        ruling: &Ruling,
        rollout: RolloutId,
        name: &str,
        seen: &SeenDownstream,
    ) -> Result<(), Deposed> {
        const SQL: &str = "insert into downstream (rollout, name, seen, stale_after_ms) values ($1, $2, $3, $4) \
             on conflict (rollout, name) do update set seen = excluded.seen, stale_after_ms = excluded.stale_after_ms";
        let (mut tx, _) = self.begin_ruling(ruling).await?;
        let stale_after = i64::try_from(seen.stale_after.as_millis()).unwrap_or(i64::MAX);
        let noted = on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(rollout.get())
                .bind(name)
                .bind(json_text(&seen.watched))
                .bind(stale_after)
                .execute(c)
                .await
                .map(drop)
        });
        noted.map_err(LedgerError::from)?;
        tx.commit().await?;
        Ok(())
    }
}
