//! On SQLite: one transaction, which is alone from its first statement on.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Answer, Exchange, NoIntent, SegmentAsk, SegmentEnd, bytes, counted, first_morning, longest_wait, stored,
    stored_place, worded,
};
use crate::{
    ledger::{
        LedgerError,
        campaigns::tally::Counts,
        rows::{column, instant, micros},
        sqlite::NOW,
        tx::{Tx, json_list, on_either},
    },
    model::{OutcomeCode, RolloutState, StageNumber},
    pace::slow_start,
};

/// A segment by its key.
type SegmentKey = (i32, i16);

fn key(chunk: u32, first: u16) -> SegmentKey {
    (stored(chunk), stored_place(first))
}

pub(super) async fn exchange(mut tx: Tx, exchange: &Exchange<'_>) -> Result<Answer, LedgerError> {
    let mut run = Run::read(&mut tx, exchange).await?;
    let recorded = record(&mut tx, exchange).await?;
    let ends: Vec<&SegmentEnd> =
        exchange.ends.iter().zip(&recorded).filter(|(_, is_ours)| **is_ours).map(|(end, _)| end).collect();
    let counts = count(&ends);
    let mut windows = windows(&mut tx, exchange, &run, &ends, &counts).await?;
    counts.write(&mut tx, exchange.rollout, exchange.worker).await?;
    write_words(&mut tx, exchange, &ends, run.now).await?;
    finish_chunks(&mut tx, exchange, &ends, &run).await?;
    let begun = begun(&mut tx, exchange).await?;
    let mut granted = grant(exchange, &run, &begun, &mut windows);
    let intended = intend(&mut tx, exchange, &granted, run.now).await?;
    for (ask, granted) in exchange.asks.iter().zip(&mut granted) {
        if granted.is_ok() && !intended.contains(&key(ask.chunk, ask.first)) {
            *granted = Err(NoIntent::Recorded);
        }
    }
    settle_windows(&mut tx, exchange, &windows).await?;
    renew(&mut tx, exchange, &mut run).await?;
    tx.commit().await?;
    let held = exchange.held.iter().map(|(chunk, _)| run.held.get(&stored(*chunk)).copied());
    Ok(Answer { granted, held: held.collect(), now: run.now, left: run.left, recorded })
}

/// How the rollout stands, within the transaction.
struct Run {
    now: Timestamp,
    refusal: Option<NoIntent>,
    /// How long until the expiry.
    left: Duration,
    /// The stage that was opened last.
    opened: i16,
    /// True while an opened stage is in its slow start.
    ramping: bool,
    /// Chunks whose claim is ours, and what is left of it.
    held: HashMap<i32, Duration>,
}

impl Run {
    async fn read(tx: &mut Tx, exchange: &Exchange<'_>) -> Result<Self, LedgerError> {
        let sql = format!(
            "select state, sends, epoch, stage, expires_at, ({NOW}), \
                 exists (select 1 from stage s where s.rollout = $1 and s.stage <= r.stage and not s.ramped) \
             from rollout r where id = $1"
        );
        let rollout = exchange.rollout;
        let row: Option<(String, bool, i32, i16, i64, i64, bool)> =
            on_either!(&mut *tx, c => sqlx::query_as(&sql).bind(rollout.get()).fetch_optional(c).await?);
        let (word, sends, epoch, opened, expires_at, now, ramping) =
            row.ok_or_else(|| LedgerError::nonsense("rollout", rollout, "it is not there"))?;
        let now = instant("clock", "now", now)?;
        let state: RolloutState = column("rollout", rollout, "state", word.parse())?;
        let refusal = match state {
            RolloutState::Halted => Some(NoIntent::Halted),
            RolloutState::Expired => Some(NoIntent::Expired),
            _ if !sends || i64::from(epoch) != i64::from(exchange.epoch) => Some(NoIntent::Stopped),
            _ if expires_at <= micros(now) => Some(NoIntent::Expired),
            _ => None,
        };
        let held = held(tx, exchange, now).await?;
        let left = Duration::from_micros(u64::try_from(expires_at - micros(now)).unwrap_or_default());
        Ok(Self { now, refusal, left, opened, ramping, held })
    }
}

/// The chunks of which the claim is ours, with what is left of it.
async fn held(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    now: Timestamp,
) -> Result<HashMap<i32, Duration>, LedgerError> {
    let numbers: HashMap<i32, i32> =
        exchange.held.iter().map(|(chunk, number)| (stored(*chunk), stored(*number))).collect();
    let sql =
        format!("select chunk, number, until from claim where rollout = $1 and chunk {}", tx.among("$2"));
    let chunks: Vec<i32> = numbers.keys().copied().collect();
    let rows: Vec<(i32, i32, i64)> = on_either!(tx, c => {
        sqlx::query_as(&sql).bind(exchange.rollout.get()).bind(json_list(&chunks)).fetch_all(c).await?
    });
    let ours = rows.into_iter().filter_map(|(chunk, number, until)| {
        let left = u64::try_from(until - micros(now)).ok().filter(|left| *left > 0)?;
        (numbers.get(&chunk) == Some(&number)).then_some((chunk, Duration::from_micros(left)))
    });
    Ok(ours.collect())
}

