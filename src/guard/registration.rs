//! Who may say whose phone is whose.

use super::{Finding, Rule, Severity};
use crate::{
    audience::Policy,
    model::{AppId, ProducerId},
};

const REFUSE: (Rule, Severity) = (Rule::ProducerScope, Severity::Refuse);

/// Why this producer may not register and remove devices of this app; `None` if it may. It needs the scope, and the app (I3: what it was not given
/// it may not do). Whoever could register a phone under another's user id would read that person's codes.
#[must_use]
pub fn refuse_registration(producer: &ProducerId, app: &AppId, policy: &Policy) -> Option<Finding> {
    let Some(known) = policy.producer(producer) else {
        let reason = format!("{producer} is no producer of this policy");
        return Some(Finding::new(REFUSE, "user_id", reason, "name it in producers.toml"));
    };
    if !known.devices {
        let reason = format!("{producer} may not register devices");
        let fix = "give it scopes = [\"devices\"] in producers.toml, or let another producer register them";
        return Some(Finding::new(REFUSE, "user_id", reason, fix));
    }
    if !known.may_use_app(app) {
        let reason = format!("{producer} may not register devices of the app {app}");
        return Some(Finding::new(REFUSE, "app", reason, "add the app to the producer in producers.toml"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::PolicyFile;

    #[test]
    fn only_a_producer_with_the_scope_and_the_app_registers() {
        let file = |path: &str, text: &str| PolicyFile { path: path.to_owned(), text: text.to_owned() };
        let app = "[apps.bank]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
                   fcm = { project = \"p-1234567\", max_rate = 10 }\n";
        let apps = format!("{app}{}", app.replace("apps.bank", "apps.shop"));
        let producer = |name: &str, more: &str| {
            format!("[producers.{name}]\nowners = [\"lead\"]\napps = [\"bank\"]\nintents = []\n{more}\n")
        };
        let producers = format!("{}{}", producer("mobile", "scopes = [\"devices\"]"), producer("cards", ""));
        let policy = Policy::parse(&[file("apps.toml", &apps), file("producers.toml", &producers)]);
        let policy = policy.unwrap_or_else(|errors| panic!("{errors}"));
        let ask = |name: &str, app: &str| {
            let (name, app) = (ProducerId::parse(name).expect("a name"), AppId::parse(app).expect("an app"));
            refuse_registration(&name, &app, &policy).map(|finding| finding.field)
        };
        assert_eq!(ask("mobile", "bank"), None);
        assert_eq!(ask("mobile", "shop").as_deref(), Some("app"));
        assert_eq!(ask("cards", "bank").as_deref(), Some("user_id"));
        assert_eq!(ask("stranger", "bank").as_deref(), Some("user_id"));
    }
}
