//! The devices behind frozen keys, as they are now.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use crate::{
    ledger::{
        Ledger, LedgerError, postgres,
        rows::{DEVICE_COLUMNS, DeviceRow},
        tx::{Tx, stored_bucket},
    },
    model::{Device, FrozenDevice},
};

/// A device that is there, and the time zone that it is registered with, if that was asked for and there is one.
pub(super) type Found = Option<(Device, Option<Box<str>>)>;

impl Ledger {
    /// The live devices behind these keys, in order, with their time zones if these are asked for; `None` for whoever is
    /// gone, forgotten or moved.
    pub(super) async fn find_frozen(
        &self,
        keys: &[FrozenDevice],
        zones: bool,
    ) -> Result<Vec<Found>, LedgerError> {
        let rows = match self {
            _ if keys.is_empty() => return Ok(Vec::new()),
            Self::Postgres(store) => {
                let mut connection = store.pool.acquire().await?;
                postgres::devices::find_frozen(&mut connection, keys, &columns(zones)).await?
            }
            Self::Sqlite(store) => {
                find_on_sqlite(&mut *store.readers.acquire().await?, keys, &columns(zones)).await?
            }
        };
        in_order(keys, rows)
    }
}

/// The same within a transaction, without time zones.
pub(super) async fn read_devices(tx: &mut Tx, keys: &[FrozenDevice]) -> Result<Vec<Found>, LedgerError> {
    let rows = match tx {
        _ if keys.is_empty() => return Ok(Vec::new()),
        Tx::Postgres(tx) => postgres::devices::find_frozen(tx, keys, &columns(false)).await?,
        Tx::Sqlite(tx) => find_on_sqlite(tx, keys, &columns(false)).await?,
    };
    in_order(keys, rows)
}

fn columns(zones: bool) -> String {
    format!("{DEVICE_COLUMNS}{}", if zones { ", timezone" } else { "" })
}

async fn find_on_sqlite(
    connection: &mut SqliteConnection,
    keys: &[FrozenDevice],
    columns: &str,
) -> Result<Vec<DeviceRow>, LedgerError> {
    let columns: Vec<String> = columns.split(", ").map(|name| format!("d.{name}")).collect();
    let sql = format!(
        "select {} from json_each($1) u join device d on d.id = u.value where d.gone_at is null",
        columns.join(", ")
    );
    let ids: Vec<i64> = keys.iter().map(|key| key.record.get()).collect();
    let ids = serde_json::to_string(&ids).expect("numbers have a JSON form");
    Ok(sqlx::query_as(&sql).bind(ids).fetch_all(connection).await?)
}

fn in_order(keys: &[FrozenDevice], rows: Vec<DeviceRow>) -> Result<Vec<Found>, LedgerError> {
    let mut found: HashMap<(i16, i64), DeviceRow> =
        rows.into_iter().map(|row| ((row.bucket, row.id), row)).collect();
    let device = |key: &FrozenDevice| {
        let row = found.remove(&(stored_bucket(key.bucket), key.record.get()));
        row.map(|mut row| {
            let zone = row.timezone.take();
            Ok((Device::try_from(row)?, zone))
        })
        .transpose()
    };
    keys.iter().map(device).collect()
}
