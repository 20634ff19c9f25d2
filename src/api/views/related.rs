//! Which campaigns came of which.

use crate::{
    api::wire::{RelatedView, Relation},
    ledger::{CampaignRecord, Ledger, LedgerError},
    model::Mend,
};

/// What this campaign came of, and what came of it.
pub(super) async fn related(
    ledger: &Ledger,
    campaign: &CampaignRecord,
) -> Result<Vec<RelatedView>, LedgerError> {
    let others = ledger.related(campaign).await?;
    let view = |other: &CampaignRecord| {
        Some(RelatedView {
            how: relation(campaign, other)?,
            campaign: other.id.to_string(),
            producer: other.key.producer.to_string(),
            job: other.key.id.to_string(),
        })
    };
    Ok(others.iter().filter_map(view).collect())
}

/// How `this` stands to `other`; `None` if neither came of the other.
fn relation(this: &CampaignRecord, other: &CampaignRecord) -> Option<Relation> {
    let mends = |one: &CampaignRecord, of: &CampaignRecord| {
        one.mends.filter(|mends| mends.of == of.rollout).map(|mends| mends.how)
    };
    if this.retry_of == Some(other.rollout) {
        return Some(Relation::Retries);
    }
    if other.retry_of == Some(this.rollout) {
        return Some(Relation::RetriedBy);
    }
    match (mends(this, other), mends(other, this)) {
        (Some(Mend::Correct), _) => Some(Relation::Corrects),
        (Some(Mend::Supersede), _) => Some(Relation::Supersedes),
        (None, Some(Mend::Correct)) => Some(Relation::CorrectedBy),
        (None, Some(Mend::Supersede)) => Some(Relation::SupersededBy),
        (None, None) => None,
    }
}
