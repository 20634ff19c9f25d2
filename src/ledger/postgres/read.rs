//! The batch's read on PostgreSQL: one statement, one snapshot, one round trip.

use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::devices::WantedColumns;
use crate::{
    ledger::{
        LedgerError,
        read::Snapshot,
        rows::{DeviceRow, PriorRow},
        tx::Wanted,
    },
    model::JobKey,
};

/// Four questions in one statement; `kind` tells the answers apart. `$3` is how long a key is kept.
///
/// `offset 0` keeps the planner from turning the lookups into joins that read whole tables: each row of the
/// arrays is looked up by index, in the one partition that its bucket names.
const READ: &str = "\
    with clock as materialized (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now) \
    select 0::smallint as kind, 0 as ask, null::text as word, null::bytea as digest, now as at, \
        null::bigint as id, null::uuid as public_id, null::smallint as bucket, null::text as user_id, \
        null::text as app, null::text as platform, null::text as environment, null::text as token, \
        null::text as language \
    from clock \
    union all \
    select 1::smallint, 0, scope, null, null, null, null, null, null, null, null, null, null, null from halt \
    union all \
    select 2::smallint, k.n::int - 1, j.state, j.digest, null, null, null, null, null, null, null, null, null, null \
    from unnest($1::text[], $2::text[]) with ordinality k (producer, job_id, n) \
    cross join lateral ( \
        select state, digest from direct_job d where d.producer = k.producer and d.job_id = k.job_id \
            and (d.finished_at is null or d.finished_at >= (select now from clock) - $3) offset 0) j \
    union all \
    select 3::smallint, u.ask, null, null, d.registered_at, d.id, d.public_id, d.bucket, d.user_id, d.app, \
        d.platform, d.environment, d.token, d.language \
    from unnest($4::int[], $5::smallint[], $6::text[], $7::text[]) u (ask, bucket, app, user_id) \
    cross join lateral ( \
        select * from device d where d.bucket = u.bucket and d.user_id = u.user_id and d.app = u.app \
            and d.gone_at is null offset 0) d \
    union all \
    select 3::smallint, u.ask, null, null, d.registered_at, d.id, d.public_id, d.bucket, d.user_id, d.app, \
        d.platform, d.environment, d.token, d.language \
    from unnest($8::int[], $9::smallint[], $10::text[], $11::uuid[]) u (ask, bucket, app, public_id) \
    cross join lateral ( \
        select * from device d where d.bucket = u.bucket and d.public_id = u.public_id and d.app = u.app \
            and d.gone_at is null offset 0) d";

/// One line of the answer: which columns are filled follows from `kind`.
#[derive(FromRow)]
struct Line {
    kind: i16,
    ask: i32,
    word: Option<String>,
    digest: Option<Vec<u8>>,
    at: Option<i64>,
    id: Option<i64>,
    public_id: Option<Uuid>,
    bucket: Option<i16>,
    user_id: Option<String>,
    app: Option<String>,
    platform: Option<String>,
    environment: Option<String>,
    token: Option<String>,
    language: Option<String>,
}

impl Line {
    fn device(self) -> Option<DeviceRow> {
        Some(DeviceRow {
            id: self.id?,
            public_id: self.public_id?,
            bucket: self.bucket?,
            user_id: self.user_id?,
            app: self.app?,
            platform: self.platform?,
            environment: self.environment?,
            token: self.token?,
            language: self.language,
            registered_at: self.at?,
            timezone: None,
        })
    }

    fn put_into(self, snapshot: &mut Snapshot) -> Option<()> {
        match self.kind {
            0 => snapshot.now = self.at?,
            1 => snapshot.halts.push(self.word?),
            2 => snapshot.priors.push(PriorRow {
                ask: self.ask,
                digest: self.digest?,
                finished: self.word? == "finished",
            }),
            _ => {
                let ask = usize::try_from(self.ask).ok()?;
                snapshot.devices.push((ask, self.device()?));
            }
        }
        Some(())
    }
}

pub(in crate::ledger) async fn snapshot(
    pool: &PgPool,
    keys: &[&JobKey],
    wanted: &Wanted<'_>,
    kept: i64,
) -> Result<Snapshot, LedgerError> {
    let WantedColumns { users, devices } = WantedColumns::of(wanted);
    let lines: Vec<Line> = sqlx::query_as(READ)
        .bind(keys.iter().map(|key| key.producer.as_str()).collect::<Vec<_>>())
        .bind(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
        .bind(kept)
        .bind(users.ask)
        .bind(users.bucket)
        .bind(users.app)
        .bind(users.id)
        .bind(devices.ask)
        .bind(devices.bucket)
        .bind(devices.app)
        .bind(devices.id)
        .fetch_all(pool)
        .await?;
    let mut snapshot = Snapshot::default();
    for line in lines {
        let kind = line.kind;
        line.put_into(&mut snapshot)
            .ok_or_else(|| LedgerError::nonsense("read", kind, "a column is empty"))?;
    }
    Ok(snapshot)
}
