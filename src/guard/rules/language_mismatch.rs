//! A text in a script that its readers do not read: a campaign to Poland in Cyrillic, a `uk` text in Latin.
//!
//! Weak evidence: people abroad read what they like, and brands are written as they are. It is a note beside other findings,
//! and decides nothing.

use crate::{
    audience::{Select, Who},
    guard::{
        Finding, Rule, Severity,
        case::Case,
        content::{Script, of_country, of_language, script_of},
    },
};

const NOTE: (Rule, Severity) = (Rule::LanguageMismatch, Severity::Note);
const FIX: &str = "nothing, if it is meant; else look at which text was put where";

pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    if !case.is_campaign() {
        return Vec::new();
    }
    let notification = case.job.notification();
    let foreign = audience(case)
        .filter(|read| script_of(&notification.body).is_some_and(|script| !read.contains(&script)))
        .map(|_| {
            Finding::new(NOTE, "notification.body", "a script that the audience's country does not read", FIX)
        });
    let mislabelled = notification.localized.iter().filter_map(|(locale, text)| {
        let language = locale.as_str().split('-').next().unwrap_or_default();
        // `sr-Latn` says its script itself.
        let written = if locale.as_str().len() > 3 { &[][..] } else { of_language(language) };
        let script = script_of(&text.body).filter(|script| !written.is_empty() && !written.contains(script));
        let field = format!("notification.localized.{locale}.body");
        script.map(|_| Finding::new(NOTE, field, "a script that this language is not written in", FIX))
    });
    foreign.into_iter().chain(mislabelled).collect()
}

/// Every script that the audience's countries read; `None` if it has no country, or one of which nothing is known.
fn audience(case: &Case<'_>) -> Option<Vec<Script>> {
    let Who::Select(select) = &case.audience()?.who else { return None };
    let Select { country, .. } = &**select;
    let scripts: Vec<_> = country.iter().map(|country| of_country(country.as_str())).collect();
    let known = !scripts.is_empty() && scripts.iter().all(|scripts| !scripts.is_empty());
    known.then(|| scripts.concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::guard::rules::sample::Sample;

    #[test]
    fn a_script_that_the_country_does_not_read_is_noted_and_decides_nothing() {
        let sample = Sample::campaign("production", "customers").body("Важное сообщение банка");
        let findings = sample.findings(Rule::LanguageMismatch);
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Note));
        assert!(sample.is_clear());
        assert_eq!(Sample::campaign("production", "customers").findings(Rule::LanguageMismatch), []);
    }

    #[test]
    fn of_a_country_of_which_nothing_is_known_nothing_is_said() {
        let sample = Sample::campaign("production", "far-away").body("Важное сообщение банка");
        assert_eq!(sample.findings(Rule::LanguageMismatch), []);
    }

    #[test]
    fn a_text_under_another_language_s_name_is_noted() {
        let with = |localized: serde_json::Value| {
            Sample::campaign("production", "customers")
                .change(|job| job["notification"]["localized"] = localized)
                .findings(Rule::LanguageMismatch)
        };
        let findings = with(json!({"uk": {"body": "Ważna wiadomość"}, "de": {"body": "Wichtige Nachricht"}}));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].field, "notification.localized.uk.body");
        assert_eq!(
            with(json!({"uk": {"body": "Важливе повідомлення"}, "sr-Latn": {"body": "Važna poruka"}})),
            []
        );
        assert_eq!(
            with(json!({"uk-Latn": {"body": "Vazhlyve povidomlennia"}})),
            [],
            "it says its script itself"
        );
    }
}
