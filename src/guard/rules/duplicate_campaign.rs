//! A campaign that says to an audience what another has just said to it.
//!
//! A retried script, a button pressed twice, a queue replayed after an outage: each copy has an id of its own, so the
//! idempotency key does not catch it, and every phone would ring again. It may be meant, so a person decides.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    // A test is repeated until it is right.
    if !case.is_campaign() || !case.is(Intent::Production) {
        return Vec::new();
    }
    let Some((earlier, at)) = case.facts.past.duplicate else { return Vec::new() };
    let reason = format!("the campaign {earlier}, which arrived at {at}, says the same to the same audience");
    let fix = "accept it if both are meant; else cancel this one";
    vec![Finding::new((Rule::DuplicateCampaign, Severity::Hold), "notification", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn the_same_words_to_the_same_audience_wait_for_a_person() {
        let sample = Sample::campaign("production", "customers").duplicate_of(7);
        let findings = sample.findings(Rule::DuplicateCampaign);
        assert_eq!((findings[0].severity, findings[0].field.as_str()), (Severity::Hold, "notification"));
        assert!(!sample.is_clear());
        assert!(Sample::campaign("production", "customers").is_clear());
    }

    #[test]
    fn a_test_may_be_repeated() {
        assert!(Sample::campaign("test", "qa").duplicate_of(7).is_clear());
    }
}
