//! Operators and their tokens: who may ask what.
//!
//! - **I4 widening-needs-two**: names that read alike are one person, and a token that could approve, or make such tokens,
//!   is usable only after a second admin, who neither made it nor owns it, has confirmed it. The ledger itself, opened as
//!   break-glass, gives out what stops things and what looks at things, and admins: never an approver.
//! - **I12 silent-logs**: of a token only the hash is kept, and no error has it.

mod authenticate;
mod manage;

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use sqlx::FromRow;

pub use authenticate::{Authenticated, NotAuthentic};
pub use manage::{Issuer, NewOperatorToken, NotConfirmed, NotIssued};

use super::{
    LedgerError,
    rows::{column, digest, instant},
};
use crate::{
    api::wire::Scope,
    clock::Clock,
    model::{Digest, OperatorName},
};

const TABLE: &str = "operator_token";

/// What a token begins with: scanners of repositories find it by that.
const PREFIX: &str = "bw_";

/// By which a token is looked up and listed; no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenId(String);

/// No token has this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token's id is 16 hex digits")]
pub struct NoTokenId;

impl TokenId {
    /// As shown and stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        let is_ours = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_ours { Ok(Self(text.to_owned())) } else { Err(NoTokenId) }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A token before it is on record: `bw_<id>_<256 bits in base64url>`.
#[derive(Debug)]
pub struct MintedToken {
    id: TokenId,
    text: SecretString,
    hash: Digest,
}

impl MintedToken {
    /// Nobody can guess it.
    #[must_use]
    pub fn mint(clock: &Clock) -> Self {
        let id = TokenId(format!("{:016x}", clock.seed()));
        let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(clock.secret()));
        Self { id, hash: Digest::of(text.as_bytes()), text: text.into() }
    }

    /// The token, to be shown once.
    #[must_use]
    pub fn into_secret(self) -> SecretString {
        self.text
    }
}

/// The id in what claims to be a token.
fn id_in(token: &str) -> Option<TokenId> {
    token.strip_prefix(PREFIX)?.split_once('_')?.0.parse().ok()
}

/// A token on record, without itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// By which it is confirmed and revoked.
    pub id: TokenId,
    /// Whose it is.
    pub operator: OperatorName,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// It needs a second admin.
    pub second: bool,
    /// Who made it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// The second admin.
    pub confirmed_by: Option<String>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub used_at: Option<Timestamp>,
}

impl TokenRecord {
    /// True if it needs no second admin, or has one.
    #[must_use]
    pub const fn is_confirmed(&self) -> bool {
        !self.second || self.confirmed_by.is_some()
    }
}

/// What every query for a [`TokenRow`] begins with.
const TOKENS: &str = "select id, operator, hash, scopes, second, made_by, made_at, confirmed_by, expires_at, \
     revoked_at, used_at from operator_token ";

#[derive(FromRow)]
struct TokenRow {
    id: String,
    operator: String,
    hash: Vec<u8>,
    scopes: String,
    second: bool,
    made_by: String,
    made_at: i64,
    confirmed_by: Option<String>,
    expires_at: i64,
    revoked_at: Option<i64>,
    used_at: Option<i64>,
}

impl TokenRow {
    fn hash(&self) -> Result<Digest, LedgerError> {
        digest(TABLE, 0, "hash", &self.hash)
    }
}

impl TryFrom<TokenRow> for TokenRecord {
    type Error = LedgerError;

    fn try_from(row: TokenRow) -> Result<Self, LedgerError> {
        let id = row.id;
        Ok(Self {
            operator: column(TABLE, &id, "operator", OperatorName::parse(&row.operator))?,
            scopes: column(TABLE, &id, "scopes", serde_json::from_str(&row.scopes))?,
            second: row.second,
            made_at: instant(TABLE, &id, row.made_at)?,
            expires_at: instant(TABLE, &id, row.expires_at)?,
            revoked_at: row.revoked_at.map(|at| instant(TABLE, &id, at)).transpose()?,
            used_at: row.used_at.map(|at| instant(TABLE, &id, at)).transpose()?,
            made_by: row.made_by,
            confirmed_by: row.confirmed_by,
            id: column(TABLE, &id, "id", id.parse())?,
        })
    }
}
