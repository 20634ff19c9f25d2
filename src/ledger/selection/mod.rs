//! Whom an audience finds: the one way in which a freeze, a count and an explanation ask the registry.
//!
//! The registry is read in the order of its keys, window of buckets by window. Within a window PostgreSQL may choose
//! between the key and an index by what each will find; over the whole ring, with an order and a limit, it would take the
//! key for everything but a single country, and throw most of what it reads away. For this it has to know the values, so
//! these statements are planned anew each time (a third of a millisecond).

/// A statement about devices, on whichever engine: what it begins with, a row of its answer, and its conditions.
macro_rules! ask {
    ($tx:expr, $now:expr, $start:expr, $row:ty, |$conditions:ident| $push:block) => {{
        use sqlx::{Postgres, QueryBuilder, Sqlite};
        use $crate::ledger::{
            select::{Conditions, Engine},
            tx::Tx,
        };
        match $tx {
            Tx::Postgres(tx) => {
                let mut query = QueryBuilder::<Postgres>::new($start);
                let mut $conditions = Conditions { query: &mut query, engine: Engine::Postgres, now: $now };
                $push
                query.build_query_as::<$row>().fetch_all(&mut **tx).await?
            }
            Tx::Sqlite(tx) => {
                let mut query = QueryBuilder::<Sqlite>::new($start);
                let mut $conditions = Conditions { query: &mut query, engine: Engine::Sqlite, now: $now };
                $push
                query.build_query_as::<$row>().fetch_all(&mut **tx).await?
            }
        }
    }};
}

mod change;
mod count;
mod explain;
mod plan;

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::Executor;

pub use change::Change;
pub use count::{AudienceCount, Basis, Estimate};
pub use explain::{Explanation, LeftOut, Shares};
pub use plan::ReadBy;

use super::{
    LedgerError,
    rows::column,
    select::{Builds, Conditions, Looked},
    tx::{Tx, Wanted},
};
use crate::{
    audience::{Audience, Class, Select, Who},
    model::{AppId, Bucket, Environment, FrozenDevice, RecordId, UserId},
};

/// Members that are looked up with one statement.
const MEMBERS: usize = 500;

/// Buckets of the first window: of five million devices 32,000, which is less than a step of a freeze takes.
const FIRST_WINDOW: u16 = 64;

/// The registry is partitioned by the same bounds on PostgreSQL: one statement, one partition.
const PARTITIONS: u16 = 64;

/// A device that an audience finds, with its owner where that is asked.
pub(super) struct Found {
    pub(super) key: FrozenDevice,
    pub(super) user: String,
}

/// A range of the registry: from `from` on, behind row number `after` in that bucket, up to and with `to`.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub(super) from: u16,
    pub(super) after: i64,
    pub(super) to: u16,
    pub(super) limit: usize,
}

impl Range {
    pub(super) const ALL: Self = Self::buckets(0, Bucket::COUNT - 1);

    /// Whole buckets.
    pub(super) const fn buckets(from: u16, to: u16) -> Self {
        Self { from, after: i64::MIN, to, limit: usize::MAX }
    }

    /// The ring in as many parts as the registry has.
    fn parts() -> impl Iterator<Item = Self> {
        let bound = |part: u16| {
            let bound = u32::from(part) * u32::from(Bucket::COUNT) / u32::from(PARTITIONS);
            u16::try_from(bound).expect("buckets end at 9,999")
        };
        (0..PARTITIONS).map(move |part| Self::buckets(bound(part), bound(part + 1) - 1))
    }

    fn has(&self, key: FrozenDevice) -> bool {
        let (bucket, record) = (key.bucket.get(), key.record.get());
        (bucket > self.from || bucket == self.from && record > self.after) && bucket <= self.to
    }
}

/// An audience at an instant.
#[derive(Clone, Copy)]
pub(super) struct Selection<'a> {
    pub(super) audience: &'a Audience,
    pub(super) app: &'a AppId,
    pub(super) builds: Builds,
    pub(super) now: Timestamp,
}

impl<'a> Selection<'a> {
    /// As a campaign of this audience's own takes it.
    pub(super) fn of(audience: &'a Audience, now: Timestamp) -> Self {
        Self { audience, app: audience.app(), builds: builds(audience.class), now }
    }

