//! Registrations by queue, on SQLite.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        rows::{digest, micros},
    },
    model::{AppId, DeviceId, Digest, UserId},
};

pub(in crate::ledger) async fn owners(
    connection: &mut SqliteConnection,
    keys: &[Digest],
) -> Result<HashMap<Digest, DeviceId>, LedgerError> {
    const SQL: &str = "select o.owner_key, o.public_id from json_each($1) u cross join token_owner o \
         where o.owner_key = unhex(u.value)";
    let keys = serde_json::json!(keys).to_string();
    let rows: Vec<(Vec<u8>, Uuid)> = sqlx::query_as(SQL).bind(keys).fetch_all(connection).await?;
    let owner = |(key, id): (Vec<u8>, Uuid)| {
        Ok((digest("token_owner", id, "owner_key", &key)?, DeviceId::from_uuid(id)))
    };
    rows.into_iter().map(owner).collect()
}

pub(in crate::ledger) async fn claim_versions(
    connection: &mut SqliteConnection,
    claims: &[(Digest, i64)],
    now: Timestamp,
) -> Result<BTreeSet<Digest>, LedgerError> {
    const SQL: &str = "insert into device_version (owner_key, version, at) \
         select unhex(value ->> 0), value ->> 1, $2 from json_each($1) where true \
         on conflict (owner_key) do update set version = excluded.version, at = excluded.at \
         where device_version.version < excluded.version returning owner_key";
    let claims = serde_json::json!(claims).to_string();
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar(SQL).bind(claims).bind(micros(now)).fetch_all(connection).await?;
    rows.iter().map(|key| digest("device_version", "?", "owner_key", key)).collect()
}

pub(in crate::ledger) async fn too_many(
    connection: &mut SqliteConnection,
    gained: &BTreeSet<(&AppId, &UserId)>,
    most: i64,
) -> Result<Vec<DeviceId>, LedgerError> {
    const SQL: &str = "select public_id from ( \
             select d.public_id, row_number() over (partition by d.user_id, d.app \
                 order by coalesce(d.last_seen_at, d.registered_at) desc, d.id desc) as place \
             from json_each($1) u cross join device d \
             where d.user_id = u.value ->> 1 and d.app = u.value ->> 0 and d.gone_at is null) \
         where place > $2";
    let gained = serde_json::json!(gained).to_string();
    let rows: Vec<Uuid> = sqlx::query_scalar(SQL).bind(gained).bind(most).fetch_all(connection).await?;
    Ok(rows.into_iter().map(DeviceId::from_uuid).collect())
}
