//! Long random schedules over the ledger as it is: people, a coordinator who decides on what it read a while ago, workers who
//! come and go. After every step the named invariants hold.

use std::collections::BTreeSet;

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestCaseError, TestRunner},
};

use super::{
    Store,
    campaign_set::{LEASE, Set, devices, end},
    fixtures::{accepted, throttled},
    steering::{asks, two, waiting},
};
use crate::{
    ledger::{
        CampaignRecord, Claim, Claimable, HaltScope, OverBecause, RolloutRecord, Ruled, Ruling, SegmentEnd,
        Verb,
    },
    model::{Digest, RolloutState},
    rollout::{End, RolloutFacts, StageFacts, Step, next},
};

const GATED: &str = "[[stage]]\ndevices = 6\ngate = \"manual\"\n[[stage]]\npercent = 100\n";
const PEOPLE: [&str; 3] = ["lead", "ada", "bob"];

#[derive(Debug, Clone)]
enum Happens {
    Approves { person: usize, later: bool },
    Drifts,
    Starts,
    Pauses,
    Resumes,
    Promotes,
    Ends { halt: bool },
    Decides,
    Acts,
    Works { worker: usize, defers: bool },
    Dies { worker: usize },
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        18 => (0..3_usize, any::<bool>()).prop_map(|(person, later)| Happens::Approves { person, later }),
        1 => Just(Happens::Drifts),
        9 => Just(Happens::Starts),
        5 => Just(Happens::Pauses),
        9 => Just(Happens::Resumes),
        6 => Just(Happens::Promotes),
        1 => proptest::bool::weighted(0.5).prop_map(|halt| Happens::Ends { halt }),
        24 => Just(Happens::Decides),
        24 => Just(Happens::Acts),
        42 => (0..2_usize, proptest::bool::weighted(0.2))
            .prop_map(|(worker, defers)| Happens::Works { worker, defers }),
        1 => (0..2_usize).prop_map(|worker| Happens::Dies { worker }),
    ]
}

/// A worker with a chunk.
struct Holding {
    claim: Claim,
    /// As it stood when it claimed: it asks under that epoch until it begins anew.
    seen: RolloutRecord,
    next: usize,
    open: Option<SegmentEnd>,
}

/// One campaign's course.
struct Course<'s> {
    set: &'s Set<'s>,
    campaign: CampaignRecord,
    ruling: Ruling,
    before: RolloutRecord,
    decided: Option<(RolloutRecord, Ruled)>,
    workers: [Option<Holding>; 2],
    policy: Digest,
    promoted: bool,
    /// Positions that were intended, by chunk.
    intended: BTreeSet<(u32, usize)>,
}

