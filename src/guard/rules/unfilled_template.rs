//! A placeholder that nobody filled in: `Hi {{first_name}}`, `%s sent you a message`, `null`.
//!
//! Everybody gets the same broken text, so it is always a mistake of a program and never of taste. A
//! campaign waits for a person; a direct job is refused, since its producer can send it again, filled in.

use crate::guard::{Finding, Rule, Severity, case::Case, content::placeholders};

/// More findings would say no more.
const MOST: usize = 5;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let severity = if case.is_campaign() { Severity::Hold } else { Severity::Refuse };
    let texts = case.job.notification().texts();
    let findings = texts.flat_map(|(field, text)| {
        placeholders(text).into_iter().map(move |(span, kind)| Finding {
            span: Some(span.clone()),
            ..Finding::new(
                (Rule::UnfilledTemplate, severity),
                field.clone(),
                kind.as_str(),
                "fill it in before the job is enqueued",
            )
            .matching(text.get(span).unwrap_or_default())
        })
    });
    findings.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_direct_job_with_a_placeholder_is_refused_with_its_place() {
        let sample = Sample::direct().body("Cześć {{imię}}, masz wiadomość");
        assert_eq!(sample.refused_by(Rule::UnfilledTemplate), "notification.body");
        let finding = &sample.findings(Rule::UnfilledTemplate)[0];
        assert_eq!((finding.span.clone(), finding.severity), (Some(8..17), Severity::Refuse));
        assert_eq!(finding.matched.as_deref(), Some("{{imię}}"));
    }

    #[test]
    fn a_campaign_with_a_placeholder_waits_for_a_person() {
        let sample = Sample::campaign("production", "customers").body("Hello %s");
        assert_eq!(sample.findings(Rule::UnfilledTemplate)[0].severity, Severity::Hold);
    }

    #[test]
    fn every_language_is_read() {
        let sample = Sample::direct()
            .change(|job| job["notification"]["localized"] = json!({"de": {"body": "Hallo {vorname}"}}));
        assert_eq!(sample.refused_by(Rule::UnfilledTemplate), "notification.localized.de.body");
    }

    #[test]
    fn a_text_full_of_placeholders_is_told_in_a_few_lines() {
        let sample = Sample::direct().body(&"{0} ".repeat(50));
        assert_eq!(sample.findings(Rule::UnfilledTemplate).len(), MOST);
    }

    #[test]
    fn a_percentage_is_clear() {
        assert!(Sample::direct().body("50% zniżki, 100 % sure").is_clear());
    }
}
