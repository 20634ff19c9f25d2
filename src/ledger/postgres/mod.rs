//! The ledger on PostgreSQL.

pub(super) mod copy;
pub(super) mod devices;
pub(super) mod jobs;
pub(super) mod outbox;
pub(super) mod read;
pub(super) mod registrations;

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, Executor, PgConnection, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{LedgerError, LedgerOptions};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The clock, not the transaction's start: a transaction may have waited for a lock.
pub(super) const NOW: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";

/// One picture of the database for every statement until the end.
pub(super) const BEGIN_READING: &str = "begin isolation level repeatable read, read only";

/// Whoever appends to the audit holds this; any number does, as long as it is the same for all.
const AUDIT_LOCK: i64 = 0x6265_6c6c_7765_7468;

/// What a connection is told once, when it is made.
///
/// - `plan_cache_mode`: planning over 64 partitions takes longer than running. The statements are the same
///   every time, so each is planned once a connection.
/// - `jit`: the planner's estimate over 64 partitions is high enough to trigger compilation, which takes
///   hundreds of milliseconds to speed up microseconds.
/// - `idle_in_transaction_session_timeout`: a process that hangs in the middle of a transaction holds locks that others wait
///   for; and no transaction here pauses longer than a round trip.
/// - `statement_timeout`: no statement here takes a second; one that takes a minute is stuck, and failing it
///   tells the caller that the ledger is away.
const SESSION: &str = "set plan_cache_mode = force_generic_plan; \
     set jit = off; \
     set idle_in_transaction_session_timeout = '2s'; \
     set statement_timeout = '60s'";

/// A pool of connections to PostgreSQL 15 or later.
#[derive(Debug, Clone)]
pub struct PostgresLedger {
    pub(super) pool: PgPool,
    pub(super) max_devices_per_user: NonZeroU32,
}

impl PostgresLedger {
    pub(super) async fn connect(url: &str, options: LedgerOptions) -> Result<Self, LedgerError> {
        let unusable = |error: sqlx::Error| LedgerError::Address(error.to_string());
        let connect = PgConnectOptions::from_str(url)
            .map_err(unusable)?
            // For whoever looks into pg_stat_activity at night.
            .application_name("bellwether")
            // A few dozen, and two for each of the registry's 64 partitions: none is prepared twice.
            .statement_cache_capacity(256)
            // Statements carry no values, but a line for each would drown what matters.
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.acquire_timeout)
            // One ping less for every request; a connection that died shows as a transient error.
            .test_before_acquire(false)
            // Spare connections are given back after a burst.
            .idle_timeout(Duration::from_mins(5))
            // So that a fail-over or a new password is followed within half an hour.
            .max_lifetime(Duration::from_mins(30))
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SESSION).await.map(drop) })
            })
            .connect_with(connect)
            .await?;
        Ok(Self { pool, max_devices_per_user: options.max_devices_per_user })
    }
}

/// Waits until nobody else appends to the audit. A statement of its own: the next one must see what whoever
/// held the lock before has committed.
pub(super) async fn lock_audit(connection: &mut PgConnection) -> Result<(), LedgerError> {
    sqlx::query("select pg_advisory_xact_lock($1)").bind(AUDIT_LOCK).execute(connection).await?;
    Ok(())
}
