//! Direct jobs on SQLite: row by row, inside one transaction; there is no round trip to save.

use jiff::Timestamp;
use sqlx::{Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

use crate::{
    ledger::{
        LedgerError,
        rows::{JobRow, micros},
        tx::Word,
    },
    model::JobKey,
};

const SELECT: &str = "select producer, job_id, digest, app, intent, at_most_once, job, policy, received_at, \
     expires_at, state, tries, due_at, claim_until, devices, outcomes, unreachable, traceparent, finished_at, campaign \
     from direct_job where producer = $1 and job_id = $2";

const INSERT: &str = "insert into direct_job (producer, job_id, digest, app, intent, at_most_once, job, policy, \
         received_at, expires_at, state, tries, due_at, claim_until, devices, outcomes, unreachable, traceparent, \
         finished_at) \
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)";

/// A key whose job ended before `$20` is free again: its row is replaced. (No row that is inserted here is a campaign's.)
const UNLESS_TAKEN: &str = " on conflict (producer, job_id) do update set (digest, app, intent, at_most_once, job, \
         policy, received_at, expires_at, state, tries, due_at, claim_until, devices, outcomes, unreachable, \
         traceparent, finished_at, campaign) = \
         (excluded.digest, excluded.app, excluded.intent, excluded.at_most_once, excluded.job, excluded.policy, \
         excluded.received_at, excluded.expires_at, excluded.state, excluded.tries, excluded.due_at, \
         excluded.claim_until, excluded.devices, excluded.outcomes, excluded.unreachable, excluded.traceparent, \
         excluded.finished_at, excluded.campaign) \
     where direct_job.finished_at < $20";

fn bound<'q>(sql: &'q str, row: &'q JobRow) -> Query<'q, Sqlite, SqliteArguments<'q>> {
    sqlx::query(sql)
        .bind(&row.producer)
        .bind(&row.job_id)
        .bind(&row.digest)
        .bind(&row.app)
        .bind(&row.intent)
        .bind(row.at_most_once)
        .bind(&row.job)
        .bind(&row.policy)
        .bind(row.received_at)
        .bind(row.expires_at)
        .bind(&row.state)
        .bind(row.tries)
        .bind(row.due_at)
        .bind(row.claim_until)
        .bind(&row.devices)
        .bind(&row.outcomes)
        .bind(row.unreachable)
        .bind(&row.traceparent)
        .bind(row.finished_at)
}

/// Fails on a key that is taken.
pub(in crate::ledger) async fn insert_new(
    connection: &mut SqliteConnection,
    rows: &[JobRow],
) -> Result<(), LedgerError> {
    for row in rows {
        bound(INSERT, row).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(in crate::ledger) async fn insert(
    connection: &mut SqliteConnection,
    rows: &[JobRow],
    freed: i64,
) -> Result<Vec<bool>, LedgerError> {
    let sql = format!("{INSERT}{UNLESS_TAKEN}");
    let mut inserted = Vec::with_capacity(rows.len());
    for row in rows {
        let done = bound(&sql, row).bind(freed).execute(&mut *connection).await?;
        inserted.push(done.rows_affected() == 1);
    }
    Ok(inserted)
}

/// The transaction began with the right to write, so what is read cannot change under it.
pub(in crate::ledger) async fn read(
    connection: &mut SqliteConnection,
    keys: &[&JobKey],
) -> Result<Vec<JobRow>, LedgerError> {
    let mut rows = Vec::with_capacity(keys.len());
    for key in keys {
        let row = sqlx::query_as(SELECT)
            .bind(key.producer.as_str())
            .bind(key.id.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        rows.extend(row);
    }
    Ok(rows)
}

pub(in crate::ledger) async fn update(
    connection: &mut SqliteConnection,
    rows: &[JobRow],
) -> Result<(), LedgerError> {
    const UPDATE: &str = "update direct_job set policy = $3, state = $4, tries = $5, due_at = $6, \
             claim_until = $7, devices = $8, outcomes = $9, unreachable = $10, finished_at = $11 \
         where producer = $1 and job_id = $2";
    for row in rows {
        sqlx::query(UPDATE)
            .bind(&row.producer)
            .bind(&row.job_id)
            .bind(&row.policy)
            .bind(&row.state)
            .bind(row.tries)
            .bind(row.due_at)
            .bind(row.claim_until)
            .bind(&row.devices)
            .bind(&row.outcomes)
            .bind(row.unreachable)
            .bind(row.finished_at)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(in crate::ledger) async fn write_words(
    connection: &mut SqliteConnection,
    words: &[Word<'_>],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const UPSERT: &str = "insert into failure_word (producer, job_id, position, outcome, reason, at) \
         values ($1, $2, $3, $4, $5, $6) \
         on conflict (producer, job_id, position) \
         do update set outcome = excluded.outcome, reason = excluded.reason, at = excluded.at";
    for word in words {
        sqlx::query(UPSERT)
            .bind(word.key.producer.as_str())
            .bind(word.key.id.as_str())
            .bind(word.stored_position())
            .bind(i16::from(word.code.byte()))
            .bind(word.reason.as_str())
            .bind(micros(now))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
