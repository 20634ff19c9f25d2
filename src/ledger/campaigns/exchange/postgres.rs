//! On PostgreSQL: the function `segment_exchange` of migration 0009.

use std::{collections::BTreeMap, time::Duration};

use sqlx::PgPool;

use super::{
    Answer, Exchange, NoIntent, SegmentEnd, bytes, counted, first_morning, longest_wait, stored,
    stored_place, worded,
};
use crate::{
    ledger::{
        LedgerError,
        rows::{instant, micros},
    },
    model::{OutcomeCode, Provider},
    pace::slow_start,
};

const SQL: &str = "select now_micros, expiry_left, recorded, granted, claim_left from segment_exchange( \
     $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
     $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)";

/// What the function answers: the clock, time to the expiry, ends recorded, asks granted, claims left.
type Row = (i64, i64, Vec<bool>, Vec<i16>, Option<Vec<Option<i64>>>);

pub(super) async fn exchange(pool: &PgPool, exchange: &Exchange<'_>) -> Result<Answer, LedgerError> {
    let (ends, asks) = (Ends::of(exchange.ends), exchange.asks);
    // In rising order, so that two exchanges never wait for each other in a circle.
    let mut order: Vec<usize> = (0..exchange.held.len()).collect();
    order.sort_unstable_by_key(|place| exchange.held[*place]);
    let held: Vec<(i32, i32)> = order
        .iter()
        .map(|place| (stored(exchange.held[*place].0), stored(exchange.held[*place].1)))
        .collect();
    let done: Vec<(i32, i32)> =
        exchange.done.iter().map(|(chunk, claim)| (stored(*chunk), stored(*claim))).collect();
    let row: Row = sqlx::query_as(SQL)
        .bind(exchange.rollout.get())
        .bind(stored(exchange.epoch))
        .bind(exchange.worker)
        .bind(i64::try_from(exchange.lease.as_micros()).unwrap_or(i64::MAX))
        .bind(slow_start::FIRST)
        .bind(slow_start::OVER)
        .bind(ends.chunk)
        .bind(ends.segment)
        .bind(ends.stage)
        .bind(ends.claim)
        .bind(ends.outcomes)
        .bind(ends.counts.end)
        .bind(ends.counts.provider)
        .bind(ends.counts.outcome)
        .bind(ends.counts.n)
        .bind(ends.words.end)
        .bind(ends.words.position)
        .bind(ends.words.outcome)
        .bind(ends.words.reason)
        .bind(ends.waits.end)
        .bind(ends.waits.micros)
        .bind(ends.sleepers.end)
        .bind(ends.sleepers.until)
        .bind(done.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>())
        .bind(done.iter().map(|(_, claim)| *claim).collect::<Vec<_>>())
        .bind(finals(true))
        .bind(finals(false))
        .bind(asks.iter().map(|ask| stored(ask.chunk)).collect::<Vec<_>>())
        .bind(asks.iter().map(|ask| stored_place(ask.first)).collect::<Vec<_>>())
        .bind(asks.iter().map(|ask| stored_place(ask.stage)).collect::<Vec<_>>())
        .bind(asks.iter().map(|ask| stored(ask.claim)).collect::<Vec<_>>())
        .bind(asks.iter().map(|ask| i16::try_from(ask.devices.len()).unwrap_or(i16::MAX)).collect::<Vec<_>>())
        .bind(asks.iter().map(|ask| ask.again).collect::<Vec<_>>())
        .bind(held.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>())
        .bind(held.iter().map(|(_, number)| *number).collect::<Vec<_>>())
        .fetch_one(pool)
        .await?;
    let (now, expiry_left, recorded, granted, claim_left) = row;
    let mut left = vec![None; exchange.held.len()];
    for (place, micros) in order.into_iter().zip(claim_left.unwrap_or_default()) {
        left[place] = micros.map(duration);
    }
    let granted = granted.into_iter().map(|n| usize::try_from(n).map_err(|_| refusal(n))).collect();
    let now = instant("clock", "now", now)?;
    Ok(Answer { granted, held: left, now, left: duration(expiry_left), recorded })
}

fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// What the function's negative numbers say.
fn refusal(granted: i16) -> NoIntent {
    match granted {
        -1 => NoIntent::Halted,
        -2 => NoIntent::Expired,
        -4 => NoIntent::StageClosed,
        -5 => NoIntent::ClaimLost,
        -6 => NoIntent::Window,
        -7 => NoIntent::Recorded,
        _ => NoIntent::Stopped,
    }
}

/// The bytes after which nothing more is tried.
fn finals(at_most_once: bool) -> Vec<i32> {
    let finals = OutcomeCode::ALL.into_iter().filter(|code| code.is_final(at_most_once));
    finals.map(|code| i32::from(code.byte())).collect()
}

/// The ends, as the arrays that the function takes.
#[derive(Default)]
struct Ends {
    chunk: Vec<i32>,
    segment: Vec<i16>,
    stage: Vec<i16>,
    claim: Vec<i32>,
    outcomes: Vec<Vec<u8>>,
    counts: Counts,
    words: Words,
    waits: Waits,
    sleepers: Sleepers,
}

#[derive(Default)]
struct Counts {
    end: Vec<i32>,
    provider: Vec<&'static str>,
    outcome: Vec<&'static str>,
    n: Vec<i64>,
}

#[derive(Default)]
struct Words {
    end: Vec<i32>,
    position: Vec<i16>,
    outcome: Vec<i16>,
    reason: Vec<String>,
}

#[derive(Default)]
struct Waits {
    end: Vec<i32>,
    micros: Vec<i64>,
}

#[derive(Default)]
struct Sleepers {
    end: Vec<i32>,
    until: Vec<i64>,
}

impl Ends {
    fn of(ends: &[SegmentEnd]) -> Self {
        let mut arrays = Self::default();
        for (end, number) in ends.iter().zip(1..) {
            arrays.chunk.push(stored(end.chunk));
            arrays.segment.push(stored_place(end.first));
            arrays.stage.push(stored_place(end.stage));
            arrays.claim.push(stored(end.claim));
            arrays.outcomes.push(bytes(end));
            let mut counts: BTreeMap<(Provider, OutcomeCode), i64> = BTreeMap::new();
            for outcome in &end.outcomes {
                *counts.entry(counted(outcome.as_ref())).or_default() += 1;
            }
            for ((provider, code), n) in counts {
                arrays.counts.end.push(number);
                arrays.counts.provider.push(provider.as_str());
                arrays.counts.outcome.push(code.as_str());
                arrays.counts.n.push(n);
            }
            for (position, code, reason) in worded(end) {
                arrays.words.end.push(number);
                arrays.words.position.push(i16::try_from(position).unwrap_or(i16::MAX));
                arrays.words.outcome.push(code.byte().into());
                arrays.words.reason.push(reason);
            }
            if let Some(wait) = longest_wait(end) {
                arrays.waits.end.push(number);
                arrays.waits.micros.push(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX));
            }
            if let Some(morning) = first_morning(end) {
                arrays.sleepers.end.push(number);
                arrays.sleepers.until.push(micros(morning));
            }
        }
        arrays
    }
}
