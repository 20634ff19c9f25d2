//! The same over HTTP, for other processes: plain HTTP/1.1 on loopback.

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{Response, StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Fault, NewPhone, Simulator};

/// 200,000 phones are about 60 MB of NDJSON.
const MAX_BODY: usize = 512 * 1024 * 1024;

type Answer = Result<Response<Body>, (StatusCode, String)>;

/// Serves until the simulator stops.
pub(super) async fn serve(simulator: Simulator, listener: TcpListener) {
    let stopped = simulator.stop.clone().cancelled_owned();
    let router = Router::new()
        .route("/requests", get(requests))
        .route("/phones/{token}", get(phone))
        .route("/screens", get(screens))
        .route("/summary", get(summary))
        .route("/login", get(login))
        .route("/login/metrics", get(login_metrics))
        .route("/credentials", get(credentials))
        .route("/phones", post(register))
        .route("/faults", post(inject).delete(clear_faults))
        .route("/reset", post(reset))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(simulator);
    // It ends only when it is told to.
    drop(axum::serve(listener, router).with_graceful_shutdown(stopped).await);
}

#[derive(Deserialize)]
struct Since {
    /// Only requests with a higher number.
    #[serde(default)]
    since: u64,
}

async fn requests(State(simulator): State<Simulator>, Query(Since { since }): Query<Since>) -> Answer {
    if simulator.world.detail == super::RecordDetail::Compact {
        let why = "the record is compact: start with --record full\n";
        return Err((StatusCode::CONFLICT, why.to_owned()));
    }
    ndjson(simulator.record_since(since).iter().map(AsRef::as_ref))
}

async fn screens(State(simulator): State<Simulator>) -> Answer {
    ndjson(simulator.screens().iter())
}

async fn phone(State(simulator): State<Simulator>, Path(token): Path<String>) -> Answer {
    match simulator.phone(&token) {
        Some(phone) => Ok(Json(phone).into_response()),
        None => Err((StatusCode::NOT_FOUND, "no such phone\n".to_owned())),
    }
}

async fn summary(State(simulator): State<Simulator>) -> Answer {
    Ok(Json(simulator.summary()).into_response())
}

/// What the login feels of those whose phones ring.
async fn login(State(simulator): State<Simulator>) -> Answer {
    let login = simulator.login().ok_or_else(no_login)?;
    Ok(Json(login).into_response())
}

async fn login_metrics(State(simulator): State<Simulator>) -> Answer {
    let login = simulator.login().ok_or_else(no_login)?;
    let text = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    Ok(([text], login.exposition()).into_response())
}

fn no_login() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, "nobody opens the app here: start with --login\n".to_owned())
}

async fn credentials(State(simulator): State<Simulator>) -> Answer {
    let credentials = simulator.credentials();
    let mut answer = addresses(&simulator);
    answer["ca_pem"] = json!(credentials.ca_pem);
    answer["apns_key_pem"] = json!(credentials.apns_key_pem);
    answer["service_account_json"] = json!(credentials.service_account_json);
    Ok(Json(answer).into_response())
}

/// Addresses and names, without anything secret.
pub(super) fn addresses(simulator: &Simulator) -> Value {
    let credentials = simulator.credentials();
    json!({
        "apns": simulator.apns_endpoint(),
        "fcm": simulator.fcm_endpoint(),
        "token_uri": simulator.token_uri(),
        "inspect": simulator.inspect_endpoint(),
        "apns_key_id": credentials.apns_key_id,
        "team": credentials.team,
        "topics": credentials.topics,
        "project": credentials.project,
    })
}

/// Registers phones, one JSON object a line.
async fn register(State(simulator): State<Simulator>, body: String) -> Answer {
    let phones: Vec<NewPhone> = lines(&body)?;
    let count = phones.len();
    simulator.register(phones);
    Ok(Json(json!({ "registered": count })).into_response())
}

/// Injects faults, one JSON object a line.
async fn inject(State(simulator): State<Simulator>, body: String) -> Answer {
    let faults: Vec<Fault> = lines(&body)?;
    let count = faults.len();
    for fault in faults {
        simulator.inject(fault);
    }
    Ok(Json(json!({ "injected": count })).into_response())
}

async fn clear_faults(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_faults();
    StatusCode::NO_CONTENT
}

async fn reset(State(simulator): State<Simulator>) -> StatusCode {
    simulator.reset();
    StatusCode::NO_CONTENT
}

fn lines<'a, T: Deserialize<'a>>(body: &'a str) -> Result<Vec<T>, (StatusCode, String)> {
    let numbered = body.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    numbered
        .map(|(line, number)| {
            serde_json::from_str(line)
                .map_err(|error| (StatusCode::BAD_REQUEST, format!("line {number}: {error}\n")))
        })
        .collect()
}

fn ndjson<T: Serialize>(items: impl Iterator<Item = T>) -> Answer {
    let mut body = Vec::new();
    for item in items {
        serde_json::to_writer(&mut body, &item)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        body.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}
