//! Accepting what the guard has to say: whoever does so answers for that one finding, by name and with a reason.

use axum::{Json, Router, extract::State, routing::post};

use super::{
    Api, ApiError, Caller, Named, Operation, Said,
    read::{Campaign, needed_reason},
    rollouts::{find, view},
    schema,
};
use crate::{
    api::wire::{AcceptBody, Code, RolloutView, Scope},
    dispatch::control::ControlMessage,
    ledger::NotAccepted,
};

const ACCEPT: &str = "/api/v1/rollouts/{campaign}/accept-finding";

pub(super) fn routes() -> Router<Api> {
    Router::new().route(ACCEPT, post(accept))
}

pub(super) fn operations() -> Vec<Operation> {
    vec![Operation {
        needs: Some("approve:<its audience>"),
        answers: &[(200, schema::<RolloutView>)],
        says: &[Code::NotFound, Code::Conflict],
        ..Operation::post::<AcceptBody>(
            ACCEPT,
            "acceptFinding",
            "Answer for one finding that holds a campaign",
        )
    }]
}

async fn accept(
    State(api): State<Api>,
    caller: Caller,
    Named(Campaign(id)): Named<Campaign>,
    Said(body): Said<AcceptBody>,
) -> Result<Json<RolloutView>, ApiError> {
    let (known, _) = find(&api, id).await?;
    caller.need(&Scope::Approve(known.audience))?;
    let reason = needed_reason(Some(body.reason))?;
    api.ledger().accept_finding(id, body.finding, (&caller.0.operator, &reason)).await??;
    api.control().tell(&ControlMessage::Work);
    view(&api, id).await
}

impl From<NotAccepted> for ApiError {
    fn from(why: NotAccepted) -> Self {
        let code = match why {
            NotAccepted::NoCampaign | NotAccepted::NoFinding => Code::NotFound,
            NotAccepted::Note | NotAccepted::Already | NotAccepted::NotWaiting => Code::Conflict,
            NotAccepted::Barred => Code::NotAllowed,
        };
        Self::new(code, why.to_string())
    }
}
