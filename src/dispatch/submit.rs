//! Campaigns that a person submits, and campaigns that a person retries.
//!
//! A person submits on behalf of a producer: one of those that name this person as an owner. The job is that producer's, as if
//! it had come by queue: the guard judges it by what `producers.toml` lets that producer do, its id is one key with the ids
//! of the producer's own jobs, and its events go to whoever follows that producer. Beyond that the person is its requester.
//!
//! - **I4 widening-needs-two**: neither the requester nor any other owner of the producer may approve it.
//! - **I1 no-test-to-production**: the guard is asked as it is for every other job; nothing here goes round it.

use jiff::Timestamp;

use crate::{
    api::wire::SubmittedView,
    audience::{Audience, Policy, Producer},
    dispatch::{
        judge,
        watched::{Asking, Question, Watched},
    },
    guard::{Finding, Fingerprint, Past, Verdict},
    ledger::{CampaignRecord, Ledger, LedgerError, NewCampaign, PastAsk, RefusedJob, Submitted},
    model::{
        AppId, CampaignId, FindingNote, Intent, Job, JobId, JobKey, Mends, OperatorName, ProducerId,
        Recipients, RolloutId,
    },
    rollout::FrozenPlan,
};

/// The guard's findings on a campaign that it refused.
pub type Findings = Vec<FindingNote>;

/// What a campaign takes from another, rather than from its audience.
#[derive(Debug)]
pub(super) struct Taken {
    /// Whom it takes is in the stages of this plan.
    pub(super) plan: FrozenPlan,
    /// See [`NewCampaign::retry_of`].
    pub(super) retry_of: Option<RolloutId>,
    /// See [`NewCampaign::mends`].
    pub(super) mends: Option<Mends>,
}

/// Why a campaign is not retried. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// No campaign has this id.
    #[error("no campaign has this id")]
    NotFound,
    /// It is not over yet.
    #[error("it is not over yet; abort it first, or wait for its end")]
    NotOver,
    /// Nobody was ever frozen for it.
    #[error("its audience was never frozen; submit it again under a new id")]
    NeverFrozen,
    /// Texts are kept for a while only.
    #[error("its text is forgotten; submit it again under a new id")]
    Forgotten,
    /// A retry of it stands: that one is to be retried, if anything is.
    #[error("it has been retried, as {0}; retry that one")]
    Retried(CampaignId),
    /// The guard refuses it now.
    #[error("the guard refuses it now")]
    Guard(Findings),
}

/// Puts a person's campaign on record, as a Draft that the coordinator freezes; or says why not. The producer on whose behalf
/// is the only one of the person's own that may send it. Answered from the record if it is there already.
pub async fn submit(
    ledger: &Ledger,
    guard: &Watched,
    job: &Job,
    operator: &OperatorName,
) -> Result<Result<SubmittedView, Findings>, LedgerError> {
    match on_whose_behalf(guard.policy(), job, operator) {
        Ok(producer) => submit_on_behalf(ledger, guard, job, operator, &producer.id).await,
        Err(finding) => Ok(Err(vec![*finding])),
    }
}

/// The same on behalf of a producer that is named; the person must be one of its owners.
pub async fn submit_on_behalf(
    ledger: &Ledger,
    guard: &Watched,
    job: &Job,
    operator: &OperatorName,
    producer: &ProducerId,
) -> Result<Result<SubmittedView, Findings>, LedgerError> {
    if !guard.policy().producer(producer).is_some_and(|known| known.owners.contains(operator)) {
        let reason = format!("{operator} is no owner of the producer {producer}");
        return Ok(Err(vec![out_of_scope("producer", reason)]));
    }
    put(ledger, guard, job, &job.key(producer), operator, None).await
}

