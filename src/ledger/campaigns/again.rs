//! Campaigns that are frozen from the lists of one that is over: of exactly those who were not sent it (a retry), or of
//! exactly those who were, or may have been (a correction, a supersession).
//!
//! - **I6 once**: of one campaign at most one retry stands; the next retries that one. Whoever accepted it, may have it, or
//!   whose token is gone is in no retry. Of one campaign at most one mending is under way, its retries counted; nobody is in
//!   it twice.
//! - **I8 approved-is-what-is-sent**: each is a campaign of its own, with its own digest and its own approvals.

use sqlx::FromRow;
use uuid::Uuid;

use super::{CampaignRecord, submit::CampaignRow};
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, micros},
        tx::{Tx, on_either},
    },
    model::{
        CHUNK_DEVICES, CampaignId, ChunkNumber, FrozenDevice, OutcomeCode, RolloutId, RolloutState,
        StageNumber,
    },
    rollout::freeze::Cursor,
};

/// Chunks that are counted at once.
const COUNTED_AT_ONCE: u32 = 50;

/// Some of those whom a campaign takes over from another.
#[derive(Debug)]
pub(super) struct TakenOver {
    /// The chunk of the other campaign that was read first.
    pub(super) from: ChunkNumber,
    /// By stage of the new campaign, in its order; at most a chunk each.
    pub(super) lists: Vec<(StageNumber, Vec<FrozenDevice>)>,
    /// Which chunk is next; `None`: that was all.
    pub(super) next: Option<ChunkNumber>,
}

/// Whom a campaign that is over rang, or may have rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// The provider took it.
    pub accepted: u64,
    /// Nobody knows: its fate was never told, or never recorded.
    pub unknown: u64,
}

impl Reached {
    /// All of them.
    #[must_use]
    pub const fn devices(self) -> u64 {
        self.accepted + self.unknown
    }
}

#[derive(Debug, FromRow)]
struct CursorRow {
    freeze_cursor: Option<String>,
}

impl Ledger {
    /// How many retries a campaign has had, whatever became of them.
    pub async fn retries(&self, of: RolloutId) -> Result<u32, LedgerError> {
        const SQL: &str = "select count(*) from campaign where retry_of = $1";
        let count: i64 =
            on_pool!(self, pool => sqlx::query_scalar(SQL).bind(of.get()).fetch_one(pool).await?);
        column("campaign", of, "retry_of", u32::try_from(count))
    }

    /// The retry of a campaign that stands: it is not over, or it has begun to be sent.
    pub async fn standing_retry(&self, of: RolloutId) -> Result<Option<CampaignId>, LedgerError> {
        let mut tx = self.begin().await?;
        tx.standing_retry(of).await
    }

    /// How often a campaign was corrected or superseded, whatever became of it.
    pub async fn mendings(&self, of: RolloutId) -> Result<u32, LedgerError> {
        const SQL: &str = "select count(*) from campaign where after_of = $1 and retry_of is null";
        let count: i64 =
            on_pool!(self, pool => sqlx::query_scalar(SQL).bind(of.get()).fetch_one(pool).await?);
        column("campaign", of, "after_of", u32::try_from(count))
    }

    /// What corrects or supersedes a campaign, and is not over.
    pub async fn standing_mending(&self, of: RolloutId) -> Result<Option<CampaignId>, LedgerError> {
        let mut tx = self.begin().await?;
        tx.standing_mending(of).await
    }

    /// True while a worker that is there may still record what became of requests of this campaign's. What is left open after
    /// that nobody will ever know.
    pub async fn is_on_the_wire(&self, rollout: RolloutId) -> Result<bool, LedgerError> {
        const SQL: &str = "select count(*) from segment s join claim c on c.rollout = s.rollout and c.chunk = s.chunk \
             where s.rollout = $1 and s.outcomes is null and c.number = s.claim and c.until > $2";
        let mut tx = self.begin().await?;
        let now = micros(tx.now().await?);
        let open: i64 = on_either!(&mut tx, c => {
            sqlx::query_scalar(SQL).bind(rollout.get()).bind(now).fetch_one(c).await?
        });
        Ok(open > 0)
    }

    /// Counts whom a campaign that is over rang, or may have rung.
    pub async fn reached(
        &self,
        campaign: &CampaignRecord,
        state: RolloutState,
    ) -> Result<Reached, LedgerError> {
        let (mut reached, mut next) = (Reached::default(), Some(0));
        while let Some(from) = next {
            let page = self.outcomes(campaign, state, from, COUNTED_AT_ONCE).await?;
            let count =
                |code| page.deliveries.iter().filter(|delivery| delivery.outcome == code).count() as u64;
            reached.accepted += count(OutcomeCode::Accepted);
            reached.unknown += count(OutcomeCode::Unknown);
            next = page.next;
        }
        Ok(reached)
    }

