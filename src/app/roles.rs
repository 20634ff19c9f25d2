//! What a process does: its roles, and what each of them starts.
//!
//! A fleet is any number of processes in any mixture. Each has the ledger, the control exchange and the outbox; the
//! roles say what it does besides. Nothing depends on which process has which.

use std::{fmt, path::PathBuf, sync::Arc};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::deliver_config;
use crate::{
    api::server::{Api, ApiParts, Bound},
    audience::Policy,
    clock::Clock,
    config::{self, Config},
    deliver::Deliver,
    dispatch::{
        self, Coordinator, CoordinatorParts, DirectLane, Parts, Probes, RegistrationParts, Watched, Webhook,
        Worker, WorkerParts,
        control::Control,
        in_force::{InForce, Watch},
    },
    intake::Intake,
    ledger::Ledger,
    metrics::Metrics,
    rollout::downstream::Looks,
};

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Role {
    /// Takes jobs and registrations from the queues: sends the direct jobs, and puts campaigns and devices on record.
    Intake,
    /// Freezes audiences and opens stages; one process at a time does, the others stand by.
    Coordinator,
    /// Sends campaigns.
    Worker,
    /// Answers operators.
    Api,
    /// All of these.
    All,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Api => "api",
            Self::All => "all",
        }
    }
}

/// The roles of one process; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// These; all, if none is named.
    #[must_use]
    pub fn of(named: &[Role]) -> Self {
        let mut roles = if named.is_empty() || named.contains(&Role::All) {
            vec![Role::Intake, Role::Coordinator, Role::Worker, Role::Api]
        } else {
            named.to_vec()
        };
        roles.sort_unstable();
        roles.dedup();
        Self(roles)
    }

    /// Every role.
    #[must_use]
    pub fn all() -> Self {
        Self::of(&[])
    }

    /// True if this is one of them.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|role| role.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

/// What every role of a process works with.
#[derive(Debug)]
pub struct Fleet {
    pub(super) ledger: Arc<Ledger>,
    pub(super) policy: Arc<Policy>,
    /// Who judges by it, for every role.
    guard: Watched,
    /// Whether the policy is the one in force.
    pub in_force: InForce,
    watch: Option<Watch>,
    /// Where the files of the policy are.
    folder: PathBuf,
    /// The way to the providers, for both lanes.
    pub deliver: Arc<Deliver>,
    control: Control,
    direct: config::Direct,
    campaign: config::Campaign,
    worker: config::Worker,
    api: config::Api,
    looks: Looks,
    webhook: Option<Webhook>,
    probes: Option<Probes>,
    metrics: Metrics,
    clock: Clock,
    stop: CancellationToken,
}

impl Fleet {
    /// Opens the way to the providers; nothing runs yet.
    pub fn new(
        config: &Config,
        policy: Arc<Policy>,
        ledger: Arc<Ledger>,
        control: Control,
        metrics: Metrics,
        clock: Clock,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let deliver = Arc::new(Deliver::new(deliver_config(config, &policy)?, clock.clone())?);
        let (in_force, watch) = InForce::unknown();
        Ok(Self {
            ledger,
            guard: Watched::new(Arc::clone(&policy), metrics.clone()),
            policy,
            in_force,
            watch: Some(watch),
            folder: config.policy.clone(),
            deliver,
            control,
            direct: config.direct,
            campaign: config.campaign,
            worker: config.worker,
            api: config.api.clone(),
            looks: config.downstream.looks(),
            webhook: Webhook::open(&config.notify, clock.clone())?,
            probes: Some(Probes::open(&config.downstream)?),
            metrics,
            clock,
            stop,
        })
    }

