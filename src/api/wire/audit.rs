//! The audit.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A hash, as a schema has it.
const HASH: &str = "^[0-9a-f]{64}$";

/// `GET /api/v1/audit`: entries, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditList {
    /// One page of them.
    pub entries: Vec<AuditEntryView>,
    /// From which number the next page goes; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<i64>,
    /// The newest entry of all; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub head: Option<AuditHeadView>,
}

/// A decision, as it stands in the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntryView {
    /// Its number, counting from 1 without gaps.
    pub sequence: i64,
    /// When, on the ledger's clock, to the microsecond.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// Who: an operator, a producer, or `bellwether` itself.
    pub actor: String,
    /// What, such as `halt.set`.
    pub kind: String,
    /// The particulars: JSON, as a text, because the hash covers these very bytes.
    pub body: String,
    /// The hash of the entry before.
    #[schemars(regex(pattern = HASH))]
    pub prev: String,
    /// The hash of this one.
    #[schemars(regex(pattern = HASH))]
    pub hash: String,
}

/// An entry's number and hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditHeadView {
    /// The entry's number; 0 before the first.
    pub sequence: i64,
    /// Its hash.
    #[schemars(regex(pattern = HASH))]
    pub hash: String,
}

/// `GET /api/v1/audit/verify`: what came of following the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerification {
    /// True if nothing is wrong.
    pub whole: bool,
    /// The last entry that is right, as far as can be told.
    pub head: AuditHeadView,
    /// The last of the given heads that the chain agrees with: nothing up to there was rewritten since it was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fits: Option<AuditHeadView>,
    /// The first entry that is wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub broken: Option<AuditBroken>,
}

/// Where the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditBroken {
    /// The first entry that is wrong.
    pub sequence: i64,
    /// In which way, in words.
    pub why: String,
}
