//! The audit: looking at it, and following its chain.

use axum::{Json, Router, extract::State, routing::get};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{Api, ApiError, Asked, Caller, Operation, QueryParameter, schema};
use crate::{
    api::{
        views,
        wire::{AuditList, AuditVerification, Scope},
    },
    ledger::{AuditFilter, AuditHead},
};

const LIST: &str = "/api/v1/audit";
const VERIFY: &str = "/api/v1/audit/verify";

/// Entries of one page.
const PAGE: u32 = 100;
/// Most of one page: an entry with a whole batch of refusals has a hundred kilobytes.
const LONGEST_PAGE: u32 = 500;
/// Most heads at once: an address is a few kilobytes long.
const MOST_HEADS: usize = 32;

pub(super) fn routes() -> Router<Api> {
    Router::new().route(LIST, get(list)).route(VERIFY, get(verify))
}

fn from(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": i64::MAX, "default": 1 })
}

fn limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE })
}

fn word(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[^\\u0000]{1,200}$" })
}

fn heads(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[1-9][0-9]{0,17}:[0-9a-f]{64}(,[1-9][0-9]{0,17}:[0-9a-f]{64}){0,31}$" })
}

const PAGE_PARAMETERS: &[QueryParameter] = &[
    QueryParameter { name: "from", description: "From this number on", schema: from },
    QueryParameter { name: "limit", description: "How many", schema: limit },
    QueryParameter { name: "kind", description: "Only this kind, such as halt.set", schema: word },
    QueryParameter { name: "actor", description: "Only what this one did", schema: word },
];

const HEADS: &[QueryParameter] = &[QueryParameter {
    name: "head",
    description: "Heads that were kept outside, as NUMBER:HASH, with commas between them",
    schema: heads,
}];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            needs: Some("audit"),
            query: PAGE_PARAMETERS,
            answers: &[(200, schema::<AuditList>)],
            ..Operation::get(LIST, "listAudit", "The audit, the oldest entry first")
        },
        Operation {
            needs: Some("audit"),
            query: HEADS,
            answers: &[(200, schema::<AuditVerification>)],
            ..Operation::get(VERIFY, "verifyAudit", "Follow the audit's chain of hashes from its first entry")
        },
    ]
}

/// Which page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Page {
    from: Option<i64>,
    limit: Option<u32>,
    kind: Option<String>,
    actor: Option<String>,
}

/// What the chain is compared with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Told {
    head: Option<String>,
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Json<AuditList>, ApiError> {
    caller.need(&Scope::Audit)?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LONGEST_PAGE).contains(&limit) {
        return Err(ApiError::malformed(format!("limit: 1 to {LONGEST_PAGE} are accepted")));
    }
    let from = page.from.unwrap_or(1);
    if from < 1 {
        return Err(ApiError::malformed("from: entries are counted from 1"));
    }
    let filter =
        AuditFilter { from, kind: word_of("kind", page.kind)?, actor: word_of("actor", page.actor)? };
    Ok(Json(views::audit_list(api.ledger(), &filter, limit).await?))
}

async fn verify(
    State(api): State<Api>,
    caller: Caller,
    Asked(told): Asked<Told>,
) -> Result<Json<AuditVerification>, ApiError> {
    caller.need(&Scope::Audit)?;
    let heads: Result<Vec<AuditHead>, _> =
        told.head.as_deref().into_iter().flat_map(|heads| heads.split(',')).map(str::parse).collect();
    let heads = heads.map_err(|error| ApiError::malformed(format!("head: {error}")))?;
    if heads.len() > MOST_HEADS {
        return Err(ApiError::malformed(format!("head: at most {MOST_HEADS} at once")));
    }
    Ok(Json(api.ledger().audit_verify_against(&heads).await?.into()))
}

/// No actor and no kind has a NUL in it, and PostgreSQL takes none.
fn word_of(name: &str, word: Option<String>) -> Result<Option<String>, ApiError> {
    match word {
        Some(word) if word.is_empty() || word.contains('\0') || word.chars().count() > 200 => {
            Err(ApiError::malformed(format!("{name}: 1 to 200 characters without NUL are accepted")))
        }
        word => Ok(word),
    }
}
