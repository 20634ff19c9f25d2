//! A job must say what it is: intent, app and recipients, from a producer that is known.
//!
//! The pushes of the accident that this guard is made for bore no label at all, and a missing label was
//! read as the usual one. Here it is no label that can be guessed: unknown is no (I3).

use crate::{
    guard::{Finding, Rule, Severity, case::Case},
    model::Recipients,
};

const REFUSE: (Rule, Severity) = (Rule::LabelMissing, Severity::Refuse);

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    [intent(case), app(case), recipients(case), producer(case)].into_iter().flatten().collect()
}

fn intent(case: &Case<'_>) -> Option<Finding> {
    const FIX: &str = "write \"test\" or \"production\"";
    match (case.job.intent(), case.job.claimed_intent()) {
        (Some(_), _) => None,
        (None, None) => {
            Some(Finding::new(REFUSE, "intent", "the job does not say what it claims to be", FIX))
        }
        (None, Some(word)) => Some(
            Finding::new(REFUSE, "intent", "the job claims an intent that does not exist", FIX)
                .matching(word),
        ),
    }
}

fn app(case: &Case<'_>) -> Option<Finding> {
    match (case.job.app(), case.app) {
        (Some(_), Some(_)) => None,
        (None, _) => Some(Finding::new(REFUSE, "app", "the job names no app", "name the recipients' app")),
        (Some(id), None) => {
            let reason = format!("the policy knows no app {id}");
            Some(Finding::new(REFUSE, "app", reason, "correct the name, or describe the app in apps.toml"))
        }
    }
}

fn recipients(case: &Case<'_>) -> Option<Finding> {
    let Some(to) = case.job.to() else {
        let fix = "write users, devices, or an audience with at_most";
        return Some(Finding::new(REFUSE, "to", "the job does not say whom it is for", fix));
    };
    let Recipients::Audience { name, .. } = to else { return None };
    match case.audience() {
        None => {
            let reason = format!("the policy knows no audience {name}");
            Some(Finding::new(REFUSE, "to.audience", reason, "correct the name, or add it to cohorts/"))
        }
        Some(audience) if case.app.is_some_and(|app| app.id != *audience.app()) => {
            let reason = format!("the audience {name} belongs to another app, {}", audience.app());
            Some(Finding::new(REFUSE, "to.audience", reason, "name an audience of the job's app"))
        }
        Some(_) => None,
    }
}

fn producer(case: &Case<'_>) -> Option<Finding> {
    if case.producer.is_some() {
        return None;
    }
    let reason = format!("the policy knows no producer {}", case.key.producer);
    Some(Finding::new(REFUSE, "producer", reason, "describe the producer in producers.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_job_without_a_label_is_refused() {
        for (label, field) in [("intent", "intent"), ("app", "app"), ("to", "to")] {
            let sample = Sample::direct().change(|job| {
                job.as_object_mut().expect("an object").remove(label);
            });
            assert_eq!(sample.refused_by(Rule::LabelMissing), field);
        }
    }

    #[test]
    fn a_label_that_nobody_knows_is_refused() {
        let intent = Sample::direct().change(|job| job["intent"] = "prodution".into());
        assert_eq!(intent.refused_by(Rule::LabelMissing), "intent");
        let app = Sample::direct().change(|job| job["app"] = "bnak".into());
        assert_eq!(app.refused_by(Rule::LabelMissing), "app");
        assert_eq!(Sample::direct().by("nobody").refused_by(Rule::LabelMissing), "producer");
        assert_eq!(Sample::campaign("production", "nobody").refused_by(Rule::LabelMissing), "to.audience");
    }

    #[test]
    fn an_audience_of_another_app_is_no_audience_of_this_one() {
        assert_eq!(Sample::campaign("test", "elsewhere").refused_by(Rule::LabelMissing), "to.audience");
    }

    #[test]
    fn a_labelled_job_is_clear() {
        assert!(Sample::direct().is_clear());
    }
}
