//! After a mistake: corrections and supersessions, and how campaigns hang together.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Notification;

/// The body of `correct` and `supersede`: other words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MendBody {
    /// What the phones show, as in a job.
    pub notification: Notification,
    /// Nothing is sent after this; if it is absent, it lasts for as long as the other campaign's words did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub expires_at: Option<Timestamp>,
}

/// `GET /api/v1/rollouts/{campaign}/reached`: whom a correction or a supersession would be for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReachedView {
    /// The campaign's id (UUID).
    pub campaign: String,
    /// Devices that it rang.
    pub accepted: u64,
    /// Devices that it may have rung: the fate of their requests is unknown.
    pub unknown: u64,
    /// Both.
    pub devices: u64,
    /// False while more may still be reached: the campaign is not over, or its last answers are not in.
    pub settled: bool,
}

/// A campaign that another came of, or that came of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RelatedView {
    /// How this one stands to it.
    pub how: Relation,
    /// Its id (UUID).
    pub campaign: String,
    /// Its producer.
    pub producer: String,
    /// Its job's id.
    pub job: String,
}

/// How one campaign stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// It is sent to whom the other was not sent to.
    Retries,
    /// The other way round.
    RetriedBy,
    /// It is sent to whom the other reached.
    Corrects,
    /// The other way round.
    CorrectedBy,
    /// The same, in place of the other.
    Supersedes,
    /// The other way round.
    SupersededBy,
}

impl Relation {
    /// For people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Retries => "retries",
            Self::RetriedBy => "retried by",
            Self::Corrects => "corrects",
            Self::CorrectedBy => "corrected by",
            Self::Supersedes => "supersedes",
            Self::SupersededBy => "superseded by",
        }
    }
}
