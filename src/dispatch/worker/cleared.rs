//! What a worker may send of a stored campaign: the guard is asked again.

use super::{
    super::watched::{Asking, Question},
    Shared,
    sleepers::nights,
};
use crate::{
    guard::{Cleared, Past, Verdict},
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
    let what = (&campaign.key, job);
    let question = Question::of_campaign(Asking::Again, what, campaign.received_at, Past::default());
    match shared.guard.ask_one(question, now).await {
        Verdict::Clear(cleared, _) => {
            let nights = nights(shared, &campaign)?;
            Some((campaign, cleared, nights))
        }
        Verdict::Hold(findings) | Verdict::Refuse(findings) => {
            let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.id()).collect();
            tracing::error!(campaign = %campaign.id, ?rules, "the guard refuses it now; nothing of it is sent here");
            None
        }
    }
}
