//! Retry chunks: what was deferred, gathered by the first-time chunk that it is from (I6: a retry repeats only what the
//! provider did not take).
//!
//! Who sleeps shares the chunk with whom a provider put off. It is due when those are: a minute's throttle does not become
//! a night, and whoever is met asleep is deferred again. Once all who are left sleep, it is due with the first morning.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use sqlx::FromRow;

use super::{Deposed, RolloutRecord, Ruling};
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, count, instant, micros},
        tx::{Tx, json_list, on_either, stored_bucket},
    },
    model::{FrozenDevice, OutcomeCode, RolloutId},
    rollout::packed,
};

/// Done chunks that are followed in one transaction.
const AT_ONCE: i64 = 200;

#[derive(FromRow)]
struct DoneRow {
    chunk: i32,
    stage: i16,
    retry_at: Option<i64>,
    quiet_until: Option<i64>,
    source: Option<i32>,
    tries: i16,
    ids: Vec<u8>,
}

impl Ledger {
    /// Makes the retry chunks of a rollout's done chunks: what was deferred, due after `backoff(try)` or what the
    /// provider asked for, whichever is later; where everyone who is left sleeps, when the first of them may be rung. Who
    /// is met asleep again is deferred again. What is due after the expiry waits for that: it is told as Expired when the
    /// rollout ends. Answers how many were made.
    pub async fn follow_retries(
        &self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        backoff: impl Fn(u32) -> Duration + Send,
    ) -> Result<u32, Deposed> {
        const DONE: &str = "select c.chunk, c.stage, c.retry_at, c.quiet_until, k.source, k.try as tries, k.ids \
             from claim c join chunk k on k.rollout = c.rollout and k.chunk = c.chunk \
             where c.rollout = $1 and c.deferred > 0 and not c.followed order by c.chunk limit $2";
        const NUMBERS: &str = "update rollout set chunks = chunks + $1 where id = $2 and epoch = $3 \
             and finished_at is null returning chunks, at_most_once";
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        let rollout = seen.rollout.get();
        let done: Vec<DoneRow> = on_either!(&mut tx, c => {
            sqlx::query_as(DONE).bind(rollout).bind(AT_ONCE).fetch_all(c).await.map_err(LedgerError::from)?
        });
        if done.is_empty() {
            return Ok(0);
        }
        let wanted = i64::try_from(done.len()).unwrap_or(i64::MAX);
        let numbers: Option<(i32, bool)> = on_either!(&mut tx, c => {
            sqlx::query_as(NUMBERS)
                .bind(wanted)
                .bind(rollout)
                .bind(i64::from(seen.epoch))
                .fetch_optional(c)
                .await
                .map_err(LedgerError::from)?
        });
        let Some((chunks, at_most_once)) = numbers else { return Ok(0) };
        let first = count("rollout", rollout, "chunks", chunks)?
            .saturating_sub(u32::try_from(wanted).unwrap_or(u32::MAX));
        let sources: Vec<i32> = done.iter().map(|row| row.chunk).collect();
        let outcomes = outcomes(&mut tx, rollout, &sources).await?;
        let mut made = 0;
        for (row, number) in done.iter().zip(first..) {
            let tries = u32::try_from(row.tries).unwrap_or_default() + 1;
            let list = packed::unpack(&row.ids)
                .ok_or_else(|| LedgerError::nonsense("chunk", row.chunk, "its list cannot be read"))?;
            let known = outcomes.get(&row.chunk);
            let code = |position: usize| known.and_then(|known| known.get(&position)).copied();
            let left = list.iter().enumerate().filter_map(|(position, device)| {
                let code = code(position).unwrap_or(OutcomeCode::ToDo);
                (!code.is_final(at_most_once)).then_some((*device, code))
            });
            let (again, codes): (Vec<FrozenDevice>, Vec<OutcomeCode>) = left.unzip();
            if !again.is_empty() {
                let all_sleep = codes.iter().all(|code| *code == OutcomeCode::QuietHours);
                let due = match row.quiet_until.filter(|_| all_sleep) {
                    Some(until) => until.max(micros(now)),
                    None => due(now, backoff(tries), row.retry_at),
                };
                insert(&mut tx, rollout, number, row, &again, due).await?;
                made += 1;
            }
        }
        let sql =
            format!("update claim set followed = (1 = 1) where rollout = $1 and chunk {}", tx.among("$2"));
        on_either!(&mut tx, c => {
            sqlx::query(&sql).bind(rollout).bind(json_list(&sources)).execute(c).await.map_err(LedgerError::from)?;
        });
        tx.commit().await?;
        Ok(made)
    }
}

