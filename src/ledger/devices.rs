//! The registry: whose phone is whose.
//!
//! One (app, platform, environment, token) has one owner. Registering a token moves it from whoever had it, in
//! one transaction: a one-time code never goes to the previous owner of a phone.

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Ledger, LedgerError, on_pool,
    rows::{DEVICE_COLUMNS, DeviceRow, column, instant},
    tx::{stored_bucket, stored_device},
};
use crate::model::{AppId, Attributes, Bucket, Device, DeviceId, Platform, Tags, UserId};

/// A device with what is known about it beyond the sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The device.
    pub device: Device,
    /// ISO 3166-1 alpha-2.
    pub country: Option<String>,
    /// IANA time zone name.
    pub timezone: Option<String>,
    /// The app's version.
    pub app_version: Option<String>,
    /// When the app was last opened.
    pub last_seen_at: Option<Timestamp>,
    /// For audiences to select by.
    pub tags: Tags,
    /// The same, with a value each.
    pub attributes: Attributes,
    /// Since when it is not rung any more.
    pub gone_at: Option<Timestamp>,
}

/// How many live devices an app has on a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCount {
    /// Which app.
    pub app: AppId,
    /// Which platform.
    pub platform: Platform,
    /// Live devices.
    pub devices: u64,
}

#[derive(FromRow)]
struct RecordRow {
    #[sqlx(flatten)]
    device: DeviceRow,
    country: Option<String>,
    timezone: Option<String>,
    app_version: Option<String>,
    last_seen_at: Option<i64>,
    tags_json: String,
    attributes_json: String,
    gone_at: Option<i64>,
}

impl TryFrom<RecordRow> for DeviceRecord {
    type Error = LedgerError;

    fn try_from(row: RecordRow) -> Result<Self, LedgerError> {
        let id = row.device.id;
        let at = |at: Option<i64>| at.map(|at| instant("device", id, at)).transpose();
        Ok(Self {
            last_seen_at: at(row.last_seen_at)?,
            gone_at: at(row.gone_at)?,
            tags: column("device", id, "tags", serde_json::from_str(&row.tags_json))?,
            attributes: column("device", id, "attributes", serde_json::from_str(&row.attributes_json))?,
            device: row.device.try_into()?,
            country: row.country,
            timezone: row.timezone,
            app_version: row.app_version,
        })
    }
}

impl Ledger {
    /// The columns of [`RecordRow`]. SQLite has no lists and keeps JSON.
    fn record_columns(&self) -> String {
        let json = match self {
            Self::Postgres(_) => "to_json(tags)::text as tags_json, attributes::text as attributes_json",
            Self::Sqlite(_) => "tags as tags_json, attributes as attributes_json",
        };
        format!("{DEVICE_COLUMNS}, country, timezone, app_version, last_seen_at, gone_at, {json}")
    }

    /// A person's live devices, of one app or of all.
    pub async fn devices_of(
        &self,
        app: Option<&AppId>,
        user: &UserId,
    ) -> Result<Vec<DeviceRecord>, LedgerError> {
        let columns = self.record_columns();
        let sql = format!(
            "select {columns} from device \
             where bucket = $1 and user_id = $2 and gone_at is null and ($3 is null or app = $3) order by id"
        );
        let rows: Vec<RecordRow> = on_pool!(self, pool => {
            sqlx::query_as(&sql)
                .bind(stored_bucket(Bucket::of(user)))
                .bind(user.as_str())
                .bind(app.map(AppId::as_str))
                .fetch_all(pool)
                .await?
        });
        rows.into_iter().map(DeviceRecord::try_from).collect()
    }

    /// A device by its id, gone or not.
    pub async fn device(&self, id: DeviceId) -> Result<Option<DeviceRecord>, LedgerError> {
        let columns = self.record_columns();
        let sql = format!("select {columns} from device where bucket = $1 and public_id = $2");
        let (bucket, public_id): (i16, Uuid) = stored_device(id);
        let row: Option<RecordRow> = on_pool!(self, pool => {
            sqlx::query_as(&sql).bind(bucket).bind(public_id).fetch_optional(pool).await?
        });
        row.map(DeviceRecord::try_from).transpose()
    }

    /// Live devices by app and platform. Reads the whole registry.
    pub async fn device_counts(&self) -> Result<Vec<DeviceCount>, LedgerError> {
        const SQL: &str = "select app, platform, count(*) from device where gone_at is null \
             group by app, platform order by app, platform";
        let rows: Vec<(String, String, i64)> =
            on_pool!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        let count = |(app, platform, devices): (String, String, i64)| {
            Ok(DeviceCount {
                app: column("device", &app, "app", AppId::parse(&app))?,
                platform: column("device", &app, "platform", platform.parse())?,
                devices: column("device", &app, "count", u64::try_from(devices))?,
            })
        };
        rows.into_iter().map(count).collect()
    }
}
