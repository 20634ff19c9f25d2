//! What no file can know alone: that the names in one exist in another, and fit.

use std::collections::BTreeSet;

use super::{
    Policy,
    cohort::{Audience, Class, Who},
    plan::{Plan, StageTake, Take},
    problem::{At, Place, Problems},
    words::{Percent, Rate},
};
use crate::model::{AppId, PlanName};

/// Compares the files with each other.
pub(super) fn across(policy: &Policy, problems: &Problems) {
    audiences(policy, problems);
    producers(policy, problems);
    plans(policy, problems);
}

fn known_app(policy: &Policy, app: &At<AppId>, problems: &Problems) {
    if policy.app(&app.value).is_none() {
        let problem = format!("names the app {}, which apps.toml does not describe", app.value);
        problems.error(&app.place, problem, "describe it there, or correct the name");
    }
}

fn audiences(policy: &Policy, problems: &Problems) {
    for audience in policy.audiences() {
        known_app(policy, &audience.app, problems);
        let file = Place::file(&audience.app.place.file);
        let Some(plan) = &audience.default_plan else {
            if audience.class != Class::Test {
                let problem = "has no default_plan, so a campaign to it must name a plan";
                problems.warning(&file, problem, "write default_plan = \"…\"");
            }
            continue;
        };
        match policy.plan(&plan.value) {
            None => {
                let problem = format!("names the plan {}, which is not in plans/", plan.value);
                problems.error(&plan.place, problem, "add it there, or correct the name");
            }
            Some(known) => {
                let first = known.first_audience().and_then(|name| policy.audience(name));
                if let Some(first) = first
                    && first.app() != audience.app()
                {
                    let problem = format!(
                        "names the plan {}, whose first stage ({}) has another app, {}",
                        plan.value,
                        first.name,
                        first.app()
                    );
                    problems.error(&plan.place, problem, "choose a plan that begins with people of this app");
                }
                overruns(policy, audience, known, problems);
            }
        }
    }
}

/// A stage of customers that goes on for long brings its rate times the share of openers: more than the app's own systems are
/// said to take is doubtful, since approvers will be asked to accept it each time.
fn overruns(policy: &Policy, audience: &Audience, plan: &Plan, problems: &Problems) {
    let Some(opens) = policy.app(audience.app()).map(|app| app.opens) else { return };
    let Some(capacity) = opens.capacity.filter(|_| audience.class == Class::Production) else { return };
    let stages = plan.stages.iter().filter_map(|stage| stage.max_rate).max();
    // The pace bounds every stage, also those that have no bound of their own.
    let fastest =
        plan.pace.as_ref().map_or(stages, |pace| Some(stages.map_or(pace.max, |rate| rate.min(pace.max))));
    let brings = |rate: Rate| f64::from(rate.per_second()) * opens.share;
    let capacity = f64::from(capacity.per_second());
    if let Some(rate) = fastest.filter(|rate| brings(*rate) > capacity) {
        let file = Place::file(&format!("plans/{}.toml", plan.name));
        let problem = format!(
            "brings {} up to {:.0} opens a second at {} notifications a second, and apps.toml says that our own systems take {capacity}",
            audience.name,
            brings(rate),
            rate.per_second()
        );
        problems.warning(
            &file,
            problem,
            format!("let it send {:.0} a second or fewer", (capacity / opens.share).floor()),
        );
    }
}

fn producers(policy: &Policy, problems: &Problems) {
    let mut used = BTreeSet::new();
    for producer in policy.producers() {
        for app in &producer.apps {
            known_app(policy, app, problems);
        }
        for audience in &producer.audiences {
            used.insert(&audience.value);
            let Some(known) = policy.audience(&audience.value) else {
                let problem = format!("names the audience {}, which is not in cohorts/", audience.value);
                problems.error(&audience.place, problem, "add it there, or correct the name");
                continue;
            };
            if !producer.may_use_app(known.app()) {
                let problem = format!(
                    "names the audience {}, whose app {} this producer may not use",
                    known.name,
                    known.app()
                );
                problems.error(&audience.place, problem, "add the app to apps, or leave the audience out");
            }
        }
    }
    for audience in policy.audiences() {
        let sent_to = used.contains(&audience.name);
        let in_a_plan = policy.plans().any(|plan| plan.first_audience() == Some(&audience.name));
        // Testers need no campaign: named test jobs reach them.
        if !sent_to && !in_a_plan && audience.class != Class::Test {
            let file = Place::file(&audience.app.place.file);
            problems.warning(&file, "is an audience that no producer may use", "name it in producers.toml");
        }
    }
}

