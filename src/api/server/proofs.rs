//! Proving: a person has looked at a tester's phone and found a notification right.

use axum::{Json, Router, extract::State, routing::post};

use super::{
    Api, ApiError, Caller, Named, Operation, Said,
    read::{Campaign, needed_reason},
    rollouts::view,
    schema,
};
use crate::{
    api::wire::{Code, RolloutView, Scope, WhyBody},
    dispatch::control::ControlMessage,
    ledger::NotProven,
};

const PROVE: &str = "/api/v1/rollouts/{campaign}/prove";

pub(super) fn routes() -> Router<Api> {
    Router::new().route(PROVE, post(prove))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        needs: Some("enqueue:test"),
        answers: &[(200, schema::<RolloutView>)],
        says: &[Code::NotFound, Code::Conflict],
        ..Operation::post::<WhyBody>(PROVE, "prove", "Say that a test campaign looked right on a phone")
    }]
}

async fn prove(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(body): Said<WhyBody>,
) -> Result<Json<RolloutView>, ApiError> {
    // Whoever may send a test may say how it looked; see the ledger on why that is enough.
    caller.need(&Scope::EnqueueTest)?;
    let reason = needed_reason(Some(body.reason))?;
    api.ledger().prove(id, &caller.0.operator, &reason).await??;
    api.control().tell(&ControlMessage::Work);
    view(&api, id).await
}

impl From<NotProven> for ApiError {
    fn from(why: NotProven) -> Self {
        let code = match why {
            NotProven::NoCampaign => Code::NotFound,
            NotProven::NoTest | NotProven::NotCompleted | NotProven::NobodyGotIt | NotProven::Forgotten => {
                Code::Conflict
            }
        };
        Self::new(code, why.to_string())
    }
}