/// Records outcomes where the intent still is this claim's: for each end, whether it was.
async fn record(tx: &mut Tx, exchange: &Exchange<'_>) -> Result<Vec<bool>, LedgerError> {
    const SQL: &str = "update segment set outcomes = $1 where rollout = $2 and chunk = $3 \
         and segment = $4 and claim = $5 and outcomes is null";
    let mut recorded = Vec::with_capacity(exchange.ends.len());
    for end in exchange.ends {
        let (chunk, first) = key(end.chunk, end.first);
        let changed = on_either!(&mut *tx, c => {
            sqlx::query(SQL)
                .bind(bytes(end))
                .bind(exchange.rollout.get())
                .bind(chunk)
                .bind(first)
                .bind(i64::from(end.claim))
                .execute(c)
                .await?
                .rows_affected()
        });
        recorded.push(changed == 1);
    }
    Ok(recorded)
}

fn count(ends: &[&SegmentEnd]) -> Counts {
    let mut counts = Counts::default();
    for end in ends {
        for outcome in &end.outcomes {
            let (provider, code) = counted(outcome.as_ref());
            counts.add(end.stage, provider, code);
        }
    }
    counts
}

async fn write_words(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    ends: &[&SegmentEnd],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const SQL: &str = "insert into delivery_word (rollout, chunk, position, outcome, reason, at) \
         values ($1, $2, $3, $4, $5, $6) on conflict (rollout, chunk, position) \
         do update set outcome = excluded.outcome, reason = excluded.reason, at = excluded.at";
    for end in ends {
        for (position, code, reason) in worded(end) {
            on_either!(&mut *tx, c => {
                sqlx::query(SQL)
                    .bind(exchange.rollout.get())
                    .bind(i64::from(end.chunk))
                    .bind(i64::try_from(position).unwrap_or(i64::MAX))
                    .bind(i16::from(code.byte()))
                    .bind(reason)
                    .bind(micros(now))
                    .execute(c)
                    .await?;
            });
        }
    }
    Ok(())
}

