//! Making, confirming, revoking and listing tokens. Each is in the audit.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;

use super::{MintedToken, TOKENS, TokenId, TokenRecord, TokenRow};
use crate::{
    api::wire::Scope,
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, json_text, micros},
        tx::{Tx, on_either},
    },
    model::{OperatorName, PersonKey, Waiting},
};

/// Who makes a token.
#[derive(Debug, Clone, Copy)]
pub enum Issuer<'a> {
    /// An admin, over the API.
    Admin(&'a OperatorName),
    /// Whoever can open the ledger: the first admin, or the last resort.
    BreakGlass(&'a OperatorName),
}

impl Issuer<'_> {
    const fn name(&self) -> &OperatorName {
        match self {
            Self::Admin(name) | Self::BreakGlass(name) => name,
        }
    }
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewOperatorToken<'a> {
    /// Whose.
    pub operator: &'a OperatorName,
    /// What it allows.
    pub scopes: &'a BTreeSet<Scope>,
    /// For how long.
    pub lasts: Duration,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIssued {
    /// Nothing in the name can be seen.
    #[error("nothing in this name can be seen; give a person's name")]
    NoName,
    /// The ledger gives out what stops things and what looks at things, and admins.
    #[error(
        "a token made straight from the ledger may have the scopes admin, halt and audit, and not {0}; admins give the \
         others, over the API"
    )]
    NotBreakGlass(Scope),
}

/// Why a token was not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotConfirmed {
    /// Nobody has it.
    #[error("no token has this id")]
    NotFound,
    /// Its maker.
    #[error("you made this token; another admin must confirm it")]
    Maker,
    /// Its owner.
    #[error("this token is yours; an admin who is neither its maker nor its owner must confirm it")]
    Owner,
    /// It needs nobody, or has somebody.
    #[error("this token waits for nobody")]
    NotWaiting,
    /// It was revoked, or is too old.
    #[error("this token was revoked, or has expired")]
    Over,
}

/// True if a second admin must confirm a token with this scope: it approves, or makes those that approve.
const fn needs_second(scope: &Scope) -> bool {
    matches!(scope, Scope::Approve(_) | Scope::Admin)
}

const fn is_break_glass(scope: &Scope) -> bool {
    matches!(scope, Scope::Admin | Scope::Halt | Scope::Audit)
}

#[derive(FromRow)]
struct OperatorRow {
    name: String,
}

impl Ledger {
    /// Puts a token on record.
    pub async fn issue_token(
        &self,
        new: &NewOperatorToken<'_>,
        minted: &MintedToken,
        issuer: Issuer<'_>,
    ) -> Result<Result<TokenRecord, NotIssued>, LedgerError> {
        const SQL: &str = "insert into operator_token (id, operator, hash, scopes, second, made_by, made_at, \
                 expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8)";
        let second = match issuer {
            Issuer::Admin(_) => new.scopes.iter().any(needs_second),
            Issuer::BreakGlass(_) => {
                if let Some(other) = new.scopes.iter().find(|scope| !is_break_glass(scope)) {
                    return Ok(Err(NotIssued::NotBreakGlass(other.clone())));
                }
                false
            }
        };
        if new.operator.person().as_str().is_empty() {
            return Ok(Err(NotIssued::NoName));
        }
        let by = issuer.name();
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let owner = tx.operator(new.operator, by, now).await?;
        let expires_at = now.checked_add(new.lasts).unwrap_or(Timestamp::MAX);
        on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(minted.id.as_str())
                .bind(owner.as_str())
                .bind(&minted.hash.as_bytes()[..])
                .bind(json_text(new.scopes))
                .bind(second)
                .bind(by.as_str())
                .bind(micros(now))
                .bind(micros(expires_at))
                .execute(c)
                .await?;
        });
        let record = tx.token(&minted.id).await?.ok_or_else(|| missing(&minted.id))?;
        let body = json!({
            "token": record.id.as_str(), "operator": owner, "scopes": new.scopes, "expires_at": expires_at,
            "needs_second": second, "break_glass": matches!(issuer, Issuer::BreakGlass(_)),
        });
        if second {
            let waiting =
                Waiting::TokenUnconfirmed { token: record.id.as_str().to_owned(), operator: owner.clone() };
            tx.notify(now, waiting).await?;
        }
        tx.append_audit(now, by.as_str(), "token.made", &body).await?;
        tx.commit().await?;
        Ok(Ok(record))
    }

    /// A second admin says that a token is right.
    pub async fn confirm_token(
        &self,
        id: &TokenId,
        by: &OperatorName,
    ) -> Result<Result<TokenRecord, NotConfirmed>, LedgerError> {
        const SQL: &str = "update operator_token set confirmed_by = $1, confirmed_at = $2 where id = $3";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let Some(token) = tx.token(id).await? else { return Ok(Err(NotConfirmed::NotFound)) };
        let refused = match () {
            () if token.is_confirmed() => Some(NotConfirmed::NotWaiting),
            () if token.revoked_at.is_some() || token.expires_at <= now => Some(NotConfirmed::Over),
            () if PersonKey::of(&token.made_by) == by.person() => Some(NotConfirmed::Maker),
            () if token.operator.person() == by.person() => Some(NotConfirmed::Owner),
            () => None,
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(by.as_str()).bind(micros(now)).bind(id.as_str()).execute(c).await?;
        });
        let body = json!({ "token": id.as_str(), "operator": token.operator, "scopes": token.scopes });
        tx.append_audit(now, by.as_str(), "token.confirmed", &body).await?;
        tx.commit().await?;
        Ok(Ok(TokenRecord { confirmed_by: Some(by.to_string()), ..token }))
    }

    /// Takes a token away; `None` if nobody has it. Once revoked, it stays so.
    pub async fn revoke_token(
        &self,
        id: &TokenId,
        by: &OperatorName,
    ) -> Result<Option<TokenRecord>, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let Some(token) = tx.token(id).await? else { return Ok(None) };
        if token.revoked_at.is_some() {
            return Ok(Some(token));
        }
        tx.revoke(&[&token], by, now).await?;
        tx.commit().await?;
        Ok(Some(TokenRecord { revoked_at: Some(now), ..token }))
    }

    /// Takes every token of a person away; `None` if nobody of that name has ever had one.
    pub async fn revoke_operator(
        &self,
        name: &OperatorName,
        by: &OperatorName,
    ) -> Result<Option<Vec<TokenRecord>>, LedgerError> {
        let sql = format!("{TOKENS} where operator = $1 order by made_at desc, id");
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let Some(owner) = tx.known_operator(name).await? else { return Ok(None) };
        let rows: Vec<TokenRow> =
            on_either!(&mut tx, c => sqlx::query_as(&sql).bind(owner.as_str()).fetch_all(c).await?);
        let mut tokens: Vec<TokenRecord> =
            rows.into_iter().map(TokenRecord::try_from).collect::<Result<_, _>>()?;
        let live: Vec<_> = tokens.iter().filter(|token| token.revoked_at.is_none()).collect();
        if !live.is_empty() {
            tx.revoke(&live, by, now).await?;
            tx.commit().await?;
        }
        for token in &mut tokens {
            token.revoked_at.get_or_insert(now);
        }
        Ok(Some(tokens))
    }

    /// Every token that was ever made, by its owner's name, the newest first.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, LedgerError> {
        let sql = format!("{TOKENS} order by operator, made_at desc, id");
        let rows: Vec<TokenRow> = on_pool!(self, pool => sqlx::query_as(&sql).fetch_all(pool).await?);
        rows.into_iter().map(TokenRecord::try_from).collect()
    }

    /// A token by its id.
    pub async fn token(&self, id: &TokenId) -> Result<Option<TokenRecord>, LedgerError> {
        let sql = format!("{TOKENS} where id = $1");
        let row: Option<TokenRow> =
            on_pool!(self, pool => sqlx::query_as(&sql).bind(id.as_str()).fetch_optional(pool).await?);
        row.map(TokenRecord::try_from).transpose()
    }
}

