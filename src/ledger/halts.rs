//! Halts: stop, said by a person or by the machine.
//!
//! - **I5 halt-is-now**, as far as the direct lane goes: a halt that is on record is seen by the very next
//!   batch's read, and nothing of what it covers is opened.

use std::{fmt, str::FromStr};

use jiff::Timestamp;

use super::{
    Ledger, LedgerError,
    rows::{column, instant, micros},
    tx::{Tx, on_either},
};
use crate::model::{AppId, AudienceName, CampaignId, Event, EventBody, OperatorName, PersonKey};

/// What is halted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HaltScope {
    /// Everything.
    All,
    /// One app.
    App(AppId),
    /// Campaigns to one audience.
    Audience(AudienceName),
    /// One campaign.
    Campaign(CampaignId),
}

impl HaltScope {
    /// True if this halt stops direct jobs of `app`. A job without an app goes nowhere in any case.
    #[must_use]
    pub fn covers(&self, app: Option<&AppId>) -> bool {
        match self {
            Self::All => true,
            Self::App(halted) => Some(halted) == app,
            Self::Audience(_) | Self::Campaign(_) => false,
        }
    }
}

impl fmt::Display for HaltScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::App(app) => write!(f, "app:{app}"),
            Self::Audience(audience) => write!(f, "audience:{audience}"),
            Self::Campaign(campaign) => write!(f, "campaign:{campaign}"),
        }
    }
}

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a halt's scope is `all`, `app:<id>`, `audience:<name>` or `campaign:<id>`")]
pub struct UnknownScope;

impl FromStr for HaltScope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("app", app)) => AppId::parse(app).map(Self::App).map_err(|_| UnknownScope),
            Some(("audience", name)) => {
                AudienceName::parse(name).map(Self::Audience).map_err(|_| UnknownScope)
            }
            Some(("campaign", id)) => {
                id.parse().map(|id| Self::Campaign(CampaignId::from_uuid(id))).map_err(|_| UnknownScope)
            }
            _ => Err(UnknownScope),
        }
    }
}

/// A halt in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// What is halted.
    pub scope: HaltScope,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
    /// The first of the two people whom lifting a halt of everything needs.
    pub lift_asked_by: Option<String>,
}

/// What became of the wish to lift a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lift {
    /// There is no such halt.
    NotHalted,
    /// It needs a second person, who is not this one.
    Asked,
    /// It is lifted.
    Lifted,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct HaltRow {
    scope: String,
    actor: String,
    reason: String,
    at: i64,
    lift_asked_by: Option<String>,
}

impl TryFrom<HaltRow> for Halt {
    type Error = LedgerError;

    fn try_from(row: HaltRow) -> Result<Self, LedgerError> {
        Ok(Self {
            scope: column("halt", &row.scope, "scope", row.scope.parse())?,
            at: instant("halt", &row.scope, row.at)?,
            actor: row.actor,
            reason: row.reason,
            lift_asked_by: row.lift_asked_by,
        })
    }
}

