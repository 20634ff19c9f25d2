//! One transaction on either engine: what is decided once, above, is carried out by both.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use sqlx::{Postgres, Sqlite, Transaction};

use super::{
    LedgerError,
    audit::{AuditEntry, AuditHead},
    halts::{Halt, HaltRow},
    postgres,
    register::KeyedDevice,
    rows::{DeviceRow, JobRow, instant, micros},
    sqlite,
    stored::Stored,
};
use crate::model::{
    AppId, Bucket, Device, DeviceId, Digest, Event, JobKey, NewDevice, OutcomeCode, Reason, UserId,
};

/// How long a job's key is kept after its end; then a producer may use it for another job.
pub(super) const KEY_KEPT: Duration = Duration::from_hours(30 * 24);

/// A transaction that writes. Dropped without [`Tx::commit`], nothing happened.
pub(super) enum Tx {
    Postgres(Transaction<'static, Postgres>),
    Sqlite(Transaction<'static, Sqlite>),
}

/// The same statement on whichever engine.
macro_rules! on_either {
    ($tx:expr, $connection:ident => $statement:expr) => {
        match $tx {
            $crate::ledger::tx::Tx::Postgres(tx) => {
                let $connection = &mut **tx;
                $statement
            }
            $crate::ledger::tx::Tx::Sqlite(tx) => {
                let $connection = &mut **tx;
                $statement
            }
        }
    };
}
pub(super) use on_either;

/// A device whose token its provider called dead.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) device: DeviceId,
    /// The provider's instant; a registration since then wins.
    pub(super) since: Option<Timestamp>,
}

/// A word for a failure.
#[derive(Debug)]
pub(super) struct Word<'a> {
    pub(super) key: &'a JobKey,
    pub(super) position: usize,
    pub(super) code: OutcomeCode,
    pub(super) reason: Reason,
}

impl Word<'_> {
    /// The position as both engines store it.
    pub(super) fn stored_position(&self) -> i32 {
        i32::try_from(self.position).unwrap_or(i32::MAX)
    }
}

