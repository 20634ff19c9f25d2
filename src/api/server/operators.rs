//! Operators and their tokens.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    response::IntoResponse,
    routing::{delete, get, post},
};
use secrecy::ExposeSecret as _;

use super::{
    Api, ApiError, Caller, Named, Operation, Said, door::GivenOnce, near::near, operation::Link, schema,
};
use crate::{
    api::wire::{Code, NewToken, Nothing, Operator, OperatorList, Scope, TokenIssued, TokenView, Whoami},
    ledger::{Issuer, MintedToken, NewOperatorToken, NotConfirmed, TokenId, TokenRecord},
    model::OperatorName,
};

const WHOAMI: &str = "/api/v1/whoami";
const OPERATORS: &str = "/api/v1/operators";
const ONE: &str = "/api/v1/operators/{name}";
const TOKEN: &str = "/api/v1/operators/tokens/{id}";
const CONFIRM: &str = "/api/v1/operators/tokens/{id}/confirm";

/// A token that outlives a year outlives its owner's job.
const MOST_DAYS: u16 = 366;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route(WHOAMI, get(whoami))
        .route(OPERATORS, get(list).post(add))
        .route(ONE, delete(revoke_operator))
        .route(TOKEN, delete(revoke))
        .route(CONFIRM, post(confirm))
}

pub(super) fn operations() -> Vec<Operation> {
    const TO_TOKEN: &[Link] = &[
        Link { to: "confirmToken", parameter: "id", from: "/token/id" },
        Link { to: "revokeToken", parameter: "id", from: "/token/id" },
        Link { to: "revokeOperator", parameter: "name", from: "/token/operator" },
    ];
    vec![
        Operation {
            answers: &[(200, schema::<Whoami>)],
            ..Operation::get(WHOAMI, "whoami", "Whose token this is, and what it allows")
        },
        Operation {
            needs: Some("admin"),
            answers: &[(200, schema::<OperatorList>)],
            ..Operation::get(OPERATORS, "listOperators", "Every operator, with their tokens")
        },
        Operation {
            needs: Some("admin"),
            answers: &[(201, schema::<TokenIssued>)],
            says: &[Code::NotFound],
            links: TO_TOKEN,
            ..Operation::post::<NewToken>(OPERATORS, "makeToken", "Make a token; it is shown this once")
        },
        Operation {
            needs: Some("admin"),
            answers: &[(200, schema::<TokenView>)],
            says: &[Code::NotFound, Code::Conflict],
            ..Operation::post::<Nothing>(CONFIRM, "confirmToken", "Be the second admin of a token")
        },
        Operation {
            needs: Some("admin, unless the token is one's own"),
            answers: &[(200, schema::<TokenView>)],
            says: &[Code::NotFound],
            ..Operation::delete(TOKEN, "revokeToken", "Take a token away")
        },
        Operation {
            needs: Some("admin"),
            answers: &[(200, schema::<Operator>)],
            says: &[Code::NotFound],
            ..Operation::delete(ONE, "revokeOperator", "Take every token of a person away")
        },
    ]
}

impl From<TokenRecord> for TokenView {
    fn from(token: TokenRecord) -> Self {
        Self {
            usable: token.is_confirmed(),
            id: token.id.to_string(),
            operator: token.operator.to_string(),
            scopes: token.scopes.into_iter().collect(),
            made_by: token.made_by,
            made_at: token.made_at,
            confirmed_by: token.confirmed_by,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            used_at: token.used_at,
        }
    }
}

async fn whoami(Caller(caller): Caller) -> Json<Whoami> {
    Json(Whoami {
        operator: caller.operator.to_string(),
        scopes: caller.scopes.into_iter().collect(),
        expires_at: caller.expires_at,
    })
}

