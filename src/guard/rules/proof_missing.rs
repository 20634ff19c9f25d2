//! A campaign of words that nobody has seen on a phone.
//!
//! A text can be right in every field and wrong on the screen: cut in the middle of a name, in the wrong language, with the link
//! of last year. An audience can therefore ask for a proof: a test campaign of the same words went to testers of the app, and a
//! person said that it looked right there. Without one the campaign waits for somebody who answers for it.

use crate::{
    audience::Class,
    guard::{Finding, Rule, Severity, case::Case},
    model::Intent,
};

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(audience) = case.audience() else { return Vec::new() };
    if !case.is(Intent::Production) || !audience.proof_required || case.facts.past.proven {
        return Vec::new();
    }
    let reason = format!(
        "{} asks for a proof, and nobody has said of these words lately that they look right on a tester's phone",
        audience.name
    );
    let testers =
        case.policy.audiences().filter(|other| other.class == Class::Test && other.app() == audience.app());
    let testers: Vec<&str> = testers.map(|audience| audience.name.as_str()).collect();
    let whom = if testers.is_empty() { "a test audience".to_owned() } else { testers.join(" or ") };
    let fix = format!(
        "send the same words with intent test to {whom}, look at a phone, and run `bellwether campaign prove`"
    );
    vec![Finding::new((Rule::ProofMissing, Severity::Hold), "notification", reason, fix)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{Verdict, rules::sample::Sample};

    #[test]
    fn an_audience_that_asks_for_a_proof_holds_what_nobody_has_seen() {
        let sample = Sample::campaign("production", "proven");
        let Verdict::Hold(findings) = sample.clear() else { panic!("must be held") };
        assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), [Rule::ProofMissing]);
        assert!(findings[0].fix.contains("with intent test to qa,"), "{}", findings[0].fix);
        assert!(sample.proven().is_clear());
    }

    #[test]
    fn no_other_audience_asks_and_no_test_is_asked() {
        assert!(Sample::campaign("production", "customers").is_clear());
        assert_eq!(Sample::campaign("test", "proven").findings(Rule::ProofMissing), []);
    }
}
