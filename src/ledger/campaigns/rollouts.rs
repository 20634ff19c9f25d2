//! A rollout's row: how it stands.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    ledger::{
        HaltScope, Ledger, LedgerError, on_pool,
        rows::{column, count, digest, instant},
    },
    model::{AppId, AudienceName, CampaignId, Digest, OperatorName, RolloutId, RolloutState, StageNumber},
    rollout::machine::{Approved, Baking, Electorate, Ending, Held, Paused, Pending, Rollout},
};

const TABLE: &str = "rollout";

/// How a rollout stands: the small row that every segment looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Its row.
    pub rollout: RolloutId,
    /// As people know it.
    pub id: CampaignId,
    /// Whose devices.
    pub app: AppId,
    /// Whom it is for.
    pub audience: AudienceName,
    /// Where it stands, in a word.
    pub state: RolloutState,
    /// The same, whole.
    pub stands: Rollout,
    /// Who must approve it, once it is frozen.
    pub electorate: Electorate,
    /// When the first of its approvals is too old to start on.
    pub approvals_until: Option<Timestamp>,
    /// The policy that it was approved under; `None`: the one that cleared it.
    pub policy: Option<Digest>,
    /// Why, if that needs a word.
    pub cause: Option<String>,
    /// The stage that was opened last; `None` before the first.
    pub stage: Option<StageNumber>,
    /// Which run is valid.
    pub epoch: u32,
    /// Devices frozen so far.
    pub frozen: u64,
    /// Chunks so far, retries included.
    pub chunks: u32,
    /// The digest of I8; `None` until it is frozen.
    pub frozen_digest: Option<Digest>,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
    /// When this row changed last.
    pub changed_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
    /// Requests that ended after a worker had heard of its halt: they were on the wire.
    pub after_halt: u64,
}

/// What every query for [`RolloutRow`] begins with.
pub(super) const ROLLOUTS: &str = "select r.id, k.public_id, r.app, r.audience, r.state, r.cause, r.stage, \
     r.epoch, r.frozen, r.chunks, r.frozen_digest, r.changed_at, r.finished_at, r.expires_at, \
     r.after_halt, r.pause, r.held, r.started, r.promoted, r.people, r.barred, r.approved, r.approvals_until, \
     r.policy from rollout r join campaign k on k.id = r.id ";

#[derive(Debug, FromRow)]
pub(super) struct RolloutRow {
    id: i64,
    public_id: Uuid,
    app: String,
    audience: String,
    state: String,
    cause: Option<String>,
    stage: i16,
    epoch: i32,
    frozen: i64,
    chunks: i32,
    frozen_digest: Option<Vec<u8>>,
    changed_at: i64,
    finished_at: Option<i64>,
    expires_at: i64,
    after_halt: i64,
    pause: Option<String>,
    held: Option<String>,
    started: bool,
    promoted: bool,
    people: i16,
    barred: String,
    approved: String,
    approvals_until: Option<i64>,
    policy: Option<Vec<u8>>,
}

impl RolloutRow {
    /// Where it stands, of a row whose stage has been read.
    fn stands(
        &self,
        state: RolloutState,
        stage: Option<StageNumber>,
        electorate: &Electorate,
    ) -> Result<Rollout, LedgerError> {
        let nonsense = |why| LedgerError::nonsense(TABLE, self.id, why);
        let opened = stage.ok_or_else(|| nonsense("no stage is open in this state"));
        let held = || match (self.held.as_deref(), stage) {
            (Some("start") | None, None) => Ok(Held::Start),
            (Some("running"), Some(stage)) => Ok(Held::Running(stage)),
            (Some("baking"), Some(stage)) => Ok(Held::Baking(stage)),
            _ => Err(nonsense("where it goes on cannot be read")),
        };
        Ok(match state {
            RolloutState::Draft => Rollout::Draft,
            RolloutState::PendingApproval => Rollout::PendingApproval(Pending {
                electorate: electorate.clone(),
                approved: names(self.id, "approved", &self.approved)?,
                at: held()?,
            }),
            RolloutState::Approved => Rollout::Approved(Approved { started: self.started, at: held()? }),
            RolloutState::Running => Rollout::Running(opened?),
            RolloutState::Baking => Rollout::Baking(Baking { stage: opened?, promoted: self.promoted }),
            RolloutState::Paused => {
                let why = self.pause.as_deref().ok_or_else(|| nonsense("why it is paused is not said"))?;
                Rollout::Paused(Paused { why: column(TABLE, self.id, "pause", why.parse())?, at: held()? })
            }
            RolloutState::Completed => Rollout::Over(Ending::Completed),
            RolloutState::Halted => Rollout::Over(Ending::Halted),
            RolloutState::Aborted => Rollout::Over(Ending::Aborted),
            RolloutState::Rejected => Rollout::Over(Ending::Rejected),
            RolloutState::Expired => Rollout::Over(Ending::Expired),
        })
    }
}

