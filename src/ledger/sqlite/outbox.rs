//! The outbox on SQLite.

use sqlx::SqliteConnection;

use crate::{ledger::LedgerError, model::Event};

/// The statement has the only right to write: nobody is to be skipped.
pub(in crate::ledger) const TAKE: &str = "\
    with clock as materialized (select cast(round(unixepoch('subsec') * 1000) as integer) * 1000 as now) \
    update outbox set lease_until = (select now from clock) + $1 where seq in ( \
         select seq from outbox where lease_until <= (select now from clock) order by seq limit $2) \
     returning seq, routing_key, event";

pub(in crate::ledger) async fn insert(
    connection: &mut SqliteConnection,
    events: &[Event],
) -> Result<(), LedgerError> {
    for event in events {
        sqlx::query("insert into outbox (routing_key, event) values ($1, $2)")
            .bind(event.routing_key())
            .bind(event.to_json())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
