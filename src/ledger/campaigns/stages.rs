//! Opening stages: from a frozen list to chunks that can be claimed.

use serde_json::json;

use super::{
    Deposed, RolloutRecord, Ruling,
    told::{Change, RolloutTold},
};
use crate::{
    ledger::{Ledger, LedgerError, commit::SERVICE, rows::micros, tx::on_either},
    model::{RolloutId, RolloutState, StageNumber},
};

impl Ledger {
    /// Opens the next stage of an Approved, Running or Baking rollout: its chunks can be claimed from now on. False if the
    /// rollout is no longer what `seen` says (a halt came first), if another stage would be next, or if a halt in force
    /// covers it.
    pub async fn open_stage(
        &self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        stage: StageNumber,
    ) -> Result<bool, Deposed> {
        const STAGE: &str = "update rollout set stage = $1 where id = $2 and stage = $1 - 1";
        const OPENED: &str =
            "update stage set opened_at = $1 where rollout = $2 and stage = $3 and opened_at is null";
        const CLAIMS: &str = "insert into claim (rollout, chunk, stage, until) \
             select rollout, chunk, stage, $1 from chunk where rollout = $2 and stage = $3 and source is null";
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        let may = matches!(seen.state, RolloutState::Approved | RolloutState::Running | RolloutState::Baking);
        let halts = tx.halts().await?;
        if !may || halts.iter().any(|halt| seen.is_covered_by(&halt.scope)) {
            return Ok(false);
        }
        let change = Change { seen, state: RolloutState::Running, cause: None, new_epoch: false };
        if !tx.change(&change, now).await? {
            return Ok(false);
        }
        let number = i64::from(stage);
        let opened = on_either!(&mut tx, c => {
            sqlx::query(STAGE).bind(number).bind(seen.rollout.get()).execute(c).await.map_err(LedgerError::from)?.rows_affected()
        });
        if opened == 0 {
            return Ok(false);
        }
        for sql in [OPENED, CLAIMS] {
            on_either!(&mut tx, c => {
                sqlx::query(sql)
                    .bind(micros(now))
                    .bind(seen.rollout.get())
                    .bind(number)
                    .execute(c)
                    .await
                    .map_err(LedgerError::from)?;
            });
        }
        let told = RolloutTold::of(seen).event(now, seen.epoch, RolloutState::Running, Some(stage), None);
        tx.tell(&[told]).await?;
        let body = json!({ "campaign": seen.id, "stage": stage, "epoch": seen.epoch, "term": ruling.term });
        tx.append_audit(now, SERVICE, "rollout.stage_opened", &body).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes that the last first-time chunk of a stage is done.
    pub async fn stage_sent(
        &self,
        ruling: &Ruling,
        rollout: RolloutId,
        stage: StageNumber,
    ) -> Result<(), Deposed> {
        const SQL: &str =
            "update stage set sent_at = $1 where rollout = $2 and stage = $3 and sent_at is null";
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        on_either!(&mut tx, c => {
            sqlx::query(SQL)
                .bind(micros(now))
                .bind(rollout.get())
                .bind(i64::from(stage))
                .execute(c)
                .await
                .map_err(LedgerError::from)?;
        });
        tx.commit().await?;
        Ok(())
    }
}
