//! What an action leads to: the real machine and the real planner, and the ledger's rules around them.

use jiff::{SignedDuration, Timestamp};

use super::guards::Seen;
use super::world::{
    Action, CHUNKS, Chunk, DEFERS, Decision, Due, MOVED, Model, RETRY, Record, Worker, World, name, stage_of,
};
use crate::{
    model::Pause,
    rollout::{
        End, Rollout, RolloutEvent, RolloutFacts, StageFacts, Step, Tripped,
        health::Verdict,
        machine::{Moved, Paused},
    },
};

impl World {
    /// Arrived a moment ago; with a halt in force, or without. A number that nobody has read is none.
    pub(super) fn begins(halted: bool, model: &Model) -> Self {
        Self {
            rollout: Rollout::Draft,
            baked: false,
            aged: false,
            expired: false,
            drifted: false,
            approved_under: false,
            halted,
            open: model.held,
            opened: 0,
            sent: [false; 2],
            chunks: [Chunk::Shut; CHUNKS],
            to_follow: false,
            workers: [Worker::Idle; 2],
            coordinator: None,
            deposed: None,
            breaker: None,
            sound: false,
            seen: if model.plan.downstream.is_empty() { Seen::Fine } else { Seen::Blind },
            record: Record::default(),
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.rollout, Rollout::Over(_))
    }

    /// Its time is not over, and it was not cleared by a policy that nobody has any more.
    pub(super) fn may_complete(&self) -> bool {
        let is_orphaned = self.drifted && self.rollout == Rollout::Draft;
        !self.expired && !is_orphaned
    }

    /// What an action leads to; `None` if it cannot happen, or changes nothing.
    pub(super) fn after(&self, action: Action, model: &Model) -> Option<Self> {
        // Nothing is of interest once it is over, but that no intent is recorded any more.
        if self.is_over() && !matches!(action, Action::Intends(_)) {
            return None;
        }
        if !self.may(action) {
            return None;
        }
        let mut world = self.clone();
        world.take(action, model)?;
        world.workers.sort_unstable();
        (world != *self).then_some(world)
    }

    /// False for what is out of the question at a glance: most of what there is.
    fn may(&self, action: Action) -> bool {
        match action {
            Action::Approve { .. } => matches!(self.rollout, Rollout::PendingApproval(_)),
            Action::Decides => self.coordinator.is_none(),
            Action::Acts | Action::AnotherRules => self.coordinator.is_some(),
            Action::DeposedActs => self.deposed.is_some(),
            Action::Trips(_) => self.breaker.is_none() && self.rollout.sends(),
            // What is not watched is not read: what was seen of it grows too old.
            Action::Notes(seen) => seen == Seen::Blind || self.rollout.is_watched(),
            Action::Claims(worker) => self.workers[worker] == Worker::Idle && self.rollout.sends(),
            Action::Intends(worker) | Action::LetsGo(worker) => {
                matches!(self.workers[worker], Worker::Holds { .. })
            }
            Action::Sends(worker) => matches!(self.workers[worker], Worker::Intends(_)),
            Action::Records { worker, .. } => matches!(self.workers[worker], Worker::Sent(_)),
            Action::Dies(worker) => self.workers[worker] != Worker::Idle,
            _ => true,
        }
    }

    fn take(&mut self, action: Action, model: &Model) -> Option<()> {
        match action {
            Action::Approve { person, later } => self.approve(model, person, later),
            Action::Accepts => {
                let waits = matches!(self.rollout, Rollout::PendingApproval(_));
                (self.open && waits).then(|| self.open = false)
            }
            Action::Reject => self.steer(model, RolloutEvent::Reject),
            Action::Start if !self.halted => self.steer(model, RolloutEvent::Start),
            Action::Pause => self.steer(model, RolloutEvent::Pause(Pause::Manual)),
            Action::Resume if !self.halted => self.steer(model, RolloutEvent::Resume { by_itself: false }),
            Action::Promote { reasoned } if !self.halted => {
                self.steer(model, RolloutEvent::Promote { reasoned })?;
                self.record.promoted = true;
                Some(())
            }
            Action::Abort => self.steer(model, RolloutEvent::Abort),
            Action::Halt => self.steer(model, RolloutEvent::Halt),
            Action::LiftHalt => self.halted.then(|| self.halted = false),
            Action::Start | Action::Resume | Action::Promote { .. } => None,
            Action::PolicyDrifts => (!self.drifted).then(|| self.drifted = true),
            Action::BakePasses => (!self.baked && self.waits_for_time()).then(|| self.baked = true),
            Action::IsSound => {
                (!self.sound && model.plan.must_pass(0) && self.sent[0]).then(|| self.sound = true)
            }
            Action::ApprovalsAge => {
                let given = self.record.given.iter().any(Option::is_some);
                (given && self.opened == 0).then(|| self.aged = true)
            }
            Action::ExpiryComes => (!self.expired).then(|| self.expired = true),
            Action::Decides => self.decide(model),
            Action::Acts => {
                let decision = self.coordinator.take()?;
                self.act(model, decision);
                Some(())
            }
            // It dies, or is cut off: what it had decided comes too late, under a term that is over, and is not written. Kept
            // only where that rule is broken.
            Action::AnotherRules => {
                let decision = self.coordinator.take()?;
                self.deposed = (!model.rules.fenced).then_some(decision);
                Some(())
            }
            Action::DeposedActs => {
                let decision = self.deposed.take()?;
                self.act(model, decision);
                Some(())
            }
            Action::Trips(kind) => {
                let at_work = self.workers.iter().any(|worker| matches!(worker, Worker::Sent(0 | 2)));
                (at_work && self.rollout.sends() && self.breaker.is_none()).then(|| self.breaker = Some(kind))
            }
            // Beside the rollout, not in it: a decision that was made before is none the less of what it was made on.
            Action::Notes(seen) => (!model.plan.downstream.is_empty()).then(|| self.seen = seen),
            Action::Claims(_)
            | Action::Intends(_)
            | Action::Sends(_)
            | Action::Records { .. }
            | Action::LetsGo(_)
            | Action::Dies(_) => self.work(action, model),
        }
    }