    /// Its devices in a range, in order.
    pub(super) async fn read(
        &self,
        tx: &mut Tx,
        range: Range,
        users: Users,
    ) -> Result<Vec<Found>, LedgerError> {
        match &self.audience.who {
            Who::Members(members) => self.read_members(tx, members, range).await,
            Who::Select(select) => self.read_selected(tx, select, range, users).await,
        }
    }

    async fn read_members(
        &self,
        tx: &mut Tx,
        members: &BTreeSet<UserId>,
        range: Range,
    ) -> Result<Vec<Found>, LedgerError> {
        let members: Vec<&UserId> = members.iter().collect();
        let mut found = Vec::new();
        for some in members.chunks(MEMBERS) {
            let users = some.iter().map(|user| (0, self.app, *user)).collect();
            let wanted = Wanted { users, devices: Vec::new() };
            for (_, device) in tx.find(&wanted).await? {
                let key = FrozenDevice { bucket: device.bucket, record: device.record };
                let is_rung = device.environment == Environment::Production || self.builds == Builds::All;
                if range.has(key) && is_rung {
                    found.push(Found { key, user: device.user.as_str().to_owned() });
                }
            }
        }
        found.sort_by_key(|found| found.key);
        found.truncate(range.limit);
        Ok(found)
    }

    async fn read_selected(
        &self,
        tx: &mut Tx,
        select: &Select,
        range: Range,
        users: Users,
    ) -> Result<Vec<Found>, LedgerError> {
        plan_for_values(tx).await?;
        let mut found = Vec::new();
        let (mut from, mut after, mut width) = (range.from, range.after, FIRST_WINDOW);
        loop {
            let to = from.saturating_add(width - 1).min(range.to);
            let left = range.limit - found.len();
            let window = Range { from, after, to, limit: left };
            let page = self.page(tx, select, window, users).await?;
            let (is_sparse, is_full) = (page.len() < left / 4, page.len() == left);
            found.extend(page);
            if is_full || to == range.to {
                return Ok(found);
            }
            (from, after) = (to + 1, i64::MIN);
            // Few were found: look further at once.
            width = if is_sparse { width.saturating_mul(4) } else { width };
        }
    }

    async fn page(
        &self,
        tx: &mut Tx,
        select: &Select,
        window: Range,
        users: Users,
    ) -> Result<Vec<Found>, LedgerError> {
        let rows = ask!(tx, self.now, "", (i16, i64, String), |conditions| {
            self.push_page(&mut conditions, select, window, users);
        });
        rows.into_iter().map(|(bucket, id, user)| Ok(Found { key: key(bucket, id)?, user })).collect()
    }

    /// The statement of a page.
    fn push_page<'q, DB>(
        &self,
        conditions: &mut Conditions<'_, 'q, DB>,
        select: &Select,
        window: Range,
        users: Users,
    ) where
        DB: sqlx::Database,
        String: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
        i64: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
        f64: sqlx::Encode<'q, DB> + sqlx::Type<DB>,
    {
        let user = match users {
            Users::Told => "user_id",
            Users::Untold => "''",
        };
        conditions.query.push("select bucket, id, ").push(user).push(" from device where ");
        conditions.push(self.app, Looked::Taken, select);
        conditions.push_part(window);
        let query = &mut *conditions.query;
        query.push(" and (bucket, id) > (").push_bind(i64::from(window.from));
        query.push(", ").push_bind(window.after).push(") order by bucket, id limit ");
        query.push_bind(i64::try_from(window.limit).unwrap_or(i64::MAX));
    }
}

/// Whether owners are read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Users {
    Told,
    Untold,
}

/// Testers' phones may run development builds; everybody else's come from the store.
pub(super) fn builds(class: Class) -> Builds {
    match class {
        Class::Test => Builds::All,
        Class::Internal | Class::Production => Builds::Store,
    }
}

fn key(bucket: i16, id: i64) -> Result<FrozenDevice, LedgerError> {
    let bucket = u16::try_from(bucket).ok().and_then(Bucket::new);
    let bucket = column("device", id, "bucket", bucket.ok_or(()))?;
    Ok(FrozenDevice { bucket, record: RecordId::new(id) })
}

/// For the rest of the transaction. Elsewhere a statement is planned once for all values; here the values decide.
async fn plan_for_values(tx: &mut Tx) -> Result<(), LedgerError> {
    if let Tx::Postgres(tx) = tx {
        tx.execute("set local plan_cache_mode = force_custom_plan").await?;
    }
    Ok(())
}
