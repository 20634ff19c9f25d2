//! Rollouts as they are listed: each with its job, a page at a time.

use jiff::Timestamp;
use sqlx::FromRow;

use super::{
    RolloutRecord,
    rollouts::{ROLLOUTS, RolloutRow},
};
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, instant},
    },
    model::{CampaignId, JobId, JobKey, OperatorName, ProducerId},
    rollout::FrozenPlan,
};

/// A rollout, and which job asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutLine {
    /// How it stands.
    pub rollout: RolloutRecord,
    /// Which job asked for it.
    pub key: JobKey,
    /// Who submitted it by hand.
    pub requester: Option<OperatorName>,
    /// The plan as it stood.
    pub plan: FrozenPlan,
    /// When it arrived.
    pub received_at: Timestamp,
}

#[derive(Debug, FromRow)]
struct LineRow {
    #[sqlx(flatten)]
    rollout: RolloutRow,
    producer: String,
    job_id: String,
    requester: Option<String>,
    plan: String,
    received_at: i64,
}

impl TryFrom<LineRow> for RolloutLine {
    type Error = LedgerError;

    fn try_from(row: LineRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "campaign";
        let rollout = RolloutRecord::try_from(row.rollout)?;
        let id = rollout.rollout;
        Ok(Self {
            rollout,
            key: JobKey {
                producer: column(TABLE, id, "producer", ProducerId::parse(&row.producer))?,
                id: column(TABLE, id, "job_id", JobId::parse(&row.job_id))?,
            },
            requester: column(
                TABLE,
                id,
                "requester",
                row.requester.as_deref().map(OperatorName::parse).transpose(),
            )?,
            plan: column(TABLE, id, "plan", serde_json::from_str(&row.plan))?,
            received_at: instant(TABLE, id, row.received_at)?,
        })
    }
}

impl Ledger {
    /// A page of rollouts, the newest first; only those that are not over, if `live`; only those that are older than
    /// `before`. A page costs what it holds, however many came before: it is read off the primary key, or off the index of
    /// those that live.
    pub async fn listed_rollouts(
        &self,
        live: bool,
        most: u32,
        before: Option<CampaignId>,
    ) -> Result<Vec<RolloutLine>, LedgerError> {
        let sql = listing(live, before.is_some());
        let rows: Vec<LineRow> = on_pool!(self, pool => {
            let mut query = sqlx::query_as(&sql).bind(i64::from(most));
            if let Some(before) = before {
                query = query.bind(before.as_uuid());
            }
            query.fetch_all(pool).await?
        });
        rows.into_iter().map(RolloutLine::try_from).collect()
    }
}

/// The query for one page: `$1` is its length, `$2` the campaign that it follows.
pub(in crate::ledger) fn listing(live: bool, after_one: bool) -> String {
    let columns = ROLLOUTS.trim_start_matches("select ");
    let only = if live { "and r.finished_at is null" } else { "" };
    // By the row rather than by an offset: what arrives meanwhile moves nothing.
    let older = if after_one { "and r.id < (select id from campaign where public_id = $2)" } else { "" };
    format!(
        "select k.producer, k.job_id, k.requester, k.plan, k.received_at, {columns} \
         where 1 = 1 {only} {older} order by r.id desc limit $1"
    )
}
