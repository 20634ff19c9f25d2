//! The registry on SQLite.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::{FromRow, Row, SqliteConnection};
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        rows::{DeviceRow, micros},
        tx::{Gone, Wanted, stored_device},
    },
    model::{DeviceId, Digest, NewDevice},
};

/// `cross join` makes SQLite keep the order: each line of the JSON is looked up by index. The columns of a
/// device, with the number of the ask.
const FIND_USERS: &str = "select u.value ->> 0 as ask, d.id, d.public_id, d.bucket, d.user_id, d.app, d.platform, \
         d.environment, d.token, d.language, d.registered_at \
     from json_each($1) u cross join device d \
     where d.user_id = u.value ->> 2 and d.app = u.value ->> 1 and d.gone_at is null";
const FIND_DEVICES: &str = "select u.value ->> 0 as ask, d.id, d.public_id, d.bucket, d.user_id, d.app, d.platform, \
         d.environment, d.token, d.language, d.registered_at \
     from json_each($1) u cross join device d \
     where d.bucket = u.value ->> 2 and d.public_id = unhex(u.value ->> 3) and d.app = u.value ->> 1 \
         and d.gone_at is null";

pub(in crate::ledger) async fn find(
    connection: &mut SqliteConnection,
    wanted: &Wanted<'_>,
) -> Result<Vec<(usize, DeviceRow)>, LedgerError> {
    let users: Vec<_> = wanted.users.iter().map(|(ask, app, user)| (ask, app, user)).collect();
    let devices: Vec<_> = wanted
        .devices
        .iter()
        .map(|(ask, app, device)| {
            let (bucket, id) = stored_device(*device);
            (ask, app, bucket, id.simple().to_string())
        })
        .collect();
    let questions = [
        (FIND_USERS, users.is_empty(), serde_json::json!(users).to_string()),
        (FIND_DEVICES, devices.is_empty(), serde_json::json!(devices).to_string()),
    ];
    let mut found = Vec::new();
    for (sql, _, question) in questions.into_iter().filter(|(_, is_empty, _)| !is_empty) {
        for row in sqlx::query(sql).bind(question).fetch_all(&mut *connection).await? {
            let ask: i64 = row.try_get("ask")?;
            found.push((usize::try_from(ask).unwrap_or(usize::MAX), DeviceRow::from_row(&row)?));
        }
    }
    Ok(found)
}

pub(in crate::ledger) async fn mark_gone(
    connection: &mut SqliteConnection,
    gone: &[Gone],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const MARK: &str = "update device set gone_at = $4 where bucket = $1 and public_id = $2 and gone_at is null \
             and ($3 is null or registered_at < $3) \
         returning app, platform, environment, token";
    for gone in gone {
        let (bucket, id) = stored_device(gone.device);
        let marked: Option<(String, String, String, String)> = sqlx::query_as(MARK)
            .bind(bucket)
            .bind(id)
            .bind(gone.since.map(micros))
            .bind(micros(now))
            .fetch_optional(&mut *connection)
            .await?;
        let Some((app, platform, environment, token)) = marked else { continue };
        let key = [app, platform, environment, token];
        let key = Digest::of_parts(&key.each_ref().map(String::as_bytes));
        sqlx::query("delete from token_owner where owner_key = $1 and public_id = $2")
            .bind(&key.as_bytes()[..])
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A batch is one JSON array: a statement for each device would cost a hand-over to SQLite's thread each.
pub(in crate::ledger) async fn claim_tokens(
    connection: &mut SqliteConnection,
    batch: &[(Digest, &NewDevice)],
) -> Result<Vec<Option<DeviceId>>, LedgerError> {
    const OWNERS: &str = "select o.owner_key, o.public_id from json_each($1) u cross join token_owner o \
         where o.owner_key = unhex(u.value ->> 0)";
    const CLAIM: &str = "insert into token_owner (owner_key, bucket, public_id) \
         select unhex(value ->> 0), value ->> 1, unhex(value ->> 2) from json_each($1) where true \
         on conflict (owner_key) do update set bucket = excluded.bucket, public_id = excluded.public_id";
    let claim = |(key, device): &(Digest, &NewDevice)| {
        let (bucket, id) = stored_device(device.id_under(key));
        serde_json::json!([key, bucket, id.simple().to_string()])
    };
    let claims = batch.iter().map(claim).collect::<serde_json::Value>().to_string();
    let owners: Vec<(Vec<u8>, Uuid)> =
        sqlx::query_as(OWNERS).bind(&claims).fetch_all(&mut *connection).await?;
    let owners: HashMap<Vec<u8>, Uuid> = owners.into_iter().collect();
    sqlx::query(CLAIM).bind(&claims).execute(connection).await?;
    let owner =
        |(key, _): &(Digest, &NewDevice)| owners.get(&key.as_bytes()[..]).copied().map(DeviceId::from_uuid);
    Ok(batch.iter().map(owner).collect())
}

pub(in crate::ledger) async fn retire(
    connection: &mut SqliteConnection,
    devices: &[DeviceId],
    now: Timestamp,
) -> Result<(), LedgerError> {
    for device in devices {
        let (bucket, id) = stored_device(*device);
        sqlx::query(
            "update device set gone_at = $3 where bucket = $1 and public_id = $2 and gone_at is null",
        )
        .bind(bucket)
        .bind(id)
        .bind(micros(now))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(in crate::ledger) async fn register(
    connection: &mut SqliteConnection,
    batch: &[(Digest, &NewDevice)],
    now: Timestamp,
) -> Result<(), LedgerError> {
    const UPSERT: &str = "insert into device (bucket, public_id, user_id, app, platform, environment, token, country, \
             language, timezone, app_version, last_seen_at, tags, attributes, version_key, registered_at) \
         select value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
             value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, \
             value -> 12, value -> 13, value ->> 14, $2 from json_each($1) where true order by value ->> 0 \
         on conflict (bucket, public_id) do update set user_id = excluded.user_id, token = excluded.token, \
             country = excluded.country, language = excluded.language, \
             timezone = excluded.timezone, app_version = excluded.app_version, version_key = excluded.version_key, \
             last_seen_at = excluded.last_seen_at, tags = excluded.tags, attributes = excluded.attributes, \
             registered_at = excluded.registered_at, gone_at = null";
    let row = |(key, device): &(Digest, &NewDevice)| {
        let (bucket, id) = stored_device(device.id_under(key));
        serde_json::json!([
            bucket,
            id.simple().to_string(),
            device.user,
            device.app,
            device.platform,
            device.environment,
            device.token.reveal(),
            device.country,
            device.language,
            device.timezone,
            device.app_version,
            device.last_seen_at.map(micros),
            device.tags,
            device.attributes,
            device.version_key(),
        ])
    };
    let rows = batch.iter().map(row).collect::<serde_json::Value>().to_string();
    sqlx::query(UPSERT).bind(rows).bind(micros(now)).execute(connection).await?;
    Ok(())
}
