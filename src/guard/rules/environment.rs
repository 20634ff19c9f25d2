//! Development builds get their pushes from the sandbox. A production job that meets one is noted.
//!
//! A campaign leaves such devices out, and counts them, when its audience is frozen. A direct job rings
//! them: whoever was named is who is meant, and an engineer's own fraud alert must arrive on the phone that
//! the engineer has. A test job may address either world.

use crate::{
    guard::{Finding, FoundRecipient, Rule, Severity, case::Case},
    model::{Environment, Intent},
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    if !case.is(Intent::Production) {
        return Vec::new();
    }
    let devices = case.facts.recipients.iter().flat_map(FoundRecipient::devices);
    let sandbox = devices.filter(|device| device.environment == Environment::Sandbox).count();
    if sandbox == 0 {
        return Vec::new();
    }
    let reason = format!("{sandbox} device(s) run a development build; they are rung through the sandbox");
    let fix = "nothing, if the recipient develops the app; else look at how the device was registered";
    vec![Finding::new((Rule::Environment, Severity::Note), "to", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_production_job_to_a_development_build_is_noted_and_rings() {
        let sample = Sample::direct().sandbox();
        let findings = sample.findings(Rule::Environment);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Note));
        assert!(sample.is_clear());
        assert_eq!(Sample::direct().findings(Rule::Environment), []);
    }

    #[test]
    fn a_test_job_may_address_either_world() {
        assert_eq!(Sample::test_to("qa-1").sandbox().findings(Rule::Environment), []);
    }
}
