//! Claims: a worker's time-limited hold on a chunk.

use std::time::{Duration, Instant};

use sqlx::FromRow;

use super::{coordinator::MARGIN, found::read_devices, tally::Counts};
use crate::{
    ledger::{
        Ledger, LedgerError,
        rows::{column, count, micros},
        tx::{Tx, json_list, on_either},
    },
    model::{ChunkNumber, FrozenDevice, OutcomeCode, Provider, RolloutId, StageNumber},
    rollout::packed,
};

/// A chunk that this worker holds. Not `Clone`: one holder, one value.
#[derive(Debug)]
pub struct Claim {
    /// Whose chunk.
    pub rollout: RolloutId,
    /// Which chunk.
    pub chunk: ChunkNumber,
    /// In which stage.
    pub stage: StageNumber,
    /// Which claim on the chunk this is; a later one fences it.
    pub number: u32,
    /// By the monotonic clock: one second before another worker may take the chunk.
    pub until: Instant,
    /// Its devices, by position.
    pub devices: Vec<FrozenDevice>,
    /// What earlier claims on the chunk left behind, by position.
    pub halfway: Vec<Halfway>,
}

/// A segment that an earlier claim began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halfway {
    /// The position of its first device.
    pub first: u16,
    /// How many devices it has.
    pub n: u16,
    /// True if its outcomes are on record: nothing to do. False if only its intent is: its devices are sent again
    /// with the same ids. (Under `at_most_once` the claim has recorded them as Unknown, and this is true.)
    pub recorded: bool,
}

/// Which chunks may be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimable {
    /// Every one that is due and free.
    Any,
    /// Those that somebody had, and did not finish.
    LeftBehind,
}

impl Ledger {
    /// Claims up to `most` chunks of a rollout that sends that are due and free, in their order, for `lease` on the
    /// database's clock. `asked` is this process's monotonic clock before the statement.
    ///
    /// Under `at_most_once`, intents that an earlier claim left without outcome are recorded as Unknown here.
    pub async fn claim_chunks(
        &self,
        rollout: RolloutId,
        worker: &str,
        most: usize,
        which: Claimable,
        lease: Duration,
        asked: Instant,
    ) -> Result<Vec<Claim>, LedgerError> {
        const RUNS: &str = "select at_most_once from rollout where id = $1 and sends and expires_at > $2";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let runs: Option<bool> = on_either!(&mut tx, c => {
            sqlx::query_scalar(RUNS).bind(rollout.get()).bind(micros(now)).fetch_optional(c).await?
        });
        let Some(at_most_once) = runs else { return Ok(Vec::new()) };
        let until = micros(now.checked_add(lease).unwrap_or(now));
        let rows = take(&mut tx, rollout, worker, most, which, (micros(now), until)).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<i32> = rows.iter().map(|row| row.chunk).collect();
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            let devices = packed::unpack(&row.ids)
                .ok_or_else(|| LedgerError::nonsense("chunk", row.chunk, "its list cannot be read"))?;
            claims.push(Claim {
                rollout,
                chunk: count("claim", rollout, "chunk", row.chunk)?,
                stage: column("claim", rollout, "stage", StageNumber::try_from(row.stage))?,
                number: count("claim", rollout, "number", row.number)?,
                until: asked + lease.saturating_sub(MARGIN),
                devices,
                halfway: Vec::new(),
            });
        }
        claims.sort_by_key(|claim| claim.chunk);
        for (chunk, halfway) in halfway(&mut tx, rollout, &numbers).await? {
            if let Some(claim) = claims.iter_mut().find(|claim| i64::from(claim.chunk) == i64::from(chunk)) {
                claim.halfway.push(halfway);
            }
        }
        if at_most_once {
            give_up_intents(&mut tx, rollout, worker, &mut claims).await?;
        }
        tx.commit().await?;
        Ok(claims)
    }

    /// Gives a chunk back before it is done, so that another worker need not wait for the claim to end. Its open
    /// segments must be recorded first.
    pub async fn release_claim(&self, claim: &Claim) -> Result<(), LedgerError> {
        const SQL: &str = "update claim set until = $1 \
             where rollout = $2 and chunk = $3 and number = $4 and done_at is null and until > $1";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(micros(now))
                .bind(claim.rollout.get())
                .bind(i64::from(claim.chunk))
                .bind(i64::from(claim.number))
                .execute(c)
                .await?;
        });
        tx.commit().await
    }
}

