//! Which findings tell something of what the same producer sends next.

use super::Rule;
use crate::model::FindingNote;

/// Rules whose Hold or Refuse tells something of what the same producer sends next: tests and texts that were stopped for what
/// they are. See `contagion`, which is none of them, or one mistake would hold for ever.
const FLAGGING: &[Rule] =
    &[Rule::TestToProduction, Rule::TestAudienceTooBig, Rule::UnfilledTemplate, Rule::StagingLink];

/// Was a notification stopped for what it is, by these findings?
#[must_use]
pub fn is_flagged(findings: &[FindingNote]) -> bool {
    let stopped = |finding: &&FindingNote| matches!(finding.verdict.as_str(), "hold" | "refuse");
    findings.iter().filter(stopped).any(|finding| FLAGGING.iter().any(|rule| rule.id() == finding.rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Finding, Severity};

    #[test]
    fn a_notification_is_flagged_by_a_rule_about_what_it_is_that_stopped_it() {
        let flagged = |rule: Rule, severity| {
            is_flagged(&[Finding::new((Rule::Environment, Severity::Note), "job", "", "").note(), {
                Finding::new((rule, severity), "job", "", "").note()
            }])
        };
        for rule in Rule::ALL {
            let expected = FLAGGING.contains(&rule);
            let stops = (flagged(rule, Severity::Refuse), flagged(rule, Severity::Hold));
            assert_eq!(stops, (expected, expected), "{}", rule.id());
            assert!(!flagged(rule, Severity::Note) && !flagged(rule, Severity::Shadow), "{}", rule.id());
        }
        assert!(FLAGGING.contains(&Rule::StagingLink) && !FLAGGING.contains(&Rule::Contagion));
        assert!(!is_flagged(&[]));
    }
}
