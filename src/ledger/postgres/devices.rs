//! The registry on PostgreSQL.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        rows::{DeviceRow, json_text, micros},
        tx::{Gone, Wanted, stored_bucket, stored_device},
    },
    model::{Bucket, DeviceId, Digest, FrozenDevice, Locale, NewDevice, Tags},
};

/// Who is wanted, as the arrays that a statement takes.
pub(super) struct WantedColumns<'a> {
    pub(super) users: Columns<&'a str>,
    pub(super) devices: Columns<Uuid>,
}

pub(super) struct Columns<T> {
    pub(super) ask: Vec<i32>,
    pub(super) bucket: Vec<i16>,
    pub(super) app: Vec<String>,
    pub(super) id: Vec<T>,
}

impl<'a> WantedColumns<'a> {
    pub(super) fn of(wanted: &Wanted<'a>) -> Self {
        let number = |ask: &usize| i32::try_from(*ask).expect("a batch has a few hundred jobs");
        let users = &wanted.users;
        let devices = &wanted.devices;
        Self {
            users: Columns {
                ask: users.iter().map(|(ask, ..)| number(ask)).collect(),
                bucket: users.iter().map(|(_, _, user)| stored_bucket(Bucket::of(user))).collect(),
                app: users.iter().map(|(_, app, _)| app.as_str().to_owned()).collect(),
                id: users.iter().map(|(_, _, user)| user.as_str()).collect(),
            },
            devices: Columns {
                ask: devices.iter().map(|(ask, ..)| number(ask)).collect(),
                bucket: devices.iter().map(|(_, _, device)| stored_device(*device).0).collect(),
                app: devices.iter().map(|(_, app, _)| app.as_str().to_owned()).collect(),
                id: devices.iter().map(|(_, _, device)| device.as_uuid()).collect(),
            },
        }
    }
}

/// See `READ` in the batch's read for `offset 0`.
const FIND: &str = "\
    select u.ask, d.* from unnest($1::int[], $2::smallint[], $3::text[], $4::text[]) u (ask, bucket, app, user_id) \
    cross join lateral ( \
        select id, public_id, bucket, user_id, app, platform, environment, token, language, registered_at \
        from device d where d.bucket = u.bucket and d.user_id = u.user_id and d.app = u.app \
            and d.gone_at is null offset 0) d \
    union all \
    select u.ask, d.* from unnest($5::int[], $6::smallint[], $7::text[], $8::uuid[]) u (ask, bucket, app, public_id) \
    cross join lateral ( \
        select id, public_id, bucket, user_id, app, platform, environment, token, language, registered_at \
        from device d where d.bucket = u.bucket and d.public_id = u.public_id and d.app = u.app \
            and d.gone_at is null offset 0) d";

pub(in crate::ledger) async fn find(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
) -> Result<Vec<(usize, DeviceRow)>, LedgerError> {
    let WantedColumns { users, devices } = WantedColumns::of(wanted);
    let numbered = |row: PgRow| {
        let ask: i32 = row.try_get("ask")?;
        Ok((usize::try_from(ask).unwrap_or(usize::MAX), DeviceRow::from_row(&row)?))
    };
    sqlx::query(FIND)
        .bind(users.ask)
        .bind(users.bucket)
        .bind(users.app)
        .bind(users.id)
        .bind(devices.ask)
        .bind(devices.bucket)
        .bind(devices.app)
        .bind(devices.id)
        .fetch_all(connection)
        .await?
        .into_iter()
        .map(numbered)
        .collect()
}

/// The partition that has a bucket: the `n`-th of 64 begins at `n × 10000 / 64`.
pub(in crate::ledger) fn partition(bucket: i16) -> i32 {
    ((i32::from(bucket) + 1) * 64 - 1) / i32::from(Bucket::COUNT)
}

/// The live devices of these keys, in any order.
///
/// Neighbours lie together in a frozen list, so nearly always one partition has them all, and it is asked by its name: the
/// whole table would have every partition's indexes opened and locked for each exchange. Each device is found by the whole
/// key, so that no planner that lacks statistics can take another index for it.
pub(in crate::ledger) async fn find_frozen(
    connection: &mut PgConnection,
    keys: &[FrozenDevice],
    columns: &str,
) -> Result<Vec<DeviceRow>, LedgerError> {
    let mut partitions: BTreeMap<i32, (Vec<i16>, Vec<i64>)> = BTreeMap::new();
    for key in keys {
        let bucket = stored_bucket(key.bucket);
        let (buckets, ids) = partitions.entry(partition(bucket)).or_default();
        buckets.push(bucket);
        ids.push(key.record.get());
    }
    let mut rows = Vec::with_capacity(keys.len());
    for (partition, (buckets, ids)) in partitions {
        // See the batch's read for `offset 0`.
        let sql = format!(
            "select d.* from unnest($1::smallint[], $2::bigint[]) u (bucket, id) cross join lateral ( \
                 select {columns} from device_p{partition:02} d \
                 where d.bucket = u.bucket and d.id = u.id and d.gone_at is null offset 0) d"
        );
        rows.extend(sqlx::query_as(&sql).bind(buckets).bind(ids).fetch_all(&mut *connection).await?);
    }
    Ok(rows)
}

