//! Submitting a campaign by hand. It passes the same guard as one that arrives by queue, and whoever submits it may not
//! approve it.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
    routing::post,
};
use jiff::Timestamp;
use schemars::{Schema, SchemaGenerator};

use super::{
    Api, ApiError, Caller, Operation,
    operation::Link,
    read::{is_json, whole},
    schema,
};
use crate::{
    api::wire::{Code, Nothing, Scope, SubmittedView},
    dispatch::control::ControlMessage,
    guard::{self, Facts, Finding, Verdict},
    ledger::{NewCampaign, RefusedJob, Submitted},
    metrics::JobVerdict,
    model::{
        Digest, Event, EventBody, Intent, Job, JobKey, Lane, MalformedCode, ProducerId, Recipients,
        job_schema,
    },
    rollout::FrozenPlan,
};

const CAMPAIGNS: &str = "/api/v1/campaigns";

pub(super) fn routes() -> Router<Api> {
    Router::new().route(CAMPAIGNS, post(submit))
}

fn job(generator: &mut SchemaGenerator) -> Schema {
    super::openapi::embedded(&job_schema(), "Job", generator)
}

pub(super) fn operations() -> Vec<Operation> {
    const TO_ROLLOUT: &[Link] = &[
        Link { to: "showRollout", parameter: "campaign", from: "/campaign" },
        Link { to: "previewRollout", parameter: "campaign", from: "/campaign" },
        Link { to: "pause", parameter: "campaign", from: "/campaign" },
        Link { to: "abort", parameter: "campaign", from: "/campaign" },
    ];
    vec![Operation {
        needs: Some("enqueue:test or enqueue:production, as the job's intent is"),
        body: Some(job),
        answers: &[(200, schema::<SubmittedView>), (201, schema::<SubmittedView>)],
        says: &[Code::Conflict, Code::RefusedByGuard],
        links: TO_ROLLOUT,
        ..Operation::post::<Nothing>(CAMPAIGNS, "submitCampaign", "Submit a campaign")
    }]
}

async fn submit(
    State(api): State<Api>,
    caller: Caller,
    request: Request,
) -> Result<impl IntoResponse, ApiError> {
    caller.need_any(&[Scope::EnqueueTest, Scope::EnqueueProduction])?;
    is_json(request.headers())?;
    let bytes = whole(request, &()).await?;
    let job = Job::parse(&bytes).map_err(|malformed| {
        let code = match malformed.code {
            MalformedCode::TooLarge => Code::TooLarge,
            _ => Code::Malformed,
        };
        ApiError::new(code, malformed.to_string())
    })?;
    caller.need(match job.intent() {
        Some(Intent::Test) => &Scope::EnqueueTest,
        Some(Intent::Production) | None => &Scope::EnqueueProduction,
    })?;
    if job.lane() != Lane::Campaign {
        let detail = "to: a campaign names an audience; what names people or devices goes by queue";
        return Err(ApiError::malformed(detail));
    }
    let key = JobKey { producer: producer(&caller)?, id: job.id().clone() };
    let now = api.ledger().now().await?;
    if let Some(id) = api.ledger().campaign_by_job(&key).await? {
        let known = api.ledger().campaign(id).await?;
        if known.is_some_and(|known| known.digest == job.digest()) {
            return Ok((StatusCode::OK, Json(SubmittedView { campaign: id.to_string(), known: true })));
        }
        return Err(taken());
    }
    judge(&api, &job, &key, now).await?;
    match put_on_record(&api, &caller, &job, &key, now).await? {
        Submitted::Stored(id) => {
            api.control().tell(&ControlMessage::Work);
            Ok((StatusCode::CREATED, Json(SubmittedView { campaign: id.to_string(), known: false })))
        }
        Submitted::Known(id) => {
            Ok((StatusCode::OK, Json(SubmittedView { campaign: id.to_string(), known: true })))
        }
        Submitted::Conflict => Err(taken()),
    }
}

fn taken() -> ApiError {
    ApiError::new(Code::Conflict, "id: it was used before, with another content; give every new job a new id")
}

/// The producer that a person is: the policy says what it may, as of every other.
fn producer(caller: &Caller) -> Result<ProducerId, ApiError> {
    let name = format!("operator:{}", caller.0.operator);
    ProducerId::parse(&name).map_err(|_| {
        let detail = "your name cannot stand for a producer, which has visible ASCII characters only; let a producer \
                      send it by queue";
        ApiError::new(Code::NotAllowed, detail)
    })
}

/// Asks the guard; a refusal is told and chained into the audit like any other (I10).
async fn judge(api: &Api, job: &Job, key: &JobKey, now: Timestamp) -> Result<(), ApiError> {
    let verdict = guard::clear(job, key, api.policy(), &Facts::of_campaign(now), now);
    for finding in verdict.findings() {
        api.metrics().finding(finding.rule.id(), finding.severity.as_str());
    }
    let findings = match verdict {
        Verdict::Clear(..) => {
            api.metrics().job(Lane::Campaign, JobVerdict::Clear);
            return Ok(());
        }
        Verdict::Hold(findings) | Verdict::Refuse(findings) => findings,
    };
    api.metrics().job(Lane::Campaign, JobVerdict::Refuse);
    let body = EventBody::JobRefused {
        producer: key.producer.clone(),
        job: key.id.clone(),
        app: job.app().cloned(),
        digest: job.digest(),
        findings: findings.iter().map(Finding::note).collect(),
    };
    let digest: Digest = job.digest();
    let event = Event::new(now, None, digest.as_bytes(), body);
    api.ledger().commit_direct(&[], &[RefusedJob { event }]).await?;
    let told = |finding: &Finding| {
        format!("{} ({}): {}; {}", finding.field, finding.rule.id(), finding.reason, finding.fix)
    };
    let told: Vec<_> = findings.iter().map(told).collect();
    Err(ApiError::new(Code::RefusedByGuard, told.join("\n")))
}

async fn put_on_record(
    api: &Api,
    caller: &Caller,
    job: &Job,
    key: &JobKey,
    now: Timestamp,
) -> Result<Submitted, ApiError> {
    // The guard refused whatever lacks one of these.
    let unlabelled =
        || ApiError::new(Code::RefusedByGuard, "the job lacks an app, an intent, an audience or a plan");
    let (app, intent) = job.app().zip(job.intent()).ok_or_else(unlabelled)?;
    let Some(Recipients::Audience { name, at_most }) = job.to() else { return Err(unlabelled()) };
    let audience = api.policy().audience(name).ok_or_else(unlabelled)?;
    let plan = FrozenPlan::of(api.policy().plan_for(audience, job.plan()).ok_or_else(unlabelled)?);
    let new = NewCampaign {
        key,
        job,
        app,
        intent,
        audience: name,
        class: audience.class,
        at_most: *at_most,
        policy: api.policy().hash(),
        plan: &plan,
        traceparent: None,
        requester: Some(&caller.0.operator),
        received_at: now,
        expires_at: job.expires_at(now),
    };
    Ok(api.ledger().submit_campaign(&new).await?)
}
