//! The exchange: outcomes in, next intents out, in one transaction.
//!
//! - **I5 halt-is-now**: the rollout's row is share-locked first. A halt waits for the exchanges under way, and every later
//!   one finds another epoch.
//! - **I6 once**: a segment's outcomes are recorded once, by whoever still holds its intent.
//! - **I9 nothing-late**: the expiry is judged on the database's clock, behind the lock.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;

use super::outcomes::{count, finish_chunks, gone, record, write_words};
use super::{
    Exchange, Exchanged, NoIntent, OpenSegment, SegmentEnd,
    coordinator::MARGIN,
    found::{Found, read_devices},
    tally::Counts,
};
use crate::{
    ledger::{
        Ledger, LedgerError, Validity, postgres,
        rows::{column, instant, micros},
        sqlite,
        tx::{Tx, json_list, on_either},
    },
    model::{FrozenDevice, RolloutState, StageNumber},
    pace::slow_start,
};

/// A segment by its key.
pub(super) type SegmentKey = (i32, i16);

impl Ledger {
    /// Records what is over and opens what is next, in one transaction: claims are renewed, tallies move, words are kept,
    /// dead tokens are marked, chunks that are done are marked done with what was deferred.
    pub async fn exchange(&self, exchange: &Exchange<'_>) -> Result<Exchanged, LedgerError> {
        let mut tx = self.begin().await?;
        let mut run = Run::read(&mut tx, exchange).await?;
        let recorded = record(&mut tx, exchange).await?;
        let ends: Vec<&SegmentEnd> = exchange
            .ends
            .iter()
            .zip(&recorded)
            .filter(|(_, is_ours)| **is_ours)
            .map(|(end, _)| end)
            .collect();
        let counts = count(&ends);
        let mut windows = windows(&mut tx, exchange, &run, &ends, &counts).await?;
        counts.write(&mut tx, exchange.rollout, exchange.worker).await?;
        write_words(&mut tx, exchange, &ends, run.now).await?;
        tx.mark_gone(&gone(&ends), run.now).await?;
        finish_chunks(&mut tx, exchange, &ends, &run).await?;
        let begun = begun(&mut tx, exchange).await?;
        let granted = grant(exchange, &run, &begun, &mut windows);
        let intended = intend(&mut tx, exchange, &granted, run.now).await?;
        settle_windows(&mut tx, exchange, &windows).await?;
        renew(&mut tx, exchange, &mut run).await?;
        // I9: whatever this process's own clock says, an intent is worth nothing after the expiry on the database's.
        let until = |left: &Duration| exchange.asked + left.saturating_sub(MARGIN).min(run.left);
        let until = |chunk: u32| run.held.get(&stored(chunk)).map(until);
        let keys: Vec<FrozenDevice> = exchange
            .asks
            .iter()
            .zip(&granted)
            .filter(|(ask, _)| intended.contains(&key(ask.chunk, ask.first)))
            .flat_map(|(ask, granted)| ask.devices.iter().take(*granted.as_ref().unwrap_or(&0)).copied())
            .collect();
        let mut found = read_devices(&mut tx, &keys, exchange.zones).await?.into_iter();
        tx.commit().await?;
        let segments = exchange.asks.iter().zip(granted).map(|(ask, granted)| {
            let n = granted?;
            if !intended.contains(&key(ask.chunk, ask.first)) {
                return Err(NoIntent::Recorded);
            }
            let until = until(ask.chunk).ok_or(NoIntent::ClaimLost)?;
            let validity = Validity { until, stopped: Arc::clone(exchange.stopped) };
            let found: Vec<Found> = found.by_ref().take(n).collect();
            Ok(OpenSegment::new(exchange, ask.first, found, run.now, validity))
        });
        let segments = segments.collect();
        let held = exchange.held.iter().map(|(chunk, _)| until(*chunk));
        Ok(Exchanged { segments, until: held.collect(), recorded })
    }
}

pub(super) fn stored(chunk: u32) -> i32 {
    i32::try_from(chunk).unwrap_or(i32::MAX)
}

