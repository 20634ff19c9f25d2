//! A campaign widens by a plan, and a plan is policy: somebody reviewed how fast it may go and who goes first. Where
//! nobody wrote one, none is made up.

use crate::{
    audience::Class,
    guard::{Finding, Rule, Severity, case::Case},
    model::PlanName,
};

const REFUSE: (Rule, Severity) = (Rule::PlanMissing, Severity::Refuse);
const FIELD: &str = "plan";

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    finding(case).into_iter().collect()
}

fn finding(case: &Case<'_>) -> Option<Finding> {
    // An audience that is not known is label-missing's to refuse.
    let audience = case.audience()?;
    let Some(plan) = case.plan() else {
        let (reason, fix) = if let Some(name) = case.job.plan() {
            let fix = format!("add plans/{name}.toml to the policy, or correct the name");
            (format!("the policy knows no plan {name}"), fix)
        } else {
            let name = &audience.name;
            let fix = format!("name a plan of the policy, or write default_plan in cohorts/{name}.toml");
            (format!("the job names no plan, and the audience {name} has no default"), fix)
        };
        return Some(Finding::new(REFUSE, FIELD, reason, fix));
    };
    let Some(name) = plan.first_audience() else {
        return (audience.class == Class::Production && plan.customers_first.is_none())
            .then(|| begins_with_customers(&plan.name));
    };
    let fits =
        |first: &crate::audience::Audience| first.class == Class::Internal && first.app() == audience.app();
    if case.policy.audience(name).is_some_and(fits) {
        return None;
    }
    let reason =
        format!("the plan {} begins with {name}, which is no internal audience of this app", plan.name);
    Some(Finding::new(REFUSE, FIELD, reason, "choose a plan that begins with people of this app"))
}

/// A job may name any plan of the policy, also one that no audience of customers has by default.
fn begins_with_customers(plan: &PlanName) -> Finding {
    let reason = format!("the plan {plan} begins with customers: nobody of our own sees what it sends first");
    let fix = format!(
        "choose a plan that begins with our own people, or argue in plans/{plan}.toml: customers_first = \"why it is all right\""
    );
    Finding::new(REFUSE, FIELD, reason, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    fn with_plan(intent: &str, audience: &str, plan: &str) -> Sample {
        Sample::campaign(intent, audience).change(|job| job["plan"] = plan.into())
    }

    #[test]
    fn a_campaign_without_a_plan_is_refused_and_told_what_to_write() {
        let bare = Sample::campaign("production", "planless").refused_by(Rule::PlanMissing);
        assert_eq!(bare, FIELD);
        let findings = Sample::campaign("production", "planless").findings(Rule::PlanMissing);
        assert!(findings[0].fix.contains("cohorts/planless.toml"), "{}", findings[0].fix);
        assert!(with_plan("production", "planless", "at-once").is_clear());
    }

    #[test]
    fn a_plan_that_the_policy_does_not_have_is_refused_whatever_the_default() {
        assert_eq!(with_plan("production", "staff", "nowhere").refused_by(Rule::PlanMissing), FIELD);
        assert!(Sample::campaign("production", "staff").is_clear(), "the audience's default");
    }

    #[test]
    fn a_plan_must_begin_with_our_own_people_of_the_same_app() {
        assert!(with_plan("production", "qa", "staff-first").is_clear());
        assert_eq!(with_plan("production", "qa", "elsewhere-first").refused_by(Rule::PlanMissing), FIELD);
    }

    #[test]
    fn a_plan_that_begins_with_customers_is_refused_unless_it_says_why() {
        let naked = with_plan("production", "customers", "at-once");
        assert_eq!(naked.refused_by(Rule::PlanMissing), FIELD);
        assert!(naked.findings(Rule::PlanMissing)[0].fix.contains("customers_first"));
        assert!(with_plan("production", "customers", "argued").is_clear());
        assert!(with_plan("production", "staff", "at-once").is_clear(), "they are our own people");
    }

    #[test]
    fn a_direct_job_needs_no_plan() {
        assert_eq!(Sample::direct().findings(Rule::PlanMissing), []);
    }
}
