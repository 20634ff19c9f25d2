//! The policy in force: which it is, what another would change, and putting that in force, by two people.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};

use super::{Api, ApiError, Caller, Operation, Said, schema};
use crate::{
    api::wire::{
        Code, PolicyActivated, PolicyBody, PolicyDiff, PolicyStanding, PolicyView, Scope, ShadowView,
    },
    audience::{self, Policy},
    dispatch::control::ControlMessage,
    ledger::{Activation, Shadow},
};

const POLICY: &str = "/api/v1/policy";
const DIFF: &str = "/api/v1/policy/diff";
const ACTIVATE: &str = "/api/v1/policy/activate";

/// A folder with a hundred thousand members of test and internal audiences, which is far more than there should be.
const MOST_BYTES: usize = 4 * 1024 * 1024;

pub(super) fn routes() -> Router<Api> {
    Router::new().route(POLICY, get(show)).route(DIFF, post(diff)).route(ACTIVATE, post(activate))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            answers: &[(200, schema::<PolicyView>)],
            ..Operation::get(POLICY, "showPolicy", "The policy in force, and the one that is proposed")
        },
        Operation {
            needs: Some("policy"),
            most_bytes: MOST_BYTES,
            answers: &[(200, schema::<PolicyDiff>)],
            says: &[Code::RefusedByGuard],
            ..Operation::post::<PolicyBody>(DIFF, "diffPolicy", "What these files would change")
        },
        Operation {
            needs: Some("policy"),
            most_bytes: MOST_BYTES,
            answers: &[(200, schema::<PolicyActivated>)],
            says: &[Code::RefusedByGuard],
            ..Operation::post::<PolicyBody>(
                ACTIVATE,
                "activatePolicy",
                "Propose these files, or put what another person proposed in force",
            )
        },
    ]
}

async fn show(State(api): State<Api>, _: Caller) -> Result<Json<PolicyView>, ApiError> {
    let in_force = api.ledger().policy_in_force().await?;
    let proposed = api.ledger().policy_proposal().await?;
    let (shadows, now) = (api.ledger().shadows().await?, api.ledger().now().await?);
    let shadow = |known: Shadow| ShadowView {
        too_long: known.is_long(now),
        app: known.app.to_string(),
        rule: known.rule,
        since: known.since,
    };
    Ok(Json(PolicyView {
        shadow: shadows.into_iter().map(shadow).collect(),
        in_force: in_force.map(|known| PolicyStanding {
            policy: known.hash.to_string(),
            by: known.actor,
            since: known.since,
        }),
        proposed: proposed.map(|known| PolicyStanding {
            policy: known.hash.to_string(),
            by: known.actor,
            since: known.at,
        }),
        loaded: api.policy().hash().to_string(),
    }))
}

async fn diff(
    State(api): State<Api>,
    caller: Caller,
    Said(body): Said<PolicyBody>,
) -> Result<Json<PolicyDiff>, ApiError> {
    caller.need(&Scope::Policy)?;
    let (policy, diff) = compared(&api, body).await?;
    Ok(Json(PolicyDiff { policy: policy.hash().to_string(), diff }))
}

async fn activate(
    State(api): State<Api>,
    caller: Caller,
    Said(body): Said<PolicyBody>,
) -> Result<Json<PolicyActivated>, ApiError> {
    caller.need(&Scope::Policy)?;
    let (policy, diff) = compared(&api, body).await?;
    let activation = api.ledger().activate_policy(&policy, &caller.0.operator).await?;
    let in_force = match activation {
        Activation::InForce => {
            api.control().tell(&ControlMessage::Policy);
            true
        }
        Activation::Already => true,
        Activation::Proposed | Activation::NeedsAnother => false,
    };
    Ok(Json(PolicyActivated { policy: policy.hash().to_string(), in_force, diff }))
}

/// The policy that was sent, and how it differs from the one in force.
async fn compared(api: &Api, body: PolicyBody) -> Result<(Policy, Vec<String>), ApiError> {
    let before = match api.ledger().policy_in_force().await? {
        Some(known) => api.ledger().policy_files(&known.hash).await?.unwrap_or_default(),
        None => Vec::new(),
    };
    // Up to megabytes of text: other requests do not wait for it.
    let read = tokio::task::spawn_blocking(move || {
        let diff = audience::diff(&before, &body.files);
        Policy::parse(&body.files).map(|policy| (policy, diff))
    });
    match read.await {
        Ok(Ok(compared)) => Ok(compared),
        Ok(Err(problems)) => Err(ApiError::new(Code::RefusedByGuard, problems.to_string())),
        Err(error) => {
            tracing::error!(panicked = error.is_panic(), "a policy could not be read");
            Err(ApiError::new(Code::Internal, "a defect of the service; its log says where"))
        }
    }
}
