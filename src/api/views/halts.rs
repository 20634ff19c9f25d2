//! Halts in force.

use crate::{
    api::wire::{HaltList, HaltView},
    ledger::{Halt, Ledger, LedgerError, RolloutRecord},
};

impl From<Halt> for HaltView {
    fn from(halt: Halt) -> Self {
        Self {
            scope: halt.scope.to_string(),
            by: halt.actor,
            reason: halt.reason,
            at: halt.at,
            lift_asked_by: halt.lift_asked_by,
        }
    }
}

/// Every halt in force, the oldest first.
pub async fn halt_list(ledger: &Ledger) -> Result<HaltList, LedgerError> {
    let halts = ledger.halts().await?;
    Ok(HaltList { halts: halts.into_iter().map(HaltView::from).collect() })
}

/// The halts in force that keep a rollout from starting; none of one that is over.
pub(super) async fn over(ledger: &Ledger, rollout: &RolloutRecord) -> Result<Vec<HaltView>, LedgerError> {
    if rollout.state.is_terminal() {
        return Ok(Vec::new());
    }
    let covering = ledger.halts().await?.into_iter().filter(|halt| rollout.is_covered_by(&halt.scope));
    Ok(covering.map(HaltView::from).collect())
}