/// A JSON list of names.
fn names(id: i64, name: &'static str, list: &str) -> Result<BTreeSet<OperatorName>, LedgerError> {
    let list: Vec<String> = column(TABLE, id, name, serde_json::from_str(list))?;
    list.iter().map(|word| column(TABLE, id, name, OperatorName::parse(word))).collect()
}

impl TryFrom<RolloutRow> for RolloutRecord {
    type Error = LedgerError;

    fn try_from(row: RolloutRow) -> Result<Self, LedgerError> {
        let id = row.id;
        let stage = (row.stage >= 0).then(|| StageNumber::try_from(row.stage)).transpose();
        let stage = column(TABLE, id, "stage", stage)?;
        let state = column(TABLE, id, "state", row.state.parse())?;
        let electorate = Electorate {
            people: column(TABLE, id, "people", u32::try_from(row.people))?,
            barred: names(id, "barred", &row.barred)?,
        };
        Ok(Self {
            stands: row.stands(state, stage, &electorate)?,
            electorate,
            approvals_until: row.approvals_until.map(|at| instant(TABLE, id, at)).transpose()?,
            policy: row.policy.as_deref().map(|bytes| digest(TABLE, id, "policy", bytes)).transpose()?,
            rollout: RolloutId::new(id),
            id: CampaignId::from_uuid(row.public_id),
            app: column(TABLE, id, "app", AppId::parse(&row.app))?,
            audience: column(TABLE, id, "audience", AudienceName::parse(&row.audience))?,
            state,
            cause: row.cause,
            stage,
            epoch: count(TABLE, id, "epoch", row.epoch)?,
            frozen: column(TABLE, id, "frozen", u64::try_from(row.frozen))?,
            chunks: count(TABLE, id, "chunks", row.chunks)?,
            frozen_digest: row
                .frozen_digest
                .map(|bytes| digest(TABLE, id, "frozen_digest", &bytes))
                .transpose()?,
            changed_at: instant(TABLE, id, row.changed_at)?,
            finished_at: row.finished_at.map(|at| instant(TABLE, id, at)).transpose()?,
            after_halt: column(TABLE, id, "after_halt", u64::try_from(row.after_halt))?,
            expires_at: instant(TABLE, id, row.expires_at)?,
        })
    }
}

impl RolloutRecord {
    /// True if a halt of this scope stops it.
    #[must_use]
    pub fn is_covered_by(&self, scope: &HaltScope) -> bool {
        match scope {
            HaltScope::All => true,
            HaltScope::App(app) => *app == self.app,
            HaltScope::Audience(audience) => *audience == self.audience,
            HaltScope::Campaign(campaign) => *campaign == self.id,
        }
    }
}

impl Ledger {
    /// How a rollout stands.
    pub async fn rollout(&self, id: CampaignId) -> Result<Option<RolloutRecord>, LedgerError> {
        let sql = format!("{ROLLOUTS} where k.public_id = $1");
        let row: Option<RolloutRow> =
            on_pool!(self, pool => sqlx::query_as(&sql).bind(id.as_uuid()).fetch_optional(pool).await?);
        row.map(RolloutRecord::try_from).transpose()
    }

    /// Every rollout that is not over, the oldest first: what the coordinator and the workers follow.
    pub async fn live_rollouts(&self) -> Result<Vec<RolloutRecord>, LedgerError> {
        let sql = format!("{ROLLOUTS} where r.finished_at is null order by r.id");
        let rows: Vec<RolloutRow> = on_pool!(self, pool => sqlx::query_as(&sql).fetch_all(pool).await?);
        rows.into_iter().map(RolloutRecord::try_from).collect()
    }
}
