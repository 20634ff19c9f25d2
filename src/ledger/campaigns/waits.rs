//! What of a rollout waits for a person since it moved.

use crate::{
    ledger::RolloutRecord,
    model::{Pause, Waiting},
    rollout::machine::{Approved, Paused, Rollout},
};

/// Whether the people who must approve were named with this move, so that approvals of before are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elected {
    Anew,
    AsBefore,
}

/// What somebody must be told of; `None` if nothing waits that did not wait before.
pub(super) fn waiting(before: &Rollout, after: &RolloutRecord, elected: Elected) -> Option<Waiting> {
    let (campaign, app, audience) = (after.id, after.app.clone(), after.audience.clone());
    let (devices, stage) = (after.frozen, after.stage.map(|stage| u32::from(stage) + 1));
    match (&after.stands, before) {
        (Rollout::PendingApproval(_), _) if elected == Elected::Anew => {
            let people = after.electorate.people;
            Some(Waiting::ApprovalNeeded { campaign, app, audience, devices, people })
        }
        (Rollout::Approved(Approved { started: false, .. }), Rollout::Approved(_)) => None,
        (Rollout::Approved(Approved { started: false, .. }), _) => {
            Some(Waiting::StartNeeded { campaign, app, audience, devices })
        }
        (Rollout::Paused(Paused { why, .. }), Rollout::Paused(paused)) if *why == paused.why => None,
        (Rollout::Paused(Paused { why, .. }), _) => Some(match (why, stage) {
            (Pause::Gate, Some(stage)) => Waiting::GateWaits { campaign, app, audience, stage },
            _ => Waiting::RolloutPaused { campaign, app, audience, stage, why: *why },
        }),
        (
            Rollout::Draft
            | Rollout::PendingApproval(_)
            | Rollout::Approved(_)
            | Rollout::Running(_)
            | Rollout::Baking(_)
            | Rollout::Over(_),
            _,
        ) => None,
    }
}