/// Makes a new campaign of those whom one that is over was not sent to: no accepted, unknown or token-gone outcome. It has a
/// digest of its own and needs approvals of its own; its requester is whoever retries it. The text and its expiry stay.
pub async fn retry(
    ledger: &Ledger,
    guard: &Watched,
    campaign: CampaignId,
    operator: &OperatorName,
) -> Result<Result<SubmittedView, RetryRefused>, LedgerError> {
    let Some(old) = ledger.campaign(campaign).await? else { return Ok(Err(RetryRefused::NotFound)) };
    let Some(stands) = ledger.rollout(campaign).await? else { return Ok(Err(RetryRefused::NotFound)) };
    let Some(job) = &old.job else { return Ok(Err(RetryRefused::Forgotten)) };
    if !stands.state.is_terminal() {
        return Ok(Err(RetryRefused::NotOver));
    }
    if stands.frozen_digest.is_none() {
        return Ok(Err(RetryRefused::NeverFrozen));
    }
    if let Some(standing) = ledger.standing_retry(old.rollout).await? {
        return Ok(Err(RetryRefused::Retried(standing)));
    }
    let tries = ledger.retries(old.rollout).await? + 1;
    let job = job.renamed(following_id(&old, "retry", tries));
    let taken = Taken { plan: old.plan.clone(), retry_of: Some(old.rollout), mends: old.mends };
    let put = put(ledger, guard, &job, &job.key(&old.key.producer), operator, Some(taken)).await?;
    Ok(match put {
        Ok(view) => Ok(view),
        // Somebody was quicker.
        Err(findings) => Err(match ledger.standing_retry(old.rollout).await? {
            Some(standing) => RetryRefused::Retried(standing),
            None => RetryRefused::Guard(findings),
        }),
    })
}

/// `news` is retried as `news-retry-1`, and that as `news-retry-1-retry-1`. An id without room for that is the campaign's.
pub(super) fn following_id(old: &CampaignRecord, verb: &str, count: u32) -> JobId {
    let id = format!("{}-{verb}-{count}", old.key.id);
    JobId::parse(&id).unwrap_or_else(|_| {
        let id = format!("{verb}-{count}-of-{}", old.id);
        JobId::parse(&id).expect("a UUID and a count are short and visible")
    })
}

/// The only producer of this person's that may send the job.
fn on_whose_behalf<'p>(
    policy: &'p Policy,
    job: &Job,
    operator: &OperatorName,
) -> Result<&'p Producer, Box<FindingNote>> {
    let may = |producer: &&Producer| {
        let audience = match job.to() {
            Some(Recipients::Audience { name, .. }) => producer.may_use_audience(name),
            _ => false,
        };
        audience
            && producer.owners.contains(operator)
            && job.app().is_some_and(|app| producer.may_use_app(app))
            && job.intent().is_some_and(|intent| producer.may_claim(intent))
    };
    let able: Vec<&Producer> = policy.producers().filter(may).collect();
    match able[..] {
        [one] => Ok(one),
        [] => {
            let reason = format!(
                "{operator} owns no producer that may send to this app and audience with this intent"
            );
            Err(Box::new(out_of_scope("to.audience", reason)))
        }
        _ => {
            let names: Vec<&str> = able.iter().map(|producer| producer.id.as_str()).collect();
            let reason = format!("on behalf of which producer: {}?", names.join(" or "));
            let fix = "name one of them".to_owned();
            Err(Box::new(FindingNote { fix, ..out_of_scope("producer", reason) }))
        }
    }
}

/// Judges a campaign, and puts it on record.
pub(super) async fn put(
    ledger: &Ledger,
    guard: &Watched,
    job: &Job,
    key: &JobKey,
    operator: &OperatorName,
    taken: Option<Taken>,
) -> Result<Result<SubmittedView, Findings>, LedgerError> {
    if let Some(on_record) = on_record(ledger, job, key).await? {
        return Ok(match on_record {
            Ok(campaign) => Ok(known(ledger, campaign).await?),
            Err(findings) => Err(findings),
        });
    }
    // What happens between the guard's look at the past and the record is looked at again; each thing happens once.
    loop {
        if let Some(put) = try_put(ledger, guard, job, key, operator, taken.as_ref()).await? {
            return Ok(put);
        }
    }
}

