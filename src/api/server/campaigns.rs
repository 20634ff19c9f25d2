//! Submitting a campaign by hand, on behalf of a producer that the person owns. It passes the same guard as one that arrives
//! by queue, and whoever submits it may not approve it.

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
    routing::post,
};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{
    Api, ApiError, Asked, Caller, Operation, QueryParameter,
    operation::Link,
    read::{is_json, whole},
    schema,
};
use crate::{
    api::wire::{Code, Nothing, Scope, SubmittedView},
    dispatch::{self, control::ControlMessage},
    metrics::JobVerdict,
    model::{FindingNote, Intent, Job, Lane, MalformedCode, ProducerId, job_schema},
};

const CAMPAIGNS: &str = "/api/v1/campaigns";

pub(super) fn routes() -> Router<Api> {
    Router::new().route(CAMPAIGNS, post(submit))
}

fn job(generator: &mut SchemaGenerator) -> Schema {
    super::openapi::embedded(&job_schema(), "Job", generator)
}

fn producer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 255 })
}

const ON_BEHALF: &[QueryParameter] = &[QueryParameter {
    name: "producer",
    description: "On whose behalf, of the producers that the caller owns; needed if several may send it",
    schema: producer,
}];

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
        query: ON_BEHALF,
        answers: &[(200, schema::<SubmittedView>), (201, schema::<SubmittedView>)],
        says: &[Code::Conflict, Code::RefusedByGuard],
        links: TO_ROLLOUT,
        ..Operation::post::<Nothing>(CAMPAIGNS, "submitCampaign", "Submit a campaign")
    }]
}

/// On whose behalf.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behalf {
    producer: Option<String>,
}

async fn submit(
    State(api): State<Api>,
    caller: Caller,
    Asked(behalf): Asked<Behalf>,
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
    caller.need(&enqueues(job.intent().unwrap_or(Intent::Production)))?;
    if job.lane() != Lane::Campaign {
        let detail = "to: a campaign names an audience; what names people or devices goes by queue";
        return Err(ApiError::malformed(detail));
    }
    takes(&api)?;
    let (ledger, guard, by) = (api.ledger(), api.guard(), &caller.0.operator);
    let submitted = match behalf.producer {
        None => dispatch::submit(ledger, guard, &job, by).await?,
        Some(name) => {
            let producer = ProducerId::parse(&name)
                .map_err(|error| ApiError::malformed(format!("producer: {error}")))?;
            dispatch::submit_on_behalf(ledger, guard, &job, by, &producer).await?
        }
    };
    Ok(put(&api, submitted.map_err(|findings| refused(&findings))?))
}

/// What whoever sends something of this intent must be allowed.
pub(super) const fn enqueues(intent: Intent) -> Scope {
    match intent {
        Intent::Test => Scope::EnqueueTest,
        Intent::Production => Scope::EnqueueProduction,
    }
}

/// I3: a process that has another policy than the one in force takes no campaigns.
pub(super) fn takes(api: &Api) -> Result<(), ApiError> {
    if api.in_force().is() {
        return Ok(());
    }
    let detail = "this process has another policy than the one in force, and takes no campaigns; \
                  restart it with that policy";
    Err(ApiError::new(Code::Unavailable, detail).after(1))
}

/// It is on record, and whoever coordinates hears of it.
pub(super) fn put(api: &Api, view: SubmittedView) -> (StatusCode, Json<SubmittedView>) {
    if view.known {
        return (StatusCode::OK, Json(view));
    }
    let verdict = if view.held { JobVerdict::Hold } else { JobVerdict::Clear };
    api.metrics().job(Lane::Campaign, verdict);
    api.control().tell(&ControlMessage::Work);
    (StatusCode::CREATED, Json(view))
}

/// What the guard found, a line each.
pub(super) fn refused(findings: &[FindingNote]) -> ApiError {
    if findings.iter().any(|finding| finding.rule == "id-reused") {
        let detail = "id: it was used before, with another content; give every new job a new id";
        return ApiError::new(Code::Conflict, detail);
    }
    let told = |finding: &FindingNote| {
        format!("{} ({}): {}; {}", finding.field, finding.rule, finding.reason, finding.fix)
    };
    let told: Vec<_> = findings.iter().map(told).collect();
    ApiError::new(Code::RefusedByGuard, told.join("\n"))
}