/// Who is looked for in the registry, and for which of a batch's jobs.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) users: Vec<(usize, &'a AppId, &'a UserId)>,
    pub(super) devices: Vec<(usize, &'a AppId, DeviceId)>,
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), LedgerError> {
        match self {
            Self::Postgres(tx) => tx.commit().await?,
            Self::Sqlite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    /// The database's clock.
    pub(super) async fn now(&mut self) -> Result<Timestamp, LedgerError> {
        let now: i64 = match self {
            Self::Postgres(tx) => sqlx::query_scalar(postgres::NOW).fetch_one(&mut **tx).await?,
            Self::Sqlite(tx) => sqlx::query_scalar(sqlite::NOW).fetch_one(&mut **tx).await?,
        };
        instant("clock", "now", now)
    }

    /// Inserts the jobs whose keys are free (or were given up more than [`KEY_KEPT`] ago), and says which.
    /// No key may stand in `jobs` twice.
    pub(super) async fn insert_jobs(
        &mut self,
        jobs: &[Stored],
        now: Timestamp,
    ) -> Result<Vec<bool>, LedgerError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<JobRow> = jobs.iter().map(JobRow::from).collect();
        let freed = micros(now.checked_sub(KEY_KEPT).unwrap_or(Timestamp::MIN));
        match self {
            Self::Postgres(tx) => postgres::jobs::insert(tx, &rows, freed).await,
            Self::Sqlite(tx) => sqlite::jobs::insert(tx, &rows, freed).await,
        }
    }

    /// Inserts jobs of which none is on record; if one is, the whole transaction fails with
    /// [`LedgerError::is_key_taken`].
    pub(super) async fn insert_new_jobs(&mut self, jobs: &[Stored]) -> Result<(), LedgerError> {
        let rows: Vec<JobRow> = jobs.iter().map(JobRow::from).collect();
        match self {
            _ if rows.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::jobs::insert_new(tx, &rows).await,
            Self::Sqlite(tx) => sqlite::jobs::insert_new(tx, &rows).await,
        }
    }

    /// Reads jobs and holds their rows until the transaction ends.
    pub(super) async fn lock_jobs(
        &mut self,
        keys: &[&JobKey],
    ) -> Result<HashMap<JobKey, Stored>, LedgerError> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = match self {
            Self::Postgres(tx) => postgres::jobs::lock(tx, keys).await?,
            Self::Sqlite(tx) => sqlite::jobs::read(tx, keys).await?,
        };
        let keyed = |row| Stored::try_from(row).map(|stored| (stored.key.clone(), stored));
        rows.into_iter().map(keyed).collect()
    }

    /// Writes back jobs that [`Tx::lock_jobs`] read.
    pub(super) async fn update_jobs(&mut self, jobs: &[&Stored]) -> Result<(), LedgerError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let rows: Vec<JobRow> = jobs.iter().map(|job| JobRow::from(*job)).collect();
        match self {
            Self::Postgres(tx) => postgres::jobs::update(tx, &rows).await,
            Self::Sqlite(tx) => sqlite::jobs::update(tx, &rows).await,
        }
    }

    /// Keeps the words for failures; a later word about the same device replaces the earlier.
    pub(super) async fn write_words(
        &mut self,
        words: &[Word<'_>],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        match self {
            _ if words.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::jobs::write_words(tx, words, now).await,
            Self::Sqlite(tx) => sqlite::jobs::write_words(tx, words, now).await,
        }
    }

    /// Marks devices gone unless they were registered again since, and frees their tokens.
    pub(super) async fn mark_gone(&mut self, gone: &[Gone], now: Timestamp) -> Result<(), LedgerError> {
        match self {
            _ if gone.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::devices::mark_gone(tx, gone, now).await,
            Self::Sqlite(tx) => sqlite::devices::mark_gone(tx, gone, now).await,
        }
    }

    /// Puts events into the outbox, in order.
    pub(super) async fn tell(&mut self, events: &[Event]) -> Result<(), LedgerError> {
        match self {
            _ if events.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::outbox::insert(tx, events).await,
            Self::Sqlite(tx) => sqlite::outbox::insert(tx, events).await,
        }
    }

    /// Every halt.
    pub(super) async fn halts(&mut self) -> Result<Vec<Halt>, LedgerError> {
        const SQL: &str = "select scope, actor, reason, at, lift_asked_by from halt order by at, scope";
        let rows: Vec<HaltRow> = on_either!(self, c => sqlx::query_as(SQL).fetch_all(c).await?);
        rows.into_iter().map(Halt::try_from).collect()
    }

    /// The live devices of those who are wanted, each with the number of its ask.
    pub(super) async fn find(&mut self, wanted: &Wanted<'_>) -> Result<Vec<(usize, Device)>, LedgerError> {
        let rows = match self {
            Self::Postgres(tx) => postgres::devices::find(tx, wanted).await?,
            Self::Sqlite(tx) => sqlite::devices::find(tx, wanted).await?,
        };
        let found = |(ask, row): (usize, DeviceRow)| Ok((ask, Device::try_from(row)?));
        rows.into_iter().map(found).collect()
    }

    /// Claims the tokens for their new owners: `None` where a token had no owner, else the device that had it.
    pub(super) async fn claim_tokens(
        &mut self,
        batch: &[(Digest, &NewDevice)],
    ) -> Result<Vec<Option<DeviceId>>, LedgerError> {
        match self {
            Self::Postgres(tx) => postgres::devices::claim_tokens(tx, batch).await,
            Self::Sqlite(tx) => sqlite::devices::claim_tokens(tx, batch).await,
        }
    }

    /// Claims tokens that are believed to have no owner, in the order of their keys. If one has,
    /// [`LedgerError::is_key_taken`], and nothing is left of the transaction.
    pub(super) async fn claim_free_tokens(
        &mut self,
        batch: &[KeyedDevice],
    ) -> Result<Vec<Option<DeviceId>>, LedgerError> {
        match self {
            Self::Postgres(tx) => {
                postgres::copy::claim_free_tokens(tx, batch).await?;
                Ok(vec![None; batch.len()])
            }
            Self::Sqlite(tx) => sqlite::devices::claim_tokens(tx, &pairs(batch)).await,
        }
    }

    /// Writes devices that are believed never to have been. If one was, [`LedgerError::is_key_taken`], and nothing
    /// is left of the transaction.
    pub(super) async fn register_new(
        &mut self,
        batch: Vec<&KeyedDevice>,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        match self {
            _ if batch.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::copy::register_new(tx, batch, now).await,
            Self::Sqlite(tx) => sqlite::devices::register(tx, &pairs(batch), now).await,
        }
    }

    /// Writes the devices as registered now.
    pub(super) async fn register(
        &mut self,
        batch: &[(Digest, &NewDevice)],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        match self {
            _ if batch.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::devices::register(tx, batch, now).await,
            Self::Sqlite(tx) => sqlite::devices::register(tx, batch, now).await,
        }
    }

    /// Marks devices gone that lost their token to another user.
    pub(super) async fn retire(&mut self, devices: &[DeviceId], now: Timestamp) -> Result<(), LedgerError> {
        match self {
            _ if devices.is_empty() => Ok(()),
            Self::Postgres(tx) => postgres::devices::retire(tx, devices, now).await,
            Self::Sqlite(tx) => sqlite::devices::retire(tx, devices, now).await,
        }
    }

    /// Adds an entry to the audit chain. From here to the commit nobody else can: do it last.
    pub(super) async fn append_audit(
        &mut self,
        at: Timestamp,
        actor: &str,
        kind: &str,
        body: &serde_json::Value,
    ) -> Result<AuditHead, LedgerError> {
        const HEAD: &str = "select seq, hash from audit order by seq desc limit 1";
        const APPEND: &str = "insert into audit (seq, at, actor, kind, body, prev, hash) \
                              values ($1, $2, $3, $4, $5, $6, $7)";
        if let Self::Postgres(tx) = self {
            postgres::lock_audit(tx).await?;
        }
        let head: Option<(i64, Vec<u8>)> =
            on_either!(self, c => sqlx::query_as(HEAD).fetch_optional(c).await?);
        let head = head.map(AuditHead::try_from).transpose()?.unwrap_or(AuditHead::GENESIS);
        let entry = AuditEntry::after(head, at, actor, kind, body.to_string());
        on_either!(self, c => {
            sqlx::query(APPEND)
                .bind(entry.sequence)
                .bind(micros(entry.at))
                .bind(&entry.actor)
                .bind(&entry.kind)
                .bind(&entry.body)
                .bind(&entry.prev.as_bytes()[..])
                .bind(&entry.hash.as_bytes()[..])
                .execute(c)
                .await?;
        });
        Ok(AuditHead { sequence: entry.sequence, hash: entry.hash })
    }
}

