//! A producer withdraws its campaign.

use serde_json::json;

use super::{
    CampaignRecord, RolloutRecord,
    submit::{ROLLOUTS, RolloutRow},
    told::Change,
};
use crate::{
    ledger::{
        Cancelling, Ledger, LedgerError,
        tx::{Tx, on_either},
    },
    model::{JobKey, RolloutState},
};

/// The cause that a withdrawn rollout shows.
const CAUSE: &str = "withdrawn by its producer";

impl Ledger {
    /// Withdraws a campaign on its producer's behalf: aborted, under a new epoch, so that no intent can be recorded any
    /// more (I5). What was sent before was sent.
    pub async fn withdraw_campaign(&self, key: &JobKey) -> Result<Cancelling, LedgerError> {
        let Some(id) = self.campaign_by_job(key).await? else { return Ok(Cancelling::NotFound) };
        let Some(CampaignRecord { rollout, digest, .. }) = self.campaign(id).await? else {
            return Ok(Cancelling::NotFound);
        };
        let mut tx = self.begin().await?;
        // Locks the row: an intent that is under way is waited for, and none can begin.
        let lock = if matches!(tx, Tx::Postgres(_)) { "for update of r" } else { "" };
        let sql = format!("{ROLLOUTS} where r.id = $1 {lock}");
        let row: Option<RolloutRow> = on_either!(&mut tx, c => {
            sqlx::query_as(&sql).bind(rollout.get()).fetch_optional(c).await?
        });
        let Some(seen) = row.map(RolloutRecord::try_from).transpose()? else {
            return Ok(Cancelling::NotFound);
        };
        if seen.state.is_terminal() {
            return Ok(Cancelling::TooLate);
        }
        let now = tx.now().await?;
        let change =
            Change { seen: &seen, state: RolloutState::Aborted, cause: Some(CAUSE), new_epoch: true };
        if !tx.change(&change, now).await? {
            return Ok(Cancelling::TooLate);
        }
        let particulars = json!({ "campaign": id, "job": key.id, "digest": digest });
        tx.append_audit(now, key.producer.as_str(), "campaign.withdrawn", &particulars).await?;
        tx.commit().await?;
        Ok(Cancelling::Cancelled)
    }
}
