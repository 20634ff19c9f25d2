//! **I1 no-test-to-production**: a test job never reaches anybody who is no registered tester of the app.
//!
//! This is the accident itself: three test texts rang every customer's phone. No flag, role, approval or
//! setting makes an exception. [`crate::guard::Cleared::admits`] asks again for every single device.

use crate::{
    audience::Class,
    guard::{Finding, FoundRecipient, Rule, Severity, case::Case},
    model::{Intent, Recipients},
};

const REFUSE: (Rule, Severity) = (Rule::TestToProduction, Severity::Refuse);

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    if !case.is(Intent::Test) {
        return Vec::new();
    }
    audience(case).or_else(|| plan(case)).or_else(|| people(case)).into_iter().collect()
}

fn audience(case: &Case<'_>) -> Option<Finding> {
    let Some(Recipients::Audience { name, .. }) = case.job.to() else { return None };
    // An unknown audience is taken for the worst that it could be.
    let class = case.audience().map_or(Class::Production, |audience| audience.class);
    if class == Class::Test {
        return None;
    }
    let reason = format!("a test job to the audience {name}, whose class is {class}");
    Some(Finding::new(REFUSE, "to.audience", reason, "send it to a test-class audience of this app"))
}

/// A plan may begin with people beside the audience: for a test, they are strangers too.
fn plan(case: &Case<'_>) -> Option<Finding> {
    let plan = case.plan()?;
    let name = plan.first_audience()?;
    let is_test = case.policy.audience(name).is_some_and(|first| first.class == Class::Test);
    if is_test {
        return None;
    }
    let reason = format!("a test job by the plan {}, which begins with the audience {name}", plan.name);
    Some(Finding::new(REFUSE, "plan", reason, "choose a plan without an audience of its own"))
}

/// One finding for the first stranger, with the count of all: a hundred lines would say no more.
fn people(case: &Case<'_>) -> Option<Finding> {
    // What the job asks for and what the registry found are both looked at: a device belongs to whoever
    // the registry says, not to whoever was named.
    let named: &[_] = match case.job.to() {
        Some(Recipients::Users(users)) => users,
        _ => &[],
    };
    let strange_name = named.iter().map(|user| !case.testers.contains(user));
    let strange_device = case.facts.recipients.iter().map(|found| {
        let by_name = matches!(found, FoundRecipient::User(user, _) if !case.testers.contains(user));
        by_name || found.devices().iter().any(|device| !case.testers.contains(&device.user))
    });
    let (first, count) = first_and_count(strange_name).or_else(|| first_and_count(strange_device))?;
    let field = match case.job.to() {
        Some(Recipients::Devices(_)) => format!("to.devices[{first}]"),
        _ => format!("to.users[{first}]"),
    };
    let reason = format!("a test job to {count} recipient(s) who are no registered testers of the app");
    let fix = "name registered testers only; they are the members of the app's test-class audiences";
    let finding = Finding::new(REFUSE, field, reason, fix);
    Some(match named.get(first) {
        Some(user) => finding.matching(user.as_str()),
        None => finding,
    })
}

fn first_and_count(strange: impl Iterator<Item = bool>) -> Option<(usize, usize)> {
    let mut places = strange.enumerate().filter_map(|(n, strange)| strange.then_some(n));
    let first = places.next()?;
    Some((first, 1 + places.count()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        guard::{
            NotAdmitted, Verdict,
            rules::sample::{self, Sample},
        },
        model::{Device, Environment, UserId},
    };

    #[test]
    fn a_test_to_customers_is_refused_whatever_else_is_wrong() {
        for audience in ["customers", "staff", "nobody"] {
            let sample = Sample::campaign("test", audience);
            assert_eq!(sample.refused_by(Rule::TestToProduction), "to.audience", "{audience}");
        }
        assert_eq!(Sample::campaign("test", "qa").findings(Rule::TestToProduction), []);
    }

    #[test]
    fn a_plan_that_begins_with_our_own_people_is_none_for_a_test() {
        let by = |plan: &str| Sample::campaign("test", "qa").change(|job| job["plan"] = plan.into());
        assert_eq!(by("staff-first").refused_by(Rule::TestToProduction), "plan");
        assert!(by("at-once").is_clear());
    }

    #[test]
    fn the_three_texts_of_the_accident_reach_no_customer() {
        for text in ["ęśąćż", "test wiadomości push", "Życzymy miłego dnia"] {
            let customer = Sample::test_to("u-1").body(text);
            assert_eq!(customer.refused_by(Rule::TestToProduction), "to.users[0]");
            assert!(Sample::test_to("qa-1").body(text).is_clear(), "a tester may be rung");
        }
    }

    #[test]
    fn i1_a_test_s_proof_admits_the_devices_of_testers_and_no_proof_those_of_another_app() {
        let of =
            |user: &str| sample::device(&UserId::parse(user).expect("a user"), 0, Environment::Production);
        let elsewhere = Device { app: "other".parse().expect("an app"), ..of("qa-1") };
        let Verdict::Clear(test, _) = Sample::test_to("qa-1").clear() else { panic!("must be clear") };
        assert_eq!((test.intent(), test.admits(&of("qa-2"))), (Intent::Test, Ok(())));
        assert_eq!(test.admits(&of("u-1")), Err(NotAdmitted::NoTester));
        assert_eq!(test.admits(&elsewhere), Err(NotAdmitted::OtherApp));
        let Verdict::Clear(real, _) = Sample::direct().clear() else { panic!("must be clear") };
        assert_eq!((real.intent(), real.admits(&of("u-1"))), (Intent::Production, Ok(())));
        assert_eq!(real.admits(&elsewhere), Err(NotAdmitted::OtherApp));
        assert_eq!((real.app().as_str(), real.key()), ("bank", &Sample::direct().key()));
    }

    #[test]
    fn the_first_stranger_is_named_to_whoever_may_see_it() {
        let findings = Sample::test_to("u-1").findings(Rule::TestToProduction);
        assert_eq!(findings[0].matched.as_deref(), Some("u-1"));
    }

    #[test]
    fn one_stranger_among_testers_is_enough() {
        let sample = Sample::direct().change(|job| job["intent"] = json!("test")).change(|job| {
            job["to"] = json!({"users": ["qa-1", "u-7", "qa-2", "u-8"]});
        });
        assert_eq!(sample.refused_by(Rule::TestToProduction), "to.users[1]");
        let finding = &sample.findings(Rule::TestToProduction)[0];
        assert!(finding.reason.contains("2 recipient(s)"), "{}", finding.reason);
    }

    #[test]
    fn a_tester_s_name_on_a_customer_s_device_does_not_help() {
        let sample = Sample::test_to("qa-1").owned_by("u-1");
        assert_eq!(sample.refused_by(Rule::TestToProduction), "to.users[0]");
    }

    #[test]
    fn a_named_device_must_belong_to_a_tester() {
        let device = |owner: &str| {
            let id = "00000000-0000-0000-0000-000000000001";
            let to = |job: &mut serde_json::Value| job["to"] = json!({"devices": [id]});
            Sample::test_to("qa-1").change(to).owned_by(owner)
        };
        assert_eq!(device("u-1").refused_by(Rule::TestToProduction), "to.devices[0]");
        assert!(device("qa-1").is_clear());
    }

    #[test]
    fn a_tester_of_another_app_is_no_tester_of_this_one() {
        assert_eq!(Sample::test_to("other-1").refused_by(Rule::TestToProduction), "to.users[0]");
    }
}
