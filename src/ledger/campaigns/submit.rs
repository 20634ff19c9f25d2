//! A campaign arrives, and is read back.

use jiff::Timestamp;

use crate::{
    audience::Class,
    ledger::{Ledger, LedgerError},
    model::{
        AppId, AudienceName, CampaignId, Digest, Event, Intent, Job, JobKey, RolloutId, RolloutState,
        StageNumber,
    },
    rollout::FrozenPlan,
};

/// A campaign that the guard cleared (or will hold for people), as it is put on record.
#[derive(Debug)]
pub struct NewCampaign<'a> {
    /// Which job.
    pub key: &'a JobKey,
    /// What was enqueued.
    pub job: &'a Job,
    /// Whom it is for.
    pub audience: &'a AudienceName,
    /// What that audience is.
    pub class: Class,
    /// The producer's own upper bound.
    pub at_most: u64,
    /// The policy that cleared it.
    pub policy: Digest,
    /// The plan, as it stands now.
    pub plan: &'a FrozenPlan,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<&'a str>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// On record now, as a Draft that the coordinator freezes.
    Stored(CampaignId),
    /// It was on record already, with the same content.
    Known(CampaignId),
    /// The same key is another campaign's: refuse it.
    Conflict,
}

/// A campaign on record, whole.
#[derive(Debug, Clone)]
pub struct CampaignRecord {
    /// As people know it.
    pub id: CampaignId,
    /// Its row.
    pub rollout: RolloutId,
    /// Which job asked for it.
    pub key: JobKey,
    /// The digest of what was enqueued.
    pub digest: Digest,
    /// The job; `None` once its text is forgotten.
    pub job: Option<Job>,
    /// Whose devices.
    pub app: AppId,
    /// Whom it is for.
    pub audience: AudienceName,
    /// What that audience was.
    pub class: Class,
    /// What the job claims to be.
    pub intent: Intent,
    /// The policy that cleared it.
    pub policy: Digest,
    /// The plan as it stood.
    pub plan: FrozenPlan,
    /// The producer's own upper bound.
    pub at_most: u64,
    /// Unknown outcomes are left alone.
    pub at_most_once: bool,
    /// W3C trace context, if the job brought one.
    pub traceparent: Option<String>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Nothing is sent before this.
    pub not_before: Option<Timestamp>,
    /// Nothing is sent after this.
    pub expires_at: Timestamp,
}

/// How a rollout stands: the small row that every segment looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Its row.
    pub rollout: RolloutId,
    /// As people know it.
    pub id: CampaignId,
    /// Whose devices.
    pub app: AppId,
    /// Whom it is for.
    pub audience: AudienceName,
    /// Where it stands.
    pub state: RolloutState,
    /// Why, if that needs a word.
    pub cause: Option<String>,
    /// The stage that was opened last; `None` before the first.
    pub stage: Option<StageNumber>,
    /// Which run is valid.
    pub epoch: u32,
    /// Devices frozen so far.
    pub frozen: u64,
    /// Chunks so far, retries included.
    pub chunks: u32,
    /// The digest of I8; `None` until it is frozen.
    pub frozen_digest: Option<Digest>,
    /// When this row changed last.
    pub changed_at: Timestamp,
    /// When it came to its end.
    pub finished_at: Option<Timestamp>,
}

impl Ledger {
    /// Puts a campaign on record, with `told` in the outbox and an entry in the audit, in one transaction. When this
    /// has returned, its message may be acknowledged (I7).
    pub async fn submit_campaign(
        &self,
        _new: &NewCampaign<'_>,
        _told: &[Event],
    ) -> Result<Submitted, LedgerError> {
        todo!()
    }

    /// A campaign by its id.
    pub async fn campaign(&self, _id: CampaignId) -> Result<Option<CampaignRecord>, LedgerError> {
        todo!()
    }

    /// A campaign by its row.
    pub async fn campaign_of(&self, _rollout: RolloutId) -> Result<Option<CampaignRecord>, LedgerError> {
        todo!()
    }

    /// A campaign's id by the job that asked for it.
    pub async fn campaign_by_job(&self, _key: &JobKey) -> Result<Option<CampaignId>, LedgerError> {
        todo!()
    }

    /// How a rollout stands.
    pub async fn rollout(&self, _id: CampaignId) -> Result<Option<RolloutRecord>, LedgerError> {
        todo!()
    }

    /// The latest rollouts, the newest first; only those that are not over, if `live`.
    pub async fn latest_rollouts(&self, _live: bool, _most: u32) -> Result<Vec<RolloutRecord>, LedgerError> {
        todo!()
    }

    /// Every rollout that is not over, the oldest first: what the coordinator and the workers follow.
    pub async fn live_rollouts(&self) -> Result<Vec<RolloutRecord>, LedgerError> {
        todo!()
    }
}