pub(super) fn key(chunk: u32, first: u16) -> SegmentKey {
    (stored(chunk), i16::try_from(first).unwrap_or(i16::MAX))
}

/// How the rollout stands, behind its lock.
pub(super) struct Run {
    pub(super) now: Timestamp,
    refusal: Option<NoIntent>,
    /// How long until the expiry.
    left: Duration,
    /// The stage that was opened last.
    opened: i16,
    /// True while an opened stage is in its slow start.
    ramping: bool,
    /// Chunks whose claim is ours, and what is left of it.
    pub(super) held: HashMap<i32, Duration>,
}

impl Run {
    async fn read(tx: &mut Tx, exchange: &Exchange<'_>) -> Result<Self, LedgerError> {
        // A stage that is over it stays over it, and none is opened behind the lock.
        const RAMPING: &str =
            "exists (select 1 from stage s where s.rollout = $1 and s.stage <= r.stage and not s.ramped)";
        // The clock is read when the row comes out of its lock.
        let sql = match tx {
            Tx::Postgres(_) => format!(
                "with r as materialized (select state, epoch, stage, expires_at from rollout where id = $1 for share) \
                 select r.*, ({}), {RAMPING} from r",
                postgres::NOW
            ),
            Tx::Sqlite(_) => format!(
                "select state, epoch, stage, expires_at, ({}), {RAMPING} from rollout r where id = $1",
                sqlite::NOW
            ),
        };
        let rollout = exchange.rollout;
        let row: Option<(String, i32, i16, i64, i64, bool)> =
            on_either!(&mut *tx, c => sqlx::query_as(&sql).bind(rollout.get()).fetch_optional(c).await?);
        let (word, epoch, opened, expires_at, now, ramping) =
            row.ok_or_else(|| LedgerError::nonsense("rollout", rollout, "it is not there"))?;
        let now = instant("clock", "now", now)?;
        let state: RolloutState = column("rollout", rollout, "state", word.parse())?;
        let refusal = match state {
            RolloutState::Halted => Some(NoIntent::Halted),
            RolloutState::Expired => Some(NoIntent::Expired),
            RolloutState::Running if i64::from(epoch) != i64::from(exchange.epoch) => Some(NoIntent::Stopped),
            RolloutState::Running if expires_at <= micros(now) => Some(NoIntent::Expired),
            RolloutState::Running => None,
            _ => Some(NoIntent::Stopped),
        };
        let held = held(tx, exchange, now).await?;
        let left = Duration::from_micros(u64::try_from(expires_at - micros(now)).unwrap_or_default());
        Ok(Self { now, refusal, left, opened, ramping, held })
    }
}

/// The chunks of which the claim is ours, locked, with what is left of it.
async fn held(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    now: Timestamp,
) -> Result<HashMap<i32, Duration>, LedgerError> {
    if exchange.held.is_empty() {
        return Ok(HashMap::new());
    }
    let mut numbers: Vec<(i32, i32)> =
        exchange.held.iter().map(|(chunk, number)| (stored(*chunk), stored(*number))).collect();
    // In one order, so that two exchanges never wait for each other in a circle.
    numbers.sort_unstable();
    let chunks: Vec<i32> = numbers.iter().map(|(chunk, _)| *chunk).collect();
    let rows: Vec<(i32, i32, i64)> = match tx {
        Tx::Postgres(tx) => {
            // `offset 0`: each is found by its key. Left to the planner's guess, every claim of the rollout is read.
            const SQL: &str = "select c.* from unnest($2::int[]) u (chunk) cross join lateral ( \
                 select chunk, number, until from claim where rollout = $1 and claim.chunk = u.chunk \
                 offset 0 for update) c";
            sqlx::query_as(SQL).bind(exchange.rollout.get()).bind(&chunks).fetch_all(&mut **tx).await?
        }
        Tx::Sqlite(tx) => {
            const SQL: &str = "select chunk, number, until from claim \
                 where rollout = $1 and chunk in (select value from json_each($2))";
            let query = sqlx::query_as(SQL).bind(exchange.rollout.get()).bind(json_list(&chunks));
            query.fetch_all(&mut **tx).await?
        }
    };
    let ours = rows.into_iter().filter_map(|(chunk, number, until)| {
        let left = u64::try_from(until - micros(now)).ok().filter(|left| *left > 0)?;
        numbers.binary_search(&(chunk, number)).is_ok().then_some((chunk, Duration::from_micros(left)))
    });
    Ok(ours.collect())
}