impl Course<'_> {
    async fn happen(&mut self, happens: &Happens) -> Result<(), TestCaseError> {
        match happens {
            Happens::Approves { person, later } => {
                let policy = if *later { Digest::of(b"later") } else { self.campaign.policy };
                let Some(digest) = self.before.approval_digest(&self.campaign.policy, &policy) else {
                    return Ok(());
                };
                // Whoever serves has the policy in force.
                if policy == self.policy {
                    self.asks(PEOPLE[*person], Verb::Approve { digest, policy, holds: LEASE, peak: None })
                        .await?;
                }
            }
            Happens::Drifts => self.policy = Digest::of(b"later"),
            Happens::Starts => drop(self.asks("ada", Verb::Start).await?),
            Happens::Pauses => drop(self.asks("ada", Verb::Pause).await?),
            Happens::Resumes => drop(self.asks("bob", Verb::Resume).await?),
            Happens::Promotes => self.promoted |= self.asks("bob", Verb::Promote).await?,
            Happens::Ends { halt: false } => drop(self.asks("eve", Verb::Abort).await?),
            Happens::Ends { halt: true } => {
                let scope = HaltScope::Campaign(self.campaign.id);
                self.set.ledger.set_halt(&scope, "duty", "try").await.expect("set");
            }
            Happens::Decides => self.decide().await,
            Happens::Acts => {
                if let Some((seen, ruled)) = self.decided.take() {
                    let done = self.set.ruled(&self.ruling, &seen, ruled.clone()).await.expect("it rules");
                    prop_assert!(!done || seen == self.before, "{ruled:?} was decided on something else");
                }
            }
            Happens::Works { worker, defers } => self.work(*worker, *defers).await?,
            Happens::Dies { worker } => {
                if let Some(holding) = self.workers[*worker].take() {
                    self.set.ledger.release_claim(&holding.claim).await.expect("an answer");
                }
            }
        }
        self.check().await
    }

    async fn asks(&self, by: &str, verb: Verb) -> Result<bool, TestCaseError> {
        let answer = asks(self.set, &self.campaign, by, verb).await;
        if let Ok(told) = &answer {
            prop_assert_eq!(
                told,
                &self.set.seen(self.campaign.id).await,
                "what is told is what is on record"
            );
        }
        Ok(answer.is_ok())
    }

    async fn decide(&mut self) {
        let (ledger, seen) = (self.set.ledger, self.before.clone());
        let counts = ledger.stages(seen.rollout).await.expect("an answer");
        let progress = ledger.stage_progress(seen.rollout).await.expect("an answer");
        let mut stages = [StageFacts::default(); 2];
        for count in counts {
            let stage = &mut stages[usize::from(count.stage)];
            (stage.devices, stage.sent_at) = (count.devices, count.sent_at);
        }
        for progress in progress {
            let stage = &mut stages[usize::from(progress.stage)];
            (stage.first_left, stage.retries_left) = (progress.first_left, progress.retries_left);
            stage.to_follow = progress.to_follow;
        }
        let step = next(&RolloutFacts {
            rollout: &seen.stands,
            changed_at: seen.changed_at,
            plan: &self.campaign.plan,
            not_before: None,
            expires_at: self.campaign.expires_at,
            at_most: 9_999,
            same_policy: seen.policy.unwrap_or(self.campaign.policy) == self.policy,
            needs_people: true,
            approvals_until: seen.approvals_until,
            zone: None,
            breaker: None,
            stages: &stages,
            downstream: &[],
            health: &[],
            now: ledger.now().await.expect("the clock"),
        });
        let ruled = match step {
            Step::Open(stage) => Ruled::Open(stage),
            Step::StageSent(stage) => Ruled::Sent(stage),
            Step::Gate => Ruled::Gate,
            Step::Void(because) => Ruled::Void(because, two()),
            Step::End(End::Completed) => Ruled::Over(OverBecause::Completed),
            Step::FollowRetries => {
                let made = ledger.follow_retries(&self.ruling, &seen, |_| std::time::Duration::ZERO).await;
                made.expect("it rules");
                return;
            }
            _ => return,
        };
        self.decided = Some((seen, ruled));
    }

    /// A worker claims, or records what is open and asks for what is next.
    async fn work(&mut self, worker: usize, defers: bool) -> Result<(), TestCaseError> {
        let set = self.set;
        let Some(mut holding) = self.workers[worker].take() else {
            let name = ["one", "two"][worker];
            let claimed =
                set.ledger.claim_chunks(self.before.rollout, name, 1, Claimable::Any, LEASE, set.now()).await;
            let claim = claimed.expect("an answer").pop();
            prop_assert!(claim.is_none() || self.before.stands.sends(), "I5: a chunk of what does not send");
            // Chunks whose last holder died halfway are for another test.
            self.workers[worker] = claim.filter(|claim| claim.halfway.is_empty()).map(|claim| Holding {
                claim,
                seen: self.before.clone(),
                next: 0,
                open: None,
            });
            return Ok(());
        };
        let mut ends: Vec<SegmentEnd> = holding.open.take().into_iter().collect();
        if let Some((_, outcome)) = ends.iter_mut().flat_map(|end| end.outcomes.iter_mut().flatten()).next()
            && defers
        {
            *outcome = throttled();
        }
        let (claim, n) = (&holding.claim, (holding.claim.devices.len() - holding.next).min(4));
        let asked: Vec<_> = (n > 0).then(|| Set::ask(claim, holding.next, n, false)).into_iter().collect();
        let mut answer = set.exchange(&holding.seen, claim, &ends, &asked, n == 0).await;
        match answer.segments.first().map(|segment| segment.as_ref().map(crate::ledger::OpenSegment::len)) {
            Some(Ok(granted)) => {
                let is_current = self.before.epoch == holding.seen.epoch && self.before.stands.sends();
                prop_assert!(is_current, "I5: an intent of an earlier run, or of what does not send");
                for position in holding.next..holding.next + granted {
                    let is_new = self.intended.insert((claim.chunk, position));
                    prop_assert!(is_new, "I6: intended twice");
                }
                holding.open = Some(end(claim, holding.next, devices(&mut answer, 0), &accepted()));
                holding.next += granted;
            }
            Some(Err(crate::ledger::NoIntent::Window)) => {}
            // Stopped: it gives the chunk back, and begins anew when it may.
            Some(Err(_)) => {
                set.ledger.release_claim(claim).await.expect("an answer");
                return Ok(());
            }
            None => return Ok(()),
        }
        self.workers[worker] = Some(holding);
        Ok(())
    }

    async fn check(&mut self) -> Result<(), TestCaseError> {
        let (now, before) = (self.set.seen(self.campaign.id).await, &self.before);
        prop_assert!(now.epoch >= before.epoch, "an epoch never comes back");
        prop_assert!(!before.state.is_terminal() || now.stands == before.stands, "what is over stays over");
        let given = self.set.ledger.approvals(now.rollout).await.expect("an answer");
        let holds: Vec<_> = given.iter().filter(|approval| approval.voided.is_none()).collect();
        let people: BTreeSet<_> = holds.iter().map(|approval| approval.by.as_str()).collect();
        let digests: BTreeSet<_> = holds.iter().map(|approval| approval.digest).collect();
        prop_assert!(!people.contains("lead"), "I4: the owner has approved");
        prop_assert!(digests.len() <= 1, "I8: approvals of different things");
        let widens = !now.state.is_terminal() && now.state != RolloutState::PendingApproval;
        prop_assert!(!widens || people.len() == 2, "I4: {people:?} are not two");
        prop_assert!(now.stage != Some(1) || self.promoted, "I3: the gate opened itself");
        prop_assert!(
            now.stage <= before.stage.map_or(Some(0), |stage| Some(stage + 1)),
            "a stage was skipped"
        );
        self.before = now;
        Ok(())
    }
}