impl Ledger {
    /// Halts `scope`, and ends every rollout that it covers, in one transaction: when this has returned, no intent can be
    /// committed under any of them (I5). Answers how many it ended. A second halt of the same scope replaces who said it
    /// and why.
    pub async fn set_halt(&self, scope: &HaltScope, actor: &str, reason: &str) -> Result<u64, LedgerError> {
        const SQL: &str = "insert into halt (scope, actor, reason, at) values ($1, $2, $3, $4) \
             on conflict (scope) do update set actor = excluded.actor, reason = excluded.reason, at = excluded.at, \
             lift_asked_by = null";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let word = scope.to_string();
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(&word).bind(actor).bind(reason).bind(micros(now)).execute(c).await?;
        });
        let halted = self.halt_rollouts(&mut tx, scope, &cause(scope, actor, reason), now).await?;
        let body =
            EventBody::HaltSet { scope: word.clone(), by: actor.to_owned(), reason: reason.to_owned() };
        tx.tell(&[Event::new(now, None, &micros(now).to_be_bytes(), body)]).await?;
        let particulars = serde_json::json!({ "scope": word, "reason": reason, "rollouts": halted });
        tx.append_audit(now, actor, "halt.set", &particulars).await?;
        tx.commit().await?;
        Ok(halted)
    }

    /// Lifts the halt of `scope`; false if there was none. This is break-glass: one person lifts whatever it is.
    pub async fn clear_halt(&self, scope: &HaltScope, actor: &str) -> Result<bool, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let lifted = tx.clear_halt(scope, actor, now).await?;
        tx.commit().await?;
        Ok(lifted)
    }

    /// Lifts the halt of `scope`, or asks for it: a halt of everything is lifted by two different people.
    pub async fn lift_halt(&self, scope: &HaltScope, by: &OperatorName) -> Result<Lift, LedgerError> {
        const ASK: &str = "update halt set lift_asked_by = $1 where scope = $2";
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        if let (HaltScope::All, Tx::Postgres(tx)) = (scope, &mut tx) {
            // Of two who come at once, the second sees that the first asked.
            sqlx::query("select 1 from halt where scope = 'all' for update").execute(&mut **tx).await?;
        }
        let Some(halt) = tx.halts().await?.into_iter().find(|halt| halt.scope == *scope) else {
            return Ok(Lift::NotHalted);
        };
        let asked = halt.lift_asked_by.as_deref().map(PersonKey::of);
        let done = if *scope != HaltScope::All || asked.is_some_and(|first| first != by.person()) {
            tx.clear_halt(scope, by.as_str(), now).await?;
            Lift::Lifted
        } else {
            let word = scope.to_string();
            on_either!(&mut tx, c => {
                sqlx::query(ASK).bind(by.as_str()).bind(&word).execute(c).await?;
            });
            let particulars = serde_json::json!({ "scope": word });
            tx.append_audit(now, by.as_str(), "halt.lift_asked", &particulars).await?;
            Lift::Asked
        };
        tx.commit().await?;
        Ok(done)
    }

    /// Every halt in force, the oldest first.
    pub async fn halts(&self) -> Result<Vec<Halt>, LedgerError> {
        const SQL: &str = "select scope, actor, reason, at, lift_asked_by from halt order by at, scope";
        let rows: Vec<HaltRow> = super::on_pool!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter().map(Halt::try_from).collect()
    }
}

/// What stands beside a rollout that a halt ended: which halt, by whom, and why.
fn cause(scope: &HaltScope, actor: &str, reason: &str) -> String {
    // Which campaign it is, whoever reads it knows.
    let scope = match scope {
        HaltScope::Campaign(_) => "this campaign".to_owned(),
        scope => scope.to_string(),
    };
    format!("halted ({scope}) by {actor}: {reason}")
}

impl Tx {
    async fn clear_halt(
        &mut self,
        scope: &HaltScope,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let word = scope.to_string();
        let lifted = on_either!(self, c => {
            sqlx::query("delete from halt where scope = $1").bind(&word).execute(c).await?.rows_affected()
        });
        if lifted == 0 {
            return Ok(false);
        }
        let body = EventBody::HaltCleared { scope: word.clone(), by: actor.to_owned() };
        self.tell(&[Event::new(now, None, &micros(now).to_be_bytes(), body)]).await?;
        self.append_audit(now, actor, "halt.cleared", &serde_json::json!({ "scope": word })).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_back_as_written_and_covers_its_app_only() {
        let app = AppId::parse("pl.example.bank").expect("an app");
        let other = AppId::parse("pl.example.shop").expect("an app");
        for scope in [HaltScope::All, HaltScope::App(app.clone())] {
            assert_eq!(scope.to_string().parse(), Ok(scope.clone()));
            assert!(scope.covers(Some(&app)));
        }
        assert!(!HaltScope::App(app).covers(Some(&other)));
        for bad in ["", "app:", "app", "audience:", "campaign:x", "ALL"] {
            assert_eq!(bad.parse::<HaltScope>(), Err(UnknownScope), "{bad}");
        }
    }
}
