//! The outbox: events are written with what they tell, and published afterwards.
//!
//! - **I7 nothing-lost**: a relay takes a batch under a lease and removes it only once the broker has confirmed.
//!   A relay that dies in between lets the lease run out, and the events are published again, with the same ids.

use std::time::Duration;

use super::{Ledger, LedgerError};

/// How long a relay holds a batch: far longer than a confirm takes, short enough that a dead relay's events
/// are not late.
const LEASE: Duration = Duration::from_secs(30);

/// One event to be published.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Outgoing {
    /// Names the row, for [`Ledger::outbox_done`].
    pub seq: i64,
    /// Where it goes on the topic exchange.
    pub routing_key: String,
    /// The event, as JSON.
    pub event: String,
}

impl Ledger {
    /// Takes up to `limit` of the oldest events that no other relay holds, in order.
    pub async fn outbox_batch(&self, limit: i64) -> Result<Vec<Outgoing>, LedgerError> {
        let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
        let mut batch: Vec<Outgoing> = match self {
            Self::Postgres(store) => {
                let take = sqlx::query_as(super::postgres::outbox::TAKE);
                take.bind(lease).bind(limit).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let take = sqlx::query_as(super::sqlite::outbox::TAKE);
                take.bind(lease).bind(limit).fetch_all(&store.writer).await?
            }
        };
        batch.sort_by_key(|outgoing| outgoing.seq);
        Ok(batch)
    }

    /// Removes events that were published and confirmed.
    pub async fn outbox_done(&self, seqs: &[i64]) -> Result<(), LedgerError> {
        match self {
            _ if seqs.is_empty() => {}
            Self::Postgres(store) => {
                sqlx::query("delete from outbox where seq = any($1)").bind(seqs).execute(&store.pool).await?;
            }
            Self::Sqlite(store) => {
                let seqs = serde_json::json!(seqs).to_string();
                sqlx::query("delete from outbox where seq in (select value from json_each($1))")
                    .bind(seqs)
                    .execute(&store.writer)
                    .await?;
            }
        }
        Ok(())
    }

    /// How many events wait to be published.
    pub async fn outbox_len(&self) -> Result<i64, LedgerError> {
        Ok(super::on_pool!(self, pool => {
            sqlx::query_scalar("select count(*) from outbox").fetch_one(pool).await?
        }))
    }
}