pub(super) async fn whatever_happens_the_invariants_hold(store: &Store) {
    let mut set = Set::with(store, 12, GATED, "").await;
    let original = set.job.clone();
    let (mut round, mut ends) = (0, BTreeSet::new());
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    for _ in 0..24 {
        let strategy = proptest::collection::vec(happens(), 40..120);
        let tree = strategy.new_tree(&mut runner).expect("a schedule");
        let schedule = tree.current();
        round += 1;
        set.job = original.renamed(format!("c-{round}").parse().expect("an id"));
        set.key = set.job.key(&set.key.producer);
        let (campaign, ruling, before) = waiting(&set).await;
        let (policy, rule) = (campaign.policy, ruling.clone());
        let mut course = Course {
            set: &set,
            campaign,
            ruling,
            before,
            decided: None,
            workers: [None, None],
            policy,
            promoted: false,
            intended: BTreeSet::new(),
        };
        for (place, happens) in schedule.iter().enumerate() {
            if let Err(failed) = course.happen(happens).await {
                panic!("{failed} in step {place} of {schedule:?}");
            }
        }
        ends.insert((course.before.state, course.before.stage));
        set.ledger.abdicate(&rule).await.expect("it rules");
    }
    assert!(ends.iter().any(|(_, stage)| stage.is_some()), "nothing was ever sent: {ends:?}");
}
