//! Campaigns at the door: judged, and put on record. What becomes of them is the coordinator's affair.
//!
//! ```text
//! read ─▶ ledger.read_direct ─▶ guard::clear ─▶ ledger.submit_campaign ─▶ acknowledge
//!  │ malformed     │ id taken         │ refused          │ known, conflict      ▲
//!  └───────────────┴──────────────────┴──────────────────┴──────────────────────┘
//! ```
//!
//! - **I7 nothing-lost**: the message is acknowledged when the campaign is on record, or its refusal is.
//! - **I3 unknown-is-no**: while the ledger is away the campaign waits in its queue.

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;

use super::{
    commit::Ended,
    control::ControlMessage,
    direct::{DirectLane, not_recordable},
    judge::{self, Asked, Judged},
    patience::NoAnswer,
    submit::{past_ask, whom},
    watched::{Asking, Question},
};
use crate::{
    audience::Audience,
    guard::Past,
    ledger::{DirectAsk, LedgerError, NewCampaign, PriorJob, Submitted},
    model::{FindingNote, Job},
    rollout::FrozenPlan,
};

impl DirectLane {
    /// Brings every campaign to its end at the door.
    pub(super) async fn campaigns(&self, asked: Vec<Asked>) {
        asked
            .into_iter()
            .map(|asked| self.campaign(asked))
            .collect::<FuturesUnordered<_>>()
            .collect::<()>()
            .await;
    }

    async fn campaign(&self, asked: Asked) {
        // What happens between the guard's look at the past and the record is looked at again; each thing happens once.
        let mut again = Some(asked);
        while let Some(asked) = again {
            again = self.judged(asked).await;
        }
    }

    /// Answers with the campaign if the guard is to be asked again.
    async fn judged(&self, asked: Asked) -> Option<Asked> {
        let read = self.patience.ask("campaign", || self.prior(&asked)).await;
        let (prior, past, now) = match read {
            Ok(read) => read,
            Err(error) => {
                self.not_on_record(asked, error).await;
                return None;
            }
        };
        let judged = if let Some(prior) = prior {
            judge::on_record(&asked, &prior, &self.metrics)
        } else {
            let (received_at, what) = (asked.delivery.received_at, (&asked.key, &asked.job));
            let question = Question::of_campaign(Asking::All, what, received_at, past);
            // Without an answer the process stops, and leaves it to the broker.
            let (_, verdict) = self.guard.ask(vec![question], now).await.ok()?.pop()?;
            judge::by_verdict(asked.job.lane(), verdict, &self.metrics)
        };
        match judged {
            Judged::Clear(_, findings) | Judged::Held(findings) => {
                return self.submit(asked, findings, past, now).await;
            }
            Judged::Known => self.settled(asked).await,
            Judged::Refused(findings) => self.refuse(asked, findings, now).await,
        }
        None
    }

    /// What is on record under the campaign's key, what was before it, and the ledger's clock.
    async fn prior(&self, asked: &Asked) -> Result<(Option<PriorJob>, Past, Timestamp), LedgerError> {
        // A direct job may have the key: it is the producer's for both lanes.
        let ask = DirectAsk { key: &asked.key, app: asked.job.app(), to: asked.job.to() };
        let mut read = self.ledger.read_direct(&[ask]).await?;
        if let Some(prior) = read.answers.pop().and_then(|answer| answer.prior) {
            return Ok((Some(prior), Past::default(), read.now));
        }
        let Some(id) = self.ledger.campaign_by_job(&asked.key).await? else {
            let past = match past_ask(&self.policy, &asked.key, &asked.job) {
                Some(ask) => self.ledger.past(&ask).await?,
                None => Past::default(),
            };
            return Ok((None, past, read.now));
        };
        let campaign = self.ledger.campaign(id).await?;
        Ok((
            campaign.map(|known| PriorJob { digest: known.digest, finished: false }),
            Past::default(),
            read.now,
        ))
    }

    /// Puts a campaign on record that is not refused, unless the guard is to be asked again.
    async fn submit(
        &self,
        asked: Asked,
        findings: Vec<FindingNote>,
        past: Past,
        now: Timestamp,
    ) -> Option<Asked> {
        let labels = asked.job.app().zip(asked.job.intent()).zip(self.whom_and_how(&asked.job));
        let Some(((app, intent), (audience, at_most, plan))) = labels else {
            tracing::error!(job = %asked.key, "a campaign was cleared without its labels or a plan");
            self.refuse(asked, vec![not_recordable()], now).await;
            return None;
        };
        let new = NewCampaign {
            key: &asked.key,
            job: &asked.job,
            app,
            intent,
            audience: &audience.name,
            class: audience.class,
            at_most,
            policy: self.policy.hash(),
            plan: &plan,
            findings: &findings,
            traceparent: asked.delivery.traceparent.as_deref(),
            requester: None,
            retry_of: None,
            mends: None,
            judged_by: past_ask(&self.policy, &asked.key, &asked.job).map(|ask| (ask, past)),
            received_at: asked.delivery.received_at,
            expires_at: asked.job.expires_at(asked.delivery.received_at),
        };
        match self.patience.ask("submit campaign", || self.ledger.submit_campaign(&new)).await {
            Ok(Submitted::Stored(campaign)) => {
                tracing::info!(job = %asked.key, %campaign, audience = %audience.name, plan = plan.name, "a campaign is on record");
                self.control.tell(&ControlMessage::Work);
                self.settled(asked).await;
            }
            Ok(Submitted::Known(_)) => self.settled(asked).await,
            Ok(Submitted::Conflict) => self.refuse(asked, vec![judge::id_reused()], now).await,
            Ok(Submitted::JudgeAgain) => return Some(asked),
            Err(error) => self.not_on_record(asked, error).await,
        }
        None
    }

    /// The audience, the producer's bound, and the plan. The guard refused whatever has not all.
    fn whom_and_how(&self, job: &Job) -> Option<(&Audience, u64, FrozenPlan)> {
        let (audience, at_most) = whom(&self.policy, job)?;
        let plan = FrozenPlan::of(self.policy.plan_for(audience, job.plan())?, &self.policy);
        Some((audience, at_most, plan))
    }

    async fn settled(&self, asked: Asked) {
        self.end(Ended::settled(Some(asked.delivery.receipt), Some(asked.key))).await;
    }

    /// The process stops, and the message goes back to its queue with the connection; or the ledger would never record it.
    async fn not_on_record(&self, asked: Asked, why: NoAnswer) {
        if let NoAnswer::Refused(error) = why {
            tracing::error!(job = %asked.key, %error, "the ledger refused a campaign");
            self.refuse(asked, vec![not_recordable()], self.clock.now()).await;
        }
    }
}
