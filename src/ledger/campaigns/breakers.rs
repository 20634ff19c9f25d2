//! What workers saw that must stop a rollout: written by them, read by the coordinator.

use sqlx::FromRow;

use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, micros, stored_count},
        tx::on_either,
    },
    model::{Provider, Reason, RolloutId},
    rollout::{BreakerKind, Tripped},
};

#[derive(Debug, FromRow)]
struct BreakerRow {
    provider: String,
    kind: String,
    reason: String,
}

impl Ledger {
    /// Notes that a breaker tripped in this run of a rollout, so that its coordinator acts on it. What is on record from the
    /// same run stays; what is from an earlier one is over.
    pub async fn trip_breaker(
        &self,
        rollout: RolloutId,
        epoch: u32,
        worker: &str,
        tripped: &Tripped,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "insert into breaker (rollout, provider, kind, epoch, reason, worker, tripped_at) \
             values ($1, $2, $3, $4, $5, $6, $7) on conflict (rollout, provider) do update \
             set kind = excluded.kind, epoch = excluded.epoch, reason = excluded.reason, worker = excluded.worker, \
                 tripped_at = excluded.tripped_at, mended_at = null \
             where breaker.kind <> 'health' and (breaker.epoch < excluded.epoch or excluded.kind = 'health' \
                 or (breaker.epoch = excluded.epoch and breaker.mended_at is not null))";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(rollout.get())
                .bind(tripped.provider.as_str())
                .bind(tripped.kind.as_str())
                .bind(stored_count(epoch))
                .bind(tripped.reason.as_str())
                .bind(worker)
                .bind(micros(now))
                .execute(c)
                .await?;
        });
        tx.commit().await
    }

    /// Notes that a provider was seen to answer again in this run: what tripped in an earlier one is no concern any more.
    pub async fn mend_breaker(
        &self,
        rollout: RolloutId,
        epoch: u32,
        provider: Provider,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "update breaker set mended_at = $1 \
             where rollout = $2 and provider = $3 and epoch < $4 and mended_at is null and kind <> 'health'";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(micros(now))
                .bind(rollout.get())
                .bind(provider.as_str())
                .bind(stored_count(epoch))
                .execute(c)
                .await?;
        });
        tx.commit().await
    }

    /// What tripped in this run of a rollout: the gravest of it. Health that failed in an earlier run still has.
    pub async fn breaker(&self, rollout: RolloutId, epoch: u32) -> Result<Option<Tripped>, LedgerError> {
        const SQL: &str = "select provider, kind, reason from breaker \
             where rollout = $1 and (epoch = $2 or kind = 'health') and mended_at is null \
             order by case when kind in ('rejections', 'health') then 0 when kind = 'credentials' then 1 else 2 end, provider limit 1";
        let row: Option<BreakerRow> = on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(rollout.get()).bind(stored_count(epoch)).fetch_optional(pool).await?
        });
        row.map(|row| tripped(rollout, &row)).transpose()
    }

    /// The providers that tripped in an earlier run of a rollout, and have not been seen to answer since.
    pub async fn on_probation(&self, rollout: RolloutId, epoch: u32) -> Result<Vec<Provider>, LedgerError> {
        const SQL: &str = "select provider, kind, reason from breaker \
             where rollout = $1 and epoch < $2 and mended_at is null and kind <> 'health' order by provider";
        let rows: Vec<BreakerRow> = on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(rollout.get()).bind(stored_count(epoch)).fetch_all(pool).await?
        });
        rows.iter().map(|row| Ok(tripped(rollout, row)?.provider)).collect()
    }
}

fn tripped(rollout: RolloutId, row: &BreakerRow) -> Result<Tripped, LedgerError> {
    const TABLE: &str = "breaker";
    Ok(Tripped {
        kind: column(TABLE, rollout, "kind", row.kind.parse::<BreakerKind>())?,
        provider: column(TABLE, rollout, "provider", row.provider.parse::<Provider>())?,
        reason: Reason::new(&row.reason),
    })
}
