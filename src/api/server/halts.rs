//! Halts: anybody with the scope sets one at once; one of everything is lifted by two.

use axum::{Json, Router, extract::State, routing::get, routing::post};

use super::{Api, ApiError, Caller, Operation, Said, schema};
use crate::{
    api::{
        views,
        wire::{Code, HaltBody, HaltList, HaltSet, LiftBody, Lifted, Scope, fitting_reason},
    },
    dispatch::control::ControlMessage,
    ledger::{HaltScope, Lift, UnknownScope},
    model::JobKey,
};

const HALTS: &str = "/api/v1/halts";
const LIFT: &str = "/api/v1/halts/lift";

/// Most bytes of a halt. Its reason is cut, not refused; what is beyond this is no reason any more, but somebody who fills the
/// memory of the process.
const MOST_BYTES: usize = 8 * 1024 * 1024;

pub(super) fn routes() -> Router<Api> {
    Router::new().route(HALTS, get(list).post(set)).route(LIFT, post(lift))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            answers: &[(200, schema::<HaltList>)],
            ..Operation::get(HALTS, "listHalts", "The halts in force")
        },
        Operation {
            needs: Some("halt"),
            unlimited: true,
            most_bytes: MOST_BYTES,
            answers: &[(200, schema::<HaltSet>)],
            says: &[Code::NotFound],
            ..Operation::post::<HaltBody>(HALTS, "setHalt", "Halt, at once")
        },
        Operation {
            needs: Some("halt"),
            answers: &[(200, schema::<Lifted>)],
            says: &[Code::NotFound],
            ..Operation::post::<LiftBody>(LIFT, "liftHalt", "Lift a halt; one of everything takes two people")
        },
    ]
}

async fn list(State(api): State<Api>, _: Caller) -> Result<Json<HaltList>, ApiError> {
    Ok(Json(views::halt_list(api.ledger()).await?))
}

async fn set(
    State(api): State<Api>,
    caller: Caller,
    Said(body): Said<HaltBody>,
) -> Result<Json<HaltSet>, ApiError> {
    caller.need(&Scope::Halt)?;
    let scope = scope(&api, &body.scope).await?;
    refuse_unknown(&api, &scope).await?;
    let rollouts =
        api.ledger().set_halt(&scope, caller.0.operator.as_str(), &fitting_reason(&body.reason)).await?;
    api.control().tell(&ControlMessage::Halted(scope.clone()));
    Ok(Json(HaltSet { scope: scope.to_string(), rollouts }))
}

async fn lift(
    State(api): State<Api>,
    caller: Caller,
    Said(body): Said<LiftBody>,
) -> Result<Json<Lifted>, ApiError> {
    caller.need(&Scope::Halt)?;
    let scope = scope(&api, &body.scope).await?;
    let by = &caller.0.operator;
    let lifted = match api.ledger().lift_halt(&scope, by).await? {
        Lift::NotHalted => return Err(ApiError::new(Code::NotFound, format!("{scope} is not halted"))),
        Lift::Asked => Lifted { scope: scope.to_string(), lifted: false, asked_by: Some(by.to_string()) },
        Lift::Lifted => {
            api.control().tell(&ControlMessage::Work);
            Lifted { scope: scope.to_string(), lifted: true, asked_by: None }
        }
    };
    Ok(Json(lifted))
}

/// What is meant. A campaign that is named by its job is looked up here: who must stop it need not ask first what its id is.
async fn scope(api: &Api, text: &str) -> Result<HaltScope, ApiError> {
    if let Ok(scope) = text.parse() {
        return Ok(scope);
    }
    let named = text.strip_prefix("campaign:").map(str::parse::<JobKey>);
    let Some(Ok(key)) = named else {
        return Err(ApiError::malformed(format!("scope: {UnknownScope}")));
    };
    let unknown = || ApiError::new(Code::NotFound, format!("no campaign {key} is on record"));
    api.ledger().campaign_by_job(&key).await?.map(HaltScope::Campaign).ok_or_else(unknown)
}

/// A typo in an emergency must not look like a halt.
async fn refuse_unknown(api: &Api, scope: &HaltScope) -> Result<(), ApiError> {
    let (known, what) = match scope {
        HaltScope::All => return Ok(()),
        HaltScope::App(app) => (api.policy().app(app).is_some(), "app in the policy"),
        HaltScope::Audience(name) => (api.policy().audience(name).is_some(), "audience in the policy"),
        HaltScope::Campaign(id) => (api.ledger().campaign(*id).await?.is_some(), "campaign on record"),
    };
    if known {
        return Ok(());
    }
    Err(ApiError::new(Code::NotFound, format!("there is no such {what}, so nothing is halted: {scope}")))
}
