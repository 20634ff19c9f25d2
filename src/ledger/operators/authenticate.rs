//! Whose token is this?

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::{TOKENS, TokenId, TokenRecord, TokenRow, id_in};
use crate::{
    api::wire::Scope,
    ledger::{Ledger, LedgerError, on_pool, rows::micros, tx::on_either},
    model::{Digest, OperatorName},
};

/// How exactly a token's last use is known: a write for every request would be the API's largest.
const USED_WITHIN: Duration = Duration::from_mins(1);

/// Who is asking, and what they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub operator: OperatorName,
    /// By which token.
    pub token: TokenId,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why a token opens nothing. The reason is told to its holder only: whoever guesses learns [`NotAuthentic::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthentic {
    /// Nobody has this token.
    #[error("this token is not known")]
    Unknown,
    /// Its time is over.
    #[error("this token has expired; an admin makes another with `bellwether operator add`")]
    Expired,
    /// It was revoked.
    #[error("this token was revoked")]
    Revoked,
    /// It waits for its second admin.
    #[error(
        "this token waits for a second admin, who confirms it with `bellwether operator confirm`; neither who made it nor \
         whose it is can"
    )]
    Unconfirmed,
}

impl Ledger {
    /// Whose token this is.
    pub async fn authenticate(
        &self,
        token: &str,
    ) -> Result<Result<Authenticated, NotAuthentic>, LedgerError> {
        let sql = format!("{TOKENS} where id = $1");
        let Some(id) = id_in(token) else { return Ok(Err(NotAuthentic::Unknown)) };
        let row: Option<TokenRow> =
            on_pool!(self, pool => sqlx::query_as(&sql).bind(id.as_str()).fetch_optional(pool).await?);
        let Some(row) = row else { return Ok(Err(NotAuthentic::Unknown)) };
        let hash = row.hash()?;
        if !bool::from(hash.as_bytes().ct_eq(Digest::of(token.as_bytes()).as_bytes())) {
            return Ok(Err(NotAuthentic::Unknown));
        }
        let known = TokenRecord::try_from(row)?;
        let now = self.now().await?;
        if known.revoked_at.is_some() {
            return Ok(Err(NotAuthentic::Revoked));
        }
        if known.expires_at <= now {
            return Ok(Err(NotAuthentic::Expired));
        }
        if !known.is_confirmed() {
            return Ok(Err(NotAuthentic::Unconfirmed));
        }
        self.note_use(&known, now).await?;
        let TokenRecord { id, operator, scopes, expires_at, .. } = known;
        Ok(Ok(Authenticated { operator, token: id, scopes, expires_at }))
    }

    async fn note_use(&self, token: &TokenRecord, now: Timestamp) -> Result<(), LedgerError> {
        const SQL: &str = "update operator_token set used_at = $1 where id = $2";
        let stale = now.checked_sub(USED_WITHIN).unwrap_or(Timestamp::MIN);
        if token.used_at.is_some_and(|used| used > stale) {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(micros(now)).bind(token.id.as_str()).execute(c).await?;
        });
        tx.commit().await
    }
}
