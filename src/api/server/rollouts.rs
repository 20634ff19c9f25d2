//! Rollouts: looking at them, and what people do to them.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{MethodRouter, get, post},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    Api, ApiError, Asked, Caller, Named, Operation, QueryParameter, Said, campaigns, drift, peak,
    read::{Campaign, needed_reason, reason},
    schema,
};
use crate::{
    api::{
        views,
        wire::{
            ApproveBody, Code, Nothing, Preview, ReasonBody, RolloutList, RolloutView, Scope, SubmittedView,
            WhyBody,
        },
    },
    dispatch::{
        control::ControlMessage,
        submit::{self, RetryRefused},
    },
    ledger::{self, CampaignRecord, HaltScope, RolloutRecord, Verb},
    model::{CampaignId, Digest},
};

const ALL: &str = "/api/v1/rollouts";
const ONE: &str = "/api/v1/rollouts/{campaign}";
const PREVIEW: &str = "/api/v1/rollouts/{campaign}/preview";
const APPROVE: &str = "/api/v1/rollouts/{campaign}/approve";
const REJECT: &str = "/api/v1/rollouts/{campaign}/reject";
const START: &str = "/api/v1/rollouts/{campaign}/start";
const PAUSE: &str = "/api/v1/rollouts/{campaign}/pause";
const RESUME: &str = "/api/v1/rollouts/{campaign}/resume";
const PROMOTE: &str = "/api/v1/rollouts/{campaign}/promote";
const ABORT: &str = "/api/v1/rollouts/{campaign}/abort";
const RETRY: &str = "/api/v1/rollouts/{campaign}/retry";

/// Rollouts of one page: by default a screen or two.
const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 200;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route(ALL, get(list))
        .route(ONE, get(show))
        .route(PREVIEW, get(preview))
        .route(APPROVE, post(approve))
        .route(REJECT, post(reject))
        .route(START, steered(Verb::Start))
        .route(PAUSE, steered(Verb::Pause))
        .route(RESUME, steered(Verb::Resume))
        .route(PROMOTE, steered(Verb::Promote))
        .route(ABORT, post(abort))
        .route(RETRY, post(retry))
}

fn boolean(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "boolean", "default": false })
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE })
}

fn campaign(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "uuid" })
}

const PAGE_PARAMETERS: &[QueryParameter] = &[
    QueryParameter { name: "live", description: "Only those that are not over", schema: boolean },
    QueryParameter { name: "limit", description: "How many", schema: limit },
    QueryParameter { name: "before", description: "Only those before this campaign", schema: campaign },
];

pub(super) fn operations() -> Vec<Operation> {
    const MOVES: &[Code] = &[Code::NotFound, Code::Conflict, Code::StaleDigest];
    let moved = |path, name, summary| Operation {
        needs: Some("promote"),
        answers: &[(200, schema::<RolloutView>)],
        says: MOVES,
        ..Operation::post::<ReasonBody>(path, name, summary)
    };
    let mut all = vec![
        Operation {
            query: PAGE_PARAMETERS,
            answers: &[(200, schema::<RolloutList>)],
            ..Operation::get(ALL, "listRollouts", "Rollouts, the newest first")
        },
        Operation {
            answers: &[(200, schema::<RolloutView>)],
            says: &[Code::NotFound],
            ..Operation::get(ONE, "showRollout", "A rollout, whole")
        },
        Operation {
            needs: Some("approve:<its audience>, promote or audit"),
            answers: &[(200, schema::<Preview>)],
            says: &[Code::NotFound],
            ..Operation::get(
                PREVIEW,
                "previewRollout",
                "What an approver looks at: texts, people, stages, findings",
            )
        },
        Operation {
            needs: Some("approve:<its audience>"),
            answers: &[(200, schema::<RolloutView>)],
            says: &[Code::NotFound, Code::Conflict, Code::Waits, Code::StaleDigest, Code::RefusedByGuard],
            ..Operation::post::<ApproveBody>(APPROVE, "approve", "Approve exactly what was shown")
        },
    ];
    let needs_reason = |operation| Operation { body: Some(schema::<WhyBody>), ..operation };
    all.push(Operation {
        needs: Some("approve:<its audience>"),
        body: Some(schema::<WhyBody>),
        ..moved(REJECT, "reject", "Refuse it for good; needs a reason")
    });
    all.extend([
        moved(START, "start", "Start what is approved"),
        moved(PAUSE, "pause", "Let nothing more leave until somebody says otherwise"),
        moved(RESUME, "resume", "Go on"),
        moved(PROMOTE, "promote", "Open the next stage"),
        needs_reason(moved(ABORT, "abort", "Give it up for good; needs a reason")),
        Operation {
            needs: Some("enqueue:test or enqueue:production, as the campaign's intent is"),
            answers: &[(200, schema::<SubmittedView>), (201, schema::<SubmittedView>)],
            says: &[Code::NotFound, Code::Conflict, Code::RefusedByGuard],
            ..Operation::post::<Nothing>(
                RETRY,
                "retry",
                "Make a new campaign of those whom one that is over was not sent to",
            )
        },
    ]);
    all
}

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    live: bool,
    limit: Option<u32>,
    before: Option<Uuid>,
}

async fn list(
    State(api): State<Api>,
    _: Caller,
    Asked(page): Asked<Page>,
) -> Result<Json<RolloutList>, ApiError> {
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(ApiError::malformed(format!("limit: 1 to {LONGEST_PAGE} are accepted")));
    }
    let before = page.before.map(CampaignId::from_uuid);
    Ok(Json(views::rollout_list(api.ledger(), page.live, limit, before).await?))
}

