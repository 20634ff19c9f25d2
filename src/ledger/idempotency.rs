//! Idempotency keys: a mutation that is asked for twice happens once, and is answered twice.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::FromRow;

use super::{
    Ledger, LedgerError,
    rows::{column, digest, instant, micros},
    tx::on_either,
};
use crate::model::{Digest, OperatorName};

/// How long an answer is kept: a script that runs every night finds its own.
const KEPT: Duration = Duration::from_hours(24);

/// Longer than any request lives. One that is under way for longer died with its process, and may be asked again: what it
/// had committed refuses to happen twice by itself.
const UNDER_WAY: Duration = Duration::from_mins(2);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyUse {
    /// It is this request's now: do it, then [`Ledger::answer_key`] or [`Ledger::release_key`].
    Fresh,
    /// The same request was answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The body.
        answer: String,
    },
    /// The same request is being worked on.
    UnderWay,
    /// It stands for another request.
    Other,
}

#[derive(FromRow)]
struct KeyRow {
    request: Vec<u8>,
    at: i64,
    status: Option<i16>,
    answer: Option<String>,
}

impl Ledger {
    /// Takes a key for a request of this digest.
    pub async fn take_key(
        &self,
        operator: &OperatorName,
        key: &str,
        request: &Digest,
    ) -> Result<KeyUse, LedgerError> {
        const FORGET: &str = "delete from idempotency where at < $1";
        const TAKE: &str = "insert into idempotency (operator, key, request, at) values ($1, $2, $3, $4) \
             on conflict (operator, key) do nothing";
        const READ: &str =
            "select request, at, status, answer from idempotency where operator = $1 and key = $2";
        const AGAIN: &str = "update idempotency set at = $1 where operator = $2 and key = $3 and at = $4";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let operator = operator.as_str();
        let taken = on_either!(&mut tx, c => {
            sqlx::query(FORGET).bind(micros(before(KEPT))).execute(&mut *c).await?;
            let bytes = &request.as_bytes()[..];
            sqlx::query(TAKE).bind(operator).bind(key).bind(bytes).bind(micros(now)).execute(c).await?.rows_affected()
        });
        if taken == 1 {
            tx.commit().await?;
            return Ok(KeyUse::Fresh);
        }
        let row: Option<KeyRow> =
            on_either!(&mut tx, c => sqlx::query_as(READ).bind(operator).bind(key).fetch_optional(c).await?);
        // It was released in between: whoever asks again takes it.
        let Some(row) = row else { return Ok(KeyUse::UnderWay) };
        if digest("idempotency", 0, "request", &row.request)? != *request {
            return Ok(KeyUse::Other);
        }
        if let (Some(status), Some(answer)) = (row.status, row.answer) {
            let status = column("idempotency", key, "status", u16::try_from(status))?;
            return Ok(KeyUse::Answered { status, answer });
        }
        if instant("idempotency", key, row.at)? >= before(UNDER_WAY) {
            return Ok(KeyUse::UnderWay);
        }
        let taken = on_either!(&mut tx, c => {
            sqlx::query(AGAIN).bind(micros(now)).bind(operator).bind(key).bind(row.at).execute(c).await?.rows_affected()
        });
        tx.commit().await?;
        Ok(if taken == 1 { KeyUse::Fresh } else { KeyUse::UnderWay })
    }

    /// Keeps the answer.
    pub async fn answer_key(
        &self,
        operator: &OperatorName,
        key: &str,
        status: u16,
        answer: &str,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "update idempotency set status = $1, answer = $2 where operator = $3 and key = $4";
        let status = i16::try_from(status).unwrap_or(i16::MAX);
        let mut tx = self.begin().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(status).bind(answer).bind(operator.as_str()).bind(key).execute(c).await?;
        });
        tx.commit().await
    }

    /// Nothing happened: the key may be used again.
    pub async fn release_key(&self, operator: &OperatorName, key: &str) -> Result<(), LedgerError> {
        const SQL: &str = "delete from idempotency where operator = $1 and key = $2 and status is null";
        let mut tx = self.begin().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(operator.as_str()).bind(key).execute(c).await?;
        });
        tx.commit().await
    }
}
