//! What is over, recorded: outcomes, words, dead tokens, chunks that are done.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;

use super::{
    Exchange, SegmentEnd,
    exchange::{Run, SegmentKey, key, stored},
    tally::Counts,
};
use crate::{
    ledger::{
        LedgerError,
        rows::micros,
        tx::{Gone, Tx, on_either},
    },
    model::{Device, Outcome, OutcomeCode, Provider},
};

fn bytes(end: &SegmentEnd) -> Vec<u8> {
    let code = |outcome: &Option<(Device, Outcome)>| {
        outcome.as_ref().map_or(OutcomeCode::LeftOut, |(_, outcome)| outcome.code()).byte()
    };
    end.outcomes.iter().map(code).collect()
}

/// Records outcomes where the intent still is this claim's: for each end, whether it was.
pub(super) async fn record(tx: &mut Tx, exchange: &Exchange<'_>) -> Result<Vec<bool>, LedgerError> {
    if exchange.ends.is_empty() {
        return Ok(Vec::new());
    }
    let rollout = exchange.rollout.get();
    let recorded: HashSet<SegmentKey> = match tx {
        Tx::Postgres(tx) => {
            // An insert that always meets its row, because that is found by the key and nothing else: a planner that has no
            // statistics yet would have an update read every segment of the rollout.
            const SQL: &str = "insert into segment (rollout, chunk, segment, n, claim, epoch, at, outcomes) \
                 select $1, u.chunk, u.segment, octet_length(u.outcomes), u.claim, $6, 0, u.outcomes \
                 from unnest($2::int[], $3::smallint[], $4::int[], $5::bytea[]) u (chunk, segment, claim, outcomes) \
                 on conflict (rollout, chunk, segment) do update set outcomes = excluded.outcomes \
                 where segment.claim = excluded.claim and segment.outcomes is null \
                 returning chunk, segment, at";
            let keys = exchange.ends.iter().map(|end| key(end.chunk, end.first));
            let (chunks, firsts): (Vec<i32>, Vec<i16>) = keys.unzip();
            let claims: Vec<i32> = exchange.ends.iter().map(|end| stored(end.claim)).collect();
            let rows: Vec<(i32, i16, i64)> = sqlx::query_as(SQL)
                .bind(rollout)
                .bind(chunks)
                .bind(firsts)
                .bind(claims)
                .bind(exchange.ends.iter().map(bytes).collect::<Vec<_>>())
                .bind(i64::from(exchange.epoch))
                .fetch_all(&mut **tx)
                .await?;
            if let Some((chunk, ..)) = rows.iter().find(|(.., at)| *at == 0) {
                return Err(LedgerError::nonsense("segment", chunk, "it is over, and was never intended"));
            }
            let rows = rows.into_iter().map(|(chunk, first, _)| (chunk, first));
            rows.collect()
        }
        Tx::Sqlite(tx) => {
            const SQL: &str = "update segment set outcomes = $1 where rollout = $2 and chunk = $3 \
                 and segment = $4 and claim = $5 and outcomes is null";
            let mut recorded = HashSet::new();
            for end in exchange.ends {
                let (chunk, first) = key(end.chunk, end.first);
                let done = sqlx::query(SQL)
                    .bind(bytes(end))
                    .bind(rollout)
                    .bind(chunk)
                    .bind(first)
                    .bind(i64::from(end.claim))
                    .execute(&mut **tx)
                    .await?;
                if done.rows_affected() == 1 {
                    recorded.insert((chunk, first));
                }
            }
            recorded
        }
    };
    Ok(exchange.ends.iter().map(|end| recorded.contains(&key(end.chunk, end.first))).collect())
}

pub(super) fn count(ends: &[&SegmentEnd]) -> Counts {
    let mut counts = Counts::default();
    for end in ends {
        for outcome in &end.outcomes {
            // Of whoever left since, the provider is not known any more.
            let (provider, code) =
                outcome.as_ref().map_or((Provider::Apns, OutcomeCode::LeftOut), |(device, outcome)| {
                    (device.platform.provider(), outcome.code())
                });
            counts.add(end.stage, provider, code);
        }
    }
    counts
}

/// Keeps the words of what stays: throttles and the like are tried again, and would be many.
pub(super) async fn write_words(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    ends: &[&SegmentEnd],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const SQL: &str = "insert into delivery_word (rollout, chunk, position, outcome, reason, at) \
         values ($1, $2, $3, $4, $5, $6) on conflict (rollout, chunk, position) \
         do update set outcome = excluded.outcome, reason = excluded.reason, at = excluded.at";
    for end in ends {
        for (place, outcome) in end.outcomes.iter().enumerate() {
            let Some((_, outcome)) = outcome else { continue };
            let code = outcome.code();
            let stays = matches!(
                code,
                OutcomeCode::Rejected
                    | OutcomeCode::TokenGone
                    | OutcomeCode::CredentialStop
                    | OutcomeCode::Unknown
            );
            let Some(reason) = outcome.reason().filter(|_| stays) else { continue };
            let position = usize::from(end.first) + place;
            on_either!(&mut *tx, c => {
                sqlx::query(SQL)
                    .bind(exchange.rollout.get())
                    .bind(i64::from(end.chunk))
                    .bind(i64::try_from(position).unwrap_or(i64::MAX))
                    .bind(i16::from(code.byte()))
                    .bind(reason.as_str())
                    .bind(micros(now))
                    .execute(c)
                    .await?;
            });
        }
    }
    Ok(())
}