impl Tx {
    /// "is one of the numbers of this list", where the list is bound as [`json_list`].
    pub(super) fn among(&self, parameter: &str) -> String {
        match self {
            Self::Postgres(_) => {
                format!("= any(array(select json_array_elements_text({parameter}::json)::int))")
            }
            Self::Sqlite(_) => format!("in (select value from json_each({parameter}))"),
        }
    }
}

fn pairs<'a>(batch: impl IntoIterator<Item = &'a KeyedDevice>) -> Vec<(Digest, &'a NewDevice)> {
    batch.into_iter().map(|new| (new.key, &new.device)).collect()
}

/// Numbers as one bound value, whatever the engine.
pub(super) fn json_list(numbers: &[i32]) -> String {
    serde_json::to_string(numbers).expect("numbers have a JSON form")
}

/// A bucket as both engines store it.
pub(super) fn stored_bucket(bucket: Bucket) -> i16 {
    i16::try_from(bucket.get()).expect("buckets end at 9,999")
}

/// A device's key in the registry: the bucket that its id begins with, and the id. A device id that was not
/// made here begins with no bucket, and is found nowhere: bucket -1.
pub(super) fn stored_device(device: DeviceId) -> (i16, uuid::Uuid) {
    (device.bucket().map_or(-1, stored_bucket), device.as_uuid())
}
