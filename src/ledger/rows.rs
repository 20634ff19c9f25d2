//! Rows as the databases give them, and their way into the domain: a row that makes no sense is an error with
//! the row's id, never a default.
//!
//! Instants are stored as whole microseconds since 1970 in both engines, so that one row type and one SQL text
//! serve both and no session's time zone can matter.

use std::fmt::Display;

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::LedgerError;
use crate::model::{AppId, Bucket, Device, DeviceId, Digest, Locale, RecordId, Token, UserId};

/// The columns of [`DeviceRow`], for every query that reads devices.
pub(super) const DEVICE_COLUMNS: &str =
    "id, public_id, bucket, user_id, app, platform, environment, token, language, registered_at";

/// An instant as stored.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// An instant as read.
pub(super) fn instant(table: &'static str, id: impl Display, at: i64) -> Result<Timestamp, LedgerError> {
    Timestamp::from_microsecond(at)
        .map_err(|_| LedgerError::nonsense(table, id, "an instant is out of range"))
}

/// A value that a rule of the model refuses: says which column, and never what stood there.
pub(super) fn column<T, E>(
    table: &'static str,
    id: impl Display,
    name: &str,
    parsed: Result<T, E>,
) -> Result<T, LedgerError> {
    parsed.map_err(|_| LedgerError::nonsense(table, id, format!("column {name} breaks its rule")))
}

/// A count or position as stored: never negative, never beyond what a job can hold.
pub(super) fn count(
    table: &'static str,
    id: impl Display,
    name: &str,
    stored: i32,
) -> Result<u32, LedgerError> {
    column(table, id, name, u32::try_from(stored))
}

/// The other way: the model's counts are far below this bound.
pub(super) fn stored_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Tags or attributes as stored and bound: JSON.
pub(super) fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and booleans have a JSON form")
}

/// A live device, as the send path reads it.
#[derive(Debug, FromRow)]
pub(super) struct DeviceRow {
    pub(super) id: i64,
    pub(super) public_id: Uuid,
    pub(super) bucket: i16,
    pub(super) user_id: String,
    pub(super) app: String,
    pub(super) platform: String,
    pub(super) environment: String,
    pub(super) token: String,
    pub(super) language: Option<String>,
    pub(super) registered_at: i64,
    /// Read only where somebody asks by whose clock the owner lives.
    #[sqlx(default)]
    pub(super) timezone: Option<Box<str>>,
}

impl TryFrom<DeviceRow> for Device {
    type Error = LedgerError;

    fn try_from(row: DeviceRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "device";
        let id = row.id;
        let user = column(TABLE, id, "user_id", UserId::parse(&row.user_id))?;
        let bucket = u16::try_from(row.bucket).ok().and_then(Bucket::new);
        let language = row.language.as_deref().map(Locale::parse).transpose();
        Ok(Self {
            record: RecordId::new(id),
            id: DeviceId::from_uuid(row.public_id),
            bucket: column(TABLE, id, "bucket", bucket.ok_or(()))?,
            user,
            app: column(TABLE, id, "app", AppId::parse(&row.app))?,
            platform: column(TABLE, id, "platform", row.platform.parse())?,
            environment: column(TABLE, id, "environment", row.environment.parse())?,
            token: column(TABLE, id, "token", Token::parse(&row.token).ok_or(()))?,
            language: column(TABLE, id, "language", language)?,
            registered_at: instant(TABLE, id, row.registered_at)?,
        })
    }
}

/// A direct job, whole.
#[derive(Debug, Clone, FromRow)]
pub(super) struct JobRow {
    pub(super) producer: String,
    pub(super) job_id: String,
    pub(super) digest: Vec<u8>,
    pub(super) app: Option<String>,
    pub(super) intent: Option<String>,
    pub(super) at_most_once: bool,
    pub(super) job: Option<String>,
    pub(super) policy: Option<Vec<u8>>,
    pub(super) received_at: i64,
    pub(super) expires_at: i64,
    pub(super) state: String,
    pub(super) tries: i32,
    pub(super) due_at: Option<i64>,
    pub(super) claim_until: Option<i64>,
    pub(super) devices: Vec<u8>,
    pub(super) outcomes: Vec<u8>,
    pub(super) unreachable: i32,
    pub(super) traceparent: Option<String>,
    pub(super) finished_at: Option<i64>,
    /// Only read: what is inserted by the direct lane is no campaign's.
    pub(super) campaign: bool,
}

/// One line of a batch's read on PostgreSQL, or of one of its three queries on SQLite.
#[derive(Debug, FromRow)]
pub(super) struct PriorRow {
    /// Which ask it answers.
    pub(super) ask: i32,
    pub(super) digest: Vec<u8>,
    pub(super) finished: bool,
}

/// A word beside a packed outcome.
#[derive(Debug, FromRow)]
pub(super) struct WordRow {
    pub(super) position: i32,
    pub(super) outcome: i16,
    pub(super) reason: String,
    pub(super) at: i64,
}

/// A digest as read.
pub(super) fn digest(
    table: &'static str,
    id: impl Display,
    name: &str,
    bytes: &[u8],
) -> Result<Digest, LedgerError> {
    column(table, id, name, Digest::from_bytes(bytes).ok_or(()))
}
