//! A direct text that reaches more people in a short time than a text of its kind may is a campaign in disguise.
//!
//! A loop over all customers in a backend that may name each of them passes every other rule: its credential is sound,
//! every job is small, every single message looks right. What gives it away is the same text to one person after the
//! other. So texts that reach many by their nature are declared, with a limit each; any other has a small one. The rest is
//! refused and somebody is called, because what was sent is on the phones.

use crate::guard::{Finding, Rule, Severity, case::Case};

const REFUSE: (Rule, Severity) = (Rule::BroadcastInDisguise, Severity::Refuse);

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(over) = case.facts.reach.over_text else { return Vec::new() };
    let kind = if over.declared { "this declared text" } else { "a text that is not declared" };
    let (people, within) = (over.limit.max_users, over.limit.within.as_secs());
    let reason = format!("{kind} may reach {people} people in {within} s, and the fleet has no more to give");
    let fix = if over.declared {
        "send to an audience, or have the limit of its direct_text raised in producers.toml"
    } else {
        "send to an audience, or have the text and its limit declared in producers.toml"
    };
    vec![Finding::new(REFUSE, "notification", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audience::ReachLimit,
        guard::{TextLimit, rules::sample::Sample},
        model::Digest,
    };

    #[test]
    fn a_text_beyond_its_limit_is_refused_and_its_reason_names_the_limit() {
        let over = TextLimit { text: Digest::ZERO, limit: ReachLimit::UNDECLARED, declared: false };
        let sample = Sample::direct();
        assert_eq!(sample.findings(Rule::BroadcastInDisguise), []);
        let sample = sample.over_text(over);
        assert_eq!(sample.refused_by(Rule::BroadcastInDisguise), "notification");
        let findings = sample.findings(Rule::BroadcastInDisguise);
        assert!(findings[0].reason.contains("500 people in 600 s"), "{}", findings[0].reason);
    }
}