/// What was deferred and is to be tried again: by providers, or until the end of somebody's quiet hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateTail {
    /// How many devices.
    pub devices: u64,
    /// When the first of them are due.
    pub due_at: Timestamp,
}

impl Ledger {
    /// The late tail of a rollout; `None` if nobody waits.
    pub async fn late_tail(&self, rollout: RolloutId) -> Result<Option<LateTail>, LedgerError> {
        const SQL: &str = "select cast(sum(k.n) as bigint), min(c.until) \
             from claim c join chunk k on k.rollout = c.rollout and k.chunk = c.chunk \
             where c.rollout = $1 and k.try > 0 and c.done_at is null";
        let (devices, due): (Option<i64>, Option<i64>) =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_one(pool).await?);
        let Some((devices, due)) = devices.zip(due) else { return Ok(None) };
        let devices = column("chunk", rollout, "n", u64::try_from(devices))?;
        Ok(Some(LateTail { devices, due_at: instant("claim", rollout, due)? }))
    }
}

/// When a retry is due, as stored.
fn due(now: Timestamp, backoff: Duration, asked: Option<i64>) -> i64 {
    let after = micros(now.checked_add(backoff).unwrap_or(Timestamp::MAX));
    asked.map_or(after, |asked| asked.max(after))
}

/// What is recorded of chunks, by position.
async fn outcomes(
    tx: &mut Tx,
    rollout: i64,
    chunks: &[i32],
) -> Result<HashMap<i32, BTreeMap<usize, OutcomeCode>>, LedgerError> {
    let sql = format!(
        "select chunk, segment, outcomes from segment where rollout = $1 and outcomes is not null and chunk {}",
        tx.among("$2")
    );
    let rows: Vec<(i32, i16, Vec<u8>)> = on_either!(tx, c => {
        sqlx::query_as(&sql).bind(rollout).bind(json_list(chunks)).fetch_all(c).await?
    });
    let mut known: HashMap<i32, BTreeMap<usize, OutcomeCode>> = HashMap::new();
    for (chunk, first, bytes) in rows {
        let of_chunk = known.entry(chunk).or_default();
        for (place, byte) in bytes.into_iter().enumerate() {
            let code = column("segment", chunk, "outcomes", OutcomeCode::from_byte(byte).ok_or(()))?;
            of_chunk.insert(usize::try_from(first).unwrap_or_default() + place, code);
        }
    }
    Ok(known)
}

async fn insert(
    tx: &mut Tx,
    rollout: i64,
    number: u32,
    of: &DoneRow,
    devices: &[FrozenDevice],
    due: i64,
) -> Result<(), LedgerError> {
    const CHUNK: &str = "insert into chunk (rollout, chunk, stage, source, try, n, first_bucket, last_bucket, ids) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    const CLAIM: &str = "insert into claim (rollout, chunk, stage, until) values ($1, $2, $3, $4)";
    let buckets = || devices.iter().map(|device| stored_bucket(device.bucket));
    let (first, last) = (buckets().min().unwrap_or_default(), buckets().max().unwrap_or_default());
    on_either!(&mut *tx, c => {
        sqlx::query(CHUNK)
            .bind(rollout)
            .bind(i64::from(number))
            .bind(of.stage)
            .bind(of.source.unwrap_or(of.chunk))
            .bind(of.tries + 1)
            .bind(i64::try_from(devices.len()).unwrap_or(i64::MAX))
            .bind(first)
            .bind(last)
            .bind(packed::pack(devices))
            .execute(c)
            .await?;
    });
    on_either!(&mut *tx, c => {
        sqlx::query(CLAIM).bind(rollout).bind(i64::from(number)).bind(of.stage).bind(due).execute(c).await?;
    });
    Ok(())
}
