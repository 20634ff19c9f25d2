//! A campaign that expects more devices than its audience may come to.
//!
//! Whoever writes such a bound has another audience in mind than the one that is named, or a copied number. The count itself
//! is held against both bounds when the audience is frozen; here nobody has to wait for that to learn of it.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Recipients,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let (Some(audience), Some(Recipients::Audience { at_most, .. })) = (case.audience(), case.job.to())
    else {
        return Vec::new();
    };
    let most = audience.max_devices;
    if *at_most <= most {
        return Vec::new();
    }
    let name = &audience.name;
    let reason = format!("at_most is {at_most}, and a campaign to {name} may come to {most} devices");
    let fix = format!("write an at_most up to {most}, or another audience");
    vec![Finding::new((Rule::AudienceAboveLimit, Severity::Refuse), "to.at_most", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_bound_above_the_audience_s_own_is_refused() {
        let at_most = |n: u64| Sample::campaign("test", "qa").change(|job| job["to"]["at_most"] = n.into());
        assert!(at_most(10).is_clear());
        assert_eq!(at_most(11).refused_by(Rule::AudienceAboveLimit), "to.at_most");
    }
}