/// The campaign that has this key already; or why the key cannot be had.
async fn on_record(
    ledger: &Ledger,
    job: &Job,
    key: &JobKey,
) -> Result<Option<Result<CampaignId, Findings>>, LedgerError> {
    let Some(campaign) = ledger.campaign_by_job(key).await? else { return Ok(None) };
    let is_same = CampaignId::derive(key, &job.digest()) == campaign;
    Ok(Some(if is_same { Ok(campaign) } else { Err(vec![judge::id_reused()]) }))
}

/// What would become of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// It is on record already.
    Known(CampaignId),
    /// It would be put on record; the findings are notes.
    Clear(Findings),
    /// The same, and somebody would have to answer for its findings first.
    Held(Findings),
    /// It would be refused.
    Refused(Findings),
}

/// What would become of a campaign that was submitted now on behalf of its key's producer. Nothing is stored or told.
pub async fn prospect(
    ledger: &Ledger,
    guard: &Watched,
    job: &Job,
    key: &JobKey,
) -> Result<Prospect, LedgerError> {
    match on_record(ledger, job, key).await? {
        Some(Ok(campaign)) => return Ok(Prospect::Known(campaign)),
        Some(Err(findings)) => return Ok(Prospect::Refused(findings)),
        None => {}
    }
    Ok(match weigh(ledger, guard, job, key, None).await? {
        Ok(weighed) if weighed.is_held() => Prospect::Held(weighed.findings),
        Ok(weighed) => Prospect::Clear(weighed.findings),
        Err(findings) => Prospect::Refused(findings),
    })
}

/// A campaign that may go on record, and with what.
struct Weighed<'a> {
    now: Timestamp,
    app: &'a AppId,
    intent: Intent,
    audience: &'a Audience,
    at_most: u64,
    plan: FrozenPlan,
    findings: Findings,
    judged_by: Option<(PastAsk<'a>, Past)>,
}

impl Weighed<'_> {
    fn is_held(&self) -> bool {
        self.findings.iter().any(FindingNote::holds)
    }
}

/// Has the guard judge a campaign, with what was before it. The error is why it is refused.
async fn weigh<'a>(
    ledger: &Ledger,
    guard: &'a Watched,
    job: &'a Job,
    key: &'a JobKey,
    taken: Option<&Taken>,
) -> Result<Result<Weighed<'a>, Findings>, LedgerError> {
    let (now, policy) = (ledger.now().await?, guard.policy());
    let ask = past_ask(policy, key, job);
    let mut past = match &ask {
        Some(ask) => ledger.past(ask).await?,
        None => Past::default(),
    };
    // Whoever repeats or mends a campaign has its past before their eyes. The words of a retry were proven, or accepted.
    let ask = ask.filter(|_| taken.is_none());
    if let Some(taken) = taken {
        past = Past { proven: past.proven || taken.retry_of.is_some(), ..Past::default() };
    }
    let question = Question::of_campaign(Asking::All, (key, job), now, past);
    let verdict = guard.ask_one(question, now).await;
    guard.count_findings(verdict.findings());
    let findings: Findings = verdict.findings().iter().map(Finding::note).collect();
    let labels = job.app().zip(job.intent()).zip(whom(policy, job));
    let (Verdict::Clear(..) | Verdict::Hold(_), Some(((app, intent), (audience, at_most)))) =
        (&verdict, labels)
    else {
        return Ok(Err(if findings.is_empty() { vec![no_campaign()] } else { findings }));
    };
    let planned = || policy.plan_for(audience, job.plan()).map(|plan| FrozenPlan::of(plan, policy));
    let Some(plan) = taken.map(|taken| taken.plan.clone()).or_else(planned) else {
        return Ok(Err(vec![no_campaign()]));
    };
    let judged_by = ask.map(|ask| (ask, past));
    Ok(Ok(Weighed { now, app, intent, audience, at_most, plan, findings, judged_by }))
}

