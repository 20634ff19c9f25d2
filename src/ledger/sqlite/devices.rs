//! The registry on SQLite.

use jiff::Timestamp;
use sqlx::{FromRow, Row, SqliteConnection};
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        rows::{DeviceRow, micros},
        tx::{Gone, Wanted, stored_device},
    },
    model::{DeviceId, Digest, Locale, NewDevice},
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

pub(in crate::ledger) async fn claim_tokens(
    connection: &mut SqliteConnection,
    batch: &[(Digest, &NewDevice)],
) -> Result<Vec<Option<DeviceId>>, LedgerError> {
    const OWNER: &str = "select public_id from token_owner where owner_key = $1";
    const CLAIM: &str = "insert into token_owner (owner_key, bucket, public_id) values ($1, $2, $3) \
         on conflict (owner_key) do update set bucket = excluded.bucket, public_id = excluded.public_id";
    let mut owners = Vec::with_capacity(batch.len());
    for (key, device) in batch {
        let owner: Option<Uuid> =
            sqlx::query_scalar(OWNER).bind(&key.as_bytes()[..]).fetch_optional(&mut *connection).await?;
        let (bucket, id) = stored_device(device.id());
        if owner != Some(id) {
            let claim = sqlx::query(CLAIM).bind(&key.as_bytes()[..]).bind(bucket).bind(id);
            claim.execute(&mut *connection).await?;
        }
        owners.push(owner.map(DeviceId::from_uuid));
    }
    Ok(owners)
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
             language, timezone, app_version, last_seen_at, registered_at) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
         on conflict (bucket, public_id) do update set country = excluded.country, language = excluded.language, \
             timezone = excluded.timezone, app_version = excluded.app_version, \
             last_seen_at = excluded.last_seen_at, registered_at = excluded.registered_at, gone_at = null";
    for (_, device) in batch {
        let (bucket, id) = stored_device(device.id());
        sqlx::query(UPSERT)
            .bind(bucket)
            .bind(id)
            .bind(device.user.as_str())
            .bind(device.app.as_str())
            .bind(device.platform.as_str())
            .bind(device.environment.as_str())
            .bind(device.token.reveal())
            .bind(&device.country)
            .bind(device.language.as_ref().map(Locale::as_str))
            .bind(&device.timezone)
            .bind(&device.app_version)
            .bind(device.last_seen_at.map(micros))
            .bind(micros(now))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
