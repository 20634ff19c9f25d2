//! What the guard has to say of a campaign, and who has accepted it.
//!
//! - **I3 unknown-is-no**: while a finding that holds a campaign is open, nobody can approve or start it; it waits, and expires.
//! - **I10 explained**: whoever accepts one stands in the audit, with the reason.
//! - **I12 silent-logs**: the text that a finding is about is not kept with it.

use jiff::Timestamp;
use serde_json::json;
use sqlx::FromRow;

use super::{CampaignRecord, NewCampaign};
use crate::{
    ledger::{
        Ledger, LedgerError, on_pool,
        rows::{column, instant, json_text, micros},
        tx::{Tx, on_either},
    },
    model::{CampaignId, FindingNote, OperatorName, RolloutId},
    rollout::Rollout,
};

/// A finding on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingRecord {
    /// As people name it.
    pub number: u32,
    /// What it says.
    pub note: FindingNote,
    /// Who has, when, and why.
    pub accepted: Option<(OperatorName, Timestamp, String)>,
}

impl FindingRecord {
    /// It holds the campaign.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.note.holds() && self.accepted.is_none()
    }
}

/// Why a finding was not accepted. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// There is no such campaign.
    #[error("no campaign has this id; `bellwether rollout list` shows them")]
    NoCampaign,
    /// There is no such finding.
    #[error("it has no finding of this number; `bellwether rollout show` lists them")]
    NoFinding,
    /// It is a note.
    #[error("this finding is a note: it holds nothing, and need not be accepted")]
    Note,
    /// Somebody was quicker.
    #[error("somebody has accepted this finding already; `bellwether rollout show` says who")]
    Already,
    /// Nothing waits.
    #[error("the campaign does not wait for people any more, or is not frozen yet")]
    NotWaiting,
    /// They asked for the campaign, or answer for its producer.
    #[error(
        "whoever asked for the campaign, or owns its producer, cannot accept what speaks against it; ask somebody else"
    )]
    Barred,
}

#[derive(FromRow)]
struct FindingRow {
    number: i32,
    note: String,
    accepted_by: Option<String>,
    accepted_at: Option<i64>,
    accepted_reason: Option<String>,
}

impl TryFrom<FindingRow> for FindingRecord {
    type Error = LedgerError;

    fn try_from(row: FindingRow) -> Result<Self, LedgerError> {
        const TABLE: &str = "finding";
        let number = row.number;
        let by = row.accepted_by.as_deref().map(OperatorName::parse).transpose();
        let by = column(TABLE, number, "accepted_by", by)?;
        let at = row.accepted_at.map(|at| instant(TABLE, number, at)).transpose()?;
        Ok(Self {
            number: column(TABLE, number, "number", u32::try_from(number))?,
            note: column(TABLE, number, "note", serde_json::from_str(&row.note))?,
            accepted: by.zip(at).zip(row.accepted_reason).map(|((by, at), reason)| (by, at, reason)),
        })
    }
}

const FINDINGS: &str = "select number, note, accepted_by, accepted_at, accepted_reason from finding \
     where rollout = $1 order by number";

impl Ledger {
    /// What the guard had to say of a campaign when it arrived.
    pub async fn findings(&self, rollout: RolloutId) -> Result<Vec<FindingRecord>, LedgerError> {
        let rows: Vec<FindingRow> =
            on_pool!(self, pool => sqlx::query_as(FINDINGS).bind(rollout.get()).fetch_all(pool).await?);
        rows.into_iter().map(FindingRecord::try_from).collect()
    }

    /// A person answers for one finding that holds a campaign, and is none of those who may not approve it. Whether they have the
    /// scope is for the caller to know.
    pub async fn accept_finding(
        &self,
        campaign: CampaignId,
        number: u32,
        (by, reason): (&OperatorName, &str),
    ) -> Result<Result<(), NotAccepted>, LedgerError> {
        const ACCEPT: &str = "update finding set accepted_by = $1, accepted_at = $2, accepted_reason = $3 \
             where rollout = $4 and number = $5";
        let Some(known) = self.campaign(campaign).await? else { return Ok(Err(NotAccepted::NoCampaign)) };
        let mut tx = self.begin().await?;
        let Some(seen) = tx.locked_rollout(known.rollout).await? else {
            return Ok(Err(NotAccepted::NoCampaign));
        };
        let found = tx.findings(known.rollout).await?.into_iter().find(|finding| finding.number == number);
        let refused = match &found {
            None => Some(NotAccepted::NoFinding),
            Some(finding) if !finding.note.holds() => Some(NotAccepted::Note),
            Some(finding) if finding.accepted.is_some() => Some(NotAccepted::Already),
            _ if !matches!(seen.stands, Rollout::PendingApproval(_)) => Some(NotAccepted::NotWaiting),
            _ if seen.electorate.barred.iter().any(|name| name.person() == by.person()) => {
                Some(NotAccepted::Barred)
            }
            Some(_) => None,
        };
        if let Some(refused) = refused {
            return Ok(Err(refused));
        }
        let now = tx.now().await?;
        on_either!(&mut tx, c => {
            sqlx::query(ACCEPT)
                .bind(by.as_str())
                .bind(micros(now))
                .bind(reason)
                .bind(known.rollout.get())
                .bind(i32::try_from(number).unwrap_or(i32::MAX))
                .execute(c)
                .await?;
        });
        let rule = found.map(|finding| finding.note.rule);
        let body = json!({ "campaign": campaign, "finding": number, "rule": rule, "reason": reason });
        tx.append_audit(now, by.as_str(), "campaign.finding_accepted", &body).await?;
        tx.commit().await?;
        Ok(Ok(()))
    }
}

impl Tx {
    async fn findings(&mut self, rollout: RolloutId) -> Result<Vec<FindingRecord>, LedgerError> {
        let rows: Vec<FindingRow> =
            on_either!(self, c => sqlx::query_as(FINDINGS).bind(rollout.get()).fetch_all(c).await?);
        rows.into_iter().map(FindingRecord::try_from).collect()
    }

    /// The numbers of those that hold it still, of a campaign under its lock.
    pub(super) async fn open_findings(&mut self, known: &CampaignRecord) -> Result<Vec<u32>, LedgerError> {
        if !known.held {
            return Ok(Vec::new());
        }
        let findings = self.findings(known.rollout).await?;
        Ok(findings.iter().filter(|finding| finding.is_open()).map(|finding| finding.number).collect())
    }

    pub(super) async fn note_findings(&mut self, row: i64, new: &NewCampaign<'_>) -> Result<(), LedgerError> {
        const SQL: &str = "insert into finding (rollout, number, note) values ($1, $2, $3)";
        for (number, note) in (1_i32..).zip(new.findings) {
            on_either!(&mut *self, c => {
                sqlx::query(SQL).bind(row).bind(number).bind(json_text(note)).execute(c).await?;
            });
        }
        Ok(())
    }
}
