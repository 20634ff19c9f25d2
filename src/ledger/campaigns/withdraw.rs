//! A producer withdraws its campaign.

use serde_json::json;

use super::steer::{Steer, Steered};
use crate::{
    ledger::{Cancelling, Ledger, LedgerError},
    model::JobKey,
    rollout::RolloutEvent,
};

/// The cause that a withdrawn rollout shows.
const CAUSE: &str = "withdrawn by its producer";

impl Ledger {
    /// Withdraws a campaign on its producer's behalf: aborted, under a new epoch, so that no intent can be recorded any
    /// more (I5). What was sent before was sent.
    pub async fn withdraw_campaign(&self, key: &JobKey) -> Result<Cancelling, LedgerError> {
        let Some(id) = self.campaign_by_job(key).await? else { return Ok(Cancelling::NotFound) };
        let Some(campaign) = self.campaign(id).await? else { return Ok(Cancelling::NotFound) };
        let mut tx = self.begin().await?;
        let Some(seen) = tx.locked_rollout(campaign.rollout).await? else { return Ok(Cancelling::NotFound) };
        let now = tx.now().await?;
        let steer = Steer {
            event: RolloutEvent::Abort,
            actor: key.producer.as_str(),
            cause: Some(CAUSE),
            particulars: json!({}),
        };
        if let Steered::Refused(_) = tx.steer(seen, &campaign.plan, steer, now).await? {
            return Ok(Cancelling::TooLate);
        }
        let particulars = json!({ "campaign": id, "job": key.id, "digest": campaign.digest });
        tx.append_audit(now, key.producer.as_str(), "campaign.withdrawn", &particulars).await?;
        tx.commit().await?;
        Ok(Cancelling::Cancelled)
    }
}
