//! What is told of a rollout, and halts that end one.

use jiff::Timestamp;

use super::rollouts::{ROLLOUTS, RolloutRow};
use crate::{
    ledger::{
        HaltScope, Ledger, LedgerError, RolloutRecord,
        rows::micros,
        tx::{Tx, on_either},
    },
    model::{AppId, AudienceName, CampaignId, Event, EventBody, RolloutId, RolloutState, StageNumber},
    rollout::Rollout,
};

/// The part of an event that does not change.
#[derive(Debug, Clone, Copy)]
pub(super) struct RolloutTold<'a> {
    pub(super) campaign: CampaignId,
    pub(super) app: &'a AppId,
    pub(super) audience: &'a AudienceName,
    pub(super) frozen: u64,
    /// Where it stands, whole: for what it waits.
    pub(super) stands: &'a Rollout,
}

impl<'a> RolloutTold<'a> {
    pub(super) const fn of(rollout: &'a RolloutRecord) -> Self {
        let RolloutRecord { id, app, audience, frozen, stands, .. } = rollout;
        Self { campaign: *id, app, audience, frozen: *frozen, stands }
    }

    pub(super) fn event(
        self,
        now: Timestamp,
        epoch: u32,
        state: RolloutState,
        opened: Option<StageNumber>,
        cause: Option<&str>,
    ) -> Event {
        let count = |people: usize| u32::try_from(people).unwrap_or(u32::MAX);
        let (pause, approvals) = match self.stands {
            Rollout::Paused(paused) if state == RolloutState::Paused => (Some(paused.why), None),
            Rollout::PendingApproval(pending) if state == RolloutState::PendingApproval => {
                (None, Some((count(pending.approved.len()), pending.electorate.people)))
            }
            _ => (None, None),
        };
        let body = EventBody::RolloutChanged {
            campaign: self.campaign,
            app: self.app.clone(),
            audience: self.audience.clone(),
            state,
            pause,
            cause: cause.map(str::to_owned),
            approvals_given: approvals.map(|(given, _)| given),
            approvals_needed: approvals.map(|(_, needed)| needed),
            stage: opened.map(|stage| u32::from(stage) + 1),
            epoch,
            frozen: self.frozen,
        };
        Event::new(now, None, self.campaign.as_uuid().as_bytes(), body)
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

    /// Ends every live rollout that `scope` covers, for this cause, in the order of their rows; how many.
    pub(in crate::ledger) async fn halt_rollouts(
        &self,
        tx: &mut Tx,
        scope: &HaltScope,
        cause: &str,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        const HALT: &str = "update rollout set state = 'halted', pause = null, cause = $1, epoch = epoch + 1, \
             changed_at = $2, finished_at = $2 where id = $3";
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
                sqlx::query(HALT).bind(cause).bind(micros(now)).bind(rollout.rollout.get()).execute(c).await?;
            });
            let event = RolloutTold::of(&rollout);
            told.push(event.event(now, rollout.epoch + 1, RolloutState::Halted, rollout.stage, Some(cause)));
        }
        tx.tell(&told).await?;
        Ok(told.len() as u64)
    }
}
