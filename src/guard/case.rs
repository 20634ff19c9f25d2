//! What every rule is shown: the job, who asks, the policy, the facts and the hour.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;

use super::Facts;
use crate::{
    audience::{App, Audience, Plan, Policy, Producer},
    model::{AppId, Intent, Job, JobKey, Lane, Message, Recipients, RenderError, UserId},
};

/// One question to the guard. Names are looked up once; a rule reads, and changes nothing.
pub(super) struct Case<'a> {
    pub(super) job: &'a Job,
    pub(super) key: &'a JobKey,
    pub(super) policy: &'a Policy,
    pub(super) facts: &'a Facts<'a>,
    pub(super) now: Timestamp,
    /// The instant after which nothing is sent.
    pub(super) expires_at: Timestamp,
    /// The job's app, if the policy knows it.
    pub(super) app: Option<&'a App>,
    /// Who enqueued it, if the policy knows it.
    pub(super) producer: Option<&'a Producer>,
    /// The registered testers of the job's app.
    pub(super) testers: Arc<BTreeSet<UserId>>,
    message: OnceCell<Result<Message, RenderError>>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        job: &'a Job,
        key: &'a JobKey,
        policy: &'a Policy,
        facts: &'a Facts<'a>,
        now: Timestamp,
    ) -> Self {
        Self {
            job,
            key,
            policy,
            facts,
            now,
            expires_at: job.expires_at(facts.received_at),
            app: job.app().and_then(|app| policy.app(app)),
            producer: policy.producer(&key.producer),
            testers: job.app().map_or_else(nobody, |app| policy.testers(app)),
            message: OnceCell::new(),
        }
    }

    /// The audience that the job names, if the policy knows it.
    pub(super) fn audience(&self) -> Option<&'a Audience> {
        match self.job.to()? {
            Recipients::Audience { name, .. } => self.policy.audience(name),
            Recipients::Users(_) | Recipients::Devices(_) => None,
        }
    }

    /// The plan that the job's campaign would follow, if there is one.
    pub(super) fn plan(&self) -> Option<&'a Plan> {
        self.policy.plan_for(self.audience()?, self.job.plan())
    }

    /// What would be sent: rendered at most once, and carried by the proof, so that the bytes that were
    /// measured are the bytes that are sent.
    pub(super) fn message(&self) -> &Result<Message, RenderError> {
        let render = || Message::render(self.job.notification(), self.key, self.expires_at, self.now);
        self.message.get_or_init(render)
    }

    /// Takes the message out.
    pub(super) fn into_message(self) -> Result<Message, RenderError> {
        self.message();
        self.message.into_inner().expect("rendered on the line above")
    }

    pub(super) fn is(&self, intent: Intent) -> bool {
        self.job.intent() == Some(intent)
    }

    pub(super) fn is_campaign(&self) -> bool {
        self.job.lane() == Lane::Campaign
    }

    pub(super) fn app_id(&self) -> Option<&'a AppId> {
        self.job.app()
    }
}

fn nobody() -> Arc<BTreeSet<UserId>> {
    static NOBODY: OnceLock<Arc<BTreeSet<UserId>>> = OnceLock::new();
    Arc::clone(NOBODY.get_or_init(Arc::default))
}