    fn waits_for_time(&self) -> bool {
        matches!(self.rollout, Rollout::Baking(_) | Rollout::Paused(Paused { why: Pause::ProviderDown, .. }))
    }

    /// An event under the lock of the row.
    fn steer(&mut self, model: &Model, event: RolloutEvent) -> Option<()> {
        let stops = matches!(
            event,
            RolloutEvent::Pause(_)
                | RolloutEvent::Void(_)
                | RolloutEvent::Halt
                | RolloutEvent::Abort
                | RolloutEvent::Expire
        );
        let begins =
            matches!(event, RolloutEvent::Start | RolloutEvent::Resume { .. } | RolloutEvent::Promote { .. });
        let before = self.rollout.state();
        let Moved { rollout, new_epoch } = (model.machine)(self.rollout.clone(), event, &model.plan).ok()?;
        self.rollout = rollout;
        if self.rollout.state() != before {
            self.baked = false;
        }
        for decision in [&mut self.coordinator, &mut self.deposed].into_iter().flatten() {
            decision.same = false;
            decision.epoch &= !new_epoch;
        }
        for worker in &mut self.workers {
            if let Worker::Holds { current, stopped_since, .. } = worker {
                *current &= !new_epoch;
                *stopped_since |= stops;
            }
        }
        if new_epoch {
            self.breaker = None;
        }
        self.record.stopped = stops || (self.record.stopped && !begins);
        Some(())
    }

    /// I8: exactly what is frozen, under the policy in force.
    fn approve(&mut self, model: &Model, person: usize, later: bool) -> Option<()> {
        let Rollout::PendingApproval(pending) = &self.rollout else { return None };
        if model.rules.findings && self.open {
            return None;
        }
        let mixed = !pending.approved.is_empty() && self.approved_under != later;
        if later != self.drifted || (model.rules.one_digest && mixed) {
            return None;
        }
        self.steer(model, RolloutEvent::Approve(name(person)))?;
        self.approved_under = later;
        self.record.given[person] = Some(later);
        Some(())
    }

    fn stages(&self) -> [StageFacts; 2] {
        let left = |chunk: usize| matches!(self.chunks[chunk], Chunk::Free | Chunk::Held);
        let count =
            |chunks: &[usize]| u32::try_from(chunks.iter().filter(|n| left(**n)).count()).unwrap_or(0);
        let sent_at = |stage: usize| self.sent[stage].then(at_first);
        [
            StageFacts {
                devices: 2,
                sent_at: sent_at(0),
                first_left: count(&[0, 1]),
                retries_left: count(&[RETRY]),
                to_follow: u32::from(self.to_follow),
            },
            StageFacts {
                devices: 2,
                sent_at: sent_at(1),
                first_left: count(&[2, 3]),
                ..StageFacts::default()
            },
        ]
    }

    /// What the coordinator would do with what it reads now.
    pub(super) fn due(&self, model: &Model) -> Option<Due> {
        let now = at_first()
            + SignedDuration::from_secs(if self.expired {
                3_600
            } else if self.baked {
                60
            } else {
                0
            });
        let given = self.record.given.iter().any(Option::is_some);
        let reason = crate::model::Reason::new("BadTopic");
        let tripped = |kind| Tripped { kind, provider: crate::model::Provider::Apns, reason };
        let (tripped, stages) = (self.breaker.map(tripped), self.stages());
        let downstream = self.seen.judged(&model.plan, now);
        let health = if self.sound {
            [Verdict::Pass, Verdict::Inconclusive]
        } else {
            [const { Verdict::Inconclusive }; 2]
        };
        let step = (model.planner)(&RolloutFacts {
            rollout: &self.rollout,
            changed_at: at_first(),
            plan: &model.plan,
            not_before: None,
            expires_at: at_first() + SignedDuration::from_secs(3_600),
            at_most: 100,
            same_policy: self.drifted == self.approved_under,
            needs_people: !model.test || model.held,
            approvals_until: given.then(|| now + SignedDuration::from_secs(if self.aged { 0 } else { 60 })),
            zone: None,
            breaker: tripped.as_ref(),
            stages: &stages,
            downstream: &downstream,
            health: &health,
            now,
        });
        Some(match step {
            // A draft under another policy waits for its coordinator, and ends by itself.
            Step::Wait(_, crate::rollout::Why::OtherPolicy) | Step::End(End::Halted(_)) => Due::Halt,
            Step::Wait(..) | Step::Nothing(_) => return None,
            Step::Freeze => Due::Freeze,
            Step::Open(stage) => Due::Open(stage),
            Step::FollowRetries => Due::Follow,
            Step::StageSent(_) => Due::Sent,
            Step::Gate => Due::Gate,
            Step::Pause(why, _) => Due::Pause(why),
            Step::Resume => Due::Resume,
            Step::Void(_) => Due::Void,
            Step::End(End::Completed) => Due::Complete,
            Step::End(End::Expired) => Due::Expire,
        })
    }