/// Takes the tokens before it touches a device, like all who write here: see `register`.
pub(in crate::ledger) async fn mark_gone(
    connection: &mut PgConnection,
    gone: &[Gone],
    now: Timestamp,
) -> Result<(), LedgerError> {
    // See the batch's read for `offset 0`.
    const TOKENS: &str = "select d.* from unnest($1::smallint[], $2::uuid[]) u (bucket, public_id) cross join lateral ( \
         select d.public_id, d.app, d.platform, d.environment, d.token from device d \
         where d.bucket = u.bucket and d.public_id = u.public_id and d.gone_at is null offset 0) d";
    const MARK: &str = "update device d set gone_at = $4 \
         from unnest($1::smallint[], $2::uuid[], $3::bigint[]) u (bucket, public_id, since) \
         where d.bucket = u.bucket and d.public_id = u.public_id and d.gone_at is null \
             and (u.since is null or d.registered_at < u.since) \
         returning d.public_id, d.app, d.platform, d.environment, d.token";
    let keys: Vec<_> = gone.iter().map(|gone| stored_device(gone.device)).collect();
    let (buckets, ids): (Vec<i16>, Vec<Uuid>) = keys.into_iter().unzip();
    let live = sqlx::query(TOKENS).bind(&buckets).bind(&ids).fetch_all(&mut *connection).await?;
    let (tokens, _) = owned(&live)?;
    hold_tokens(connection, tokens).await?;
    let mark = sqlx::query(MARK)
        .bind(buckets)
        .bind(ids)
        .bind(gone.iter().map(|gone| gone.since.map(micros)).collect::<Vec<_>>())
        .bind(micros(now));
    let (tokens, devices) = owned(&mark.fetch_all(&mut *connection).await?)?;
    // Only where the token still is that device's: it may have moved on meanwhile.
    sqlx::query(
        "delete from token_owner o using unnest($1::bytea[], $2::uuid[]) u (owner_key, public_id) \
         where o.owner_key = u.owner_key and o.public_id = u.public_id",
    )
    .bind(tokens)
    .bind(devices)
    .execute(connection)
    .await?;
    Ok(())
}

/// The owner keys of devices, beside their ids.
fn owned(rows: &[PgRow]) -> Result<(Vec<Vec<u8>>, Vec<Uuid>), LedgerError> {
    let (mut keys, mut devices) = (Vec::new(), Vec::new());
    for row in rows {
        let column = |name| row.try_get::<String, _>(name);
        let key = [column("app")?, column("platform")?, column("environment")?, column("token")?];
        keys.push(Digest::of_parts(&key.each_ref().map(String::as_bytes)).as_bytes().to_vec());
        devices.push(row.try_get::<Uuid, _>("public_id")?);
    }
    Ok((keys, devices))
}

pub(in crate::ledger) async fn claim_tokens(
    connection: &mut PgConnection,
    batch: &[(Digest, &NewDevice)],
) -> Result<Vec<Option<DeviceId>>, LedgerError> {
    // In the order of the keys, so that two who register never wait for each other in a circle. The insert waits for
    // whoever is registering the same token: what is read next is what they committed.
    const CLAIM: &str = "insert into token_owner (owner_key, bucket, public_id) \
         select * from unnest($1::bytea[], $2::smallint[], $3::uuid[]) u (owner_key, bucket, public_id) \
         order by u.owner_key on conflict (owner_key) do nothing returning owner_key";
    const MOVE: &str = "update token_owner o set bucket = u.bucket, public_id = u.public_id \
         from unnest($1::bytea[], $2::smallint[], $3::uuid[]) u (owner_key, bucket, public_id) \
         where o.owner_key = u.owner_key and o.public_id <> u.public_id";
    let columns = |batch: &[&(Digest, &NewDevice)]| {
        let ids: Vec<_> = batch.iter().map(|(key, device)| stored_device(device.id_under(key))).collect();
        let keys: Vec<_> = batch.iter().map(|(key, _)| key.as_bytes().to_vec()).collect();
        let (buckets, ids): (Vec<i16>, Vec<Uuid>) = ids.into_iter().unzip();
        (keys, buckets, ids)
    };
    let mut owners: HashMap<Vec<u8>, Uuid> = HashMap::new();
    let mut open: Vec<_> = batch.iter().collect();
    while !open.is_empty() {
        let (keys, buckets, ids) = columns(&open);
        let claim = sqlx::query_scalar(CLAIM).bind(keys).bind(buckets).bind(ids);
        let free: HashSet<Vec<u8>> = claim.fetch_all(&mut *connection).await?.into_iter().collect();
        open.retain(|(key, _)| !free.contains(&key.as_bytes()[..]));
        let keys = open.iter().map(|(key, _)| key.as_bytes().to_vec()).collect();
        owners.extend(hold_tokens(connection, keys).await?);
        // What an owner has lost since the insert is free, and is claimed like the others.
        open.retain(|(key, _)| !owners.contains_key(&key.as_bytes()[..]));
    }
    let taken: Vec<_> = batch.iter().filter(|(key, _)| owners.contains_key(&key.as_bytes()[..])).collect();
    if !taken.is_empty() {
        let (keys, buckets, ids) = columns(&taken);
        sqlx::query(MOVE).bind(keys).bind(buckets).bind(ids).execute(connection).await?;
    }
    let owner =
        |(key, _): &(Digest, &NewDevice)| owners.get(&key.as_bytes()[..]).copied().map(DeviceId::from_uuid);
    Ok(batch.iter().map(owner).collect())
}

