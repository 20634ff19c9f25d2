//! Steering: an event happens to a rollout, or is refused; under the lock of its row, so that of two that come at once one
//! is first.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    RolloutRecord,
    rollouts::{ROLLOUTS, RolloutRow},
    told::RolloutTold,
    waits::{Elected, waiting},
};
use crate::{
    ledger::{
        LedgerError,
        rows::{json_text, micros, stored_count},
        tx::{Tx, on_either},
    },
    model::{Digest, OperatorName, RolloutId},
    rollout::machine::{Approved, Baking, Electorate, Held, Moved, Paused, Refused, Rollout, RolloutEvent},
};

/// Something that happens to a rollout.
#[derive(Debug)]
pub(super) struct Steer<'a> {
    /// What.
    pub(super) event: RolloutEvent,
    /// Who brings it about; it stands in the audit.
    pub(super) actor: &'a str,
    /// Why, in a word for operators; it stands beside the state.
    pub(super) cause: Option<&'a str>,
    /// What else the audit is to know.
    pub(super) particulars: Value,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Steered {
    /// It happened; the rollout stands like this now.
    Moved(Box<RolloutRecord>),
    /// It may not happen.
    Refused(Refused),
}

impl Tx {
    /// How a rollout stands, under its row's lock: intents that are under way are waited for, and none can begin (I5).
    pub(super) async fn locked_rollout(
        &mut self,
        rollout: RolloutId,
    ) -> Result<Option<RolloutRecord>, LedgerError> {
        let lock = if matches!(self, Self::Postgres(_)) { "for update of r" } else { "" };
        let sql = format!("{ROLLOUTS} where r.id = $1 {lock}");
        let row: Option<RolloutRow> = on_either!(self, c => {
            sqlx::query_as(&sql).bind(rollout.get()).fetch_optional(c).await?
        });
        row.map(RolloutRecord::try_from).transpose()
    }

    /// Lets an event happen to a rollout that was read under its lock: the row, an event for others, the audit. The
    /// caller commits.
    pub(super) async fn steer(
        &mut self,
        seen: RolloutRecord,
        plan: &crate::rollout::FrozenPlan,
        steer: Steer<'_>,
        now: Timestamp,
    ) -> Result<Steered, LedgerError> {
        let Steer { event, actor, cause, particulars } = steer;
        let kind = format!("rollout.{}", event.as_str());
        let (before, stood) = (seen.state, seen.stands.clone());
        let elected = match &event {
            RolloutEvent::Frozen(electorate) | RolloutEvent::Void(electorate) => Some(electorate.clone()),
            _ => None,
        };
        let Moved { rollout, new_epoch } = match seen.stands.clone().on(event, plan) {
            Ok(moved) => moved,
            Err(refused) => return Ok(Steered::Refused(refused)),
        };
        let mut after = RolloutRecord {
            state: rollout.state(),
            cause: cause.map(str::to_owned),
            stage: rollout.stage().or(seen.stage),
            epoch: seen.epoch + u32::from(new_epoch),
            // An approval that is not the last leaves the state as it was.
            changed_at: if rollout.state() == before { seen.changed_at } else { now },
            finished_at: rollout.state().is_terminal().then_some(now),
            stands: rollout,
            ..seen
        };
        let mut votes = Elected::AsBefore;
        if let Some(elected) = elected {
            after.electorate = elected;
            votes = Elected::Anew;
        }
        if let Rollout::PendingApproval(pending) = &after.stands {
            after.electorate = pending.electorate.clone();
            if pending.approved.is_empty() {
                after.approvals_until = None;
            }
        }
        self.write_rollout(&after).await?;
        let told = RolloutTold::of(&after);
        self.tell(&[told.event(now, after.epoch, after.state, after.stage, cause)]).await?;
        if let Some(waiting) = waiting(&stood, &after, votes) {
            self.notify(now, waiting).await?;
        }
        let mut body = json!({
            "campaign": after.id, "state": after.state, "stage": after.stage.map(|stage| u32::from(stage) + 1),
            "epoch": after.epoch, "cause": cause,
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, particulars) {
            body.extend(more);
        }
        self.append_audit(now, actor, &kind, &body).await?;
        Ok(Steered::Moved(Box::new(after)))
    }

    async fn write_rollout(&mut self, after: &RolloutRecord) -> Result<(), LedgerError> {
        const SQL: &str = "update rollout set state = $1, cause = $2, stage = $3, epoch = $4, changed_at = $5, \
                 finished_at = $6, pause = $7, held = $8, started = $9, promoted = $10, people = $11, barred = $12, \
                 approved = $13, approvals_until = $14, policy = $15 where id = $16";
        let row = Kept::of(&after.stands);
        let names = |names: &std::collections::BTreeSet<OperatorName>| {
            json_text(&names.iter().map(OperatorName::as_str).collect::<Vec<_>>())
        };
        let Electorate { people, barred } = &after.electorate;
        let approved = match &after.stands {
            Rollout::PendingApproval(pending) => names(&pending.approved),
            _ => "[]".to_owned(),
        };
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(after.state.as_str())
                .bind(after.cause.as_deref())
                .bind(after.stage.map_or(-1, i32::from))
                .bind(stored_count(after.epoch))
                .bind(micros(after.changed_at))
                .bind(after.finished_at.map(micros))
                .bind(row.pause)
                .bind(row.held)
                .bind(row.started)
                .bind(row.promoted)
                .bind(stored_count(*people))
                .bind(names(barred))
                .bind(approved)
                .bind(after.approvals_until.map(micros))
                .bind(after.policy.as_ref().map(|policy: &Digest| policy.as_bytes().to_vec()))
                .bind(after.rollout.get())
                .execute(c)
                .await?;
        });
        Ok(())
    }
}

/// What a row keeps of where a rollout stands, beside its state and its stage.
struct Kept {
    pause: Option<&'static str>,
    held: Option<&'static str>,
    started: bool,
    promoted: bool,
}

impl Kept {
    fn of(rollout: &Rollout) -> Self {
        let nothing = Self { pause: None, held: None, started: true, promoted: false };
        match rollout {
            Rollout::Draft | Rollout::Running(_) | Rollout::Over(_) => nothing,
            Rollout::PendingApproval(pending) => Self { held: Some(word(pending.at)), ..nothing },
            Rollout::Approved(Approved { started, at }) => {
                Self { held: Some(word(*at)), started: *started, ..nothing }
            }
            Rollout::Baking(Baking { promoted, .. }) => Self { promoted: *promoted, ..nothing },
            Rollout::Paused(Paused { why, at }) => {
                Self { pause: Some(why.as_str()), held: Some(word(*at)), ..nothing }
            }
        }
    }
}

const fn word(held: Held) -> &'static str {
    match held {
        Held::Start => "start",
        Held::Running(_) => "running",
        Held::Baking(_) => "baking",
    }
}
