//! The ledger: who was sent what, with which result. The only truth about jobs, devices and halts.
//!
//! - **I7 nothing-lost**: a broker message is acknowledged only after [`Ledger::commit_direct`] has
//!   answered for it.
//! - **I2 no-send-without-permit**: [`Started`] is the ledger's half of a permit. It borrows from the
//!   [`OpenJob`] whose intent is on record, one for each device, and can be taken once.
//!
//! Two engines, one enum: PostgreSQL for real use, SQLite for the demo, tests and trying out. Both pass the same
//! conformance suite.
//!
//! What is decided (merging a try into the record, what an end means, the audit chain) is written once, over
//! one transaction type; the folders `postgres` and `sqlite` only carry it out. Instants are microseconds
//! since 1970 in both, so that one row type and one SQL text serve both and no session's time zone can matter;
//! "now" is always the database's.

mod audit;
mod campaigns;
mod commit;
mod days;
mod deferred;
mod deliveries;
mod devices;
mod direct;
mod erasure;
mod error;
mod halts;
mod idempotency;
mod import;
mod importer;
mod jobs;
mod leases;
mod notices;
mod open;
mod operators;
mod outbox;
mod policies;
mod postgres;
mod reach;
mod read;
mod register;
mod registrations;
mod retention;
mod rows;
mod select;
mod selection;
mod shadows;
mod sqlite;
mod stored;
mod tx;

#[cfg(test)]
mod conformance;

use std::{num::NonZeroU32, time::Duration};

use jiff::Timestamp;

pub use audit::{AuditEntry, AuditFilter, AuditHead, Broken, BrokenWhy, NoHead, Verification, follow};
pub use campaigns::{
    AcceptedPeak, Approval, Asked, CampaignRecord, Claim, Claimable, Deposed, Exchange, Exchanged,
    FindingRecord, FreezeProgress, FreezeSource, Halfway, LateTail, NewCampaign, NoIntent, NotAccepted,
    NotProven, OpenSegment, OverBecause, Paced, PastAsk, ProofRecord, Reached, RolloutLine, RolloutRecord,
    Ruled, Ruling, SeenDownstream, SegmentAsk, SegmentEnd, StageCount, StageProgress, Submitted, Tally, Verb,
    VerbRefused,
};
pub use deliveries::{Delivery, DeliveryPage, Whose, as_told};
pub use devices::{DeviceCount, DeviceRecord};
pub use direct::{
    DeferredJob, DirectAnswer, DirectAsk, DirectRead, FinishedJob, NotDue, NotStarted, OpenJob, OpenRequest,
    Pointer, PriorJob, RefusedJob, Started, TargetOutcome, Validity,
};
pub use erasure::Erasure;
pub use error::LedgerError;
pub use halts::{Halt, HaltScope, Lift, UnknownScope};
pub use idempotency::KeyUse;

pub use days::{Day, DayAsk, DayLease};
pub use import::{DeviceFormat, DeviceReader, RefusedLine};
pub use importer::{ImportProgress, ImportStopped, Importer};
pub use jobs::{Cancelling, JobRecord, TargetRecord};
pub use leases::{LeaseAsk, LeaseKey};
pub use notices::Untold;
pub use operators::{
    Authenticated, Issuer, MintedToken, NewOperatorToken, NotAuthentic, NotConfirmed, NotIssued, TokenId,
    TokenRecord,
};
pub use outbox::Outgoing;
pub use policies::{Activation, PolicyInForce, PolicyProposal};
pub use postgres::PostgresLedger;
pub use reach::{BroadcastStop, ReachAsk};
pub use register::ImportCounts;
pub use registrations::{Applied, AppliedBatch};
pub use retention::Forgotten;
pub use selection::{AudienceCount, Basis, Change, Estimate, Explanation, LeftOut, ReadBy, Shares};
pub use shadows::{LONGEST_SHADOW, Shadow};
pub use sqlite::SqliteLedger;
pub use stored::JobState;

/// The store behind the service. Cheap to clone: a pool.
#[derive(Debug, Clone)]
pub enum Ledger {
    /// For real use.
    Postgres(PostgresLedger),
    /// Embedded, one process: the demo, tests, trying out.
    Sqlite(SqliteLedger),
}

/// How the ledger connects, and what it keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Most connections of this process. A batch needs one for its read and one for its commit, and a few
    /// batches overlap; PostgreSQL pays for each, so few are better than many.
    pub max_connections: u32,
    /// How long to wait for a free connection or for the server before the request fails as transient: the
    /// caller then stops consuming, rather than queueing here.
    pub acquire_timeout: Duration,
    /// Most live devices of one person and app. Whatever brings one more makes the one gone that was not seen for longest.
    pub max_devices_per_user: NonZeroU32,
}

/// More than a person owns, with reinstallations; few enough that one job to a person stays one job.
pub const MAX_DEVICES_PER_USER: NonZeroU32 = NonZeroU32::new(20).expect("not zero");

