//! What a person has seen on a tester's phone and found right.
//!
//! A proof is of words, letter for letter but for digits, case, blanks and punctuation: not of people, so whoever sends a test may
//! say how it looked. It widens nothing: it settles the one finding that nobody had looked, and approvals are still needed.
//!
//! - **I10 explained**: whoever proves stands in the audit, with what they say of it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;

use crate::{
    audience::Class,
    guard::{Fingerprint, Rule},
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, instant, micros},
        tx::{Tx, on_either},
    },
    model::{AppId, CampaignId, FindingNote, Intent, OperatorName, RolloutId, RolloutState},
};

/// A proof on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRecord {
    /// Who looked.
    pub by: OperatorName,
    /// When.
    pub at: Timestamp,
    /// What they say of it.
    pub reason: String,
}

/// Why something is no proof. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// There is no such campaign.
    #[error("no campaign has this id; `bellwether rollout list` shows them")]
    NoCampaign,
    /// Customers are no testers.
    #[error(
        "it is no test campaign: send the same words with intent test to a test audience, and look there"
    )]
    NoTest,
    /// Nobody can have seen all of it.
    #[error(
        "it is not completed, so nobody has seen it yet; `bellwether rollout status --for completed` waits for it"
    )]
    NotCompleted,
    /// Nothing rang.
    #[error(
        "no phone accepted it, so nobody has seen it; look at the testers' devices with `bellwether delivery export`"
    )]
    NobodyGotIt,
    /// Texts are kept for a while only.
    #[error("its text is forgotten; send it again")]
    Forgotten,
}

#[derive(FromRow)]
struct ProofRow {
    proven_by: String,
    proven_at: i64,
    reason: String,
}

impl Ledger {
    /// A person says that a test campaign looked right on a phone. Campaigns that wait for just that wait for it no longer.
    pub async fn prove(
        &self,
        campaign: CampaignId,
        by: &OperatorName,
        reason: &str,
    ) -> Result<Result<(), NotProven>, LedgerError> {
        const ACCEPTED: &str = "select count(*) from tally where rollout = $1 and accepted > 0";
        const PROVE: &str = "insert into proof (app, fingerprint, campaign, proven_by, proven_at, reason) \
             values ($1, $2, $3, $4, $5, $6) on conflict (app, fingerprint) do update set \
             campaign = excluded.campaign, proven_by = excluded.proven_by, proven_at = excluded.proven_at, \
             reason = excluded.reason";
        let Some(known) = self.campaign(campaign).await? else { return Ok(Err(NotProven::NoCampaign)) };
        let Some(rollout) = self.rollout(campaign).await? else { return Ok(Err(NotProven::NoCampaign)) };
        let Some(job) = &known.job else { return Ok(Err(NotProven::Forgotten)) };
        // The guard lets no test beyond testers; should it ever have, nobody's phone but a tester's proves anything.
        if known.intent != Intent::Test || known.class != Class::Test {
            return Ok(Err(NotProven::NoTest));
        }
        if rollout.state != RolloutState::Completed {
            return Ok(Err(NotProven::NotCompleted));
        }
        let mut tx = self.begin().await?;
        let accepted: i64 = on_either!(&mut tx, c => {
            sqlx::query_scalar(ACCEPTED).bind(known.rollout.get()).fetch_one(c).await?
        });
        if accepted == 0 {
            return Ok(Err(NotProven::NobodyGotIt));
        }
        let now = tx.now().await?;
        let fingerprint = Fingerprint::of(job.notification());
        on_either!(&mut tx, c => {
            sqlx::query(PROVE)
                .bind(known.app.as_str())
                .bind(&fingerprint.exact.as_bytes()[..])
                .bind(known.rollout.get())
                .bind(by.as_str())
                .bind(micros(now))
                .bind(reason)
                .execute(c)
                .await?;
        });
        let settled = tx.settle_proven(&known.app, &fingerprint, (by, campaign), now).await?;
        let body = json!({ "campaign": campaign, "reason": reason, "settles": settled });
        tx.append_audit(now, by.as_str(), "campaign.proven", &body).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }

    /// Who has said of this campaign that it looked right, if nobody has proven the same words by another since.
    pub async fn proof_by(&self, rollout: RolloutId) -> Result<Option<ProofRecord>, LedgerError> {
        const SQL: &str = "select proven_by, proven_at, reason from proof where campaign = $1";
        let row: Option<ProofRow> =
            on_pool!(self, pool => sqlx::query_as(SQL).bind(rollout.get()).fetch_optional(pool).await?);
        let record = |row: ProofRow| {
            Ok(ProofRecord {
                by: column("proof", rollout, "proven_by", OperatorName::parse(&row.proven_by))?,
                at: instant("proof", rollout, row.proven_at)?,
                reason: row.reason,
            })
        };
        row.map(record).transpose()
    }
}

impl Tx {
    /// Has somebody seen these words on a phone of this app's testers, within this time?
    pub(super) async fn is_proven(
        &mut self,
        app: &AppId,
        fingerprint: &Fingerprint,
        within: Duration,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        const SQL: &str = "select proven_at from proof where app = $1 and fingerprint = $2";
        let since = now.checked_sub(within).unwrap_or(Timestamp::MIN);
        let at: Option<i64> = on_either!(self, c => {
            sqlx::query_scalar(SQL)
                .bind(app.as_str())
                .bind(&fingerprint.exact.as_bytes()[..])
                .fetch_optional(c)
                .await?
        });
        Ok(at.is_some_and(|at| at >= micros(since)))
    }

    /// Settles the findings of campaigns of the same words that say that nobody has seen them; answers of which campaigns.
    async fn settle_proven(
        &mut self,
        app: &AppId,
        fingerprint: &Fingerprint,
        (by, test): (&OperatorName, CampaignId),
        now: Timestamp,
    ) -> Result<Vec<CampaignId>, LedgerError> {
        const WAITING: &str = "select r.id, k.public_id from campaign k join rollout r on r.id = k.id \
             where r.finished_at is null and k.held = (1 = 1) and k.app = $1 and k.fingerprint = $2 order by r.id";
        const OPEN: &str = "select number, note from finding where rollout = $1 and accepted_by is null";
        const SETTLE: &str = "update finding set accepted_by = $1, accepted_at = $2, accepted_reason = $3 \
             where rollout = $4 and number = $5 and accepted_by is null";
        let waiting: Vec<(i64, uuid::Uuid)> = on_either!(&mut *self, c => {
            sqlx::query_as(WAITING)
                .bind(app.as_str())
                .bind(&fingerprint.exact.as_bytes()[..])
                .fetch_all(c)
                .await?
        });
        let mut settled = Vec::new();
        for (id, public) in waiting {
            let open: Vec<(i32, String)> =
                on_either!(&mut *self, c => sqlx::query_as(OPEN).bind(id).fetch_all(c).await?);
            for (number, note) in open {
                let note: FindingNote = column("finding", number, "note", serde_json::from_str(&note))?;
                if note.rule != Rule::ProofMissing.id() {
                    continue;
                }
                on_either!(&mut *self, c => {
                    sqlx::query(SETTLE)
                        .bind(by.as_str())
                        .bind(micros(now))
                        .bind(format!("proven by the test campaign {test}"))
                        .bind(id)
                        .bind(number)
                        .execute(c)
                        .await?;
                });
                settled.push(CampaignId::from_uuid(public));
            }
        }
        Ok(settled)
    }
}
