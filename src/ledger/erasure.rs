//! Erasure: what leads to a person goes, what counts stays.
//!
//! A forgotten device keeps its row, blank: frozen lists name devices by their rows, and what was sent must still add up.
//! Its id stays too, so that whoever knows it can be told what it was sent; nobody can be found by it. Its last version
//! stays (see `device_version`), so that a late message does not bring it back.

use std::collections::BTreeMap;

use serde_json::json;
use uuid::Uuid;

use super::{
    Ledger, LedgerError, on_pool,
    rows::micros,
    tx::{Tx, on_either, stored_bucket, stored_device},
};
use crate::model::{AppId, Bucket, DeviceId, Digest, UserId};

/// Whose devices are to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// Every device of this person, of one app or of all, gone ones as well.
    User(UserId, Option<AppId>),
    /// This one.
    Device(DeviceId),
}

/// What a forgotten device's user is: no user's id.
pub(super) const NOBODY: &str = "";

const BY_USER: &str = "bucket = $1 and user_id = $2 and ($3 is null or app = $3)";
/// The second keeps a forgotten device from being forgotten again.
const BY_DEVICE: &str = "bucket = $1 and public_id = $2 and user_id <> $3";

#[derive(sqlx::FromRow)]
struct ErasedRow {
    bucket: i16,
    id: i64,
    public_id: Uuid,
    app: String,
    platform: String,
    environment: String,
    token: String,
}

impl ErasedRow {
    fn owner_key(&self) -> Digest {
        let parts = [&self.app, &self.platform, &self.environment, &self.token];
        Digest::of_parts(&parts.map(String::as_bytes))
    }
}

/// The same question on whichever executor.
macro_rules! erased {
    ($erasure:expr, $sql:expr, $as:ident, $connection:expr, $fetch:ident) => {{
        let sql = $sql;
        match $erasure {
            Erasure::User(user, app) => {
                sqlx::$as(&sql)
                    .bind(stored_bucket(Bucket::of(user)))
                    .bind(user.as_str())
                    .bind(app.as_ref().map(AppId::as_str))
                    .$fetch($connection)
                    .await?
            }
            Erasure::Device(device) => {
                let (bucket, id) = stored_device(*device);
                sqlx::$as(&sql).bind(bucket).bind(id).bind(NOBODY).$fetch($connection).await?
            }
        }
    }};
}

impl Erasure {
    const fn condition(&self) -> &'static str {
        match self {
            Self::User(..) => BY_USER,
            Self::Device(_) => BY_DEVICE,
        }
    }
}

impl Ledger {
    /// How many devices an erasure would forget now.
    pub async fn count_to_forget(&self, erasure: &Erasure) -> Result<u64, LedgerError> {
        let sql = format!("select count(*) from device where {}", erasure.condition());
        let count: i64 = on_pool!(self, pool => erased!(erasure, sql, query_scalar, pool, fetch_one));
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Forgets devices, and answers how many. The audit says who did it, when and how many, and nothing of whose.
    pub async fn forget_devices(&self, erasure: &Erasure, actor: &str) -> Result<u64, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let rows = tx.erased_rows(erasure).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        // Tokens first, in the order of their keys, as everybody who registers has them.
        let keys: BTreeMap<Digest, Uuid> = rows.iter().map(|row| (row.owner_key(), row.public_id)).collect();
        for (key, id) in keys {
            on_either!(&mut tx, c => {
                sqlx::query("delete from token_owner where owner_key = $1 and public_id = $2")
                    .bind(&key.as_bytes()[..])
                    .bind(id)
                    .execute(c)
                    .await?;
            });
        }
        for row in &rows {
            tx.blank(row, micros(now)).await?;
        }
        let (what, app) = match erasure {
            Erasure::User(_, app) => ("user", app.as_ref()),
            Erasure::Device(_) => ("device", None),
        };
        let body = json!({ "of": what, "app": app, "devices": rows.len() });
        tx.append_audit(now, actor, "device.forgotten", &body).await?;
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

impl Tx {
    async fn erased_rows(&mut self, erasure: &Erasure) -> Result<Vec<ErasedRow>, LedgerError> {
        let condition = erasure.condition();
        let sql = format!(
            "select bucket, id, public_id, app, platform, environment, token from device where {condition}"
        );
        Ok(on_either!(self, c => erased!(erasure, sql, query_as, c, fetch_all)))
    }

    /// The app and the platform stay: they say of whole campaigns, not of a person.
    async fn blank(&mut self, row: &ErasedRow, now: i64) -> Result<(), LedgerError> {
        let no_tags = match self {
            Self::Postgres(_) => "'{}'",
            Self::Sqlite(_) => "'[]'",
        };
        let sql = format!(
            "update device set user_id = $3, token = '', country = null, language = null, timezone = null, \
                 app_version = null, version_key = null, tags = {no_tags}, attributes = '{{}}', last_seen_at = null, \
                 gone_at = coalesce(gone_at, $4) \
             where bucket = $1 and id = $2"
        );
        on_either!(self, c => {
            sqlx::query(&sql).bind(row.bucket).bind(row.id).bind(NOBODY).bind(now).execute(c).await?;
        });
        Ok(())
    }
}