/// `None`: the guard is to be asked again.
async fn try_put(
    ledger: &Ledger,
    guard: &Watched,
    job: &Job,
    key: &JobKey,
    operator: &OperatorName,
    taken: Option<&Taken>,
) -> Result<Option<Result<SubmittedView, Findings>>, LedgerError> {
    let weighed = match weigh(ledger, guard, job, key, taken).await? {
        Ok(weighed) => weighed,
        Err(findings) => return refuse(ledger, job, key, findings).await.map(Some),
    };
    let held = weighed.is_held();
    let Weighed { now, app, intent, audience, at_most, plan, findings, judged_by } = weighed;
    let new = NewCampaign {
        key,
        job,
        app,
        intent,
        audience: &audience.name,
        class: audience.class,
        at_most,
        policy: guard.policy().hash(),
        plan: &plan,
        findings: &findings,
        traceparent: None,
        requester: Some(operator),
        retry_of: taken.and_then(|taken| taken.retry_of),
        mends: taken.and_then(|taken| taken.mends),
        judged_by,
        received_at: now,
        expires_at: job.expires_at(now),
    };
    Ok(match ledger.submit_campaign(&new).await? {
        Submitted::Stored(campaign) => {
            tracing::info!(job = %key, %campaign, %operator, "a person's campaign is on record");
            Some(Ok(SubmittedView { campaign: campaign.to_string(), known: false, held }))
        }
        Submitted::Known(campaign) => Some(Ok(known(ledger, campaign).await?)),
        Submitted::Conflict => Some(Err(vec![judge::id_reused()])),
        Submitted::JudgeAgain => None,
    })
}

async fn known(ledger: &Ledger, campaign: CampaignId) -> Result<SubmittedView, LedgerError> {
    let held = ledger.campaign(campaign).await?.is_some_and(|known| known.held);
    Ok(SubmittedView { campaign: campaign.to_string(), known: true, held })
}

/// How to ask for a campaign's past. `None` for a job whose names the policy does not know, which is refused anyway.
pub(super) fn past_ask<'a>(policy: &'a Policy, key: &'a JobKey, job: &'a Job) -> Option<PastAsk<'a>> {
    let (audience, at_most) = whom(policy, job)?;
    let settings = &policy.app(audience.app())?.guard;
    Some(PastAsk {
        producer: &key.producer,
        app: audience.app(),
        audience: &audience.name,
        fingerprint: Fingerprint::of(job.notification()),
        settings,
        at_most,
        devices_per_day: policy.producer(&key.producer)?.devices_per_day,
        proof_within: audience.proof_required.then_some(settings.proof_within),
    })
}

/// I10: a refusal is told to whoever follows the producer, and stands in the audit, as if the job had come by queue.
async fn refuse(
    ledger: &Ledger,
    job: &Job,
    key: &JobKey,
    findings: Findings,
) -> Result<Result<SubmittedView, Findings>, LedgerError> {
    let event = judge::refused_event(key, job, None, findings.clone(), ledger.now().await?);
    ledger.commit_direct(&[], &[RefusedJob { event }]).await?;
    Ok(Err(findings))
}

/// The audience, and the bound that the job sets.
pub(super) fn whom<'p>(policy: &'p Policy, job: &Job) -> Option<(&'p Audience, u64)> {
    let Recipients::Audience { name, at_most } = job.to()? else { return None };
    Some((policy.audience(name)?, *at_most))
}

pub(super) fn out_of_scope(field: &str, reason: String) -> FindingNote {
    FindingNote {
        rule: "producer-scope".to_owned(),
        verdict: "refuse".to_owned(),
        field: field.to_owned(),
        span: None,
        reason,
        fix: "ask an owner of the producer that sends there to submit it, or to name you in producers.toml"
            .to_owned(),
    }
}

fn no_campaign() -> FindingNote {
    FindingNote {
        rule: "plan-missing".to_owned(),
        verdict: "refuse".to_owned(),
        field: "to".to_owned(),
        span: None,
        reason: "is no campaign: it names no audience, or there is no plan for it".to_owned(),
        fix: "name an audience and at_most; named recipients are enqueued by their producer".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests;