impl Default for LedgerOptions {
    fn default() -> Self {
        Self {
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
            max_devices_per_user: MAX_DEVICES_PER_USER,
        }
    }
}

/// The same query on whichever engine's pool: a read that needs no transaction.
macro_rules! on_pool {
    ($ledger:expr, $pool:ident => $query:expr) => {
        match $ledger {
            $crate::ledger::Ledger::Postgres(store) => {
                let $pool = &store.pool;
                $query
            }
            $crate::ledger::Ledger::Sqlite(store) => {
                let $pool = &store.readers;
                $query
            }
        }
    };
}
use on_pool;

impl Ledger {
    /// Connects to `postgres://…` (`sslmode` and `sslrootcert` are honoured) or opens `sqlite:<path>`, which is
    /// created if it is not there; `sqlite::memory:` lasts as long as the value.
    pub async fn connect(url: &str, options: LedgerOptions) -> Result<Self, LedgerError> {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                PostgresLedger::connect(url, options).await.map(Self::Postgres)
            }
            Some(("sqlite", _)) => SqliteLedger::open(url, options).await.map(Self::Sqlite),
            // The address may hold a password: only its scheme is quoted.
            Some((scheme, _)) => Err(LedgerError::Address(format!("unknown scheme {scheme:?}"))),
            None => Err(LedgerError::Address("it has no scheme".to_owned())),
        }
    }

    /// Brings the schema up to date. On PostgreSQL this is for the role that owns the tables.
    pub async fn migrate(&self) -> Result<(), LedgerError> {
        match self {
            Self::Postgres(store) => Ok(postgres::MIGRATOR.run(&store.pool).await?),
            Self::Sqlite(store) => Ok(sqlite::MIGRATOR.run(&store.writer).await?),
        }
    }

    /// True if every migration of this program has been applied. If not, `bellwether migrate` is to be run
    /// before anything else; a schema that is ahead (during an upgrade) is accepted: migrations expand first.
    pub async fn schema_is_current(&self) -> Result<bool, LedgerError> {
        const SQL: &str = "select count(*) from _sqlx_migrations where success and version <= $1";
        let table_exists: bool = match self {
            Self::Postgres(store) => {
                let sql = "select to_regclass('_sqlx_migrations') is not null";
                sqlx::query_scalar(sql).fetch_one(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let sql = "select exists (select 1 from sqlite_master where name = '_sqlx_migrations')";
                sqlx::query_scalar(sql).fetch_one(&store.readers).await?
            }
        };
        if !table_exists {
            return Ok(false);
        }
        let migrator = match self {
            Self::Postgres(_) => &postgres::MIGRATOR,
            Self::Sqlite(_) => &sqlite::MIGRATOR,
        };
        let newest = migrator.iter().map(|migration| migration.version).max().unwrap_or(0);
        let applied: i64 =
            on_pool!(self, pool => sqlx::query_scalar(SQL).bind(newest).fetch_one(pool).await?);
        Ok(usize::try_from(applied).is_ok_and(|applied| applied >= migrator.iter().count()))
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), LedgerError> {
        self.now().await.map(drop)
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<Timestamp, LedgerError> {
        let now: i64 = match self {
            Self::Postgres(store) => sqlx::query_scalar(postgres::NOW).fetch_one(&store.pool).await?,
            Self::Sqlite(store) => sqlx::query_scalar(sqlite::NOW).fetch_one(&store.readers).await?,
        };
        rows::instant("clock", "now", now)
    }

    /// Ends every connection; what is in flight is finished first.
    pub async fn close(&self) {
        match self {
            Self::Postgres(store) => store.pool.close().await,
            Self::Sqlite(store) => {
                store.readers.close().await;
                store.writer.close().await;
            }
        }
    }

    /// Begins a transaction that reads: everything in it is of one instant.
    async fn begin_reading(&self) -> Result<tx::Tx, LedgerError> {
        Ok(match self {
            Self::Postgres(store) => tx::Tx::Postgres(store.pool.begin_with(postgres::BEGIN_READING).await?),
            Self::Sqlite(store) => tx::Tx::Sqlite(store.readers.begin().await?),
        })
    }

    /// How many live devices of one app a person may have.
    const fn max_devices_per_user(&self) -> NonZeroU32 {
        match self {
            Self::Postgres(store) => store.max_devices_per_user,
            Self::Sqlite(store) => store.max_devices_per_user,
        }
    }

    /// Begins a transaction that writes.
    async fn begin(&self) -> Result<tx::Tx, LedgerError> {
        Ok(match self {
            Self::Postgres(store) => tx::Tx::Postgres(store.pool.begin().await?),
            Self::Sqlite(store) => tx::Tx::Sqlite(store.writer.begin_with(sqlite::BEGIN).await?),
        })
    }
}