    /// Runs the roles until told to stop, and drains them.
    pub async fn run(mut self, roles: Roles, intake: Intake) -> anyhow::Result<()> {
        let others_ended = CancellationToken::new();
        let registrations = roles.has(Role::Intake).then(|| self.registrations(&intake)).flatten();
        // On a worker: what `block_on` runs itself has a thread of its own, and every batch would switch to it and back.
        let door = if roles.has(Role::Intake) {
            tokio::spawn(DirectLane::run(self.direct_lane(intake, others_ended.clone())))
        } else {
            let (ledger, settle, metrics) = (Arc::clone(&self.ledger), intake.settle(), self.metrics.clone());
            let (stop, ended) = (self.stop.clone(), others_ended.clone());
            tokio::spawn(async move {
                dispatch::tell_and_keep(ledger, settle, metrics, stop, ended).await;
                intake.close().await;
            })
        };
        let mut others = JoinSet::new();
        if let Some(registrations) = registrations {
            others.spawn(dispatch::registrations::run(registrations));
        }
        others.spawn(dispatch::measure(
            Arc::clone(&self.ledger),
            self.control.subscribe(),
            self.metrics.clone(),
            self.clock.clone(),
            self.stop.clone(),
        ));
        if let Some(watch) = self.watch.take() {
            others.spawn(watch.run(
                Arc::clone(&self.ledger),
                Arc::clone(&self.policy),
                self.control.subscribe(),
                self.metrics.clone(),
                self.stop.clone(),
            ));
        }
        if roles.has(Role::Coordinator) {
            others.spawn(Coordinator::run(self.coordinator()));
        }
        if roles.has(Role::Worker) {
            others.spawn(Worker::run(self.worker()));
        }
        let mut door = door;
        let early = tokio::select! {
            () = self.stop.cancelled() => None,
            ended = &mut door => Some(ended),
            Some(ended) = others.join_next() => ended.err().map(Err),
            () = self.guard.given_up() => None,
        };
        // A part that died is no reason to leave the others half done: the process stops in order, and says so.
        self.stop.cancel();
        let mut died = early.is_some() || self.guard.has_given_up();
        while let Some(ended) = others.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a role of this process died");
                died = true;
            }
        }
        others_ended.cancel();
        let door = match early {
            Some(ended) if door.is_finished() => ended,
            _ => door.await,
        };
        self.deliver.drain().await;
        door.context("the way of jobs died")?;
        anyhow::ensure!(!died, "a role of this process died");
        Ok(())
    }

    /// The operators' API, if this process has it; it listens, and does not answer yet.
    pub(super) async fn api(&self, roles: &Roles) -> anyhow::Result<Option<(Api, Bound)>> {
        if !roles.has(Role::Api) {
            return Ok(None);
        }
        let api = Api::new(ApiParts {
            ledger: Arc::clone(&self.ledger),
            policy: Arc::clone(&self.policy),
            guard: self.guard.clone(),
            in_force: self.in_force.clone(),
            folder: self.folder.clone(),
            control: self.control.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            approvals_hold: self.campaign.approvals_hold,
            looks: self.looks,
            settings: self.api.clone(),
        });
        let bound = api.bind().await?;
        tracing::info!(api = %bound.address(), "the operators' API listens");
        Ok(Some((api, bound)))
    }

    fn direct_lane(&self, intake: Intake, others_ended: CancellationToken) -> Parts {
        Parts {
            intake,
            ledger: Arc::clone(&self.ledger),
            deliver: Arc::clone(&self.deliver),
            policy: Arc::clone(&self.policy),
            guard: self.guard.clone(),
            in_force: self.in_force.clone(),
            claim: self.direct.claim,
            ladder: self.direct.ladder,
            max_recipients: self.direct.max_recipients.get(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            control: self.control.clone(),
            others_ended,
        }
    }

    fn registrations(&self, intake: &Intake) -> Option<RegistrationParts> {
        Some(RegistrationParts {
            registrations: intake.registrations()?,
            settle: intake.settle(),
            ledger: Arc::clone(&self.ledger),
            policy: Arc::clone(&self.policy),
            in_force: self.in_force.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
        })
    }

    fn coordinator(&mut self) -> CoordinatorParts {
        CoordinatorParts {
            ledger: Arc::clone(&self.ledger),
            policy: Arc::clone(&self.policy),
            in_force: self.in_force.clone(),
            control: self.control.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            webhook: self.webhook.take(),
            probes: self.probes.take(),
            retry: self.campaign.retry,
            holder: self.name(),
            stop: self.stop.clone(),
        }
    }

    fn worker(&self) -> WorkerParts {
        WorkerParts {
            ledger: Arc::clone(&self.ledger),
            deliver: Arc::clone(&self.deliver),
            policy: Arc::clone(&self.policy),
            guard: self.guard.clone(),
            in_force: self.in_force.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            control: self.control.subscribe(),
            name: self.name(),
            streams: self.worker.streams,
            lease: self.worker.lease,
        }
    }

    /// This process, as the ledger knows it: never another's, also after a restart under the same process id.
    fn name(&self) -> String {
        format!("{}-{:016x}", std::process::id(), self.clock.seed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_and_all_are_every_role_and_each_counts_once() {
        assert_eq!(Roles::of(&[]), Roles::of(&[Role::Worker, Role::All]));
        let two = Roles::of(&[Role::Worker, Role::Intake, Role::Worker]);
        assert_eq!(two.to_string(), "intake,worker");
        assert!(!two.has(Role::Coordinator) && Roles::all().has(Role::Coordinator));
    }
}
