//! After a mistake: other words to those whom a campaign reached.

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    routing::{MethodRouter, get, post},
};

use super::{
    Api, ApiError, Caller, Named, Operation, Said, campaigns,
    read::Campaign,
    rollouts::{find, not_found},
    schema,
};
use crate::{
    api::wire::{Code, MendBody, ReachedView, Scope, SubmittedView},
    dispatch::mend::{MendRefused, Words, mend},
    model::Mend,
};

const REACHED: &str = "/api/v1/rollouts/{campaign}/reached";
const CORRECT: &str = "/api/v1/rollouts/{campaign}/correct";
const SUPERSEDE: &str = "/api/v1/rollouts/{campaign}/supersede";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route(REACHED, get(reached))
        .route(CORRECT, mended(Mend::Correct))
        .route(SUPERSEDE, mended(Mend::Supersede))
}

pub(super) fn operations() -> Vec<Operation> {
    let mends = |path, name, summary| Operation {
        needs: Some(
            "enqueue:test or enqueue:production, as the campaign's intent is; and to own its producer",
        ),
        answers: &[(200, schema::<SubmittedView>), (201, schema::<SubmittedView>)],
        says: &[Code::NotFound, Code::Conflict, Code::RefusedByGuard],
        ..Operation::post::<MendBody>(path, name, summary)
    };
    vec![
        Operation {
            needs: Some("enqueue:test, enqueue:production, promote or audit"),
            answers: &[(200, schema::<ReachedView>)],
            says: &[Code::NotFound],
            ..Operation::get(REACHED, "showReached", "How many devices a campaign rang, or may have rung")
        },
        mends(
            CORRECT,
            "correct",
            "Make a new campaign, with other words, of those whom one that is over reached",
        ),
        mends(
            SUPERSEDE,
            "supersede",
            "The same, in place of the other's words on the phones that still show them",
        ),
    ]
}

async fn reached(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
) -> Result<Json<ReachedView>, ApiError> {
    caller.need_any(&[Scope::EnqueueTest, Scope::EnqueueProduction, Scope::Promote, Scope::Audit])?;
    let (known, stands) = find(&api, id).await?;
    let settled = stands.state.is_terminal() && !api.ledger().is_on_the_wire(known.rollout).await?;
    let reached = api.ledger().reached(&known, stands.state).await?;
    let (accepted, unknown, devices) = (reached.accepted, reached.unknown, reached.devices());
    Ok(Json(ReachedView { campaign: id.to_string(), accepted, unknown, devices, settled }))
}

fn mended(how: Mend) -> MethodRouter<Api> {
    post(
        move |State(api): State<Api>,
              caller: Caller,
              Named(id): Named<Campaign>,
              Said(body): Said<MendBody>| mend_it(how, api, caller, id, body),
    )
}

async fn mend_it(
    how: Mend,
    api: Api,
    caller: Caller,
    Campaign(id): Campaign,
    body: MendBody,
) -> Result<(StatusCode, Json<SubmittedView>), ApiError> {
    let (known, _) = find(&api, id).await?;
    caller.need(&campaigns::enqueues(known.intent))?;
    campaigns::takes(&api)?;
    let words = Words { notification: body.notification, expires_at: body.expires_at };
    let mended = mend(api.ledger(), api.guard(), id, how, words, &caller.0.operator).await?;
    Ok(campaigns::put(
        &api,
        mended.map_err(|refused| match refused {
            MendRefused::NotFound => not_found(),
            MendRefused::Guard(findings) => campaigns::refused(&findings),
            MendRefused::Malformed(_) | MendRefused::OtherCollapseId => {
                ApiError::malformed(refused.to_string())
            }
            MendRefused::OnTheWire => ApiError::new(Code::Conflict, refused.to_string()).after(5),
            MendRefused::NotOver
            | MendRefused::NeverFrozen
            | MendRefused::Forgotten
            | MendRefused::Mended(_) => ApiError::new(Code::Conflict, refused.to_string()),
        })?,
    ))
}
