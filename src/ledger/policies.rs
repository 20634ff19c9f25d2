//! The policy in force: which one the whole fleet goes by.
//!
//! - **I3 unknown-is-no**: a process that was started with another policy takes nothing and sends nothing.
//! - A change needs two people: one proposes exactly these files, another puts them in force. Only the first policy of a
//!   fresh ledger comes into force by itself, with the first process that serves.

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;

use super::{
    Ledger, LedgerError, on_pool,
    rows::{column, digest, instant, json_text, micros},
    tx::{Tx, on_either},
};
use crate::{
    audience::{Policy, PolicyFile},
    ledger::commit::SERVICE,
    model::{Digest, OperatorName, PersonKey, Waiting},
};

/// The policy that the fleet goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// Its hash.
    pub hash: Digest,
    /// Since when.
    pub since: Timestamp,
    /// Who put it in force.
    pub actor: String,
}

/// A policy that one person has proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyProposal {
    /// Its hash.
    pub hash: Digest,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
}

/// What a person's wish for a policy came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// It is in force: somebody else had proposed it.
    InForce,
    /// It is proposed now; another person must ask for the same.
    Proposed,
    /// The same person proposed it before; another must ask for it.
    NeedsAnother,
    /// It was in force already.
    Already,
}

#[derive(FromRow)]
struct StandingRow {
    hash: Vec<u8>,
    at: i64,
    actor: String,
}

impl StandingRow {
    fn read(self, table: &'static str) -> Result<(Digest, Timestamp, String), LedgerError> {
        Ok((digest(table, 1, "hash", &self.hash)?, instant(table, 1, self.at)?, self.actor))
    }
}

const IN_FORCE: &str = "select hash, since as at, actor from policy_in_force";
const PROPOSAL: &str = "select hash, at, actor from policy_proposal";

impl Ledger {
    /// The policy in force; `None` on a fresh ledger.
    pub async fn policy_in_force(&self) -> Result<Option<PolicyInForce>, LedgerError> {
        let row: Option<StandingRow> =
            on_pool!(self, pool => sqlx::query_as(IN_FORCE).fetch_optional(pool).await?);
        let read = row.map(|row| row.read("policy_in_force")).transpose()?;
        Ok(read.map(|(hash, since, actor)| PolicyInForce { hash, since, actor }))
    }

    /// What one person has proposed, if that waits for another.
    pub async fn policy_proposal(&self) -> Result<Option<PolicyProposal>, LedgerError> {
        let row: Option<StandingRow> =
            on_pool!(self, pool => sqlx::query_as(PROPOSAL).fetch_optional(pool).await?);
        let read = row.map(|row| row.read("policy_proposal")).transpose()?;
        Ok(read.map(|(hash, at, actor)| PolicyProposal { hash, at, actor }))
    }

    /// The files of a policy that was ever in force or proposed.
    pub async fn policy_files(&self, hash: &Digest) -> Result<Option<Vec<PolicyFile>>, LedgerError> {
        const SQL: &str = "select files from policy_version where hash = $1";
        let files: Option<String> = on_pool!(self, pool => {
            sqlx::query_scalar(SQL).bind(&hash.as_bytes()[..]).fetch_optional(pool).await?
        });
        files.map(|files| column("policy_version", hash, "files", serde_json::from_str(&files))).transpose()
    }

    /// Puts the first policy of a fresh ledger in force. Answers which is in force: this one, or another that was first.
    pub async fn initialise_policy(&self, policy: &Policy) -> Result<PolicyInForce, LedgerError> {
        const INSERT: &str = "insert into policy_in_force (one, hash, since, actor) values (1, $1, $2, $3) \
             on conflict (one) do nothing";
        if let Some(known) = self.policy_in_force().await? {
            return Ok(known);
        }
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        tx.keep_policy(policy, now).await?;
        let hash = policy.hash();
        let first = on_either!(&mut tx, c => {
            sqlx::query(INSERT).bind(&hash.as_bytes()[..]).bind(micros(now)).bind(SERVICE).execute(c).await?.rows_affected()
        });
        if first == 1 {
            tx.note_shadows(policy, now).await?;
            tx.append_audit(now, SERVICE, "policy.initialised", &json!({ "policy": hash })).await?;
            tx.commit().await?;
        } else {
            drop(tx);
        }
        self.policy_in_force().await?.ok_or_else(|| LedgerError::nonsense("policy_in_force", 1, "it is gone"))
    }

