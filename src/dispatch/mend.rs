//! After a mistake: other words to exactly those whom a campaign rang, or may have rung.
//!
//! There is no undo. `correct` sends them a message of its own; `supersede` sends one that takes the place of the other on
//! the phones that still show it, because it has the other's collapse id. Both are campaigns of their own, with a digest and
//! an audit of their own, on a fast path: one stage, and two people who approve.
//!
//! - **I1 no-test-to-production**: intent and audience are the other campaign's, and the guard judges them anew.
//! - **I4 widening-needs-two**: two people, neither of them who asks nor any other owner of the producer. New words are said
//!   in the producer's name, so only an owner of it may ask, as for any campaign that a person submits.
//! - **I6 once**: the other campaign must be over, and its last answers in: who was reached does not change any more.

use jiff::Timestamp;

use super::{
    submit::{Findings, Taken, following_id, out_of_scope, put},
    watched::Watched,
};
use crate::{
    api::wire::SubmittedView,
    ledger::{CampaignRecord, Ledger, LedgerError},
    model::{CampaignId, Job, Malformed, Mend, Mends, Notification, OperatorName},
};

/// Other words.
#[derive(Debug)]
pub struct Words {
    /// What the phones show.
    pub notification: Notification,
    /// Nothing is sent after this; `None`: they are worth something for as long as the other campaign's were.
    pub expires_at: Option<Timestamp>,
}

/// Why a campaign is neither corrected nor superseded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum MendRefused {
    /// No campaign has this id.
    #[error("no campaign has this id")]
    NotFound,
    /// It is not over yet.
    #[error("it is not over yet; halt or abort it first, or wait for its end")]
    NotOver,
    /// Workers wait for the last answers.
    #[error("its last requests are still on the wire; ask again in a few seconds")]
    OnTheWire,
    /// Nobody was ever frozen for it.
    #[error("its audience was never frozen, so nobody was sent it")]
    NeverFrozen,
    /// Texts are kept for a while only, and with them what a phone tells them apart by.
    #[error("its text is forgotten; submit a campaign under a new id")]
    Forgotten,
    /// Something mends it already.
    #[error("{0} corrects or supersedes it, and is not over; wait for its end, or abort it")]
    Mended(CampaignId),
    /// A supersession has no collapse id of its own.
    #[error("notification.collapse_id: what supersedes takes the other campaign's; leave it out")]
    OtherCollapseId,
    /// The words are no notification.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The guard refuses them.
    #[error("the guard refuses it")]
    Guard(Findings),
}

/// Makes a new campaign of those whom one that is over reached: accepted or unknown, frozen from the ledger.
pub async fn mend(
    ledger: &Ledger,
    guard: &Watched,
    campaign: CampaignId,
    how: Mend,
    words: Words,
    operator: &OperatorName,
) -> Result<Result<SubmittedView, MendRefused>, LedgerError> {
    let old = match mendable(ledger, campaign).await? {
        Ok(old) => old,
        Err(refused) => return Ok(Err(refused)),
    };
    let Some(said) = &old.job else { return Ok(Err(MendRefused::Forgotten)) };
    let producer = &old.key.producer;
    if !guard.policy().producer(producer).is_some_and(|known| known.owners.contains(operator)) {
        let reason = format!("{operator} is no owner of the producer {producer}, in whose name it is said");
        return Ok(Err(MendRefused::Guard(vec![out_of_scope("producer", reason)])));
    }
    let count = ledger.mendings(old.rollout).await? + 1;
    let now = ledger.now().await?;
    let job = match reworded(&old, said, how, words, count, now) {
        Ok(job) => job,
        Err(refused) => return Ok(Err(refused)),
    };
    let mends = Some(Mends { how, of: old.rollout });
    let taken = Taken { plan: old.plan.at_once(), retry_of: None, mends };
    let put = put(ledger, guard, &job, &job.key(producer), operator, Some(taken)).await?;
    Ok(match put {
        Ok(view) => Ok(view),
        // Somebody was quicker.
        Err(findings) => Err(match ledger.standing_mending(old.rollout).await? {
            Some(standing) => MendRefused::Mended(standing),
            None => MendRefused::Guard(findings),
        }),
    })
}

/// The campaign, if it can be corrected or superseded now.
async fn mendable(
    ledger: &Ledger,
    campaign: CampaignId,
) -> Result<Result<CampaignRecord, MendRefused>, LedgerError> {
    let Some(old) = ledger.campaign(campaign).await? else { return Ok(Err(MendRefused::NotFound)) };
    let Some(stands) = ledger.rollout(campaign).await? else { return Ok(Err(MendRefused::NotFound)) };
    if !stands.state.is_terminal() {
        return Ok(Err(MendRefused::NotOver));
    }
    if stands.frozen_digest.is_none() {
        return Ok(Err(MendRefused::NeverFrozen));
    }
    if let Some(standing) = ledger.standing_mending(old.rollout).await? {
        return Ok(Err(MendRefused::Mended(standing)));
    }
    if ledger.is_on_the_wire(old.rollout).await? {
        return Ok(Err(MendRefused::OnTheWire));
    }
    Ok(Ok(old))
}

/// `news` is corrected as `news-correct-1`, and superseded after that as `news-supersede-2`.
fn reworded(
    old: &CampaignRecord,
    said: &Job,
    how: Mend,
    words: Words,
    count: u32,
    now: Timestamp,
) -> Result<Job, MendRefused> {
    let Words { mut notification, expires_at } = words;
    if how == Mend::Supersede {
        // The other's own, or the one that its messages were sent with: the phones know no other. Of what supersedes what
        // superseded, it is the first one's, because that is what the second was sent with.
        let theirs = said.notification().collapse_id.clone().unwrap_or_else(|| old.key.collapse_tag());
        if notification.collapse_id.as_ref().is_some_and(|id| *id != theirs) {
            return Err(MendRefused::OtherCollapseId);
        }
        notification.collapse_id = Some(theirs);
    }
    let lasted = old.expires_at.duration_since(old.received_at);
    let expires_at = expires_at.unwrap_or_else(|| now.checked_add(lasted).unwrap_or(Timestamp::MAX));
    Ok(said.reworded(following_id(old, how.as_str(), count), notification, expires_at)?)
}

#[cfg(test)]
mod tests;
