//! Direct jobs on PostgreSQL: a batch is one statement, its columns are arrays.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::{Arguments as _, PgConnection, postgres::PgArguments};

use crate::{
    ledger::{
        LedgerError,
        rows::{JobRow, micros},
        tx::Word,
    },
    model::JobKey,
};

const COLUMNS: &str = "producer, job_id, digest, app, intent, at_most_once, job, policy, received_at, expires_at, \
     state, tries, due_at, claim_until, devices, outcomes, unreachable, traceparent, finished_at, campaign";

const INSERT: &str = "insert into direct_job as old (producer, job_id, digest, app, intent, at_most_once, job, \
         policy, received_at, expires_at, state, tries, due_at, claim_until, devices, outcomes, unreachable, \
         traceparent, finished_at) \
     select * from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::text[], $6::bool[], $7::text[], \
         $8::bytea[], $9::bigint[], $10::bigint[], $11::text[], $12::int[], $13::bigint[], $14::bigint[], \
         $15::bytea[], $16::bytea[], $17::int[], $18::text[], $19::bigint[])";

/// A key whose job ended before `$20` is free again: its row is replaced. (No row that is inserted here is a campaign's.)
const UNLESS_TAKEN: &str = " on conflict (producer, job_id) do update set (digest, app, intent, at_most_once, job, \
         policy, received_at, expires_at, state, tries, due_at, claim_until, devices, outcomes, unreachable, \
         traceparent, finished_at, campaign) = \
         (excluded.digest, excluded.app, excluded.intent, excluded.at_most_once, excluded.job, excluded.policy, \
         excluded.received_at, excluded.expires_at, excluded.state, excluded.tries, excluded.due_at, \
         excluded.claim_until, excluded.devices, excluded.outcomes, excluded.unreachable, excluded.traceparent, \
         excluded.finished_at, excluded.campaign) \
     where old.finished_at < $20 \
     returning producer, job_id";

fn columns(rows: &[JobRow]) -> Result<PgArguments, sqlx::Error> {
    let mut columns = PgArguments::default();
    let added = [
        columns.add(rows.iter().map(|row| row.producer.as_str()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.job_id.as_str()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.digest.as_slice()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.app.as_deref()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.intent.as_deref()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.at_most_once).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.job.as_deref()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.policy.as_deref()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.received_at).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.expires_at).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.tries).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.due_at).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.claim_until).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.devices.as_slice()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.outcomes.as_slice()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.unreachable).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.traceparent.as_deref()).collect::<Vec<_>>()),
        columns.add(rows.iter().map(|row| row.finished_at).collect::<Vec<_>>()),
    ];
    added.into_iter().collect::<Result<(), _>>().map_err(sqlx::Error::Encode)?;
    Ok(columns)
}

/// Fails on a key that is taken. Half the price of [`insert`], which writes each row twice to be able to yield.
pub(in crate::ledger) async fn insert_new(
    connection: &mut PgConnection,
    rows: &[JobRow],
) -> Result<(), LedgerError> {
    sqlx::query_with(INSERT, columns(rows)?).execute(connection).await?;
    Ok(())
}

pub(in crate::ledger) async fn insert(
    connection: &mut PgConnection,
    rows: &[JobRow],
    freed: i64,
) -> Result<Vec<bool>, LedgerError> {
    let sql = format!("{INSERT}{UNLESS_TAKEN}");
    let inserted: HashSet<(String, String)> = sqlx::query_as_with(&sql, columns(rows)?)
        .bind(freed)
        .fetch_all(connection)
        .await?
        .into_iter()
        .collect();
    let is_in = |row: &JobRow| inserted.contains(&(row.producer.clone(), row.job_id.clone()));
    Ok(rows.iter().map(is_in).collect())
}

/// Always in the order of the keys, so that two processes never wait for each other in a circle.
pub(in crate::ledger) async fn lock(
    connection: &mut PgConnection,
    keys: &[&JobKey],
) -> Result<Vec<JobRow>, LedgerError> {
    let sql = format!(
        "select {COLUMNS} from direct_job where (producer, job_id) in \
             (select * from unnest($1::text[], $2::text[])) \
         order by producer, job_id for update"
    );
    let rows = sqlx::query_as(&sql)
        .bind(keys.iter().map(|key| key.producer.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

pub(in crate::ledger) async fn update(
    connection: &mut PgConnection,
    rows: &[JobRow],
) -> Result<(), LedgerError> {
    const UPDATE: &str = "update direct_job j set policy = u.policy, state = u.state, tries = u.tries, \
             due_at = u.due_at, claim_until = u.claim_until, devices = u.devices, outcomes = u.outcomes, \
             unreachable = u.unreachable, finished_at = u.finished_at \
         from unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::int[], $6::bigint[], $7::bigint[], \
             $8::bytea[], $9::bytea[], $10::int[], $11::bigint[]) \
             u (producer, job_id, policy, state, tries, due_at, claim_until, devices, outcomes, unreachable, \
             finished_at) \
         where j.producer = u.producer and j.job_id = u.job_id";
    sqlx::query(UPDATE)
        .bind(rows.iter().map(|row| row.producer.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.job_id.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.policy.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.tries).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.due_at).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.claim_until).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.devices.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.outcomes.as_slice()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.unreachable).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.finished_at).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// No (job, position) may stand in `words` twice.
pub(in crate::ledger) async fn write_words(
    connection: &mut PgConnection,
    words: &[Word<'_>],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const UPSERT: &str = "insert into failure_word (producer, job_id, position, outcome, reason, at) \
         select u.producer, u.job_id, u.position, u.outcome, u.reason, $6 \
         from unnest($1::text[], $2::text[], $3::int[], $4::smallint[], $5::text[]) \
             u (producer, job_id, position, outcome, reason) \
         on conflict (producer, job_id, position) \
         do update set outcome = excluded.outcome, reason = excluded.reason, at = excluded.at";
    sqlx::query(UPSERT)
        .bind(words.iter().map(|word| word.key.producer.as_str()).collect::<Vec<_>>())
        .bind(words.iter().map(|word| word.key.id.as_str()).collect::<Vec<_>>())
        .bind(words.iter().map(Word::stored_position).collect::<Vec<_>>())
        .bind(words.iter().map(|word| i16::from(word.code.byte())).collect::<Vec<_>>())
        .bind(words.iter().map(|word| word.reason.as_str()).collect::<Vec<_>>())
        .bind(micros(now))
        .execute(connection)
        .await?;
    Ok(())
}
