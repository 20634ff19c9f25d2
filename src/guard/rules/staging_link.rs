//! A link, or an image, of a host that the app has not declared: a test system, the developer's own machine, anybody's.
//!
//! A text that was tried out keeps the address that it was tried out with. Customers who tap it meet a page that is not
//! there, or one that should not be seen; and whoever has a producer's credential would send them to a page of their own.
//! A link into the app itself (`bank://…`) has no host.

use serde_json::Value;

use crate::{
    guard::{
        Finding, Rule, Severity, Span,
        case::Case,
        content::{Doubt, doubt, hosts},
    },
    model::Intent,
};

/// More findings would say no more.
const MOST: usize = 5;

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    // An app that is not known is label-missing's to refuse.
    let Some(app) = case.app else { return Vec::new() };
    let production = !case.is(Intent::Test);
    let doubtful = |text: &str, span: &Span| doubt(&text[span.clone()], &app.link_hosts, production);
    let notification = case.job.notification();
    let mut findings = Vec::new();
    let link = notification.link.as_deref().map(|link| ("notification.link".to_owned(), link));
    for (field, text) in link.into_iter().chain(notification.texts()) {
        let wrong = hosts(text).filter_map(|span| Some((doubtful(text, &span)?, span)));
        findings.extend(wrong.map(|(doubt, span)| {
            let matched = text[span.clone()].to_owned();
            Finding { span: Some(span), ..finding(&field, doubt) }.matching(matched)
        }));
    }
    // What is passed through may hold anything at any depth, and its keys are the producer's own: the field is told as a whole.
    let mut strange = |field: &str, text: &str| {
        let wrong = hosts(text).filter_map(|span| Some((doubtful(text, &span)?, span)));
        findings.extend(wrong.map(|(doubt, span)| finding(field, doubt).matching(&text[span])));
    };
    notification.data.values().for_each(|text| strange("notification.data", text));
    for (field, object) in
        [("notification.apns", &notification.apns), ("notification.fcm", &notification.fcm)]
    {
        object.values().for_each(|value| strings(value, &mut |text| strange(field, text)));
    }
    findings.truncate(MOST);
    findings
}

fn finding(field: &str, doubt: Doubt) -> Finding {
    let fix = match doubt {
        Doubt::Elsewhere => "correct the address, or add its host to the app's link_hosts in apps.toml",
        Doubt::NotPlain => "write the host alone behind the slashes, in ASCII",
        Doubt::Local | Doubt::Staging => "write the address that customers are meant to see",
    };
    Finding::new((Rule::StagingLink, Severity::Refuse), field, doubt.as_str(), fix)
}

fn strings(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(values) => values.iter().for_each(|value| strings(value, look)),
        Value::Object(object) => object.values().for_each(|value| strings(value, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::rules::sample::Sample;

    fn link(link: &str) -> Sample {
        Sample::direct().change(|job| job["notification"]["link"] = json!(link))
    }

    #[test]
    fn a_link_leads_to_a_declared_host_or_into_the_app() {
        assert!(link("https://bank.example.pl/news?id=7").is_clear());
        assert!(link("bank://transfers/7").is_clear());
        for wrong in
            ["https://staging.bank.example.pl/", "http://localhost:8080/x", "https://evil.example.com/"]
        {
            assert_eq!(link(wrong).refused_by(Rule::StagingLink), "notification.link", "{wrong}");
        }
        let finding = &link("https://evil.example.com/").findings(Rule::StagingLink)[0];
        assert_eq!(
            (finding.span.clone(), finding.matched.as_deref()),
            (Some(8..24), Some("evil.example.com"))
        );
    }

    #[test]
    fn an_image_or_a_text_in_any_language_is_looked_at_as_well() {
        let image = Sample::direct().change(|job| {
            job["notification"]["fcm"] =
                json!({"android": {"notification": {"image": "http://10.0.0.7/a.png"}}});
        });
        assert_eq!(image.refused_by(Rule::StagingLink), "notification.fcm");
        let data = Sample::direct()
            .change(|job| job["notification"]["data"] = json!({"u": "https://qa.example.pl"}));
        assert_eq!(data.refused_by(Rule::StagingLink), "notification.data");
        let text = Sample::direct().change(|job| {
            job["notification"]["localized"] = json!({"de": {"body": "Siehe https://test.example.pl!"}});
        });
        assert_eq!(text.refused_by(Rule::StagingLink), "notification.localized.de.body");
    }

    #[test]
    fn a_test_may_link_to_a_declared_test_system_and_what_customers_get_may_not() {
        let link = |sample: Sample| {
            sample.change(|job| job["notification"]["link"] = "https://staging.bank.example.pl/x".into())
        };
        assert_eq!(link(Sample::test_to("qa-1")).findings(Rule::StagingLink), []);
        assert_eq!(link(Sample::direct()).refused_by(Rule::StagingLink), "notification.link");
    }

    #[test]
    fn a_campaign_with_a_strange_link_is_refused_not_held() {
        let sample = Sample::campaign("production", "customers")
            .change(|job| job["notification"]["link"] = json!("https://uat.example.pl/"));
        assert_eq!(sample.findings(Rule::StagingLink)[0].severity, Severity::Refuse);
    }

    #[test]
    fn a_text_full_of_links_is_told_in_a_few_lines() {
        let sample = Sample::direct().body(&"https://a.example.com ".repeat(30));
        assert_eq!(sample.findings(Rule::StagingLink).len(), MOST);
    }
}
