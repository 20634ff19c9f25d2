//! The registry: whose phone is whose.
//!
//! One (app, platform, environment, token) has one owner. Registering a token moves it from whoever had it, in
//! one transaction: a one-time code never goes to the previous owner of a phone.

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    erasure::NOBODY,
    on_pool,
    rows::{DEVICE_COLUMNS, DeviceRow, column, instant},
    tx::{Tx, stored_bucket, stored_device},
};
use crate::model::{
    AppId, Attributes, Bucket, Device, DeviceId, Digest, FrozenDevice, NewDevice, Platform, RecordId, Tags,
    UserId,
};

/// Who had a device's token before it was placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// Nobody.
    New,
    /// The same person.
    Same,
    /// Somebody else, as this device, who has it no longer.
    Moved(DeviceId),
}

impl Placed {
    /// A token that was `owner`'s, as it becomes that of the device `id`.
    pub(super) fn over(owner: Option<DeviceId>, id: DeviceId) -> Self {
        match owner {
            None => Self::New,
            Some(owner) if owner == id => Self::Same,
            Some(owner) => Self::Moved(owner),
        }
    }

    /// Who has to go.
    pub(super) const fn former(&self) -> Option<DeviceId> {
        match self {
            Self::New | Self::Same => None,
            Self::Moved(former) => Some(*former),
        }
    }
}

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

impl From<DeviceRecord> for NewDevice {
    /// As if it were registered again as it is.
    fn from(record: DeviceRecord) -> Self {
        let DeviceRecord {
            device,
            country,
            timezone,
            app_version,
            last_seen_at,
            tags,
            attributes,
            gone_at: _,
        } = record;
        Self {
            user: device.user,
            app: device.app,
            platform: device.platform,
            environment: device.environment,
            token: device.token,
            country,
            language: device.language,
            timezone,
            app_version,
            last_seen_at,
            tags,
            attributes,
        }
    }
}

/// The columns of [`RecordRow`] on PostgreSQL, and on SQLite, which has no lists and keeps JSON.
const ON_POSTGRES: &str = "to_json(tags)::text as tags_json, attributes::text as attributes_json";
const ON_SQLITE: &str = "tags as tags_json, attributes as attributes_json";

fn record_columns(of_engine: &str) -> String {
    format!("{DEVICE_COLUMNS}, country, timezone, app_version, last_seen_at, gone_at, {of_engine}")
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
    fn record_columns(&self) -> String {
        record_columns(match self {
            Self::Postgres(_) => ON_POSTGRES,
            Self::Sqlite(_) => ON_SQLITE,
        })
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

    /// The app and the key of a device by its id, also of a forgotten one: by which frozen lists name it.
    pub async fn frozen_device(&self, id: DeviceId) -> Result<Option<(AppId, FrozenDevice)>, LedgerError> {
        const SQL: &str = "select bucket, id, app from device where bucket = $1 and public_id = $2";
        let (bucket, public_id): (i16, Uuid) = stored_device(id);
        let row: Option<(i16, i64, String)> = on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(bucket).bind(public_id).fetch_optional(pool).await?
        });
        let Some((bucket, record, app)) = row else { return Ok(None) };
        let bucket = u16::try_from(bucket).ok().and_then(Bucket::new);
        let bucket = column("device", record, "bucket", bucket.ok_or(()))?;
        let app = column("device", record, "app", AppId::parse(&app))?;
        Ok(Some((app, FrozenDevice { bucket, record: RecordId::new(record) })))
    }

    /// A device by its id, gone or not, unless it was forgotten.
    pub async fn device(&self, id: DeviceId) -> Result<Option<DeviceRecord>, LedgerError> {
        let columns = self.record_columns();
        let sql =
            format!("select {columns} from device where bucket = $1 and public_id = $2 and user_id <> $3");
        let (bucket, public_id): (i16, Uuid) = stored_device(id);
        let row: Option<RecordRow> = on_pool!(self, pool => {
            sqlx::query_as(&sql).bind(bucket).bind(public_id).bind(NOBODY).fetch_optional(pool).await?
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

impl Tx {
    /// Gives these devices their tokens, whoever had them, and writes them as registered now: for each, who had its token.
    /// No token may stand in `batch` twice; it is in the order of the keys.
    pub(super) async fn place(
        &mut self,
        batch: &[(Digest, &NewDevice)],
        now: Timestamp,
    ) -> Result<Vec<Placed>, LedgerError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let owners = self.claim_tokens(batch).await?;
        let placed: Vec<_> =
            batch.iter().zip(owners).map(|((_, device), owner)| Placed::over(owner, device.id())).collect();
        let former: Vec<_> = placed.iter().filter_map(Placed::former).collect();
        self.retire(&former, now).await?;
        self.register(batch, now).await?;
        Ok(placed)
    }

    /// Devices by their ids, gone or not.
    pub(super) async fn records(&mut self, ids: &[DeviceId]) -> Result<Vec<DeviceRecord>, LedgerError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let keys = ids.iter().copied().map(stored_device);
        let rows: Vec<RecordRow> = match self {
            Self::Postgres(tx) => {
                let columns = record_columns(ON_POSTGRES);
                // See the batch's read for `offset 0`.
                let sql = format!(
                    "select d.* from unnest($1::smallint[], $2::uuid[]) u (bucket, public_id) cross join lateral ( \
                         select {columns} from device d \
                         where d.bucket = u.bucket and d.public_id = u.public_id offset 0) d"
                );
                let (buckets, ids): (Vec<i16>, Vec<Uuid>) = keys.unzip();
                sqlx::query_as(&sql).bind(buckets).bind(ids).fetch_all(&mut **tx).await?
            }
            Self::Sqlite(tx) => {
                let columns = record_columns(ON_SQLITE);
                let sql = format!(
                    "select {columns} from device where (bucket, public_id) in \
                         (select value ->> 0, unhex(value ->> 1) from json_each($1))"
                );
                let keys: Vec<_> = keys.map(|(bucket, id)| (bucket, id.simple().to_string())).collect();
                let keys = serde_json::to_string(&keys).expect("texts have a JSON form");
                sqlx::query_as(&sql).bind(keys).fetch_all(&mut **tx).await?
            }
        };
        rows.into_iter().map(DeviceRecord::try_from).collect()
    }
}
