//! What the coordinator writes. Every write asks first whether its term still rules.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sqlx::FromRow;

use crate::{
    audience::Audience,
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, count, instant, micros},
        tx::{Tx, on_either},
    },
    model::{OutcomeCode, Provider, RolloutId, StageNumber},
    rollout::health::Seen,
};

/// By how much a holder stops earlier than the database would let another begin: clocks run unevenly, and a statement takes
/// time to come back.
pub(super) const MARGIN: Duration = Duration::from_secs(1);

/// Proof of ruling: a term, and until when this process may act on it without asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// Counts the reigns; a higher one fences every lower.
    pub term: u64,
    /// On this process's monotonic clock, one second before the lease ends on the database's.
    pub until: Instant,
}

/// Why a coordinator's write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Deposed {
    /// Another term rules. Nothing was written.
    #[error("another coordinator rules")]
    Deposed,
    /// The ledger could not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The audiences that a rollout's stages are frozen from.
#[derive(Debug, Clone, Copy)]
pub struct FreezeSource<'a> {
    /// The campaign's own.
    pub audience: &'a Audience,
    /// The internal audience of the first stage, if the plan has one.
    pub first: Option<&'a Audience>,
}

/// How far a freezing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreezeProgress {
    /// Devices in chunks so far.
    pub frozen: u64,
    /// True once everything is frozen, and the state is past Draft.
    pub done: bool,
}

/// What a stage was frozen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageCount {
    /// Which.
    pub stage: StageNumber,
    /// Its devices.
    pub devices: u64,
    /// Its first-time chunks.
    pub chunks: u32,
    /// When it was opened.
    pub opened_at: Option<Timestamp>,
    /// When its last first-time chunk was done.
    pub sent_at: Option<Timestamp>,
}

/// How an open stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageProgress {
    /// Which.
    pub stage: StageNumber,
    /// First-time chunks that are not done.
    pub first_left: u32,
    /// Retry chunks that are not done.
    pub retries_left: u32,
    /// Done chunks with deferred devices for which no retry chunk has been made.
    pub to_follow: u32,
}

/// What came of a stage so far at one provider, by outcome. First-time and retried alike: every request counts
/// where it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Which stage.
    pub stage: StageNumber,
    /// At whom.
    pub provider: Provider,
    /// How often each outcome was recorded.
    pub counts: BTreeMap<OutcomeCode, u64>,
}

impl Tally {
    /// What speaks for the notification, and against it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let count = |code| self.counts.get(&code).copied().unwrap_or_default();
        Seen { rejected: count(OutcomeCode::Rejected), accepted: count(OutcomeCode::Accepted) }
    }
}

/// Why a rollout is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OverBecause {
    /// Everyone has a final outcome.
    Completed,
    /// Its time is over; whoever was not reached is recorded as Expired.
    Expired,
    /// It cannot go on; the reason is told.
    Halted(String),
}

impl Ledger {
    /// Becomes the coordinator, or goes on being it: `Some` while `holder` rules, for `lease` from now on the
    /// database's clock. A new reign gets a new term. `None`: somebody else's lease has not ended.
    pub async fn rule(
        &self,
        holder: &str,
        current: Option<&Ruling>,
        lease: Duration,
        now: Instant,
    ) -> Result<Option<Ruling>, LedgerError> {
        const UPDATE: &str = "update coordinator set term = $1, holder = $2, until = $3";
        let mut tx = self.begin().await?;
        let (term, until, on_record) = reign(&mut tx, "for update").await?;
        let at = tx.now().await?;
        let goes_on = current.is_some_and(|ruling| ruling.term == term) && on_record == holder;
        if !goes_on && until > micros(at) {
            return Ok(None);
        }
        // A reign that lapsed and that nobody followed is a new one: what happened meanwhile is not known.
        let term = if goes_on && until > micros(at) { term } else { term + 1 };
        let stored = column("coordinator", 1, "term", i64::try_from(term))?;
        let ends = micros(at.checked_add(lease).unwrap_or(at));
        on_either!(&mut tx, c => {
            sqlx::query(UPDATE).bind(stored).bind(holder).bind(ends).execute(c).await?;
        });
        tx.commit().await?;
        Ok(Some(Ruling { term, until: now + lease.saturating_sub(MARGIN) }))
    }

