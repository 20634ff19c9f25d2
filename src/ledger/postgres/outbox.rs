//! The outbox on PostgreSQL.

use sqlx::PgConnection;

use crate::{ledger::LedgerError, model::Event};

/// Skips what another relay is just taking, so that relays do not wait for each other. An array, not `in`:
/// for a join the planner would read the whole table.
pub(in crate::ledger) const TAKE: &str = "update outbox set lease_until = $2 where seq = any(array( \
         select seq from outbox where lease_until <= $1 order by seq limit $3 for update skip locked)) \
     returning seq, routing_key, event";

pub(in crate::ledger) async fn insert(
    connection: &mut PgConnection,
    events: &[Event],
) -> Result<(), LedgerError> {
    let keys: Vec<String> = events.iter().map(Event::routing_key).collect();
    let bodies: Vec<String> = events.iter().map(Event::to_json).collect();
    sqlx::query("insert into outbox (routing_key, event) select * from unnest($1::text[], $2::text[])")
        .bind(keys)
        .bind(bodies)
        .execute(connection)
        .await?;
    Ok(())
}
