//! A campaign of a producer whose notification was stopped for what it is a few minutes ago.
//!
//! The pushes of the accident came one after another: whoever tries things on the wrong audience tries again, with other
//! words. The text that is stopped tells something of the next, which might pass every other rule: it waits for a person.

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let (Some(app), Some(at)) = (case.app, case.facts.past.flagged) else { return Vec::new() };
    let within = app.guard.contagion_within;
    // A test cannot leave the testers, and is how a mistake is mended.
    if !case.is_campaign()
        || !case.is(Intent::Production)
        || case.now.duration_since(at) > within_signed(within)
    {
        return Vec::new();
    }
    let producer = &case.key.producer;
    let reason = format!("a notification of {producer} was stopped at {at}; this one follows it closely");
    let fix = "look in the audit at what was stopped, and why (bellwether audit list); accept this one if it has \
        nothing to do with it";
    vec![Finding::new((Rule::Contagion, Severity::Hold), "user_id", reason, fix)]
}

fn within_signed(within: std::time::Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(within).unwrap_or(jiff::SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn what_follows_a_stopped_notification_waits_for_a_person() {
        let campaign = |flagged: &str| Sample::campaign("production", "customers").flagged_at(flagged);
        let findings = campaign("2026-11-21T11:30:00Z").findings(Rule::Contagion);
        assert_eq!(findings[0].severity, Severity::Hold);
        assert!(!campaign("2026-11-21T11:30:00Z").is_clear());
        assert!(campaign("2026-11-21T11:29:59Z").is_clear(), "half an hour has passed");
    }

    #[test]
    fn a_one_time_code_and_a_test_are_not_held_for_what_was_before() {
        assert!(Sample::direct().flagged_at("2026-11-21T11:59:00Z").is_clear());
        assert!(Sample::campaign("test", "qa").flagged_at("2026-11-21T11:59:00Z").is_clear());
    }
}
