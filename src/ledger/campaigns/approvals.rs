//! Approvals: who approved what, and until when that holds.

use jiff::Timestamp;
use sqlx::FromRow;

use super::verbs::Asked;
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, digest, instant, micros},
        tx::{Tx, on_either},
    },
    model::{Digest, OperatorName, RolloutId},
};

/// One person's approval of exactly one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub by: OperatorName,
    /// When.
    pub at: Timestamp,
    /// Of what.
    pub digest: Digest,
    /// What they said.
    pub reason: Option<String>,
    /// How long it may wait for the start.
    pub until: Timestamp,
    /// When it ceased to hold, and why.
    pub voided: Option<(Timestamp, String)>,
}

#[derive(Debug, FromRow)]
struct ApprovalRow {
    operator: String,
    at: i64,
    digest: Vec<u8>,
    reason: Option<String>,
    until: i64,
    voided_at: Option<i64>,
    voided_by: Option<String>,
}

impl TryFrom<ApprovalRow> for Approval {
    type Error = LedgerError;

    fn try_from(row: ApprovalRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "approval";
        let id = &row.operator;
        let voided_at = row.voided_at.map(|at| instant(TABLE, id, at)).transpose()?;
        Ok(Self {
            by: column(TABLE, id, "operator", OperatorName::parse(id))?,
            at: instant(TABLE, id, row.at)?,
            digest: digest(TABLE, 0, "digest", &row.digest)?,
            until: instant(TABLE, id, row.until)?,
            voided: voided_at.zip(row.voided_by),
            reason: row.reason,
        })
    }
}

impl Ledger {
    /// Who approved a rollout, in their order; also what does not hold any more.
    pub async fn approvals(&self, rollout: RolloutId) -> Result<Vec<Approval>, LedgerError> {
        const SQL: &str = "select operator, at, digest, reason, until, voided_at, voided_by from approval \
             where rollout = $1 order by at, operator";
        let rows: Vec<ApprovalRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_all(pool).await?);
        rows.into_iter().map(Approval::try_from).collect()
    }
}

impl Tx {
    pub(super) async fn note_approval(
        &mut self,
        rollout: RolloutId,
        asked: &Asked<'_>,
        of: &Digest,
        (now, until): (Timestamp, Timestamp),
    ) -> Result<(), LedgerError> {
        const SQL: &str = "insert into approval (rollout, operator, at, digest, reason, until) \
             values ($1, $2, $3, $4, $5, $6)";
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(rollout.get())
                .bind(asked.by.as_str())
                .bind(micros(now))
                .bind(&of.as_bytes()[..])
                .bind(asked.reason)
                .bind(micros(until))
                .execute(c)
                .await?;
        });
        Ok(())
    }

    /// None of a rollout's approvals holds any more.
    pub(super) async fn void_approvals(
        &mut self,
        rollout: RolloutId,
        because: &str,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        const SQL: &str =
            "update approval set voided_at = $1, voided_by = $2 where rollout = $3 and voided_at is null";
        on_either!(self, c => {
            sqlx::query(SQL).bind(micros(now)).bind(because).bind(rollout.get()).execute(c).await?;
        });
        Ok(())
    }
}