    /// The campaigns that came of this one, or that it came of: those that it retries, mends, is retried or mended by; the
    /// oldest first.
    pub async fn related(&self, to: &CampaignRecord) -> Result<Vec<CampaignRecord>, LedgerError> {
        const SQL: &str = "select * from campaign \
             where id in ($2, $3) or retry_of = $1 or after_of = $1 order by id";
        let (me, retried) = (to.rollout.get(), to.retry_of.map(RolloutId::get));
        let mended = to.mends.map(|mends| mends.of.get());
        let rows: Vec<CampaignRow> = on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(me).bind(retried).bind(mended).fetch_all(pool).await?
        });
        rows.into_iter().map(CampaignRecord::try_from).collect()
    }

    /// The next of those whom `new` takes over from another; `None` if it is frozen from its audience. About `devices` of
    /// the other's are looked at. What a campaign that is over left open is judged as it is told.
    pub(super) async fn taken_over(
        &self,
        new: &CampaignRecord,
        devices: usize,
    ) -> Result<Option<TakenOver>, LedgerError> {
        const SQL: &str = "select freeze_cursor from rollout where id = $1";
        let Some(of) = new.retry_of.or(new.mends.map(|mends| mends.of)) else { return Ok(None) };
        let rollout = new.rollout;
        let row: Option<CursorRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_optional(pool).await?);
        let cursor = row.and_then(|row| row.freeze_cursor);
        let cursor = cursor.as_deref().map(serde_json::from_str::<Cursor>).transpose();
        let cursor = column("rollout", rollout, "freeze_cursor", cursor)?;
        let from = cursor.and_then(|cursor| cursor.source).unwrap_or(0);
        let nowhere = || LedgerError::nonsense("campaign", rollout, "what it is frozen from is not there");
        let source = self.campaign_of(of).await?.ok_or_else(nowhere)?;
        let stands = self.rollout(source.id).await?.ok_or_else(nowhere)?;
        let chunks = u32::try_from(devices.div_ceil(CHUNK_DEVICES)).unwrap_or(u32::MAX);
        let page = self.outcomes(&source, stands.state, from, chunks.max(1)).await?;
        let mut lists: Vec<(StageNumber, Vec<FrozenDevice>)> = Vec::new();
        for delivery in &page.deliveries {
            // A mending has one stage; a retry has those of the other, and everybody stays in theirs.
            let stage = match new.retry_of {
                Some(_) if is_unsent(delivery.outcome) => delivery.stage,
                None if is_reached(delivery.outcome) => 0,
                _ => continue,
            };
            match lists.last_mut() {
                Some((of, list)) if *of == stage && list.len() < CHUNK_DEVICES => list.push(delivery.key),
                _ => lists.push((stage, vec![delivery.key])),
            }
        }
        Ok(Some(TakenOver { from, lists, next: page.next }))
    }
}

/// Whether somebody with this outcome may be sent the same again.
const fn is_unsent(outcome: OutcomeCode) -> bool {
    match outcome {
        OutcomeCode::Accepted | OutcomeCode::Unknown | OutcomeCode::TokenGone => false,
        OutcomeCode::ToDo
        | OutcomeCode::Rejected
        | OutcomeCode::Throttled
        | OutcomeCode::Unavailable
        | OutcomeCode::NotSent
        | OutcomeCode::CredentialStop
        | OutcomeCode::Expired
        | OutcomeCode::Cancelled
        | OutcomeCode::LeftOut
        | OutcomeCode::QuietHours => true,
    }
}

/// Whether somebody with this outcome has it, or may have it.
const fn is_reached(outcome: OutcomeCode) -> bool {
    matches!(outcome, OutcomeCode::Accepted | OutcomeCode::Unknown)
}

impl Tx {
    /// The same, under the lock of the campaign that is retried.
    pub(super) async fn standing_retry(&mut self, of: RolloutId) -> Result<Option<CampaignId>, LedgerError> {
        const SQL: &str = "select k.public_id from campaign k join rollout r on r.id = k.id \
             where k.retry_of = $1 and (r.finished_at is null or r.stage >= 0) order by k.id limit 1";
        self.standing(of, SQL).await
    }

    /// The same, under the lock of the campaign that is mended.
    pub(super) async fn standing_mending(
        &mut self,
        of: RolloutId,
    ) -> Result<Option<CampaignId>, LedgerError> {
        const SQL: &str = "select k.public_id from campaign k join rollout r on r.id = k.id \
             where k.after_of = $1 and r.finished_at is null order by k.id limit 1";
        self.standing(of, SQL).await
    }

    async fn standing(
        &mut self,
        of: RolloutId,
        sql: &'static str,
    ) -> Result<Option<CampaignId>, LedgerError> {
        self.locked_rollout(of).await?;
        let id: Option<Uuid> =
            on_either!(self, c => sqlx::query_scalar(sql).bind(of.get()).fetch_optional(c).await?);
        Ok(id.map(CampaignId::from_uuid))
    }
}
