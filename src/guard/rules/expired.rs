//! Nothing is sent late (I9), and nothing waits longer than a provider would keep it.
//!
//! A code that expired, a sale that is over: worse than no message. A date far ahead is a typing mistake
//! more often than a wish. A job that must wait (`not_before`) is no matter for a refusal.

use jiff::SignedDuration;

use crate::guard::{Finding, Rule, Severity, case::Case};

const REFUSE: (Rule, Severity) = (Rule::Expired, Severity::Refuse);
const FIELD: &str = "expires_at";

/// FCM keeps a message for at most four weeks.
/// <https://firebase.google.com/docs/cloud-messaging/concept-options#ttl>
const LONGEST: SignedDuration = SignedDuration::from_hours(28 * 24);

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    finding(case).into_iter().collect()
}

fn finding(case: &Case<'_>) -> Option<Finding> {
    let left = case.expires_at.duration_since(case.now);
    if left <= SignedDuration::ZERO {
        let reason = format!("the job expired at {}", case.expires_at);
        return Some(Finding::new(REFUSE, FIELD, reason, "send it in time, or with a later expires_at"));
    }
    if left > LONGEST {
        let reason = format!("{} is more than 28 days ahead", case.expires_at);
        return Some(Finding::new(REFUSE, FIELD, reason, "choose an instant within four weeks"));
    }
    // The job's form was checked against what it wrote; here the default expiry counts as well.
    if case.job.not_before().is_some_and(|start| start >= case.expires_at) {
        let reason = format!("the job would expire at {}, before its not_before", case.expires_at);
        return Some(Finding::new(REFUSE, FIELD, reason, "write an expires_at after not_before"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    fn expiring(at: &str) -> Sample {
        Sample::direct().change(|job| job["expires_at"] = at.into())
    }

    #[test]
    fn a_job_past_its_expiry_is_refused() {
        assert_eq!(expiring("2026-11-21T12:00:00Z").refused_by(Rule::Expired), FIELD);
        assert!(expiring("2026-11-21T12:00:01Z").is_clear());
    }

    #[test]
    fn a_direct_job_without_an_expiry_counts_from_its_arrival() {
        assert!(Sample::direct().at("2026-11-21T12:59:59Z").is_clear());
        assert_eq!(Sample::direct().at("2026-11-21T13:00:00Z").refused_by(Rule::Expired), FIELD);
    }

    #[test]
    fn a_date_too_far_ahead_is_refused() {
        assert!(expiring("2026-12-19T12:00:00Z").is_clear());
        assert_eq!(expiring("2026-12-19T12:00:01Z").refused_by(Rule::Expired), FIELD);
    }

    #[test]
    fn a_job_that_waits_is_not_refused_unless_it_would_wait_past_its_end() {
        let from = |at: &str| Sample::direct().change(|job| job["not_before"] = at.into());
        assert!(from("2026-11-21T12:30:00Z").is_clear());
        assert_eq!(from("2026-11-21T13:30:00Z").refused_by(Rule::Expired), FIELD);
    }
}
