//! The outbox on PostgreSQL.

use sqlx::PgConnection;

use crate::{ledger::LedgerError, model::Event};

/// Skips what another relay is just taking, so that relays do not wait for each other. An array, not `in`:
/// for a join the planner would read the whole table. `$1` is the lease in microseconds; one statement, since
/// each is a round trip.
pub(in crate::ledger) const TAKE: &str = "\
    with clock as materialized (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now) \
    update outbox set lease_until = (select now from clock) + $1 where seq = any(array( \
         select seq from outbox where lease_until <= (select now from clock) order by seq limit $2 \
         for update skip locked)) \
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
