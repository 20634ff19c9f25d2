//! What can go wrong at the ledger, and whether asking again can help.

use std::{fmt, time::Duration};

/// The ledger could not answer.
///
/// It keeps the database's code and message, not the driver's error: PostgreSQL's details quote whole
/// rows, and a device's row has a token (I12).
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The address is none that the ledger knows.
    #[error("the ledger's address is not usable: {0}; expected postgres://… or sqlite:<path>")]
    Address(String),
    /// The database is away, or said no.
    #[error("the ledger's database: {message}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Database {
        /// The database's own code: an SQLSTATE, or SQLite's number.
        code: Option<String>,
        /// Its message, without the details.
        message: String,
        /// See [`LedgerError::is_transient`].
        transient: bool,
    },
    /// A row that makes no sense. Nothing is guessed in its place.
    #[error("{table} {id} makes no sense: {why}")]
    Nonsense {
        /// Which table.
        table: &'static str,
        /// Which row.
        id: String,
        /// What is wrong with it.
        why: String,
    },
    /// A migration failed, or the database has a history that this program does not know.
    #[error("migrating the ledger: {0}")]
    Migrate(String),
}

impl LedgerError {
    /// True if the same request may succeed later without anybody mending anything: connection lost, server
    /// starting or stopping, no connection free, deadlock, serialization failure, a lock held too long.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Database { transient: true, .. })
    }

    /// True if the error is about what was asked, so that the same request fails for ever, and another may succeed.
    /// Everything else is about the ledger: whoever holds work waits, also where somebody has to mend something (a
    /// password, a permission), rather than give up the work.
    #[must_use]
    pub fn is_about_the_request(&self) -> bool {
        match self {
            Self::Database { code: Some(code), transient: false, .. } => code_blames_the_request(code),
            // Without a code it is the driver that could not say or understand something.
            Self::Database { transient, .. } => !transient,
            Self::Nonsense { .. } => true,
            Self::Address(_) | Self::Migrate(_) => false,
        }
    }

    /// There was no answer for so long that the ledger counts as away. What was asked may have happened.
    pub(crate) fn no_answer(within: Duration) -> Self {
        Self::Database { code: None, message: format!("no answer within {within:?}"), transient: true }
    }

    /// True if a row with the same key is there already.
    pub(super) fn is_key_taken(&self) -> bool {
        // PostgreSQL: unique_violation. SQLite: SQLITE_CONSTRAINT_PRIMARYKEY.
        matches!(self, Self::Database { code: Some(code), .. } if code == "23505" || code == "1555")
    }

    pub(super) fn nonsense(table: &'static str, id: impl fmt::Display, why: impl Into<String>) -> Self {
        let id = format!("{id}");
        Self::Nonsense { table, id, why: why.into() }
    }
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        let transient = match &error {
            sqlx::Error::Database(_) => code.as_deref().is_some_and(code_is_transient),
            // The connection broke in the middle (of a TLS handshake, too), or none could be had. A worker crash is
            // SQLite's thread.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        Self::Database { code: code.map(Into::into), message: error.to_string(), transient }
    }
}

impl From<sqlx::migrate::MigrateError> for LedgerError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Migrate(other.to_string()),
        }
    }
}

/// PostgreSQL: appendix A of its manual. SQLite: "Result and Error Codes"; the low byte is the kind.
fn code_is_transient(code: &str) -> bool {
    const SQLITE_BUSY: u32 = 5;
    const SQLITE_LOCKED: u32 = 6;
    const SQLITE_FULL: u32 = 13;
    match code {
        // serialization failure, deadlock, lock not available, statement timeout, read-only after a failover, and a
        // transaction that the server ended because this process was asleep
        "40001" | "40P01" | "55P03" | "57014" | "25006" | "25P03" | "25P04" => true,
        // connection exceptions; out of connections, memory or disk; shutting down or starting
        _ if code.len() == 5 => ["08", "53", "57P"].iter().any(|class| code.starts_with(class)),
        _ => code
            .parse()
            .is_ok_and(|code: u32| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED | SQLITE_FULL)),
    }
}

/// PostgreSQL: data exceptions, broken constraints, program limits. SQLite: too big, constraint, mismatch.
fn code_blames_the_request(code: &str) -> bool {
    match code {
        _ if code.len() == 5 => ["22", "23", "54"].iter().any(|class| code.starts_with(class)),
        _ => code.parse().is_ok_and(|code: u32| matches!(code & 0xff, 18..=20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_to_retry() {
        for code in ["40001", "40P01", "57P01", "57P03", "08006", "53300", "25P03", "5", "261", "517", "6"] {
            assert!(code_is_transient(code), "{code}");
        }
        for code in ["23505", "42501", "42P01", "22P02", "1", "19", "2067"] {
            assert!(!code_is_transient(code), "{code}");
        }
        assert!(LedgerError::from(sqlx::Error::PoolTimedOut).is_transient());
        assert!(!LedgerError::from(sqlx::Error::RowNotFound).is_transient());
    }

    #[test]
    fn only_an_error_about_the_request_condemns_it() {
        let error = |code: &str| {
            let (code, transient) = (Some(code.to_owned()), code_is_transient(code));
            LedgerError::Database { code, message: String::new(), transient }
        };
        for code in ["22021", "23514", "54000", "19", "2067"] {
            assert!(error(code).is_about_the_request(), "{code}");
        }
        // A wrong password, a missing permission, a database being restored: the jobs can wait for that.
        for code in ["28P01", "42501", "42P01", "3D000", "57P03", "XX000", "5", "26"] {
            assert!(!error(code).is_about_the_request(), "{code}");
        }
        assert!(!LedgerError::from(sqlx::Error::PoolTimedOut).is_about_the_request());
    }
}
