//! Retrying a campaign: a new one, frozen from the lists of one that is over, of exactly those who were not sent it.
//!
//! - **I6 once**: of one campaign at most one retry stands; the next retries that one. Whoever accepted it, may have it, or
//!   whose token is gone is in no retry.
//! - **I8 approved-is-what-is-sent**: a retry is a campaign of its own, with its own digest and its own approvals.

use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::column,
        tx::{Tx, on_either},
    },
    model::{CHUNK_DEVICES, CampaignId, FrozenDevice, OutcomeCode, RolloutId, StageNumber},
    rollout::freeze::Cursor,
};

/// Some of those whom a campaign was not sent to.
#[derive(Debug)]
pub(super) struct Unsent {
    /// The chunk of the other campaign that was read first.
    pub(super) from: u32,
    /// By stage, in its order; at most a chunk each.
    pub(super) lists: Vec<(StageNumber, Vec<FrozenDevice>)>,
    /// Which chunk is next; `None`: that was all.
    pub(super) next: Option<u32>,
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

    /// The next of those whom `of` was not sent to, for the retry whose row is `rollout`: about `devices` of them are looked
    /// at. What a campaign that is over left open is judged as it is told.
    pub(super) async fn unsent(
        &self,
        of: RolloutId,
        rollout: RolloutId,
        devices: usize,
    ) -> Result<Unsent, LedgerError> {
        const SQL: &str = "select freeze_cursor from rollout where id = $1";
        let row: Option<CursorRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_optional(pool).await?);
        let cursor = row.and_then(|row| row.freeze_cursor);
        let cursor = cursor.as_deref().map(serde_json::from_str::<Cursor>).transpose();
        let cursor = column("rollout", rollout, "freeze_cursor", cursor)?;
        let from = cursor.and_then(|cursor| cursor.source).unwrap_or(0);
        let nowhere = || LedgerError::nonsense("campaign", rollout, "what it retries is not there");
        let source = self.campaign_of(of).await?.ok_or_else(nowhere)?;
        let state = self.rollout(source.id).await?.ok_or_else(nowhere)?.state;
        let chunks = u32::try_from(devices.div_ceil(CHUNK_DEVICES)).unwrap_or(u32::MAX);
        let page = self.deliveries(&source, state, from, chunks.max(1)).await?;
        let mut lists: Vec<(StageNumber, Vec<FrozenDevice>)> = Vec::new();
        for delivery in page.deliveries.iter().filter(|delivery| is_unsent(delivery.outcome)) {
            match lists.last_mut() {
                Some((of, list)) if *of == delivery.stage && list.len() < CHUNK_DEVICES => {
                    list.push(delivery.key);
                }
                _ => lists.push((delivery.stage, vec![delivery.key])),
            }
        }
        Ok(Unsent { from, lists, next: page.next })
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

impl Tx {
    /// The same, under the lock of the campaign that is retried.
    pub(super) async fn standing_retry(&mut self, of: RolloutId) -> Result<Option<CampaignId>, LedgerError> {
        const SQL: &str = "select k.public_id from campaign k join rollout r on r.id = k.id \
             where k.retry_of = $1 and (r.finished_at is null or r.stage >= 0) order by k.id limit 1";
        self.locked_rollout(of).await?;
        let id: Option<Uuid> =
            on_either!(self, c => sqlx::query_scalar(SQL).bind(of.get()).fetch_optional(c).await?);
        Ok(id.map(CampaignId::from_uuid))
    }
}