/// A stage that is still in its slow start.
#[derive(Debug, Clone, Copy)]
struct Window {
    in_flight: i64,
    clean: i64,
}

/// The stages of this exchange that are still in their slow start, locked, with what the ends changed.
async fn windows(
    tx: &mut Tx,
    exchange: &Exchange<'_>,
    run: &Run,
    ends: &[&SegmentEnd],
    counts: &Counts,
) -> Result<BTreeMap<StageNumber, Window>, LedgerError> {
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
    let lock = if matches!(tx, Tx::Postgres(_)) { "for update" } else { "" };
    let sql =
        format!("select in_flight, clean from stage where rollout = $1 and stage = $2 and not ramped {lock}");
    let mut windows = BTreeMap::new();
    for stage in stages {
        let row: Option<(i32, i64)> = on_either!(&mut *tx, c => {
            sqlx::query_as(&sql).bind(rollout).bind(i64::from(stage)).fetch_optional(c).await?
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
    let one = |ask: &super::SegmentAsk<'_>| {
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
    const TAKEN_OVER: &str = " on conflict (rollout, chunk, segment) do update \
         set claim = excluded.claim, epoch = excluded.epoch, at = excluded.at where segment.outcomes is null \
         returning chunk, segment";
    let intents: Vec<_> = exchange
        .asks
        .iter()
        .zip(granted)
        .filter_map(|(ask, granted)| {
            let n = i16::try_from(granted.ok()?).unwrap_or(i16::MAX);
            Some((key(ask.chunk, ask.first), n, stored(ask.claim)))
        })
        .collect();
    if intents.is_empty() {
        return Ok(HashSet::new());
    }
    let (rollout, epoch) = (exchange.rollout.get(), i64::from(exchange.epoch));
    let rows: Vec<SegmentKey> = match tx {
        Tx::Postgres(tx) => {
            let sql = format!(
                "insert into segment (rollout, chunk, segment, n, claim, epoch, at) \
                 select $1, u.chunk, u.segment, u.n, u.claim, $6, $7 \
                 from unnest($2::int[], $3::smallint[], $4::smallint[], $5::int[]) u (chunk, segment, n, claim){TAKEN_OVER}"
            );
            sqlx::query_as(&sql)
                .bind(rollout)
                .bind(intents.iter().map(|((chunk, _), ..)| *chunk).collect::<Vec<_>>())
                .bind(intents.iter().map(|((_, first), ..)| *first).collect::<Vec<_>>())
                .bind(intents.iter().map(|(_, n, _)| *n).collect::<Vec<_>>())
                .bind(intents.iter().map(|(.., claim)| *claim).collect::<Vec<_>>())
                .bind(epoch)
                .bind(micros(now))
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Sqlite(tx) => {
            let sql = format!(
                "insert into segment (rollout, chunk, segment, n, claim, epoch, at) \
                 values ($1, $2, $3, $4, $5, $6, $7){TAKEN_OVER}"
            );
            let mut rows = Vec::new();
            for ((chunk, first), n, claim) in intents {
                let row: Option<SegmentKey> = sqlx::query_as(&sql)
                    .bind(rollout)
                    .bind(chunk)
                    .bind(first)
                    .bind(n)
                    .bind(claim)
                    .bind(epoch)
                    .bind(micros(now))
                    .fetch_optional(&mut **tx)
                    .await?;
                rows.extend(row);
            }
            rows
        }
    };
    Ok(rows.into_iter().collect())
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
