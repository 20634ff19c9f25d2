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
            let found = look(shared, campaign, self.allow).await.unwrap_or_else(|error| {
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

async fn look(shared: &Shared, campaign: &CampaignRecord, is_going: bool) -> Result<bool, LedgerError> {
    let seen = shared.patience.answer(shared.ledger.downstream(campaign.rollout)).await?;
    let now = shared.patience.answer(shared.ledger.now()).await?;
    Ok(judged(&campaign.plan, &seen, now).iter().all(|guard| allows(guard.judgement, is_going)))
}

/// Whether a guard lets a worker begin something new, which did so until now or did not.
fn allows(judgement: Judgement, is_going: bool) -> bool {
    match judgement {
        Judgement::Fine { .. } => true,
        // Beyond a bound and not for long enough: no stage opens, and what goes on does. What has stopped does not begin
        // again by a number that is not fine: the first one after a time of none is no reason to.
        Judgement::Waiting { .. } => is_going,
        Judgement::Breached { .. } | Judgement::Blind { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::rollout::downstream::Number;

    #[test]
    fn i3_what_has_stopped_begins_again_by_a_number_that_is_fine_and_by_no_other() {
        let (since, value) = (Timestamp::UNIX_EPOCH, Number::new(0.9).expect("it is finite"));
        let shown = |halts| {
            [
                Judgement::Fine { value },
                Judgement::Waiting { halts, since, value },
                Judgement::Breached { halts, since, value },
                Judgement::Blind { halts, since },
            ]
        };
        for halts in [false, true] {
            assert_eq!(shown(halts).map(|judgement| allows(judgement, true)), [true, true, false, false]);
            assert_eq!(shown(halts).map(|judgement| allows(judgement, false)), [true, false, false, false]);
        }
    }
}