    /// Gives the rule up at once, so that another need not wait for the lease to end.
    pub async fn abdicate(&self, ruling: &Ruling) -> Result<(), LedgerError> {
        const SQL: &str = "update coordinator set until = 0 where term = $1";
        let mut tx = self.begin().await?;
        let term = column("coordinator", 1, "term", i64::try_from(ruling.term))?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(term).execute(c).await?;
        });
        tx.commit().await
    }

    /// Begins a transaction that only the ruling coordinator may make. Until it ends, nobody else can begin to rule.
    pub(super) async fn begin_ruling(&self, ruling: &Ruling) -> Result<(Tx, Timestamp), Deposed> {
        let mut tx = self.begin().await?;
        let (term, until, _) = reign(&mut tx, "for share").await?;
        let now = tx.now().await?;
        if term != ruling.term || until <= micros(now) {
            return Err(Deposed::Deposed);
        }
        Ok((tx, now))
    }

    /// How the opened stages stand.
    pub async fn stage_progress(&self, rollout: RolloutId) -> Result<Vec<StageProgress>, LedgerError> {
        const SQL: &str = "select c.stage, \
                 count(*) filter (where k.try = 0 and c.done_at is null), \
                 count(*) filter (where k.try > 0 and c.done_at is null), \
                 count(*) filter (where c.deferred > 0 and not c.followed) \
             from claim c join chunk k on k.rollout = c.rollout and k.chunk = c.chunk \
             where c.rollout = $1 group by c.stage order by c.stage";
        let rows: Vec<(i16, i64, i64, i64)> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_all(pool).await?);
        let number = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        let progress = |(stage, first, retries, follow)| {
            Ok(StageProgress {
                stage: column("claim", rollout, "stage", StageNumber::try_from(stage))?,
                first_left: number(first),
                retries_left: number(retries),
                to_follow: number(follow),
            })
        };
        rows.into_iter().map(progress).collect()
    }

    /// What each stage was frozen to.
    pub async fn stages(&self, rollout: RolloutId) -> Result<Vec<StageCount>, LedgerError> {
        const SQL: &str =
            "select stage, devices, chunks, opened_at, sent_at from stage where rollout = $1 order by stage";
        let rows: Vec<StageRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_all(pool).await?);
        let at = |at: Option<i64>| at.map(|at| instant("stage", rollout, at)).transpose();
        let stage = |(stage, devices, chunks, opened, sent)| {
            Ok(StageCount {
                stage: column("stage", rollout, "stage", StageNumber::try_from(stage))?,
                devices: column("stage", rollout, "devices", u64::try_from(devices))?,
                chunks: count("stage", rollout, "chunks", chunks)?,
                opened_at: at(opened)?,
                sent_at: at(sent)?,
            })
        };
        rows.into_iter().map(stage).collect()
    }

    /// What came of each stage so far.
    pub async fn tallies(&self, rollout: RolloutId) -> Result<Vec<Tally>, LedgerError> {
        let sums: Vec<String> =
            TALLIED.iter().map(|code| format!("cast(sum({}) as bigint)", code.as_str())).collect();
        let sql = format!(
            "select stage, provider, {} from tally where rollout = $1 group by stage, provider order by stage, provider",
            sums.join(", ")
        );
        let rows: Vec<TallyRow> =
            on_pool!(self, pool => sqlx::query_as(&sql).bind(rollout.get()).fetch_all(pool).await?);
        let tally = |TallyRow(stage, provider, a, b, c, d, e, f, g, h, i, j, k): TallyRow| {
            let counts = TALLIED.into_iter().zip([a, b, c, d, e, f, g, h, i, j, k]);
            let counts = counts.map(|(code, count)| (code, u64::try_from(count).unwrap_or_default()));
            Ok(Tally {
                stage: column("tally", rollout, "stage", StageNumber::try_from(stage))?,
                provider: column("tally", rollout, "provider", provider.parse())?,
                counts: counts.collect(),
            })
        };
        rows.into_iter().map(tally).collect()
    }
}

#[derive(FromRow)]
struct TallyRow(i16, String, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);

/// Stage, devices, chunks, opened, sent.
type StageRow = (i16, i64, i32, Option<i64>, Option<i64>);

/// The outcomes that a tally has a column for, in their order.
pub(super) const TALLIED: [OutcomeCode; 11] = [
    OutcomeCode::Accepted,
    OutcomeCode::TokenGone,
    OutcomeCode::Rejected,
    OutcomeCode::Throttled,
    OutcomeCode::Unavailable,
    OutcomeCode::Unknown,
    OutcomeCode::NotSent,
    OutcomeCode::CredentialStop,
    OutcomeCode::Expired,
    OutcomeCode::LeftOut,
    OutcomeCode::QuietHours,
];

/// Who rules: the term, until when, and by which name. On SQLite the transaction itself is the lock.
async fn reign(tx: &mut Tx, lock: &str) -> Result<(u64, i64, String), LedgerError> {
    let lock = if matches!(tx, Tx::Postgres(_)) { lock } else { "" };
    let sql = format!("select term, until, holder from coordinator {lock}");
    let (term, until, holder): (i64, i64, String) =
        on_either!(tx, c => sqlx::query_as(&sql).fetch_one(c).await?);
    Ok((column("coordinator", 1, "term", u64::try_from(term))?, until, holder))
}
