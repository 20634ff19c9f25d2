//! The door of the operators' API: who asks, how often, and whether it was asked before.
//!
//! Every request is worked on in a task of its own. What was begun is brought to its end and its answer is kept, also when
//! the client has gone; and a defect is an answer of 500, not the end of a connection.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;

use super::{Api, answer::ApiError, listen::Peer, operation::Operation, read::Caller};
use crate::{
    api::wire::{Code, Problem},
    ledger::{Authenticated, KeyUse, NotAuthentic},
    model::{Digest, MAX_JOB_BYTES, OperatorName},
};

/// What a client may still send of a body that is too large, so that it hears the answer rather than a broken connection.
const READ_AWAY: usize = 8 * 1024 * 1024;

/// How long a repeated request waits for the answer to the first, and how often it looks.
const WAIT_FOR_FIRST: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

const KEY: &str = "idempotency-key";
const LONGEST_KEY: usize = 128;

/// An answer that is given once: it has a secret in it, and is not kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct GivenOnce;

/// What every request passes.
pub(super) async fn door(State(api): State<Api>, request: Request, next: Next) -> Response {
    let operation = request
        .extensions()
        .get::<MatchedPath>()
        .and_then(|path| api.operation(request.method(), path.as_str()));
    let verb = operation.as_ref().map_or("none", |operation| operation.name);
    let worked_on = tokio::spawn(pass(api.clone(), operation, request, next)).await;
    let mut response = worked_on.unwrap_or_else(|error| {
        // What it panicked with may quote a text.
        tracing::error!(verb, panicked = error.is_panic(), "a request to the operators' API died");
        ApiError::new(Code::Internal, "a defect of the service; its log says where").into_response()
    });
    // Nothing here is for a cache: some of it is secret, and all of it changes.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let code = response.extensions().get::<Code>().map_or("ok", |code| code.as_str());
    api.metrics().api_request(verb, code);
    response
}

async fn pass(api: Api, operation: Option<Arc<Operation>>, request: Request, next: Next) -> Response {
    match enter(&api, operation.as_deref(), request, next).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    }
}

async fn enter(
    api: &Api,
    operation: Option<&Operation>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if operation.is_some_and(|operation| operation.public) {
        return Ok(next.run(request).await);
    }
    let (token, peer) = (bearer(request.headers()).map(str::to_owned), peer(&request));
    let caller = authenticate(api, token.as_deref(), peer).await?;
    if !operation.is_some_and(|operation| operation.unlimited) {
        api.limits().request(&caller.token)?;
    }
    let by = caller.operator.clone();
    request.extensions_mut().insert(Caller(caller));
    let (request, body) = bounded(request, operation.map_or(MAX_JOB_BYTES, |known| known.most_bytes)).await?;
    let Some(key) = key(request.headers())?.filter(|_| operation.is_some_and(Operation::mutates)) else {
        return Ok(next.run(request).await);
    };
    let (method, uri) = (request.method().as_str(), request.uri().to_string());
    let asked = Digest::of_parts(&[b"request", method.as_bytes(), uri.as_bytes(), &body]);
    once(api, &by, &key, &asked, next.run(request)).await
}

/// Whose token the request brings. A right one always opens, however many wrong ones came from the same address.
async fn authenticate(
    api: &Api,
    token: Option<&str>,
    peer: Option<IpAddr>,
) -> Result<Authenticated, ApiError> {
    let refused = match token {
        None => "this needs a token, in the header authorization: Bearer bw_…".to_owned(),
        Some(token) => match api.ledger().authenticate(token).await? {
            Ok(caller) => return Ok(caller),
            // Its holder is no stranger.
            Err(known @ (NotAuthentic::Expired | NotAuthentic::Revoked | NotAuthentic::Unconfirmed)) => {
                return Err(ApiError::new(Code::NotAuthenticated, known.to_string()));
            }
            Err(NotAuthentic::Unknown) => NotAuthentic::Unknown.to_string(),
        },
    };
    if let Some(peer) = peer {
        api.limits().failed_login(peer)?;
        tracing::info!(%peer, "a request without a right token was refused");
    }
    Err(ApiError::new(Code::NotAuthenticated, refused))
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip())
}

/// RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(KEY) else { return Ok(None) };
    let allowed = |key: &&str| {
        (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(allowed) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(ApiError::malformed(format!(
            "idempotency-key: 1 to {LONGEST_KEY} visible ASCII characters are accepted"
        ))),
    }
}

/// The request with its whole body in memory, and that body.
async fn bounded(request: Request, most: usize) -> Result<(Request, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let told = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told.is_some_and(|told: usize| told > most) {
        let mut left = READ_AWAY;
        let mut stream = body.into_data_stream();
        while let Some(Ok(some)) = stream.next().await {
            left = left.saturating_sub(some.len());
            if left == 0 {
                break;
            }
        }
        return Err(too_large(most));
    }
    let bytes = to_bytes(body, most).await.map_err(|_| too_large(most))?;
    Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes))
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("at most {most} bytes are accepted here"))
}

/// Does `work` unless this key has done it.
async fn once(
    api: &Api,
    by: &OperatorName,
    key: &str,
    asked: &Digest,
    work: impl Future<Output = Response>,
) -> Result<Response, ApiError> {
    if let Some(answered) = take(api, by, key, asked).await? {
        return Ok(answered);
    }
    let response = work.await;
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let kept = if parts.status.is_server_error() {
        api.ledger().release_key(by, key).await
    } else if parts.extensions.remove::<GivenOnce>().is_some() {
        let detail = "this was done, and its answer had a secret that is shown once; revoke that token and make another";
        let problem = Problem::new(Code::Conflict, detail);
        let text = serde_json::to_string(&problem).expect("a problem has a JSON form");
        api.ledger().answer_key(by, key, problem.status, &text).await
    } else {
        let text = String::from_utf8_lossy(&body);
        api.ledger().answer_key(by, key, parts.status.as_u16(), &text).await
    };
    if let Err(error) = kept {
        // It happened, and its client hears so. Only a repetition within the next two minutes does not.
        tracing::warn!(%error, "the answer to a request could not be kept");
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

/// Takes the key, or gives the answer that it has.
async fn take(api: &Api, by: &OperatorName, key: &str, asked: &Digest) -> Result<Option<Response>, ApiError> {
    let deadline = api.clock().monotonic() + WAIT_FOR_FIRST;
    loop {
        match api.ledger().take_key(by, key, asked).await? {
            KeyUse::Fresh => return Ok(None),
            KeyUse::Answered { status, answer } => return Ok(Some(answered_before(status, answer))),
            KeyUse::Other => {
                let detail =
                    "this idempotency key stands for another request; take a new key for a new request";
                return Err(ApiError::new(Code::KeyReused, detail));
            }
            KeyUse::UnderWay if api.clock().monotonic() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            KeyUse::UnderWay => {
                let detail = "the same request is still being worked on; ask again in a moment";
                return Err(ApiError::new(Code::Conflict, detail).after(1));
            }
        }
    }
}

fn answered_before(status: u16, answer: String) -> Response {
    match serde_json::from_str::<Problem>(&answer) {
        Ok(problem) if problem.status == status => ApiError::from(problem).into_response(),
        _ => {
            let mut response = Response::new(Body::from(answer));
            *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
    }
}