/// Marks chunks done whose last segment is over, with how many of their devices are to be tried again, when at the
/// earliest, and when the first of those who sleep may be rung.
async fn finish_chunks(
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
        if let Some(wait) = longest_wait(end) {
            let at = micros(run.now.checked_add(wait).unwrap_or(run.now));
            on_either!(&mut *tx, c => {
                sqlx::query(ASKED).bind(at).bind(rollout).bind(i64::from(end.chunk)).execute(c).await?;
            });
        }
        if let Some(morning) = first_morning(end) {
            on_either!(&mut *tx, c => {
                let query = sqlx::query(ASLEEP).bind(micros(morning)).bind(rollout);
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

/// A stage that is still in its slow start.
#[derive(Debug, Clone, Copy)]
struct Window {
    in_flight: i64,
    clean: i64,
}

/// The stages of this exchange that are still in their slow start, with what the ends changed.
async fn windows(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    run: &Run,
    ends: &[&SegmentEnd],
    counts: &Counts,
) -> Result<BTreeMap<StageNumber, Window>, LedgerError> {
    const WINDOW: &str =
        "select in_flight, clean from stage where rollout = $1 and stage = $2 and not ramped";
    const RAMPED: &str = "select stage from stage where rollout = $1 and not ramped order by stage";
    if !run.ramping {
        return Ok(BTreeMap::new());
    }
    let rollout = exchange.rollout.get();
    let ramping: Vec<i16> =
        on_either!(&mut *tx, c => sqlx::query_scalar(RAMPED).bind(rollout).fetch_all(c).await?);
    let mut stages: Vec<StageNumber> = ends.iter().map(|end| end.stage).collect();
    stages.extend(exchange.asks.iter().map(|ask| ask.stage));
    stages.sort_unstable();
    stages.dedup();
    stages.retain(|stage| ramping.iter().any(|ramping| i32::from(*ramping) == i32::from(*stage)));
    let mut windows = BTreeMap::new();
    for stage in stages {
        let row: Option<(i32, i64)> = on_either!(&mut *tx, c => {
            sqlx::query_as(WINDOW).bind(rollout).bind(i64::from(stage)).fetch_optional(c).await?
        });
        let Some((in_flight, clean)) = row else { continue };
        let over: usize = ends.iter().filter(|end| end.stage == stage).map(|end| end.outcomes.len()).sum();
        let window = Window {
            in_flight: i64::from(in_flight) - i64::try_from(over).unwrap_or(i64::MAX),
            clean: clean + counts.accepted(stage),
        };
        windows.insert(stage, window);
    }
    Ok(windows)
}

async fn settle_windows(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    windows: &BTreeMap<StageNumber, Window>,
) -> Result<(), LedgerError> {
    const SQL: &str =
        "update stage set in_flight = $1, clean = $2, ramped = ($2 >= $3) where rollout = $4 and stage = $5";
    for (stage, window) in windows {
        on_either!(&mut *tx, c => {
            sqlx::query(SQL)
                .bind(window.in_flight.max(0))
                .bind(window.clean)
                .bind(slow_start::OVER)
                .bind(exchange.rollout.get())
                .bind(i64::from(*stage))
                .execute(c)
                .await?;
        });
    }
    Ok(())
}

/// The intents of what is asked for again, with their sizes, as far as they are on record without outcomes.
async fn begun(tx: &mut Tx, exchange: &Exchange<'_>) -> Result<HashMap<SegmentKey, usize>, LedgerError> {
    let again: HashMap<SegmentKey, usize> = exchange
        .asks
        .iter()
        .filter(|ask| ask.again)
        .map(|ask| (key(ask.chunk, ask.first), ask.devices.len()))
        .collect();
    if again.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "select chunk, segment, n from segment where rollout = $1 and outcomes is null and chunk {}",
        tx.among("$2")
    );
    let chunks: Vec<i32> = again.keys().map(|(chunk, _)| *chunk).collect();
    let rows: Vec<(i32, i16, i16)> = on_either!(tx, c => {
        sqlx::query_as(&sql).bind(exchange.rollout.get()).bind(json_list(&chunks)).fetch_all(c).await?
    });
    let mut begun = HashMap::new();
    for (chunk, first, n) in rows {
        let Some(asked) = again.get(&(chunk, first)) else { continue };
        let n = usize::try_from(n).unwrap_or_default();
        if n > *asked {
            return Err(LedgerError::nonsense(
                "segment",
                chunk,
                "its intent is for more than is asked again",
            ));
        }
        begun.insert((chunk, first), n);
    }
    Ok(begun)
}

/// For each ask, how many of its devices may be intended now, or why none.
fn grant(
    exchange: &Exchange<'_>,
    run: &Run,
    begun: &HashMap<SegmentKey, usize>,
    windows: &mut BTreeMap<StageNumber, Window>,
) -> Vec<Result<usize, NoIntent>> {
    let one = |ask: &SegmentAsk<'_>| {
        if let Some(refusal) = run.refusal {
            return Err(refusal);
        }
        if i32::from(ask.stage) > i32::from(run.opened) {
            return Err(NoIntent::StageClosed);
        }
        if !run.held.contains_key(&stored(ask.chunk)) {
            return Err(NoIntent::ClaimLost);
        }
        // What is intended already is in flight already, and is as large as it is on record.
        if let Some(n) = begun.get(&key(ask.chunk, ask.first)) {
            return Ok(*n);
        }
        let Some(window) = windows.get_mut(&ask.stage) else {
            return Ok(ask.devices.len());
        };
        let room = slow_start::room(window.clean, window.in_flight);
        let granted = ask.devices.len().min(usize::try_from(room).unwrap_or_default());
        if granted == 0 {
            return Err(NoIntent::Window);
        }
        window.in_flight += i64::try_from(granted).unwrap_or(i64::MAX);
        Ok(granted)
    };
    exchange.asks.iter().map(one).collect()
}

/// Writes the intents. Answers which are on record as this claim's: not one whose outcomes came in meanwhile.
async fn intend(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    granted: &[Result<usize, NoIntent>],
    now: Timestamp,
) -> Result<HashSet<SegmentKey>, LedgerError> {
    const SQL: &str = "insert into segment (rollout, chunk, segment, n, claim, epoch, at) \
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (rollout, chunk, segment) do update \
         set claim = excluded.claim, epoch = excluded.epoch, at = excluded.at, \
             doubted = (segment.doubted or segment.claim <> excluded.claim) where segment.outcomes is null \
         returning chunk, segment";
    let mut intended = HashSet::new();
    for (ask, granted) in exchange.asks.iter().zip(granted) {
        let Ok(n) = granted else { continue };
        let (chunk, first) = key(ask.chunk, ask.first);
        let row: Option<SegmentKey> = on_either!(&mut *tx, c => {
            sqlx::query_as(SQL)
                .bind(exchange.rollout.get())
                .bind(chunk)
                .bind(first)
                .bind(i16::try_from(*n).unwrap_or(i16::MAX))
                .bind(i64::from(ask.claim))
                .bind(i64::from(exchange.epoch))
                .bind(micros(now))
                .fetch_optional(c)
                .await?
        });
        intended.extend(row);
    }
    Ok(intended)
}

/// Renews the claims that have lost a quarter of their lease: each renewal moves an index entry, and exchanges are many.
async fn renew(tx: &mut Tx, exchange: &Exchange<'_>, run: &mut Run) -> Result<(), LedgerError> {
    const SQL: &str = "update claim set until = $1 where rollout = $2 and chunk = $3";
    if run.refusal.is_some() {
        return Ok(());
    }
    let until = micros(run.now.checked_add(exchange.lease).unwrap_or(run.now));
    for (chunk, left) in &mut run.held {
        if *left > exchange.lease / 4 * 3 {
            continue;
        }
        on_either!(&mut *tx, c => {
            sqlx::query(SQL).bind(until).bind(exchange.rollout.get()).bind(i64::from(*chunk)).execute(c).await?;
        });
        *left = exchange.lease;
    }
    Ok(())
}
