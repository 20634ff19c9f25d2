//! Rollouts that people steer, while their coordinator is ended by `kill -9` in every state: it resumes where it stood, no
//! stage is skipped, doubled or opened early, and no gate opens itself.

use std::time::Duration;

use bellwether::{
    audience::Policy,
    clock::Clock,
    ledger::{Asked, Ledger, RolloutRecord, Verb},
    model::{OperatorName, Pause, RolloutState},
    rollout::Rollout,
    simulator::SimulatorConfig,
};
use serde_json::Value;

use super::{COHORT, Fleet};
use crate::{
    harness::{
        broker::eventually,
        service::{APP, Serving},
    },
    service::load::say,
};

const JOB: &str = "steered";

/// A fleet whose audience is customers: two people must approve.
async fn customers(count: usize, stages: &[&str]) -> Fleet {
    let fleet = Fleet::with(SimulatorConfig::quiet(Clock::system()), count, stages).await;
    let cohort = format!(
        "class = \"production\"\napp = \"{APP}\"\ndefault_plan = \"wide\"\n[select]\ncountry = [\"PL\"]\n\
         [limits]\nmax_devices = 2_000_000\napprovals = [{{ above = 0, people = 2 }}]\n"
    );
    let file = fleet.stage.folder().join(format!("audiences/cohorts/{COHORT}.toml"));
    std::fs::write(file, cohort).expect("a cohort");
    fleet
}

/// What people and the ledger have to do with one rollout.
struct Steered<'f> {
    fleet: &'f Fleet,
    ledger: Ledger,
    coordinator: Option<Serving>,
    kills: usize,
}

impl Steered<'_> {
    async fn seen(&self) -> Option<RolloutRecord> {
        let key = self.fleet.stage.key("marketing", JOB);
        let campaign = self.ledger.campaign_by_job(&key).await.expect("an answer")?;
        self.ledger.rollout(campaign).await.expect("an answer")
    }

    /// Waits until it stands like this.
    async fn stands(&self, what: &str, is_so: impl Fn(&Rollout) -> bool) -> RolloutRecord {
        eventually(what, async || self.seen().await.filter(|seen| is_so(&seen.stands))).await
    }

    async fn says(&self, by: &str, verb: Verb) {
        let by = OperatorName::parse(by).expect("a name");
        let campaign = self.seen().await.expect("it is on record").id;
        let said = self.ledger.verb(campaign, &Asked { verb, by: &by, reason: Some("as agreed") }).await;
        said.expect("an answer").expect("it may happen");
    }

    /// Ends the coordinator in the middle of whatever it does, and starts another; it must rule before this returns.
    async fn kill(&mut self) {
        if let Some(coordinator) = self.coordinator.take() {
            coordinator.kill().await;
            self.kills += 1;
        }
        let serving = self.fleet.serve("coordinator").await;
        eventually("a new reign", async || {
            (serving.metric("bellwether_coordinating", &[]).await > 0.5).then_some(())
        })
        .await;
        self.coordinator = Some(serving);
    }
}

fn is(state: RolloutState) -> impl Fn(&Rollout) -> bool {
    move |rollout| rollout.state() == state
}

fn waits_at_gate(rollout: &Rollout) -> bool {
    matches!(rollout, Rollout::Paused(paused) if paused.why == Pause::Gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_i4_a_coordinator_killed_in_every_state_resumes_and_no_gate_opens_itself() {
    let stages = [
        "audience = \"staff\"",
        "devices = 40\nmax_rate = 40\nbake = \"1s\"\ngate = \"manual\"",
        "percent = 50\nmax_rate = 100\nbake = \"2s\"",
        "percent = 100\nmax_rate = 200",
    ];
    let fleet = customers(300, &stages).await;
    let (intake, worker) = tokio::join!(fleet.serve("intake"), fleet.serve("worker"));
    let ledger = fleet.stage.ledger().await;
    let mut steered = Steered { fleet: &fleet, ledger, coordinator: None, kills: 0 };
    fleet.publish(&fleet.job(JOB)).await;
    steered.stands("a draft", is(RolloutState::Draft)).await;
    steered.kill().await;
    let pending = steered.stands("pending", is(RolloutState::PendingApproval)).await;
    steered.kill().await;
    let policy = Policy::load(&fleet.stage.folder().join("audiences")).expect("a policy").hash();
    let digest = pending.frozen_digest.expect("it is frozen");
    let approve = || Verb::Approve { digest, policy, holds: Duration::from_hours(1), peak: None };
    steered.says("first-approver", approve()).await;
    steered.kill().await;
    assert_eq!(steered.seen().await.expect("it is there").state, RolloutState::PendingApproval, "one of two");
    steered.says("second-approver", approve()).await;
    steered.kill().await;
    assert_eq!(steered.seen().await.expect("it is there").state, RolloutState::Approved);
    assert_eq!(fleet.stage.simulator.requests(), 0, "nobody has started it");

    steered.says("first-approver", Verb::Start).await;
    steered.stands("the second stage is sent", |rollout| *rollout == Rollout::Running(1)).await;
    steered.kill().await;
    steered.stands("the second stage is watched", |rollout| matches!(rollout, Rollout::Baking(_))).await;
    steered.kill().await;
    steered.stands("the gate", waits_at_gate).await;
    steered.kill().await;
    assert!(waits_at_gate(&steered.seen().await.expect("it is there").stands));
    steered.says("second-approver", Verb::Promote).await;
    steered.stands("the third stage is sent", |rollout| *rollout == Rollout::Running(2)).await;
    steered.says("first-approver", Verb::Pause).await;
    steered.kill().await;
    assert_eq!(steered.seen().await.expect("it is there").state, RolloutState::Paused);
    steered.says("first-approver", Verb::Resume).await;
    steered.kill().await;
    steered
        .stands(
            "the third stage is watched",
            |rollout| matches!(rollout, Rollout::Baking(baking) if baking.stage == 2),
        )
        .await;
    steered.kill().await;
    steered.stands("the last stage", |rollout| *rollout == Rollout::Running(3)).await;
    steered.kill().await;
    fleet.over().await;

    // The audit is the witness: each stage once, in order, and nothing without the person whom it needs.
    let entries = steered.ledger.audit_entries(1, 10_000).await.expect("the audit");
    let steps: Vec<String> = entries
        .iter()
        .filter(|entry| entry.kind.starts_with("rollout."))
        .map(|entry| {
            let body: Value = serde_json::from_str(&entry.body).expect("JSON");
            let stage =
                if entry.kind == "rollout.open" { format!(" {}", body["stage"]) } else { String::new() };
            format!("{}{stage}", entry.kind.trim_start_matches("rollout."))
        })
        .collect();
    let way = [
        "frozen", "approve", "approve", "start", "open 1", "sent", "open 2", "sent", "gate", "promote",
        "open 3", "pause", "resume", "sent", "open 4", "sent", "complete",
    ];
    assert_eq!(steps, way);
    let account = fleet.reconcile(JOB).await;
    account.is_clean();
    let kills = steered.kills;
    say(format_args!("coordinator killed {kills} times; {:?}", account.outcomes));
    assert_eq!(account.outcomes.get("accepted"), Some(&300));
    for serving in [Some(intake), Some(worker), steered.coordinator].into_iter().flatten() {
        assert!(serving.stop().await.success());
    }
}
