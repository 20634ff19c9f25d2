//! What is told of a rollout, and halts that end one.

use jiff::Timestamp;
use serde_json::json;

use super::submit::{ROLLOUTS, RolloutRow};
use crate::{
    ledger::{
        HaltScope, Ledger, LedgerError, RolloutRecord,
        commit::SERVICE,
        rows::micros,
        tx::{Tx, on_either},
    },
    model::{AppId, AudienceName, CampaignId, Event, EventBody, RolloutId, RolloutState, StageNumber},
};

/// The part of an event that does not change.
#[derive(Debug, Clone, Copy)]
pub(super) struct RolloutTold<'a> {
    pub(super) campaign: CampaignId,
    pub(super) app: &'a AppId,
    pub(super) audience: &'a AudienceName,
    pub(super) frozen: u64,
}

impl<'a> RolloutTold<'a> {
    pub(super) const fn of(rollout: &'a RolloutRecord) -> Self {
        Self { campaign: rollout.id, app: &rollout.app, audience: &rollout.audience, frozen: rollout.frozen }
    }

    pub(super) fn event(
        self,
        now: Timestamp,
        epoch: u32,
        state: RolloutState,
        opened: Option<StageNumber>,
        cause: Option<&str>,
    ) -> Event {
        let body = EventBody::RolloutChanged {
            campaign: self.campaign,
            app: self.app.clone(),
            audience: self.audience.clone(),
            state,
            cause: cause.map(str::to_owned),
            stage: opened.map(|stage| u32::from(stage) + 1),
            epoch,
            frozen: self.frozen,
        };
        Event::new(now, None, self.campaign.as_uuid().as_bytes(), body)
    }
}

/// A change of a rollout's state: the row, the event, the audit.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) seen: &'a RolloutRecord,
    pub(super) state: RolloutState,
    pub(super) cause: Option<&'a str>,
    pub(super) new_epoch: bool,
}

impl Tx {
    /// Changes a rollout that still is what `seen` says; false if it is not. The caller commits.
    pub(super) async fn change(&mut self, change: &Change<'_>, now: Timestamp) -> Result<bool, LedgerError> {
        const SQL: &str = "update rollout set state = $1, cause = $2, epoch = $3, changed_at = $4, \
                 finished_at = $5 where id = $6 and epoch = $7 and state = $8 and finished_at is null";
        let Change { seen, state, cause, new_epoch } = *change;
        let epoch = seen.epoch + u32::from(new_epoch);
        let changed = on_either!(self, c => {
            sqlx::query(SQL)
                .bind(state.as_str())
                .bind(cause)
                .bind(i64::from(epoch))
                .bind(micros(now))
                .bind(state.is_terminal().then(|| micros(now)))
                .bind(seen.rollout.get())
                .bind(i64::from(seen.epoch))
                .bind(seen.state.as_str())
                .execute(c)
                .await?
                .rows_affected()
        });
        if changed == 0 {
            return Ok(false);
        }
        self.tell(&[RolloutTold::of(seen).event(now, epoch, state, seen.stage, cause)]).await?;
        let body = json!({ "campaign": seen.id, "state": state, "cause": cause, "epoch": epoch });
        self.append_audit(now, SERVICE, "rollout.changed", &body).await?;
        Ok(true)
    }
}

impl Ledger {
    /// So many requests of a halted rollout were on the wire when this worker heard of the halt. Told once by each worker.
    pub async fn note_after_halt(&self, rollout: RolloutId, requests: usize) -> Result<(), LedgerError> {
        const SQL: &str = "update rollout set after_halt = after_halt + $1 where id = $2";
        let mut tx = self.begin().await?;
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(requests).bind(rollout.get()).execute(c).await?;
        });
        tx.commit().await
    }

    /// Ends every live rollout that `scope` covers, in the order of their rows; how many.
    pub(in crate::ledger) async fn halt_rollouts(
        &self,
        tx: &mut Tx,
        scope: &HaltScope,
        word: &str,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        const HALT: &str = "update rollout set state = 'halted', cause = $1, epoch = epoch + 1, changed_at = $2, \
             finished_at = $2 where id = $3";
        // Locks the rows: an intent that is under way is waited for, and none can begin.
        let lock = if matches!(tx, Tx::Postgres(_)) { "for update of r" } else { "" };
        let sql = format!("{ROLLOUTS} where r.finished_at is null order by r.id {lock}");
        let rows: Vec<RolloutRow> = on_either!(&mut *tx, c => sqlx::query_as(&sql).fetch_all(c).await?);
        let mut told = Vec::new();
        for row in rows {
            let rollout = RolloutRecord::try_from(row)?;
            if !rollout.is_covered_by(scope) {
                continue;
            }
            on_either!(&mut *tx, c => {
                sqlx::query(HALT).bind(word).bind(micros(now)).bind(rollout.rollout.get()).execute(c).await?;
            });
            let event = RolloutTold::of(&rollout);
            told.push(event.event(now, rollout.epoch + 1, RolloutState::Halted, rollout.stage, Some(word)));
        }
        tx.tell(&told).await?;
        Ok(told.len() as u64)
    }
}
