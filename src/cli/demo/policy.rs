//! The demo's policy: the shipped one, so that the demo runs from any folder, and what the demo adds to it.

use crate::audience::{Policy, PolicyFile};

/// The app of the shipped policy.
pub(in crate::cli) const APP: &str = "pl.example.bank";

/// How many own people the bank has.
pub(super) const PEOPLE: u64 = 3_000;

/// Who sends to our own people. The shipped policy lists nine employees, too few to be worth looking at.
pub(super) const PRODUCER: &str = "newsroom";

/// Our own people.
pub(super) const AUDIENCE: &str = "our-people";

/// The plan of the demo's campaigns to our own people.
pub(super) const PLAN: &str = "in-seconds";

/// The shipped policy.
const SHIPPED: [(&str, &str); 9] = [
    ("apps.toml", include_str!("../../../audiences/apps.toml")),
    ("producers.toml", include_str!("../../../audiences/producers.toml")),
    ("cohorts/customers-pl.toml", include_str!("../../../audiences/cohorts/customers-pl.toml")),
    ("cohorts/qa-phones.toml", include_str!("../../../audiences/cohorts/qa-phones.toml")),
    ("cohorts/qa-phones.txt", include_str!("../../../audiences/cohorts/qa-phones.txt")),
    ("cohorts/staff.toml", include_str!("../../../audiences/cohorts/staff.toml")),
    ("cohorts/staff.txt", include_str!("../../../audiences/cohorts/staff.txt")),
    ("plans/cautious.toml", include_str!("../../../audiences/plans/cautious.toml")),
    ("plans/staff-only.toml", include_str!("../../../audiences/plans/staff-only.toml")),
];

const PRODUCERS: &str = r#"
# Added by the demo.
[producers.newsroom]
owners = ["newsroom-lead"]
apps = ["pl.example.bank"]
intents = ["production"]
audiences = ["our-people", "newest-app-pl"]
"#;

/// Some of the customers, so that the demo is over within a minute.
pub(super) const CUSTOMERS: &str = "newest-app-pl";

const CUSTOMERS_COHORT: &str = r#"# Added by the demo.
class = "production"
app = "pl.example.bank"
description = "Customers in Poland who have the newest version"
default_plan = "customers-in-seconds"

[select]
country = ["PL"]
app_version = ">=5.2.1"

[limits]
max_devices = 500_000
approvals = [{ above = 0, people = 2 }]
"#;

/// The plan of what goes to customers, whose login is watched at this address. Our own people first, who are enough for health to pass; then a watched one percent, then a gate that a person opens.
fn customers_stages(login: &str) -> String {
    format!(
        r#"# Added by the demo.
[[stage]]
audience = "our-people"
bake = "1s"

[[stage]]
percent = 1
bake = "1s"
gate = "manual"

[[stage]]
percent = 100
max_rate = 20_000

# What the bank lacked: the login itself is asked whether it bears what is sent.
[[downstream]]
name = "login-load"
http = "{login}/login"
json = "/utilisation"
halt_above = 1.0
for = "2s"
no_data = "pause"
"#
    )
}

const COHORT: &str = r#"# Added by the demo.
class = "internal"
app = "pl.example.bank"
description = "Everyone who works for the bank"
members_file = "our-people.txt"
default_plan = "in-seconds"

[limits]
max_devices = 5_000
"#;

/// Long enough to be watched, short enough to be waited for; too few for health to pass.
const STAGES: &str = r#"# Added by the demo.
[[stage]]
devices = 50
bake = "1s"
gate = "time"

[[stage]]
percent = 20
max_rate = 500
bake = "1s"
gate = "time"

[[stage]]
percent = 100
max_rate = 1_500
"#;

fn file(path: &str, text: String) -> PolicyFile {
    PolicyFile { path: path.to_owned(), text }
}

/// The shipped policy's files.
pub(in crate::cli) fn shipped() -> Vec<PolicyFile> {
    SHIPPED.iter().map(|(path, text)| file(path, (*text).to_owned())).collect()
}

/// The shipped policy with a producer, two audiences and two plans more; the customers' login is at `login`.
pub(super) fn of_the_demo(login: &str) -> anyhow::Result<Policy> {
    let mut files = shipped();
    for shipped in files.iter_mut().filter(|file| file.path == "producers.toml") {
        shipped.text.push_str(PRODUCERS);
    }
    let members: Vec<String> = people().collect();
    files.push(file("cohorts/our-people.toml", COHORT.to_owned()));
    files.push(file("cohorts/our-people.txt", members.join("\n")));
    files.push(file("plans/in-seconds.toml", STAGES.to_owned()));
    files.push(file("cohorts/newest-app-pl.toml", CUSTOMERS_COHORT.to_owned()));
    files.push(file("plans/customers-in-seconds.toml", customers_stages(login)));
    Ok(Policy::parse(&files)?)
}

/// Our own people, by their user ids.
pub(super) fn people() -> impl Iterator<Item = String> {
    (1..=PEOPLE).map(|number| format!("employee-{number:04}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AudienceName;

    #[test]
    fn the_demos_own_names_are_in_its_policy() {
        let policy = of_the_demo("http://127.0.0.1:1").expect("a sound policy");
        let audience = policy.audience(&AudienceName::parse(AUDIENCE).expect("a name")).expect("our people");
        assert_eq!(audience.members().map(|members| members.len() as u64), Some(PEOPLE));
        assert!(policy.plan_for(audience, None).is_some_and(|plan| plan.name.as_str() == PLAN));
        let producer = policy.producer(&crate::model::ProducerId::parse(PRODUCER).expect("a name"));
        assert!(producer.is_some_and(|producer| producer.may_use_audience(&audience.name)));
    }
}
