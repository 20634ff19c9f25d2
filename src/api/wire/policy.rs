//! The policy in force, and what takes its place.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audience::PolicyFile;

/// `POST /api/v1/policy/diff` and `…/activate`: a policy folder, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyBody {
    /// Every file.
    pub files: Vec<PolicyFile>,
}

/// `GET /api/v1/policy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyView {
    /// What the whole fleet goes by; absent before the first service has started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub in_force: Option<PolicyStanding>,
    /// What waits for another person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proposed: Option<PolicyStanding>,
    /// Rules of the guard that report and decide nothing, under the policy in force.
    #[serde(default)]
    pub shadow: Vec<ShadowView>,
    /// What the process that answers was started with. If that is not in force, it takes nothing and sends nothing.
    pub loaded: String,
}

/// A rule in shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShadowView {
    /// For this app.
    pub app: String,
    /// The rule's id.
    pub rule: String,
    /// Since when, without a break.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// It has been so for longer than 14 days.
    pub too_long: bool,
}

/// A policy, by whom, since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyStanding {
    /// The SHA-256 of its files, in hex.
    pub policy: String,
    /// Who proposed it, or put it in force.
    pub by: String,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
}

/// What would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyDiff {
    /// The SHA-256 of the files that were sent, in hex.
    pub policy: String,
    /// How they differ from the policy in force, as `diff -u` writes it; of lists of members only the counts.
    pub diff: Vec<String>,
}

/// What a wish for a policy came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyActivated {
    /// The SHA-256 of the files that were sent, in hex.
    pub policy: String,
    /// True if it is in force now; else another person must ask for the same.
    pub in_force: bool,
    /// How it differs from the policy that was in force before.
    pub diff: Vec<String>,
}