pub(super) fn gone(ends: &[&SegmentEnd]) -> Vec<Gone> {
    let of_end = |end: &&SegmentEnd| {
        let marked = end.gone.iter().filter_map(|place| end.outcomes.get(*place)?.as_ref());
        let gone = marked.filter_map(|(device, outcome)| match outcome {
            Outcome::TokenGone { since, .. } => Some(Gone { device: device.id, since: *since }),
            _ => None,
        });
        gone.collect::<Vec<_>>()
    };
    ends.iter().flat_map(of_end).collect()
}

/// Marks chunks done whose last segment is over, with how many of their devices are to be tried again, when at the
/// earliest, and when the first of those who sleep may be rung.
pub(super) async fn finish_chunks(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    ends: &[&SegmentEnd],
    run: &Run,
) -> Result<(), LedgerError> {
    const ASKED: &str = "update claim set retry_at = $1 \
         where rollout = $2 and chunk = $3 and (retry_at is null or retry_at < $1)";
    const ASLEEP: &str = "update claim set quiet_until = $1 \
         where rollout = $2 and chunk = $3 and (quiet_until is null or quiet_until > $1)";
    const OUTCOMES: &str = "select outcomes from segment where rollout = $1 and chunk = $2";
    const SIZE: &str = "select n from chunk where rollout = $1 and chunk = $2";
    const AT_MOST_ONCE: &str = "select at_most_once from rollout where id = $1";
    const DONE: &str = "update claim set done_at = $1, deferred = $2 \
         where rollout = $3 and chunk = $4 and number = $5";
    let rollout = exchange.rollout.get();
    for end in ends {
        let asked = end.outcomes.iter().flatten().filter_map(|(_, outcome)| outcome.retry_after()).max();
        if let Some(asked) = asked {
            let at = micros(run.now.checked_add(asked.min(LONGEST_WAIT)).unwrap_or(run.now));
            on_either!(&mut *tx, c => {
                sqlx::query(ASKED).bind(at).bind(rollout).bind(i64::from(end.chunk)).execute(c).await?;
            });
        }
        let first = end.outcomes.iter().flatten().filter_map(|(_, outcome)| match outcome {
            Outcome::QuietHours { until } => Some(*until),
            _ => None,
        });
        if let Some(first) = first.min() {
            on_either!(&mut *tx, c => {
                let query = sqlx::query(ASLEEP).bind(micros(first)).bind(rollout);
                query.bind(i64::from(end.chunk)).execute(c).await?;
            });
        }
    }
    let done = exchange.done.iter().filter(|(chunk, _)| run.held.contains_key(&stored(*chunk)));
    let done: Vec<(u32, u32)> = done.copied().collect();
    if done.is_empty() {
        return Ok(());
    }
    let at_most_once: bool =
        on_either!(&mut *tx, c => sqlx::query_scalar(AT_MOST_ONCE).bind(rollout).fetch_one(c).await?);
    for (chunk, claim) in done {
        let rows: Vec<Option<Vec<u8>>> = on_either!(&mut *tx, c => {
            sqlx::query_scalar(OUTCOMES).bind(rollout).bind(i64::from(chunk)).fetch_all(c).await?
        });
        let is_open =
            |byte: &&u8| OutcomeCode::from_byte(**byte).is_none_or(|code| !code.is_final(at_most_once));
        let size: i16 = on_either!(&mut *tx, c => {
            sqlx::query_scalar(SIZE).bind(rollout).bind(i64::from(chunk)).fetch_one(c).await?
        });
        let recorded: usize = rows.iter().flatten().map(Vec::len).sum();
        // I7 nothing-lost: whoever calls a chunk done is not believed.
        if rows.iter().any(Option::is_none) || i64::from(size) != i64::try_from(recorded).unwrap_or(i64::MAX)
        {
            let why = "it is called done, and not all of it is recorded";
            return Err(LedgerError::nonsense("chunk", chunk, why));
        }
        let deferred = rows.iter().flatten().flatten().filter(is_open).count();
        on_either!(&mut *tx, c => {
            sqlx::query(DONE)
                .bind(micros(run.now))
                .bind(i64::try_from(deferred).unwrap_or(i64::MAX))
                .bind(rollout)
                .bind(i64::from(chunk))
                .bind(i64::from(claim))
                .execute(c)
                .await?;
        });
    }
    Ok(())
}

/// A provider that asks for more than a day has made a mistake; the rollout's expiry would end the wait anyway.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
