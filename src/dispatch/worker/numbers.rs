//! The numbers of our own systems, as a worker sees them: it begins nothing new of a rollout while one is known to be wrong, or is
//! not known.
//!
//! Whoever coordinates reads them, judges them and pauses. **I3 unknown-is-no** holds without a coordinator, too: what was noted
//! grows old, and what is old is as good as nothing, here as there.

use std::time::{Duration, Instant};

use super::Shared;
use crate::{
    dispatch::outlook::judged,
    ledger::{CampaignRecord, LedgerError},
    rollout::downstream::Judgement,
};

/// As often as the coordinator may look at the soonest.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was last found.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    looked: Option<Instant>,
    allow: bool,
}

impl Numbers {
    /// Whether something new may be begun. A plan without guards asks nobody.
    pub(super) async fn allow(&mut self, shared: &Shared, campaign: &CampaignRecord) -> bool {
        if campaign.plan.downstream.is_empty() {
            return true;
        }
        let now = shared.clock.monotonic();
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY) {
            let found = look(shared, campaign).await.unwrap_or_else(|error| {
                tracing::debug!(campaign = %campaign.id, %error, "what our own systems bear is not known");
                false
            });
            if self.allow && !found {
                tracing::warn!(campaign = %campaign.id, "a number of our own systems is wrong or not known; nothing new is begun here");
            }
            (self.allow, self.looked) = (found, Some(now));
        }
        self.allow
    }
}

async fn look(shared: &Shared, campaign: &CampaignRecord) -> Result<bool, LedgerError> {
    let seen = shared.patience.answer(shared.ledger.downstream(campaign.rollout)).await?;
    let now = shared.patience.answer(shared.ledger.now()).await?;
    let guards = judged(&campaign.plan, &seen, now);
    Ok(guards.iter().all(|guard| match guard.judgement {
        // Beyond a bound and not for long enough: no stage opens, and the one that is open goes on.
        Judgement::Fine { .. } | Judgement::Waiting { .. } => true,
        Judgement::Breached { .. } | Judgement::Blind { .. } => false,
    }))
}
