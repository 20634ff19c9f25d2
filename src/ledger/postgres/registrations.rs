//! Registrations by queue, on PostgreSQL.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        rows::{digest, micros},
        tx::stored_bucket,
    },
    model::{AppId, Bucket, DeviceId, Digest, UserId},
};

pub(in crate::ledger) async fn owners(
    connection: &mut PgConnection,
    keys: &[Digest],
) -> Result<HashMap<Digest, DeviceId>, LedgerError> {
    const SQL: &str = "select owner_key, public_id from token_owner where owner_key = any($1)";
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
    let rows: Vec<(Vec<u8>, Uuid)> = sqlx::query_as(SQL).bind(keys).fetch_all(connection).await?;
    let owner = |(key, id): (Vec<u8>, Uuid)| {
        Ok((digest("token_owner", id, "owner_key", &key)?, DeviceId::from_uuid(id)))
    };
    rows.into_iter().map(owner).collect()
}

pub(in crate::ledger) async fn claim_versions(
    connection: &mut PgConnection,
    claims: &[(Digest, i64)],
    now: Timestamp,
) -> Result<BTreeSet<Digest>, LedgerError> {
    const SQL: &str = "insert into device_version as v (owner_key, version, at) \
         select u.owner_key, u.version, $3 from unnest($1::bytea[], $2::bigint[]) u (owner_key, version) \
         order by u.owner_key \
         on conflict (owner_key) do update set version = excluded.version, at = excluded.at \
         where v.version < excluded.version returning owner_key";
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(SQL)
        .bind(claims.iter().map(|(key, _)| &key.as_bytes()[..]).collect::<Vec<_>>())
        .bind(claims.iter().map(|(_, version)| *version).collect::<Vec<_>>())
        .bind(micros(now))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|key| digest("device_version", "?", "owner_key", key)).collect()
}

/// One look at the index for each person, and nothing to sort for nearly all of them. See the batch's read for `offset`,
/// which here also is the question.
pub(in crate::ledger) async fn too_many(
    connection: &mut PgConnection,
    gained: &BTreeSet<(&AppId, &UserId)>,
    most: i64,
) -> Result<Vec<DeviceId>, LedgerError> {
    const SQL: &str = "select d.public_id \
         from unnest($1::smallint[], $2::text[], $3::text[]) u (bucket, app, user_id) cross join lateral ( \
             select public_id from device d where d.bucket = u.bucket and d.user_id = u.user_id and d.app = u.app \
                 and d.gone_at is null \
             order by coalesce(d.last_seen_at, d.registered_at) desc, d.id desc offset $4) d";
    let rows: Vec<Uuid> = sqlx::query_scalar(SQL)
        .bind(gained.iter().map(|(_, user)| stored_bucket(Bucket::of(user))).collect::<Vec<_>>())
        .bind(gained.iter().map(|(app, _)| app.as_str()).collect::<Vec<_>>())
        .bind(gained.iter().map(|(_, user)| user.as_str()).collect::<Vec<_>>())
        .bind(most)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(DeviceId::from_uuid).collect())
}
