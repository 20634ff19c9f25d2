//! Which rules of the guard are in shadow, and since when: kept as a policy comes into force, so that nobody has to read old
//! policies to know.

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;

use super::{
    Ledger, LedgerError, on_pool,
    rows::{column, instant, micros},
    tx::{Tx, on_either},
};
use crate::{audience::Policy, model::AppId};

/// Two weeks are enough to see what a rule would have stopped. After that it is forgotten, and guards nothing.
pub const LONGEST_SHADOW: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A rule that reports and decides nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// For this app.
    pub app: AppId,
    /// The rule's id.
    pub rule: String,
    /// Since it came into force, without a break.
    pub since: Timestamp,
}

impl Shadow {
    /// Has it been so for longer than anybody needs to look?
    #[must_use]
    pub fn is_long(&self, now: Timestamp) -> bool {
        now.duration_since(self.since) > LONGEST_SHADOW
    }
}

#[derive(FromRow)]
struct Row {
    app: String,
    rule: String,
    since: i64,
}

impl Ledger {
    /// The rules in shadow under the policy in force.
    pub async fn shadows(&self) -> Result<Vec<Shadow>, LedgerError> {
        const SQL: &str = "select app, rule, since from shadow_rule order by app, rule";
        let rows: Vec<Row> = on_pool!(self, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        rows.into_iter()
            .map(|Row { app, rule, since }| {
                let since = instant("shadow_rule", &rule, since)?;
                Ok(Shadow { app: column("shadow_rule", &rule, "app", AppId::parse(&app))?, rule, since })
            })
            .collect()
    }
}

impl Tx {
    /// Notes what is in shadow now; what was before keeps its beginning.
    pub(super) async fn note_shadows(&mut self, policy: &Policy, now: Timestamp) -> Result<(), LedgerError> {
        const READ: &str = "select app, rule, since from shadow_rule";
        const END: &str = "delete from shadow_rule where app = $1 and rule = $2";
        const BEGIN: &str =
            "insert into shadow_rule (app, rule, since) values ($1, $2, $3) on conflict do nothing";
        let known: Vec<Row> = on_either!(&mut *self, c => sqlx::query_as(READ).fetch_all(c).await?);
        let named = |app: &str, rule: &str| {
            policy.apps().any(|known| known.id.as_str() == app && known.guard.in_shadow(rule))
        };
        for row in known.iter().filter(|row| !named(&row.app, &row.rule)) {
            on_either!(&mut *self, c => {
                sqlx::query(END).bind(&row.app).bind(&row.rule).execute(c).await?;
            });
        }
        // Gathered first: the compiler cannot follow this iterator across an await.
        let apps = policy.apps();
        let named: Vec<(AppId, &str)> = apps
            .flat_map(|app| app.guard.shadow.iter().map(|rule| (app.id.clone(), rule.as_str())))
            .collect();
        for (app, rule) in named {
            on_either!(&mut *self, c => {
                sqlx::query(BEGIN).bind(app.as_str()).bind(rule).bind(micros(now)).execute(c).await?;
            });
        }
        Ok(())
    }
}