fn missing(id: &TokenId) -> LedgerError {
    LedgerError::nonsense(super::TABLE, id, "it was written a moment ago, and is gone")
}

impl Tx {
    /// The person of this name as they are on record, under whichever spelling came first.
    async fn operator(
        &mut self,
        name: &OperatorName,
        by: &OperatorName,
        now: Timestamp,
    ) -> Result<OperatorName, LedgerError> {
        const SQL: &str = "insert into operator (name, reads, made_by, made_at) values ($1, $2, $3, $4) \
             on conflict (reads) do nothing";
        let person = name.person();
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(name.as_str())
                .bind(person.as_str())
                .bind(by.as_str())
                .bind(micros(now))
                .execute(c)
                .await?;
        });
        let known = self.known_operator(name).await?;
        known.ok_or_else(|| LedgerError::nonsense("operator", name, "it was written, and is gone"))
    }

    async fn known_operator(&mut self, name: &OperatorName) -> Result<Option<OperatorName>, LedgerError> {
        const SQL: &str = "select name from operator where reads = $1";
        let person = name.person();
        let row: Option<OperatorRow> =
            on_either!(self, c => sqlx::query_as(SQL).bind(person.as_str()).fetch_optional(c).await?);
        row.map(|row| column("operator", &row.name, "name", OperatorName::parse(&row.name))).transpose()
    }

    /// A token, its row locked.
    async fn token(&mut self, id: &TokenId) -> Result<Option<TokenRecord>, LedgerError> {
        let lock = if matches!(self, Self::Postgres(_)) { "for update" } else { "" };
        let sql = format!("{TOKENS} where id = $1 {lock}");
        let row: Option<TokenRow> =
            on_either!(self, c => sqlx::query_as(&sql).bind(id.as_str()).fetch_optional(c).await?);
        row.map(TokenRecord::try_from).transpose()
    }

    async fn revoke(
        &mut self,
        tokens: &[&TokenRecord],
        by: &OperatorName,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "update operator_token set revoked_by = $1, revoked_at = $2 \
             where id = $3 and revoked_at is null";
        for token in tokens {
            on_either!(self, c => {
                sqlx::query(SQL)
                    .bind(by.as_str())
                    .bind(micros(now))
                    .bind(token.id.as_str())
                    .execute(c)
                    .await?;
            });
        }
        let ids: Vec<_> = tokens.iter().map(|token| token.id.as_str()).collect();
        let owner = tokens.first().map(|token| &token.operator);
        let body = json!({ "tokens": ids, "operator": owner });
        self.append_audit(now, by.as_str(), "token.revoked", &body).await.map(drop)
    }
}
