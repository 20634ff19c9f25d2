//! `[apps."…".guard]`: what an app may set of the guard, and what nobody may.

use std::time::Duration;

use super::{
    read::{Section, Wrong},
    words::duration,
};

/// Rules that may run report-only for an app: each weighs what a notification says or when it comes, so an app may first see
/// what it would have stopped.
const MAY_BE_IN_SHADOW: &[&str] = &[
    "production-to-test",
    "environment",
    "unfilled-template",
    "staging-link",
    "contagion",
    "duplicate-campaign",
    "proof-missing",
    "language-mismatch",
];

/// Rules that decide, always: who is asked and who may ask (I1), how many may be reached, what can be sent at all, and when nothing is sent any more
/// (I9). To see what they would do is no reason to let through what they stop.
const NEVER_IN_SHADOW: &[&str] = &[
    "label-missing",
    "producer-scope",
    "test-to-production",
    "test-audience-too-big",
    "audience-above-limit",
    "broadcast-in-disguise",
    "blast-radius",
    "expired",
    "payload-limits",
    "plan-missing",
];

/// A rule that may run in shadow, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShadowRule(&'static str);

impl ShadowRule {
    /// The rule's id, such as `staging-link`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    fn read(text: &str) -> Result<Self, Wrong> {
        if let Some(id) = MAY_BE_IN_SHADOW.iter().find(|id| **id == text) {
            return Ok(Self(id));
        }
        let fix = format!("write some of {}", MAY_BE_IN_SHADOW.join(", "));
        let problem = if NEVER_IN_SHADOW.contains(&text) {
            format!("{text:?} is a rule that is never in shadow: it always decides")
        } else {
            format!("{text:?} is no rule of the guard")
        };
        Err(Wrong::new(problem, fix))
    }
}

/// What an app has set of the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// A campaign that says what another said to the same audience within this time waits for a person.
    pub duplicate_within: Duration,
    /// A campaign of a producer whose notification was stopped for what it is within this time waits for a person.
    pub contagion_within: Duration,
    /// Where an audience asks for a proof, one is as old as this at most.
    pub proof_within: Duration,
    /// Rules that report and decide nothing.
    pub shadow: Vec<ShadowRule>,
}

impl Default for GuardSettings {
    /// A day holds whoever sends the same news in the morning and again in the evening. Half an hour holds the second text of
    /// whoever tries texts on the wrong audience: the three of the accident came within minutes. In a week an app is released,
    /// and what was seen may look different.
    fn default() -> Self {
        Self {
            duplicate_within: Duration::from_hours(24),
            contagion_within: Duration::from_mins(30),
            proof_within: Duration::from_hours(7 * 24),
            shadow: Vec::new(),
        }
    }
}

impl GuardSettings {
    /// Does this rule report only?
    pub fn in_shadow(&self, rule: &str) -> bool {
        self.shadow.iter().any(|shadow| shadow.0 == rule)
    }

    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let sound = Self::default();
        let within = |key, otherwise| section.get(key).map_or(Some(otherwise), |item| item.parse(duration));
        let duplicate_within = within("duplicate_within", sound.duplicate_within);
        let contagion_within = within("contagion_within", sound.contagion_within);
        let proof_within = within("proof_within", sound.proof_within);
        let shadow = section.get("shadow").map_or(Some(Vec::new()), |item| item.each(ShadowRule::read));
        section.close();
        let mut shadow: Vec<_> = shadow?.into_iter().map(|rule| rule.value).collect();
        shadow.sort_unstable();
        shadow.dedup();
        Some(Self {
            duplicate_within: duplicate_within?,
            contagion_within: contagion_within?,
            proof_within: proof_within?,
            shadow,
        })
    }
}

/// Every rule that either list knows: the guard's tests compare them with its table.
#[cfg(test)]
pub(crate) fn rules_by_shadow() -> (Vec<&'static str>, Vec<&'static str>) {
    (MAY_BE_IN_SHADOW.to_vec(), NEVER_IN_SHADOW.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::{Policy, PolicyFile};

    fn settings(guard: &str) -> GuardSettings {
        let apps = format!(
            "[apps.bank]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
             fcm = {{ project = \"p\", max_rate = 10 }}\n{guard}"
        );
        let producers = "[producers.cards]\nowners = [\"lead\"]\napps = [\"bank\"]\nintents = [\"test\"]\n";
        let files = [("apps.toml", apps.as_str()), ("producers.toml", producers)]
            .map(|(path, text)| PolicyFile { path: path.to_owned(), text: text.to_owned() });
        let policy = Policy::parse(&files).expect("a sound policy");
        policy.apps().next().expect("an app").guard.clone()
    }

    #[test]
    fn what_an_app_does_not_set_is_as_safe_as_it_can_be() {
        assert_eq!(settings(""), GuardSettings::default());
        let set = settings(
            "[apps.bank.guard]\nduplicate_within = \"2h\"\nshadow = [\"staging-link\", \"contagion\", \"staging-link\"]\n",
        );
        assert_eq!(set.duplicate_within, Duration::from_hours(2));
        assert_eq!(set.contagion_within, Duration::from_mins(30));
        let shadow: Vec<_> = set.shadow.iter().map(|rule| rule.as_str()).collect();
        assert_eq!(shadow, ["contagion", "staging-link"]);
        assert!(set.in_shadow("contagion") && !set.in_shadow("duplicate-campaign"));
    }
}
