//! A campaign to the people whom the app serves needs an approved, staged rollout. As long as there is no way to
//! approve one, it is refused; campaigns to testers and to our own people pass.
//!
//! It runs late, so that whatever else is wrong with the job is told as well.

use crate::{
    audience::Class,
    guard::{Finding, Rule, Severity, case::Case},
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    // An unknown audience is taken for the worst that it could be.
    let class = case.audience().map_or(Class::Production, |audience| audience.class);
    if !case.is_campaign() || class != Class::Production {
        return Vec::new();
    }
    vec![Finding::new(
        (Rule::ApprovalNeeded, Severity::Refuse),
        "to.audience",
        "needs an approved, staged rollout",
        "send it to a test-class or an internal audience, or name recipients in a direct job",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_campaign_to_customers_is_refused_after_whatever_else_is_wrong_with_it() {
        let sound = Sample::campaign("production", "customers");
        assert_eq!(sound.refused_by(Rule::ApprovalNeeded), "to.audience");
        let verdict = Sample::campaign("test", "customers").clear();
        let rules: Vec<_> = verdict.findings().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Rule::TestToProduction, Rule::ApprovalNeeded]);
    }

    #[test]
    fn an_audience_that_nobody_knows_is_taken_for_customers() {
        let unknown = Sample::campaign("production", "nobody");
        assert_eq!(unknown.findings(Rule::ApprovalNeeded).len(), 1);
    }

    #[test]
    fn campaigns_to_testers_and_to_our_own_people_pass() {
        for (intent, audience) in [("test", "qa"), ("production", "qa"), ("production", "staff")] {
            assert!(Sample::campaign(intent, audience).is_clear(), "{intent} to {audience}");
        }
    }
}
