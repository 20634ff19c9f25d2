//! Registrations by queue, on PostgreSQL.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    ledger::{
        LedgerError,
        postgres::devices::partition,
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

/// Which devices are too many, the ones that were not seen for longest.
pub(in crate::ledger) async fn too_many(
    connection: &mut PgConnection,
    gained: &BTreeSet<(&AppId, &UserId)>,
    most: i64,
) -> Result<Vec<DeviceId>, LedgerError> {
    // See the batch's read for `offset`, which here also is the question.
    const SQL: &str = "select d.public_id \
         from unnest($1::smallint[], $2::text[], $3::text[]) u (bucket, app, user_id) cross join lateral ( \
             select public_id from device d where d.bucket = u.bucket and d.user_id = u.user_id and d.app = u.app \
                 and d.gone_at is null \
             order by coalesce(d.last_seen_at, d.registered_at) desc, d.id desc offset $4) d";
    let over = over(connection, gained, most).await?;
    if over.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Uuid> = sqlx::query_scalar(SQL)
        .bind(over.iter().map(|(_, user)| stored_bucket(Bucket::of(user))).collect::<Vec<_>>())
        .bind(over.iter().map(|(app, _)| app.as_str()).collect::<Vec<_>>())
        .bind(over.iter().map(|(_, user)| user.as_str()).collect::<Vec<_>>())
        .bind(most)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(DeviceId::from_uuid).collect())
}

/// Who has more devices than that: hardly anybody, but everybody who is imported is asked for. One partition at a time, by
/// its name, and without sorting, that is one look at an index: 1 to 2 µs a person, against 7 to 14 by way of the whole
/// table (measured, a million devices).
async fn over<'g>(
    connection: &mut PgConnection,
    gained: &BTreeSet<(&'g AppId, &'g UserId)>,
    most: i64,
) -> Result<Vec<(&'g AppId, &'g UserId)>, LedgerError> {
    let mut partitions: BTreeMap<i32, Vec<(&'g AppId, &'g UserId)>> = BTreeMap::new();
    for (app, user) in gained {
        partitions.entry(partition(stored_bucket(Bucket::of(user)))).or_default().push((app, user));
    }
    let mut over = Vec::new();
    for (partition, people) in partitions {
        let sql = format!(
            "select u.place from unnest($1::text[], $2::text[]) with ordinality u (app, user_id, place) \
             cross join lateral ( \
                 select 1 from device_p{partition:02} d where d.user_id = u.user_id and d.app = u.app \
                     and d.gone_at is null offset $3 limit 1) d"
        );
        let places: Vec<i64> = sqlx::query_scalar(&sql)
            .bind(people.iter().map(|(app, _)| app.as_str()).collect::<Vec<_>>())
            .bind(people.iter().map(|(_, user)| user.as_str()).collect::<Vec<_>>())
            .bind(most)
            .fetch_all(&mut *connection)
            .await?;
        over.extend(places.into_iter().filter_map(|place| people.get(usize::try_from(place - 1).ok()?)));
    }
    Ok(over)
}
