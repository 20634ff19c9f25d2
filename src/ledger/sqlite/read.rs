//! The batch's read on SQLite: three statements in one transaction, so of one snapshot.

use sqlx::SqlitePool;

use crate::{
    ledger::{LedgerError, read::Snapshot, tx::Wanted},
    model::JobKey,
};

const PRIORS: &str = "select cast(k.key as integer) as ask, j.digest, j.state = 'finished' as finished \
     from json_each($1) k cross join direct_job j \
     where j.producer = k.value ->> 0 and j.job_id = k.value ->> 1 \
         and (j.finished_at is null or j.finished_at >= $2)";

pub(in crate::ledger) async fn snapshot(
    pool: &SqlitePool,
    keys: &[&JobKey],
    wanted: &Wanted<'_>,
    kept: i64,
) -> Result<Snapshot, LedgerError> {
    let mut tx = pool.begin().await?;
    let now: i64 = sqlx::query_scalar(super::NOW).fetch_one(&mut *tx).await?;
    let keys: Vec<_> = keys.iter().map(|key| (&key.producer, &key.id)).collect();
    let snapshot = Snapshot {
        now,
        halts: sqlx::query_scalar("select scope from halt").fetch_all(&mut *tx).await?,
        priors: sqlx::query_as(PRIORS)
            .bind(serde_json::json!(keys).to_string())
            .bind(now - kept)
            .fetch_all(&mut *tx)
            .await?,
        devices: super::devices::find(&mut tx, wanted).await?,
    };
    tx.commit().await?;
    Ok(snapshot)
}
