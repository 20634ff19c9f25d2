//! A producer that would reach more devices in a day than it is there for.
//!
//! Whoever holds a stolen credential writes another text to each customer, and no two of them are alike. What cannot be hidden
//! is how many phones ring. A producer's day is therefore bounded: beyond it its direct jobs are refused to whoever was not
//! rung yet, and its campaigns wait for a person. What people have approved is not held against one-time codes: for a direct
//! job direct jobs alone count.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    // Testers are few, and counted elsewhere.
    if !case.is(Intent::Production) {
        return Vec::new();
    }
    let producer = &case.key.producer;
    if !case.is_campaign() {
        let Some(limit) = case.facts.reach.over_day else { return Vec::new() };
        let reason = format!("{producer} may reach {limit} devices a day, and the fleet has no more to give");
        let fix = "nobody new is rung for it before the next day (UTC); if that is wrong, raise devices_per_day in producers.toml";
        return vec![Finding::new((Rule::BlastRadius, Severity::Refuse), "to", reason, fix)];
    }
    let Some(over) = case.facts.past.over_day else { return Vec::new() };
    let (limit, today) = (over.devices_per_day, over.today);
    let reason = format!(
        "{producer} may reach {limit} devices a day, and with this campaign and what else may go out today it may come to {today}"
    );
    let fix = "raise devices_per_day in producers.toml, or send it another day; accept it if this day is meant to be so";
    vec![Finding::new((Rule::BlastRadius, Severity::Hold), "to.at_most", reason, fix)]
}

#[cfg(test)]
mod tests {
    use crate::guard::{Rule, Verdict, rules::sample::Sample};

    #[test]
    fn a_direct_job_to_one_device_too_many_is_refused_and_its_reason_names_the_limit() {
        assert_eq!(Sample::direct().findings(Rule::BlastRadius), []);
        let sample = Sample::direct().over_day(1_000);
        assert_eq!(sample.refused_by(Rule::BlastRadius), "to");
        let findings = sample.findings(Rule::BlastRadius);
        assert!(findings[0].reason.contains("cards may reach 1000 devices"), "{}", findings[0].reason);
    }

    #[test]
    fn a_campaign_beyond_the_producers_day_waits_for_a_person() {
        let sample = Sample::campaign("production", "customers").over_day(1_000);
        let Verdict::Hold(findings) = sample.clear() else { panic!("must be held") };
        assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), [Rule::BlastRadius]);
        assert!(findings[0].reason.ends_with("it may come to 1100"), "{}", findings[0].reason);
    }

    #[test]
    fn testers_do_not_count() {
        assert_eq!(Sample::test_to("tester-1").over_day(1).findings(Rule::BlastRadius), []);
    }
}
