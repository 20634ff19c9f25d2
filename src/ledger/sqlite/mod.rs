//! The ledger on SQLite: embedded, one process at work, the whole service in it.

pub(super) mod devices;
pub(super) mod jobs;
pub(super) mod outbox;
pub(super) mod read;
pub(super) mod registrations;

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{LedgerError, LedgerOptions};

pub(super) static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// Milliseconds are what SQLite's clock gives.
pub(super) const NOW: &str = "select cast(round(unixepoch('subsec') * 1000) as integer) * 1000";

/// Takes the right to write at once: a transaction that reads first and writes later could otherwise find that
/// somebody else wrote in between, and SQLite would fail it rather than wait.
pub(super) const BEGIN: &str = "begin immediate";

/// An open SQLite file: one connection that writes, some that read.
#[derive(Debug, Clone)]
pub struct SqliteLedger {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) max_devices_per_user: NonZeroU32,
}

impl SqliteLedger {
    pub(super) async fn open(url: &str, options: LedgerOptions) -> Result<Self, LedgerError> {
        let unusable = |error: sqlx::Error| LedgerError::Address(error.to_string());
        let connect = SqliteConnectOptions::from_str(url)
            .map_err(unusable)?
            .create_if_missing(true)
            // Readers go on while one connection writes.
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk when it returns: a message is acknowledged on its word (I7).
            .synchronous(SqliteSynchronous::Full)
            // Another process (the command line) may write for a moment: wait for it rather than fail.
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let in_memory = url.starts_with("sqlite::memory:") || url.contains("mode=memory");
        // SQLite lets one connection write at a time; a second would only wait in its place. Never closed for
        // being idle or old: a database in memory would go with it.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(connect.clone())
            .await?;
        let readers = if in_memory {
            // Each connection to memory has a database of its own.
            writer.clone()
        } else {
            // A reader that writes would be a defect: SQLite refuses it.
            let reader = connect.pragma("query_only", "on");
            SqlitePoolOptions::new()
                .max_connections(options.max_connections)
                .acquire_timeout(options.acquire_timeout)
                .connect_with(reader)
                .await?
        };
        Ok(Self { writer, readers, max_devices_per_user: options.max_devices_per_user })
    }
}
