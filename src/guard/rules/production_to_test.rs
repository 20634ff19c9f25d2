//! A production job to a test-class audience is harmless, and usually a mistake: somebody believes that
//! customers were told. A note, so that it is found.

use crate::{
    audience::Class,
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    match case.audience() {
        Some(audience) if case.is(Intent::Production) && audience.class == Class::Test => {
            let reason = format!("a production job to the test-class audience {}", audience.name);
            let fix = "if customers should get it, name their audience; if not, say intent = \"test\"";
            vec![Finding::new((Rule::ProductionToTest, Severity::Note), "to.audience", reason, fix)]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_production_job_to_testers_is_noted_and_no_more() {
        let findings = Sample::campaign("production", "qa").findings(Rule::ProductionToTest);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Note);
        for (intent, audience) in [("test", "qa"), ("production", "customers")] {
            assert_eq!(Sample::campaign(intent, audience).findings(Rule::ProductionToTest), []);
        }
    }
}