    fn decide(&mut self, model: &Model) -> Option<()> {
        if self.coordinator.is_some() {
            return None;
        }
        self.coordinator = Some(Decision { due: self.due(model)?, same: true, epoch: true });
        Some(())
    }

    /// Carries a decision out, as the ledger lets it.
    fn act(&mut self, model: &Model, Decision { due, same, epoch }: Decision) {
        if due == Due::Follow {
            if epoch && self.to_follow {
                (self.to_follow, self.chunks[RETRY]) = (false, Chunk::Free);
            }
            return;
        }
        if (model.rules.compared && !same) || (self.halted && matches!(due, Due::Open(_))) {
            return;
        }
        let event = match due {
            Due::Freeze => RolloutEvent::Frozen(model.electorate()),
            Due::Open(stage) => RolloutEvent::Open(stage),
            Due::Sent => RolloutEvent::Sent,
            Due::Gate => RolloutEvent::Gate,
            Due::Void => RolloutEvent::Void(model.electorate()),
            Due::Pause(why) => RolloutEvent::Pause(why),
            Due::Resume => RolloutEvent::Resume { by_itself: true },
            Due::Complete => RolloutEvent::Complete,
            Due::Expire => RolloutEvent::Expire,
            Due::Halt => RolloutEvent::Halt,
            Due::Follow => return,
        };
        // A freeze may find more devices than allowed.
        if self.steer(model, event).is_none() {
            return;
        }
        match due {
            Due::Open(_) => {
                let Some(stage) = self.rollout.stage() else { return };
                self.opened += 1;
                for chunk in (0..RETRY).filter(|chunk| stage_of(*chunk) == stage) {
                    self.chunks[chunk] = Chunk::Free;
                }
            }
            Due::Sent => {
                if let Some(stage) = self.rollout.stage() {
                    self.sent[usize::from(stage)] = true;
                }
            }
            Due::Void => (self.record.given, self.aged, self.record.promoted) = ([None; 3], false, false),
            _ => {}
        }
    }

    fn work(&mut self, action: Action, model: &Model) -> Option<()> {
        match action {
            Action::Claims(worker) => {
                let free = self.chunks.iter().position(|chunk| *chunk == Chunk::Free)?;
                if self.workers[worker] != Worker::Idle || !self.rollout.sends() || self.expired {
                    return None;
                }
                self.chunks[free] = Chunk::Held;
                self.workers[worker] = Worker::Holds { chunk: free, current: true, stopped_since: false };
            }
            Action::Intends(worker) => {
                let Worker::Holds { chunk, current, .. } = self.workers[worker] else { return None };
                let (epoch, late) = (current || !model.rules.epoch, self.expired && model.rules.expiry);
                if !self.rollout.sends() || !epoch || late {
                    return None;
                }
                self.workers[worker] = Worker::Intends(chunk);
            }
            // Its local flag may be a moment behind: what has its intent may still go out.
            Action::Sends(worker) => {
                let Worker::Intends(chunk) = self.workers[worker] else { return None };
                self.record.stranger |= model.test && chunk == MOVED && !model.rules.admits;
                self.workers[worker] = Worker::Sent(chunk);
            }
            Action::Records { worker, defers } => {
                let Worker::Sent(chunk) = self.workers[worker] else { return None };
                let once = chunk == DEFERS && self.chunks[RETRY] == Chunk::Shut && !self.to_follow;
                if defers && !once {
                    return None;
                }
                self.chunks[chunk] = Chunk::Done;
                self.to_follow |= defers;
                self.workers[worker] = Worker::Idle;
            }
            Action::LetsGo(worker) => {
                let Worker::Holds { chunk, current: false, .. } = self.workers[worker] else { return None };
                (self.chunks[chunk], self.workers[worker]) = (Chunk::Free, Worker::Idle);
            }
            Action::Dies(worker) => {
                let (Worker::Holds { chunk, .. } | Worker::Intends(chunk) | Worker::Sent(chunk)) =
                    self.workers[worker]
                else {
                    return None;
                };
                (self.chunks[chunk], self.workers[worker]) = (Chunk::Free, Worker::Idle);
            }
            _ => return None,
        }
        Some(())
    }
}

fn at_first() -> Timestamp {
    Timestamp::UNIX_EPOCH
}