async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<OperatorList>, ApiError> {
    caller.need(&Scope::Admin)?;
    let mut operators: Vec<Operator> = Vec::new();
    for token in api.ledger().tokens().await? {
        let token = TokenView::from(token);
        match operators.last_mut() {
            Some(last) if last.name == token.operator => last.tokens.push(token),
            _ => operators.push(Operator { name: token.operator.clone(), tokens: vec![token] }),
        }
    }
    Ok(Json(OperatorList { operators }))
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    Said(body): Said<NewToken>,
) -> Result<impl IntoResponse, ApiError> {
    caller.need(&Scope::Admin)?;
    let operator =
        OperatorName::parse(&body.operator).map_err(|error| ApiError::malformed(error.to_string()))?;
    if !(1..=MOST_DAYS).contains(&body.days) {
        return Err(ApiError::malformed(format!("days: 1 to {MOST_DAYS} are accepted")));
    }
    let scopes: BTreeSet<Scope> = body.scopes.into_iter().collect();
    for scope in &scopes {
        audience_is_known(&api, scope)?;
    }
    let lasts = Duration::from_hours(24 * u64::from(body.days));
    let new = NewOperatorToken { operator: &operator, scopes: &scopes, lasts };
    let minted = MintedToken::mint(api.clock());
    let issued = api.ledger().issue_token(&new, &minted, Issuer::Admin(&caller.0.operator)).await?;
    let token = issued.map_err(|refused| ApiError::malformed(refused.to_string()))?;
    let secret = minted.into_secret().expose_secret().to_owned();
    let answer = Json(TokenIssued { token: token.into(), secret });
    Ok((StatusCode::CREATED, Extension(GivenOnce), answer))
}

/// A typo would make an approver of nobody, whom the campaign waits for.
fn audience_is_known(api: &Api, scope: &Scope) -> Result<(), ApiError> {
    let Scope::Approve(audience) = scope else { return Ok(()) };
    if api.policy().audience(audience).is_some() {
        return Ok(());
    }
    let known = || api.policy().audiences().map(|audience| audience.name.as_str());
    let (word, names) = match near(audience.as_str(), known()) {
        names if names.is_empty() => ("known", known().collect()),
        names => ("close", names),
    };
    let detail = format!("scopes: {scope}: the policy has no such audience; {word}: {}", names.join(", "));
    Err(ApiError::new(Code::NotFound, detail))
}

async fn confirm(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<TokenId>,
    Said(Nothing {}): Said<Nothing>,
) -> Result<Json<TokenView>, ApiError> {
    caller.need(&Scope::Admin)?;
    let confirmed = api.ledger().confirm_token(&id, &caller.0.operator).await?;
    let token = confirmed.map_err(|refused| {
        let code = match refused {
            NotConfirmed::NotFound => Code::NotFound,
            NotConfirmed::Maker | NotConfirmed::Owner => Code::NotAllowed,
            NotConfirmed::NotWaiting | NotConfirmed::Over => Code::Conflict,
        };
        ApiError::new(code, refused.to_string())
    })?;
    Ok(Json(token.into()))
}

async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Named(id): Named<TokenId>,
) -> Result<Json<TokenView>, ApiError> {
    let by = &caller.0.operator;
    let owner = api.ledger().token(&id).await?.map(|token| token.operator);
    // Whoever has lost a token takes it away at once.
    if owner.as_ref() != Some(by) {
        caller.need(&Scope::Admin)?;
    }
    let revoked = api.ledger().revoke_token(&id, by).await?;
    let token = revoked.ok_or_else(|| ApiError::new(Code::NotFound, "no token has this id"))?;
    Ok(Json(token.into()))
}

async fn revoke_operator(
    State(api): State<Api>,
    caller: Caller,
    Named(name): Named<OperatorName>,
) -> Result<Json<Operator>, ApiError> {
    caller.need(&Scope::Admin)?;
    let revoked = api.ledger().revoke_operator(&name, &caller.0.operator).await?;
    let tokens = revoked.ok_or_else(|| ApiError::new(Code::NotFound, "nobody of this name has a token"))?;
    let name = tokens.first().map_or_else(|| name.to_string(), |token| token.operator.to_string());
    Ok(Json(Operator { name, tokens: tokens.into_iter().map(TokenView::from).collect() }))
}