/// The owners of those of these tokens that have one, held until the transaction ends.
async fn hold_tokens(
    connection: &mut PgConnection,
    keys: Vec<Vec<u8>>,
) -> Result<Vec<(Vec<u8>, Uuid)>, LedgerError> {
    const HOLD: &str = "select owner_key, public_id from token_owner where owner_key = any($1) \
         order by owner_key for update";
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as(HOLD).bind(keys).fetch_all(connection).await?)
}

pub(in crate::ledger) async fn retire(
    connection: &mut PgConnection,
    devices: &[DeviceId],
    now: Timestamp,
) -> Result<(), LedgerError> {
    let (buckets, ids): (Vec<i16>, Vec<Uuid>) = devices.iter().copied().map(stored_device).unzip();
    sqlx::query(
        "update device d set gone_at = $3 from unnest($1::smallint[], $2::uuid[]) u (bucket, public_id) \
         where d.bucket = u.bucket and d.public_id = u.public_id and d.gone_at is null",
    )
    .bind(buckets)
    .bind(ids)
    .bind(micros(now))
    .execute(connection)
    .await?;
    Ok(())
}

/// In the order of buckets: neighbours go to the same pages.
pub(in crate::ledger) async fn register(
    connection: &mut PgConnection,
    batch: &[(Digest, &NewDevice)],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const UPSERT: &str = "insert into device (bucket, public_id, user_id, app, platform, environment, token, country, \
             language, timezone, app_version, last_seen_at, tags, attributes, version_key, registered_at) \
         select u.bucket, u.public_id, u.user_id, u.app, u.platform, u.environment, u.token, u.country, u.language, \
             u.timezone, u.app_version, u.last_seen_at, u.tags::text[], u.attributes::jsonb, u.version_key, $16 \
         from unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], \
             $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::text[]) \
             u (bucket, public_id, user_id, app, platform, environment, token, country, language, timezone, \
             app_version, last_seen_at, tags, attributes, version_key) \
         order by u.bucket \
         on conflict (bucket, public_id) do update set user_id = excluded.user_id, token = excluded.token, \
             country = excluded.country, language = excluded.language, \
             timezone = excluded.timezone, app_version = excluded.app_version, version_key = excluded.version_key, \
             last_seen_at = excluded.last_seen_at, tags = excluded.tags, attributes = excluded.attributes, \
             registered_at = excluded.registered_at, gone_at = null";
    let devices: Vec<&NewDevice> = batch.iter().map(|(_, device)| *device).collect();
    let (buckets, ids): (Vec<i16>, Vec<Uuid>) =
        batch.iter().map(|(key, device)| stored_device(device.id_under(key))).unzip();
    sqlx::query(UPSERT)
        .bind(buckets)
        .bind(ids)
        .bind(devices.iter().map(|device| device.user.as_str()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.app.as_str()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.platform.as_str()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.environment.as_str()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.token.reveal()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.country.as_deref()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.language.as_ref().map(Locale::as_str)).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.timezone.as_deref()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.app_version.as_deref()).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.last_seen_at.map(micros)).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| array_literal(&device.tags)).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| json_text(&device.attributes)).collect::<Vec<_>>())
        .bind(devices.iter().map(|device| device.version_key()).collect::<Vec<_>>())
        .bind(micros(now))
        .execute(connection)
        .await?;
    Ok(())
}

/// Tags as PostgreSQL writes an array of texts: a parameter can hold no array of arrays of different lengths.
pub(super) fn array_literal(tags: &Tags) -> String {
    let mut literal = String::from("{");
    for (place, tag) in tags.iter().enumerate() {
        literal.push_str(if place == 0 { "\"" } else { ",\"" });
        for c in tag.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}
