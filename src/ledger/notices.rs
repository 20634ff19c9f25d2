//! Notices for people: written in the transaction of what they tell, taken away once they are told.
//!
//! Only whoever coordinates tells them, so that no lease is needed; two who do for a moment tell one twice, under one id.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    rows::{count, instant, micros},
    tx::{Tx, on_either},
};
use crate::model::{Notice, Waiting};

/// A notice that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// Names the row.
    pub seq: i64,
    /// The same each time that it is told.
    pub id: Uuid,
    /// Since when it waits.
    pub at: Timestamp,
    /// What is told: JSON.
    pub body: String,
    /// How often that failed.
    pub tries: u32,
}

#[derive(FromRow)]
struct UntoldRow {
    seq: i64,
    id: Uuid,
    at: i64,
    body: String,
    tries: i32,
}

impl TryFrom<UntoldRow> for Untold {
    type Error = LedgerError;

    fn try_from(row: UntoldRow) -> Result<Self, LedgerError> {
        Ok(Self {
            seq: row.seq,
            id: row.id,
            at: instant("notice", row.seq, row.at)?,
            tries: count("notice", row.seq, "tries", row.tries)?,
            body: row.body,
        })
    }
}

impl Tx {
    /// Puts down that somebody must be told. Of what concerns one rollout the caller holds its row, so that the order of the
    /// rows is the order in which it happened.
    pub(super) async fn notify(&mut self, now: Timestamp, waiting: Waiting) -> Result<(), LedgerError> {
        const SQL: &str = "insert into notice (id, line, at, body, due_at) values ($1, $2, $3, $4, $3)";
        let line = waiting.line();
        let notice = Notice::new(now, waiting);
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(notice.id)
                .bind(&line)
                .bind(micros(now))
                .bind(notice.to_json())
                .execute(c)
                .await?;
        });
        Ok(())
    }
}

impl Ledger {
    /// Up to `limit` notices that are due: of each line only the oldest, whether or not that one is due.
    pub async fn notices_due(&self, limit: i64) -> Result<Vec<Untold>, LedgerError> {
        const SQL: &str = "select n.seq, n.id, n.at, n.body, n.tries from notice n where n.due_at <= $1 \
             and not exists (select 1 from notice before where before.line = n.line and before.seq < n.seq) \
             order by n.due_at, n.seq limit $2";
        let now = micros(self.now().await?);
        let rows: Vec<UntoldRow> = super::on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(now).bind(limit).fetch_all(pool).await?
        });
        rows.into_iter().map(Untold::try_from).collect()
    }

    /// Takes away a notice that was told.
    pub async fn notice_told(&self, seq: i64) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        on_either!(&mut tx, c => {
            sqlx::query("delete from notice where seq = $1").bind(seq).execute(c).await?;
        });
        tx.commit().await
    }

    /// Puts a notice off that could not be told.
    pub async fn notice_failed(&self, seq: i64, wait: Duration) -> Result<(), LedgerError> {
        const SQL: &str = "update notice set tries = tries + 1, due_at = $1 where seq = $2";
        let mut tx = self.begin().await?;
        let due = tx.now().await?.checked_add(wait).unwrap_or(Timestamp::MAX);
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(micros(due)).bind(seq).execute(c).await?;
        });
        tx.commit().await
    }

    /// Takes away every notice that is older than this, and says which.
    pub async fn notices_given_up(&self, older_than: Duration) -> Result<Vec<Uuid>, LedgerError> {
        const SQL: &str = "delete from notice where at < $1 returning id";
        let mut tx = self.begin().await?;
        let before = micros(tx.now().await?.checked_sub(older_than).unwrap_or(Timestamp::MIN));
        let gone = on_either!(&mut tx, c => sqlx::query_scalar(SQL).bind(before).fetch_all(c).await?);
        tx.commit().await?;
        Ok(gone)
    }

    /// For how long the oldest notice has waited to be told; `None` if there is none.
    pub async fn oldest_notice(&self) -> Result<Option<Duration>, LedgerError> {
        const SQL: &str = "select min(at) from notice";
        let oldest: Option<i64> =
            super::on_pool!(self, pool => sqlx::query_scalar(SQL).fetch_one(pool).await?);
        let Some(oldest) = oldest else { return Ok(None) };
        let age = self.now().await?.duration_since(instant("notice", "oldest", oldest)?);
        Ok(Some(Duration::try_from(age).unwrap_or_default()))
    }
}
