//! What the coordinator lets happen to a rollout: stages open, are sent, wait at gates; rollouts end.

use serde_json::json;

use super::{
    Deposed, OverBecause, RolloutRecord, Ruling,
    steer::{Steer, Steered},
};
use crate::{
    ledger::{
        LeaseKey, Ledger, LedgerError,
        commit::SERVICE,
        rows::micros,
        tx::{Tx, on_either},
    },
    model::{RolloutId, StageNumber},
    rollout::{Electorate, FrozenPlan, Pause, RolloutEvent, VoidBecause},
};

/// What the coordinator decided for a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruled {
    /// This stage opens: its chunks can be claimed from now on.
    Open(StageNumber),
    /// The last first-time chunk of this stage is done.
    Sent(StageNumber),
    /// A person must open the next stage.
    Gate,
    /// It must wait, for a reason that operators are told.
    Pause(Pause, String),
    /// What it waited for is there again.
    Resume,
    /// Its approvals do not hold any more; these must approve it.
    Void(VoidBecause, Electorate),
    /// It is over. Whoever has no final outcome then is told as Expired (or `NotSent`) when they are asked for: no row is
    /// written for them.
    Over(OverBecause),
}

impl Ruled {
    /// What that is to the rollout, and the cause that operators see.
    fn event(&self) -> (RolloutEvent, Option<&str>) {
        match self {
            Self::Open(stage) => (RolloutEvent::Open(*stage), None),
            Self::Sent(_) => (RolloutEvent::Sent, None),
            Self::Gate => (RolloutEvent::Gate, None),
            Self::Pause(why, cause) => (RolloutEvent::Pause(*why), Some(cause)),
            Self::Resume => (RolloutEvent::Resume { by_itself: true }, None),
            Self::Void(because, electorate) => {
                (RolloutEvent::Void(electorate.clone()), Some(because.as_str()))
            }
            Self::Over(OverBecause::Completed) => (RolloutEvent::Complete, None),
            Self::Over(OverBecause::Expired) => (RolloutEvent::Expire, None),
            Self::Over(OverBecause::Halted(cause)) => (RolloutEvent::Halt, Some(cause)),
        }
    }
}

impl Ledger {
    /// Carries out what was decided for a rollout that still is what `seen` says. False if it is not (a halt or a person
    /// came first), if it may not happen, or if a stage would open under a halt in force.
    pub async fn ruled(
        &self,
        ruling: &Ruling,
        seen: &RolloutRecord,
        plan: &FrozenPlan,
        ruled: &Ruled,
    ) -> Result<bool, Deposed> {
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        let Some(current) = tx.locked_rollout(seen.rollout).await? else { return Ok(false) };
        if (current.epoch, &current.stands) != (seen.epoch, &seen.stands)
            || current.changed_at != seen.changed_at
        {
            return Ok(false);
        }
        if let Ruled::Open(_) = ruled
            && tx.halts().await?.iter().any(|halt| current.is_covered_by(&halt.scope))
        {
            return Ok(false);
        }
        let (event, cause) = ruled.event();
        let particulars = json!({ "term": ruling.term });
        let steer = Steer { event, actor: SERVICE, cause, particulars };
        match tx.steer(current, plan, steer, now).await? {
            Steered::Refused(refused) => {
                tracing::debug!(rollout = %seen.rollout, %refused, "what was decided may not happen any more");
                return Ok(false);
            }
            Steered::Moved(_) => {}
        }
        match ruled {
            Ruled::Open(stage) => tx.open_chunks(seen.rollout, *stage, micros(now)).await?,
            Ruled::Sent(stage) => tx.note_sent(seen.rollout, *stage, micros(now)).await?,
            Ruled::Void(because, _) => tx.void_approvals(seen.rollout, because.as_str(), now).await?,
            Ruled::Gate | Ruled::Pause(..) | Ruled::Resume | Ruled::Over(_) => {}
        }
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    async fn open_chunks(
        &mut self,
        rollout: RolloutId,
        stage: StageNumber,
        now: i64,
    ) -> Result<(), LedgerError> {
        const OPENED: &str =
            "update stage set opened_at = $1 where rollout = $2 and stage = $3 and opened_at is null";
        // What a signal said of the stage before says nothing of more people.
        const PACE: &str = "update lease set paced_until = 0 where key = $1";
        const CLAIMS: &str = "insert into claim (rollout, chunk, stage, until) \
             select rollout, chunk, stage, $1 from chunk where rollout = $2 and stage = $3 and source is null";
        for sql in [OPENED, CLAIMS] {
            on_either!(&mut *self, c => {
                sqlx::query(sql).bind(now).bind(rollout.get()).bind(i64::from(stage)).execute(c).await?;
            });
        }
        on_either!(&mut *self, c => {
            sqlx::query(PACE).bind(LeaseKey::Rollout(rollout).stored()).execute(c).await?;
        });
        Ok(())
    }

    async fn note_sent(
        &mut self,
        rollout: RolloutId,
        stage: StageNumber,
        now: i64,
    ) -> Result<(), LedgerError> {
        const SQL: &str =
            "update stage set sent_at = $1 where rollout = $2 and stage = $3 and sent_at is null";
        on_either!(&mut *self, c => {
            sqlx::query(SQL).bind(now).bind(rollout.get()).bind(i64::from(stage)).execute(c).await?;
        });
        Ok(())
    }
}
