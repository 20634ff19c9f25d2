//! A producer may do what the policy gives it, and nothing else.
//!
//! The marketing backend's credentials must not be able to send what looks like a fraud alert, and a
//! loop over all customers in the cards backend must end at its limit. Being authenticated is not enough.

use crate::{
    audience::Producer,
    guard::{Finding, Rule, Severity, case::Case},
    model::Recipients,
};

const REFUSE: (Rule, Severity) = (Rule::ProducerScope, Severity::Refuse);
const ASK: &str = "ask for it in producers.toml, or let another producer send it";

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    // A producer that is not known is label-missing's to refuse.
    let Some(producer) = case.producer else { return Vec::new() };
    [app(case, producer), intent(case, producer), recipients(case, producer)].into_iter().flatten().collect()
}

fn app(case: &Case<'_>, producer: &Producer) -> Option<Finding> {
    let app = case.job.app().filter(|app| !producer.may_use_app(app))?;
    Some(Finding::new(REFUSE, "app", format!("{} may not send to the app {app}", producer.id), ASK))
}

fn intent(case: &Case<'_>, producer: &Producer) -> Option<Finding> {
    let intent = case.job.intent().filter(|intent| !producer.may_claim(*intent))?;
    let reason = format!("{} may not send jobs with {} intent", producer.id, intent.as_str());
    Some(Finding::new(REFUSE, "intent", reason, ASK))
}

fn recipients(case: &Case<'_>, producer: &Producer) -> Option<Finding> {
    let (field, count) = match case.job.to()? {
        Recipients::Audience { name, .. } => {
            let reason = format!("{} may not send to the audience {name}", producer.id);
            return (!producer.may_use_audience(name))
                .then(|| Finding::new(REFUSE, "to.audience", reason, ASK));
        }
        Recipients::Users(users) => ("to.users", users.len()),
        Recipients::Devices(devices) => ("to.devices", devices.len()),
    };
    let limit = usize::try_from(producer.direct_limit).unwrap_or(usize::MAX).min(case.facts.max_recipients);
    let reason = match limit {
        _ if count <= limit => return None,
        0 => format!("{} may name no recipients", producer.id),
        _ => format!("{count} recipients; a job of {} may name {limit}", producer.id),
    };
    Some(Finding::new(REFUSE, field, reason, "name fewer recipients, or send to an audience"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::rules::sample::Sample;

    fn users(count: usize) -> Sample {
        let users: Vec<_> = (0..count).map(|n| format!("u-{n}")).collect();
        Sample::direct().change(|job| job["to"] = json!({"users": users}))
    }

    #[test]
    fn an_app_that_is_not_the_producer_s_is_refused() {
        let sample = Sample::direct().change(|job| job["app"] = "other".into());
        assert_eq!(sample.refused_by(Rule::ProducerScope), "app");
    }

    #[test]
    fn an_intent_that_is_not_the_producer_s_is_refused() {
        let findings = Sample::direct().by("qa").findings(Rule::ProducerScope);
        let fields: Vec<_> = findings.iter().map(|finding| finding.field.as_str()).collect();
        assert_eq!(fields, ["intent", "to.users"]);
    }

    #[test]
    fn an_audience_that_is_not_the_producer_s_is_refused() {
        assert_eq!(Sample::campaign("test", "qa").by("qa").refused_by(Rule::ProducerScope), "to.audience");
        assert_eq!(Sample::campaign("test", "qa").findings(Rule::ProducerScope), []);
    }

    #[test]
    fn the_producer_s_and_the_service_s_limit_both_hold() {
        assert!(users(20).is_clear());
        assert_eq!(users(21).refused_by(Rule::ProducerScope), "to.users");
        assert_eq!(users(11).max_recipients(10).refused_by(Rule::ProducerScope), "to.users");
    }

    #[test]
    fn a_producer_without_a_direct_limit_may_name_nobody() {
        let findings = Sample::test_to("qa-1").by("qa").findings(Rule::ProducerScope);
        assert_eq!(findings[0].reason, "qa may name no recipients");
    }
}