#[derive(FromRow)]
struct TakenRow {
    chunk: i32,
    stage: i16,
    number: i32,
    ids: Vec<u8>,
}

async fn take(
    tx: &mut Tx,
    rollout: RolloutId,
    worker: &str,
    most: usize,
    which: Claimable,
    (now, until): (i64, i64),
) -> Result<Vec<TakenRow>, LedgerError> {
    // Skips what another worker is just taking, so that workers do not wait for each other.
    let skip = if matches!(tx, Tx::Postgres(_)) { "for update skip locked" } else { "" };
    let left_behind = if which == Claimable::LeftBehind { "and number > 0" } else { "" };
    let sql = format!(
        "update claim set worker = $1, number = number + 1, until = $2 \
         where rollout = $3 and chunk in (select chunk from claim where rollout = $3 and done_at is null \
                 and until <= $4 {left_behind} order by chunk limit $5 {skip}) \
         returning chunk, stage, number, \
             (select ids from chunk where chunk.rollout = claim.rollout and chunk.chunk = claim.chunk) as ids"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = on_either!(tx, c => {
        sqlx::query_as(&sql).bind(worker).bind(until).bind(rollout.get()).bind(now).bind(most).fetch_all(c).await?
    });
    Ok(rows)
}

async fn halfway(
    tx: &mut Tx,
    rollout: RolloutId,
    chunks: &[i32],
) -> Result<Vec<(i32, Halfway)>, LedgerError> {
    let sql = format!(
        "select chunk, segment, n, outcomes is not null from segment where rollout = $1 and chunk {} order by chunk, segment",
        tx.among("$2")
    );
    let rows: Vec<(i32, i16, i16, bool)> = on_either!(tx, c => {
        sqlx::query_as(&sql).bind(rollout.get()).bind(json_list(chunks)).fetch_all(c).await?
    });
    let number = |number: i16| u16::try_from(number).unwrap_or_default();
    let halfway =
        |(chunk, first, n, recorded)| (chunk, Halfway { first: number(first), n: number(n), recorded });
    Ok(rows.into_iter().map(halfway).collect())
}

/// What an earlier claim intended and never recorded may have been sent: under `at_most_once` it is left alone.
async fn give_up_intents(
    tx: &mut Tx,
    rollout: RolloutId,
    worker: &str,
    claims: &mut [Claim],
) -> Result<(), LedgerError> {
    const SQL: &str = "update segment set outcomes = $1, claim = $2 \
         where rollout = $3 and chunk = $4 and segment = $5 and outcomes is null";
    // In a slow start they were counted as in flight.
    const LANDED: &str = "update stage set in_flight = in_flight - $1 \
         where rollout = $2 and stage = $3 and not ramped";
    for claim in claims {
        let mut given_up = Vec::new();
        for halfway in claim.halfway.iter_mut().filter(|halfway| !halfway.recorded) {
            let bytes = vec![OutcomeCode::Unknown.byte(); usize::from(halfway.n)];
            on_either!(&mut *tx, c => {
                sqlx::query(SQL)
                    .bind(bytes)
                    .bind(i64::from(claim.number))
                    .bind(rollout.get())
                    .bind(i64::from(claim.chunk))
                    .bind(i64::from(halfway.first))
                    .execute(c)
                    .await?;
            });
            halfway.recorded = true;
            let (first, n) = (usize::from(halfway.first), usize::from(halfway.n));
            given_up.extend(claim.devices.iter().skip(first).take(n).copied());
        }
        if given_up.is_empty() {
            continue;
        }
        on_either!(&mut *tx, c => {
            sqlx::query(LANDED)
                .bind(i64::try_from(given_up.len()).unwrap_or(i64::MAX))
                .bind(rollout.get())
                .bind(i64::from(claim.stage))
                .execute(c)
                .await?;
        });
        let mut counts = Counts::default();
        for found in read_devices(tx, &given_up).await? {
            // Of whoever left since, the provider is not known any more.
            let provider = found.map_or(Provider::Apns, |(device, _)| device.platform.provider());
            counts.add(claim.stage, provider, OutcomeCode::Unknown);
        }
        counts.write(tx, rollout, worker).await?;
    }
    Ok(())
}