    /// One person wants this policy in force: proposed by the first, in force with the second.
    pub async fn activate_policy(
        &self,
        policy: &Policy,
        by: &OperatorName,
    ) -> Result<Activation, LedgerError> {
        const LOCK: &str = "select hash, since as at, actor from policy_in_force for update";
        const PROPOSE: &str = "insert into policy_proposal (one, hash, at, actor) values (1, $1, $2, $3) \
             on conflict (one) do update set hash = excluded.hash, at = excluded.at, actor = excluded.actor";
        const PUT: &str = "insert into policy_in_force (one, hash, since, actor) values (1, $1, $2, $3) \
             on conflict (one) do update set hash = excluded.hash, since = excluded.since, actor = excluded.actor";
        let hash = policy.hash();
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let lock = if matches!(tx, Tx::Postgres(_)) { LOCK } else { IN_FORCE };
        let row: Option<StandingRow> =
            on_either!(&mut tx, c => sqlx::query_as(lock).fetch_optional(c).await?);
        let in_force = row.map(|row| row.read("policy_in_force")).transpose()?;
        if in_force.as_ref().is_some_and(|(known, ..)| *known == hash) {
            return Ok(Activation::Already);
        }
        let row: Option<StandingRow> =
            on_either!(&mut tx, c => sqlx::query_as(PROPOSAL).fetch_optional(c).await?);
        let proposed = row.map(|row| row.read("policy_proposal")).transpose()?;
        let of_same = proposed.filter(|(known, ..)| *known == hash);
        tx.keep_policy(policy, now).await?;
        let (sql, kind, answer) = match &of_same {
            // On a fresh ledger, whose services have not started yet, there is nothing to change.
            _ if in_force.is_none() => (PUT, "policy.initialised", Activation::InForce),
            Some((_, _, first)) if PersonKey::of(first) == by.person() => {
                return Ok(Activation::NeedsAnother);
            }
            Some(_) => (PUT, "policy.activated", Activation::InForce),
            None => (PROPOSE, "policy.proposed", Activation::Proposed),
        };
        on_either!(&mut tx, c => {
            sqlx::query(sql).bind(&hash.as_bytes()[..]).bind(micros(now)).bind(by.as_str()).execute(c).await?;
        });
        if answer == Activation::InForce {
            on_either!(&mut tx, c => {
                sqlx::query("delete from policy_proposal").execute(c).await?;
            });
            tx.note_shadows(policy, now).await?;
        }
        if answer == Activation::Proposed {
            tx.notify(now, Waiting::PolicyProposed { policy: hash, by: by.clone() }).await?;
        }
        let body = json!({
            "policy": hash, "before": in_force.map(|(before, ..)| before),
            "proposed_by": of_same.map(|(_, _, first)| first),
        });
        tx.append_audit(now, by.as_str(), kind, &body).await?;
        tx.commit().await?;
        Ok(answer)
    }
}

impl Tx {
    /// The hash of the policy in force; `None` on a fresh ledger.
    pub(super) async fn policy_hash_in_force(&mut self) -> Result<Option<Digest>, LedgerError> {
        let row: Option<StandingRow> =
            on_either!(self, c => sqlx::query_as(IN_FORCE).fetch_optional(c).await?);
        Ok(row.map(|row| row.read("policy_in_force")).transpose()?.map(|(hash, ..)| hash))
    }

    async fn keep_policy(&mut self, policy: &Policy, now: Timestamp) -> Result<(), LedgerError> {
        const SQL: &str =
            "insert into policy_version (hash, files, at) values ($1, $2, $3) on conflict (hash) do nothing";
        let files = json_text(&policy.files());
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(&policy.hash().as_bytes()[..])
                .bind(&files)
                .bind(micros(now))
                .execute(c)
                .await?;
        });
        Ok(())
    }
}
