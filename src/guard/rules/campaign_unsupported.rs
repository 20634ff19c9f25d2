//! A campaign needs a staged rollout: frozen, approved, watched. Until there is one, every campaign is
//! refused. It runs last, so that whatever else is wrong with the job is told as well.

use crate::guard::{Finding, Rule, Severity, case::Case};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    if !case.is_campaign() {
        return Vec::new();
    }
    let fix = "name recipients, in a direct job";
    vec![Finding::new(
        (Rule::CampaignUnsupported, Severity::Refuse),
        "to.audience",
        "needs a staged rollout",
        fix,
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn every_campaign_is_refused_after_whatever_else_is_wrong_with_it() {
        let sound = Sample::campaign("production", "customers");
        assert_eq!(sound.refused_by(Rule::CampaignUnsupported), "to.audience");
        let verdict = Sample::campaign("test", "customers").clear();
        let rules: Vec<_> = verdict.findings().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Rule::TestToProduction, Rule::CampaignUnsupported]);
    }
}
