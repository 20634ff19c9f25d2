//! What a worker may send of a stored campaign: the guard is asked again.

use super::{Shared, sleepers::nights};
use crate::{
    guard::{self, Cleared, Facts},
    ledger::CampaignRecord,
    model::RolloutId,
    rollout::Nights,
};

/// The stored campaign, cleared again by the policy of this process, and its nights.
pub(super) async fn clear(
    shared: &Shared,
    rollout: RolloutId,
) -> Option<(CampaignRecord, Cleared, Option<Nights>)> {
    let now = shared.ledger.now().await.ok()?;
    let campaign = shared.ledger.campaign_of(rollout).await.ok()??;
    let Some(job) = &campaign.job else {
        tracing::error!(campaign = %campaign.id, "its text is forgotten; it cannot be sent");
        return None;
    };
    let facts = Facts { recipients: &[], max_recipients: 0, received_at: campaign.received_at };
    match guard::recheck(job, &campaign.key, &shared.policy, &facts, now) {
        Ok(cleared) => {
            let nights = nights(shared, &campaign)?;
            Some((campaign, cleared, nights))
        }
        Err(findings) => {
            let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.id()).collect();
            tracing::error!(campaign = %campaign.id, ?rules, "the guard refuses it now; nothing of it is sent here");
            None
        }
    }
}
