//! What a worker may send of a stored campaign: the guard is asked again.

use super::{Shared, sleepers::nights};
use crate::{
    guard::{self, Cleared, Facts},
    ledger::{CampaignRecord, RolloutRecord},
    rollout::Nights,
};

/// The stored campaign, cleared again by the policy of this process, and its nights.
///
/// - **I8 approved-is-what-is-sent**: what was approved under another policy is not sent, also in the moment before the
///   coordinator voids the approvals.
pub(super) async fn clear(
    shared: &Shared,
    seen: &RolloutRecord,
) -> Option<(CampaignRecord, Cleared, Option<Nights>)> {
    let now = shared.patience.answer(shared.ledger.now()).await.ok()?;
    let campaign = shared.patience.answer(shared.ledger.campaign_of(seen.rollout)).await.ok()??;
    if seen.electorate.people > 0 && seen.approved_under(&campaign) != shared.policy.hash() {
        tracing::warn!(campaign = %campaign.id, "it was approved under another policy; nothing of it is sent here");
        return None;
    }
    let Some(job) = &campaign.job else {
        tracing::error!(campaign = %campaign.id, "its text is forgotten; it cannot be sent");
        return None;
    };
    let facts = Facts::of_campaign(campaign.received_at);
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