fn plans(policy: &Policy, problems: &Problems) {
    for plan in policy.plans() {
        let file = Place::file(&format!("plans/{}.toml", plan.name));
        if let Some(first) = plan.first_audience_at() {
            match policy.audience(&first.value) {
                None => {
                    let problem = format!("names the audience {}, which is not in cohorts/", first.value);
                    problems.error(&first.place, problem, "add it there, or correct the name");
                }
                Some(known) if known.class != Class::Internal => {
                    let problem =
                        format!("names the audience {}, whose class is {}", known.name, known.class);
                    problems.error(&first.place, problem, "let an internal audience go first");
                }
                Some(_) if plan.customers_first.is_some() => {
                    let problem = "argues that customers go first, and our own people do";
                    problems.warning(&file, problem, "leave customers_first out");
                }
                Some(_) => {}
            }
        } else if plan.customers_first.is_none() {
            begins_with_customers(policy, plan, problems);
        }
        let last = plan.stages.last().map(|stage| &stage.take);
        if !matches!(last, Some(Take::Percent(Percent::ALL))) {
            let fix = "end with [[stage]] percent = 100";
            problems.warning(&file, "never reaches its whole audience", fix);
        }
        let signal = plan.pace.as_ref().and_then(|pace| pace.signal.as_ref());
        if let Some(signal) = signal
            && policy.signal(&signal.value).is_none()
        {
            let problem = format!("names the signal {:?}, which apps.toml does not define", signal.value);
            problems.error(&signal.place, problem, "define it there under [signals], or correct the name");
        }
    }
}

/// The plan of a production audience begins with our own people, or its file says why not. One that a job might name is
/// only doubtful.
fn begins_with_customers(policy: &Policy, plan: &Plan, problems: &Problems) {
    let file = Place::file(&format!("plans/{}.toml", plan.name));
    let is_its_plan = |audience: &&Audience| {
        audience.class == Class::Production && audience.default_plan() == Some(&plan.name)
    };
    if let Some(audience) = policy.audiences().find(is_its_plan) {
        let problem =
            format!("is the plan of {}, and nobody of our own sees what it sends first", audience.name);
        let fix =
            "begin with [[stage]] audience = \"…\", or argue: customers_first = \"why it is all right\"";
        problems.error(&file, problem, fix);
    } else if !only_for_our_own(policy, &plan.name) {
        let problem = "begins with customers: nobody of our own sees it first";
        problems.warning(&file, problem, "begin with [[stage]] audience = \"…\"");
    }
}

/// Is it the plan of audiences, and of none that is customers'?
fn only_for_our_own(policy: &Policy, plan: &PlanName) -> bool {
    let mut users = policy.audiences().filter(|audience| audience.default_plan() == Some(plan)).peekable();
    users.peek().is_some() && users.all(|audience| audience.class != Class::Production)
}

/// What the policy is, in a few lines.
pub(super) fn summary(policy: &Policy) -> String {
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let mut lines = vec![format!(
        "{}, {}, {}, {}",
        count(policy.apps().count(), "app"),
        count(policy.producers().count(), "producer"),
        count(policy.audiences().count(), "audience"),
        count(policy.plans().count(), "plan"),
    )];
    for audience in policy.audiences() {
        let who = match &audience.who {
            Who::Members(members) => format!("{} listed", members.len()),
            Who::Select(_) => "selected".to_owned(),
        };
        let plan = audience.default_plan().map_or("no plan", |plan| plan.as_str());
        lines.push(format!(
            "  {:<20} {:<11} {who:<14} at most {:>9} devices  {plan}",
            audience.name, audience.class, audience.max_devices
        ));
    }
    for plan in policy.plans() {
        let stages: Vec<_> = plan
            .stages
            .iter()
            .map(|stage| match stage.take() {
                StageTake::Audience(name) => name.to_string(),
                StageTake::Devices(count) => format!("{count} devices"),
                StageTake::Percent(share) => share.to_string(),
            })
            .collect();
        lines.push(format!("  {:<20} {}", plan.name, stages.join(" → ")));
    }
    lines.push(format!("hash {}", policy.hash()));
    lines.join("\n")
}