async fn show(
    State(api): State<Api>,
    _: Caller,
    Named(Campaign(id)): Named<Campaign>,
) -> Result<Json<RolloutView>, ApiError> {
    view(&api, id).await
}

async fn preview(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
) -> Result<Json<Preview>, ApiError> {
    let (known, _) = find(&api, id).await?;
    caller.need_any(&[Scope::Approve(known.audience), Scope::Promote, Scope::Audit])?;
    let seen = views::preview(api.ledger(), api.guard(), api.looks(), id).await?;
    seen.map(Json).ok_or_else(not_found)
}

async fn approve(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(body): Said<ApproveBody>,
) -> Result<Json<RolloutView>, ApiError> {
    let (known, stands) = find(&api, id).await?;
    caller.need(&Scope::Approve(known.audience.clone()))?;
    let reason = reason(body.reason)?;
    let digest: Digest =
        body.digest.parse().map_err(|_| ApiError::malformed("digest: 64 hex digits are expected"))?;
    let stale = |detail: String| ApiError::new(Code::StaleDigest, detail);
    if body.audience != known.audience.as_str() {
        return Err(stale(format!("it is for {}; look at it again", known.audience)));
    }
    if body.count != stands.frozen {
        let detail = format!("{} devices were frozen, not {}; look at it again", stands.frozen, body.count);
        return Err(stale(detail));
    }
    drift::refuse(&api, &caller.0.operator, &known, &stands).await?;
    drift::guarded(&api, &known).await?;
    let peak = peak::accepted(&api, &known, body.accept_peak).await?;
    let verb = Verb::Approve { digest, policy: api.policy().hash(), holds: api.approvals_hold(), peak };
    carry_out(&api, &caller, id, verb, reason).await
}

async fn reject(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(body): Said<WhyBody>,
) -> Result<Json<RolloutView>, ApiError> {
    let (known, _) = find(&api, id).await?;
    caller.need(&Scope::Approve(known.audience))?;
    carry_out(&api, &caller, id, Verb::Reject, Some(needed_reason(Some(body.reason))?)).await
}

async fn abort(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(body): Said<WhyBody>,
) -> Result<Json<RolloutView>, ApiError> {
    caller.need(&Scope::Promote)?;
    promoted(&api, &caller, id, Verb::Abort, Some(needed_reason(Some(body.reason))?)).await
}

async fn retry(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(Nothing {}): Said<Nothing>,
) -> Result<(StatusCode, Json<SubmittedView>), ApiError> {
    let (known, _) = find(&api, id).await?;
    caller.need(&campaigns::enqueues(known.intent))?;
    campaigns::takes(&api)?;
    let retried = submit::retry(api.ledger(), api.guard(), id, &caller.0.operator).await?;
    Ok(campaigns::put(
        &api,
        retried.map_err(|refused| match refused {
            RetryRefused::NotFound => not_found(),
            RetryRefused::Guard(findings) => campaigns::refused(&findings),
            RetryRefused::NotOver
            | RetryRefused::NeverFrozen
            | RetryRefused::Forgotten
            | RetryRefused::Retried(_) => ApiError::new(Code::Conflict, refused.to_string()),
        })?,
    ))
}

/// A verb that takes the scope `promote`, and a reason or none.
fn steered(verb: Verb) -> MethodRouter<Api> {
    let steer = async |verb, api: Api, caller: Caller, id, body: ReasonBody| {
        promoted(&api, &caller, id, verb, reason(body.reason)?).await
    };
    post(
        move |State(api): State<Api>,
              caller: Caller,
              Named(Campaign(id)): Named<Campaign>,
              Said(body): Said<ReasonBody>| steer(verb.clone(), api, caller, id, body),
    )
}

/// What takes the scope `promote`.
async fn promoted(
    api: &Api,
    caller: &Caller,
    id: CampaignId,
    verb: Verb,
    reason: Option<String>,
) -> Result<Json<RolloutView>, ApiError> {
    caller.need(&Scope::Promote)?;
    if matches!(verb, Verb::Start | Verb::Promote | Verb::Resume) {
        let (known, stands) = find(api, id).await?;
        drift::refuse(api, &caller.0.operator, &known, &stands).await?;
    }
    carry_out(api, caller, id, verb, reason).await
}

/// Does it, tells every process, and shows how the rollout stands then.
async fn carry_out(
    api: &Api,
    caller: &Caller,
    id: CampaignId,
    verb: Verb,
    reason: Option<String>,
) -> Result<Json<RolloutView>, ApiError> {
    // Whoever sends must hear of an end at once (I5). Of everything else they learn by looking at the ledger.
    let told = match verb {
        Verb::Abort | Verb::Reject => ControlMessage::Halted(HaltScope::Campaign(id)),
        _ => ControlMessage::Work,
    };
    let asked = ledger::Asked { verb, by: &caller.0.operator, reason: reason.as_deref() };
    api.ledger().verb(id, &asked).await??;
    api.control().tell(&told);
    view(api, id).await
}

pub(super) async fn view(api: &Api, id: CampaignId) -> Result<Json<RolloutView>, ApiError> {
    let seen = views::rollout_view(api.ledger(), api.policy(), id).await?;
    seen.map(Json).ok_or_else(not_found)
}

pub(super) async fn find(api: &Api, id: CampaignId) -> Result<(CampaignRecord, RolloutRecord), ApiError> {
    let known = api.ledger().campaign(id).await?.ok_or_else(not_found)?;
    let stands = api.ledger().rollout(id).await?.ok_or_else(not_found)?;
    Ok((known, stands))
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(Code::NotFound, "no campaign has this id; `bellwether rollout list` shows them")
}
