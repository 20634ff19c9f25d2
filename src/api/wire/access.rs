//! Who may do what: operators, their tokens, scopes.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::AudienceName;

/// What a token allows. Looking at rollouts needs none of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Submit test jobs.
    EnqueueTest,
    /// Submit production jobs.
    EnqueueProduction,
    /// Approve and refuse campaigns to this audience. Granting it needs a second admin.
    Approve(AudienceName),
    /// Start, pause, resume, promote and abort rollouts.
    Promote,
    /// Halt, and lift halts.
    Halt,
    /// Activate policies.
    Policy,
    /// Read the audit, and the texts of campaigns.
    Audit,
    /// Make and revoke tokens.
    Admin,
}

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a scope is enqueue:test, enqueue:production, approve:<audience>, promote, halt, policy, audit or admin"
)]
pub struct UnknownScopeWord;

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnqueueTest => f.write_str("enqueue:test"),
            Self::EnqueueProduction => f.write_str("enqueue:production"),
            Self::Approve(audience) => write!(f, "approve:{audience}"),
            Self::Promote => f.write_str("promote"),
            Self::Halt => f.write_str("halt"),
            Self::Policy => f.write_str("policy"),
            Self::Audit => f.write_str("audit"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Scope {
    type Err = UnknownScopeWord;

    fn from_str(word: &str) -> Result<Self, UnknownScopeWord> {
        Ok(match word {
            "enqueue:test" => Self::EnqueueTest,
            "enqueue:production" => Self::EnqueueProduction,
            "promote" => Self::Promote,
            "halt" => Self::Halt,
            "policy" => Self::Policy,
            "audit" => Self::Audit,
            "admin" => Self::Admin,
            _ => {
                let audience = word.strip_prefix("approve:").ok_or(UnknownScopeWord)?;
                Self::Approve(AudienceName::parse(audience).map_err(|_| UnknownScopeWord)?)
            }
        })
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Scope {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": UnknownScopeWord.to_string(),
            "pattern": "^(enqueue:(test|production)|approve:[a-z0-9-]{1,64}|promote|halt|policy|audit|admin)$",
        })
    }
}

/// `GET /api/v1/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// The operator's name.
    pub operator: String,
    /// What this token allows.
    pub scopes: Vec<Scope>,
    /// When it ends.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
}

/// `POST /api/v1/operators`: a token for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose. Names that read alike are one person.
    #[schemars(regex(pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$"), length(max = 64), extend("examples" = ["ada"]))]
    pub operator: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// For how many days; 1 to 366.
    #[serde(deserialize_with = "super::whole::number")]
    #[schemars(range(min = 1, max = 366))]
    pub days: u16,
}

/// The answer: the token, this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenIssued {
    /// How the token is listed.
    pub token: TokenView,
    /// The token itself, which is shown this once and kept nowhere.
    pub secret: String,
}

/// A token, without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// By which it is confirmed and revoked.
    pub id: String,
    /// Whose it is.
    pub operator: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Who made it.
    pub made_by: String,
    /// When.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub made_at: Timestamp,
    /// The second admin, whom approve scopes need.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub confirmed_by: Option<String>,
    /// True if it may be used: it needs no second admin, or has one.
    pub usable: bool,
    /// When it ends.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires_at: Timestamp,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub used_at: Option<Timestamp>,
}

/// An operator, with their tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Operator {
    /// Who.
    pub name: String,
    /// Each of their tokens, the newest first.
    pub tokens: Vec<TokenView>,
}

/// `GET /api/v1/operators`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorList {
    /// By name.
    pub operators: Vec<Operator>,
}

/// A body that says nothing: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_a_whole_number_however_json_writes_it() {
        let days = |text: &str| {
            let body = format!(r#"{{"operator":"ada","scopes":[],"days":{text}}}"#);
            serde_json::from_str::<NewToken>(&body).map(|new| new.days).ok()
        };
        assert_eq!((days("7"), days("7.0"), days("70e0")), (Some(7), Some(7), Some(70)));
        for wrong in ["7.5", "-1", "-1.0", "65536", "1e300", "\"7\"", "null", "true"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
    }
}
