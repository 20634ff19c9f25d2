//! What the database intends to read for a selection.

use jiff::Timestamp;
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{Range, Selection, Users};
use crate::{
    audience::Select,
    ledger::{
        LedgerError,
        rows::instant,
        select::{Conditions, Engine, Looked},
        tx::Tx,
    },
    model::Bucket,
};

/// A part of the ring that stands for the others: the middle one of the registry's 64.
const TYPICAL: Range = Range::buckets(Bucket::COUNT / 2, Bucket::COUNT / 2 + Bucket::COUNT / 64 - 1);

/// How an audience's devices are come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadBy {
    /// Each member is looked up.
    Members,
    /// Through this index, which a condition serves.
    Index(String),
    /// Every device of the registry is read, and those that do not fit are thrown away.
    EveryDevice,
}

impl Selection<'_> {
    /// How a page of a freeze is read.
    pub(super) async fn read_by(&self, tx: &mut Tx, select: &Select) -> Result<ReadBy, LedgerError> {
        let index = match tx {
            Tx::Postgres(tx) => self.postgres_index(tx, select).await?,
            Tx::Sqlite(tx) => self.sqlite_index(tx, select).await?,
        };
        Ok(index.map_or(ReadBy::EveryDevice, ReadBy::Index))
    }

    /// How many devices PostgreSQL expects to find.
    pub(super) async fn expected(
        &self,
        connection: &mut PgConnection,
        select: &Select,
    ) -> Result<u64, LedgerError> {
        let mut query = QueryBuilder::<Postgres>::new("explain (format json) select from device where ");
        Conditions { query: &mut query, engine: Engine::Postgres, now: self.now }.push(
            self.app,
            Looked::Taken,
            select,
        );
        let plan = explained(query, connection).await?;
        plan["Plan Rows"]
            .as_u64()
            .ok_or_else(|| LedgerError::nonsense("device", "plan", "it expects no count"))
    }

    async fn postgres_index(
        &self,
        connection: &mut PgConnection,
        select: &Select,
    ) -> Result<Option<String>, LedgerError> {
        // A partition's index is known by the one of the whole table that it is a part of.
        const WHOLE: &str = "select w.relname::text from pg_inherits i join pg_class p on p.oid = i.inhrelid \
             join pg_class w on w.oid = i.inhparent where p.relname = $1 and p.relkind = 'i'";
        let mut query = QueryBuilder::<Postgres>::new("explain (format json) ");
        let mut conditions = Conditions { query: &mut query, engine: Engine::Postgres, now: self.now };
        self.push_page(&mut conditions, select, TYPICAL, Users::Untold);
        let plan = explained(query, connection).await?;
        let mut parts = Vec::new();
        indexes(&plan, &mut parts);
        for part in parts {
            let whole: Option<String> =
                sqlx::query_scalar(WHOLE).bind(&part).fetch_optional(&mut *connection).await?;
            if let Some(whole) = whole.filter(|whole| whole != "device_pkey") {
                return Ok(Some(whole));
            }
        }
        Ok(None)
    }

    async fn sqlite_index(
        &self,
        connection: &mut SqliteConnection,
        select: &Select,
    ) -> Result<Option<String>, LedgerError> {
        let mut query = QueryBuilder::<Sqlite>::new("explain query plan ");
        let mut conditions = Conditions { query: &mut query, engine: Engine::Sqlite, now: self.now };
        self.push_page(&mut conditions, select, TYPICAL, Users::Untold);
        for row in query.build().fetch_all(connection).await? {
            let step: String = row.try_get("detail")?;
            // The keys' own indexes have names that SQLite made up.
            let index = step.split_once("INDEX ").map(|(_, rest)| rest.split(' ').next().unwrap_or(rest));
            if let Some(index) = index.filter(|index| index.starts_with("device_")) {
                return Ok(Some(index.to_owned()));
            }
        }
        Ok(None)
    }
}

/// The topmost step of a plan.
async fn explained(
    mut query: QueryBuilder<'_, Postgres>,
    connection: &mut PgConnection,
) -> Result<serde_json::Value, LedgerError> {
    let row = query.build().fetch_one(connection).await?;
    let plan: String = row.try_get_unchecked(0)?;
    let mut plan: serde_json::Value =
        serde_json::from_str(&plan).map_err(|_| LedgerError::nonsense("device", "plan", "it is not JSON"))?;
    Ok(plan[0]["Plan"].take())
}

fn indexes(step: &serde_json::Value, into: &mut Vec<String>) {
    into.extend(step["Index Name"].as_str().map(str::to_owned));
    for inner in step["Plans"].as_array().into_iter().flatten() {
        indexes(inner, into);
    }
}

/// When the oldest statistics of the registry's parts were gathered; `None` if some that have devices never were.
pub(super) async fn statistics_gathered(
    connection: &mut PgConnection,
) -> Result<Option<Timestamp>, LedgerError> {
    const SQL: &str = "select case when bool_and(at is not null) then (min(extract(epoch from at)) * 1000000)::bigint end \
         from (select greatest(last_analyze, last_autoanalyze) as at from pg_stat_user_tables \
             where relname like 'device\\_p__' and n_live_tup > 0) t";
    let at: Option<i64> = sqlx::query_scalar(SQL).fetch_one(connection).await?;
    at.map(|at| instant("device", "statistics", at)).transpose()
}
