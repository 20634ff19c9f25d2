//! Halts.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be halted, as a schema has it.
const SCOPE: &str = "^(all|app:[A-Za-z0-9._-]{1,155}|audience:[a-z0-9-]{1,64}|campaign:([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[!-.0-~]{1,128}/[!-~]{1,128}))$";

/// Most characters of a reason: a paragraph, which fits an audit entry and a screen.
pub const REASON_CHARS: usize = 1_000;

/// What stands in the place of a reason that says nothing.
const NO_REASON: &str = "no reason given";

/// The reason of a halt, as a line that may stand in the audit and on a terminal. Who stops something in an emergency pastes
/// whatever is at hand: control characters become spaces, and what is too long is cut, with an ellipsis.
#[must_use]
pub fn fitting_reason(said: &str) -> String {
    let line: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.trim() {
        "" => NO_REASON.to_owned(),
        line if line.chars().count() <= REASON_CHARS => line.to_owned(),
        line => line.chars().take(REASON_CHARS - 1).chain(['…']).collect(),
    }
}

/// `POST /api/v1/halts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaltBody {
    /// `all`, `app:<id>`, `audience:<name>`, `campaign:<id>` or `campaign:<producer>/<job>`.
    #[schemars(regex(pattern = SCOPE))]
    pub scope: String,
    /// Why. A halt never fails over its reason: it is made to fit, as [`fitting_reason`] has it.
    pub reason: String,
}

/// `POST /api/v1/halts/lift`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftBody {
    /// `all`, `app:<id>`, `audience:<name>`, `campaign:<id>` or `campaign:<producer>/<job>`.
    #[schemars(regex(pattern = SCOPE))]
    pub scope: String,
}

/// The answer to a halt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaltSet {
    /// What is halted.
    pub scope: String,
    /// How many rollouts it ended.
    pub rollouts: u64,
}

/// The answer to lifting a halt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lifted {
    /// What was halted.
    pub scope: String,
    /// True if it is not halted any more. False: another person must lift it, too.
    pub lifted: bool,
    /// Who has asked for it first, if it takes two.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub asked_by: Option<String>,
}

/// `GET /api/v1/halts`: those in force, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaltList {
    /// Each of them.
    pub halts: Vec<HaltView>,
}

/// A halt in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaltView {
    /// What is halted.
    pub scope: String,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// The first of the two people whom lifting a halt of everything needs, if one has asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lift_asked_by: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_a_halt_is_made_to_fit_whatever_it_is() {
        for (said, fits) in [
            ("zły tekst", "zły tekst"),
            ("two\nlines\u{1b}[2J\u{0}", "two lines [2J"),
            (" \n", NO_REASON),
            ("\u{1b}\u{9b}", NO_REASON),
            ("", NO_REASON),
        ] {
            assert_eq!(fitting_reason(said), fits, "{said:?}");
        }
        let whole = "ż".repeat(REASON_CHARS);
        assert_eq!(fitting_reason(&whole), whole);
        let cut = fitting_reason(&"ż".repeat(1_000_000));
        assert_eq!((cut.chars().count(), cut.ends_with("ż…")), (REASON_CHARS, true));
        assert_eq!(fitting_reason(&cut), cut, "made to fit once, it fits");
    }
}
