//! A test job that comes to more devices than the app's testers may have together.
//!
//! The list of testers is short, but a list of users is no list of phones: one user id in it that a
//! shared or broken account hangs on can own thousands. The cap is the policy's, and at most 500.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(app) = case.app_id().filter(|_| case.is(Intent::Test)) else { return Vec::new() };
    let devices: usize = case.facts.recipients.iter().map(|found| found.devices().len()).sum();
    // The cap of a campaign's own audience is the tighter one.
    let cap =
        case.audience().map_or_else(|| case.policy.tester_devices(app), |audience| audience.max_devices);
    if devices as u64 <= cap {
        return Vec::new();
    }
    let reason = format!("{devices} devices; the testers of {app} may have {cap} together");
    let fix = "see which tester has so many devices, or raise max_devices of the test-class audience";
    vec![Finding::new((Rule::TestAudienceTooBig, Severity::Refuse), "to", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_tester_with_a_crowd_of_devices_is_refused() {
        let tester = Sample::test_to("qa-1");
        assert!(tester.clone().devices_each(10).is_clear());
        assert_eq!(tester.devices_each(11).refused_by(Rule::TestAudienceTooBig), "to");
    }

    #[test]
    fn a_customer_may_have_as_many_devices_as_they_like() {
        assert!(Sample::direct().devices_each(11).is_clear());
    }
}
