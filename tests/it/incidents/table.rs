//! The README's table of incidents: written from what came of them, and held against it.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use bellwether::guard::Rule;

use super::{
    Outcome,
    attempt::Step,
    file::{Incident, Variant},
    told::Ending,
};

const BEGIN: &str = "<!-- incidents: begin -->\n";
const END: &str = "<!-- incidents: end -->";
const COMMAND: &str = "BELLWETHER_INCIDENTS=write cargo test --test it incidents";

/// Writes the table if it is to be written; otherwise it must be the README's.
pub(super) fn hold(incidents: &[Incident], outcomes: &[Outcome<'_>]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&file).expect("a README");
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (told, after) = rest.split_once(END).expect("the table has an end");
    let table = table(incidents, outcomes);
    if std::env::var("BELLWETHER_INCIDENTS").is_ok_and(|what| what == "write") {
        std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).expect("the README is written");
    } else {
        assert_eq!(
            told, table,
            "what the README tells of incidents is not so any more; write it anew: {COMMAND}"
        );
    }
}

fn table(incidents: &[Incident], outcomes: &[Outcome<'_>]) -> String {
    let mut text = String::from(
        "| incident | year | what happened | how | in that way stopped by | attempts in all ways | phones beyond policy |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for incident in incidents {
        let of_it = || outcomes.iter().filter(|outcome| outcome.attempt.incident == incident.id);
        let tried = of_it().filter(|outcome| outcome.attempt.variant.is_some());
        let (attempts, beyond) = tried.fold((0, 0), |(n, beyond), tried| (n + 1, beyond + tried.beyond()));
        let happened = of_it().filter(|outcome| outcome.attempt.variant == Some(incident.variant));
        let stopped = words(happened);
        let Incident { organisation, short, variant, .. } = incident;
        let when = incident.when();
        writeln!(
            text,
            "| {organisation} | {when} | {short} | {variant} | {stopped} | {attempts} | {beyond} |"
        )
        .expect("a text is written");
    }
    text += "\n| how | jobs | stopped by (jobs) | phones within policy | phones beyond policy |\n|---|---|---|---|---|\n";
    for variant in Variant::ALL {
        let of_it = || outcomes.iter().filter(|outcome| outcome.attempt.variant == Some(variant));
        let jobs: usize = of_it().map(enqueued).sum();
        let allowed: usize = of_it().map(|outcome| outcome.attempt.allowed).sum();
        let beyond: usize = of_it().map(Outcome::beyond).sum();
        let stopped = counted(of_it());
        writeln!(text, "| {variant} | {jobs} | {stopped} | {allowed} | {beyond} |")
            .expect("a text is written");
    }
    text
}

fn enqueued(outcome: &Outcome<'_>) -> usize {
    let again = outcome.attempt.steps.iter().filter(|step| matches!(step, Step::Again(_))).count();
    outcome.endings.len() + again
}

/// What stopped one job, as it was told.
fn stops(ending: &Ending) -> Vec<String> {
    let quoted = |rules: &[String]| rules.iter().map(|rule| format!("`{rule}`")).collect::<Vec<_>>();
    match ending {
        Ending::Refused(rules) => quoted(rules),
        Ending::Malformed(field) => vec![format!("no `{field}`")],
        Ending::Sent(_) => Vec::new(),
        Ending::Stands { state, held, approvals, .. } if state == "pending_approval" => {
            let mut stops = quoted(held);
            let people = if *approvals == 1 { "person" } else { "people" };
            stops.push(format!("approval by {approvals} {people}"));
            stops
        }
        // What a rule found when it was frozen has the rule at the beginning of its cause.
        Ending::Stands { state, cause, .. } => {
            let rule = cause.split(':').next().filter(|head| Rule::ALL.iter().any(|rule| rule.id() == *head));
            vec![rule.map_or_else(|| state.clone(), |rule| format!("`{rule}` when frozen"))]
        }
    }
}

/// What an attempt was stopped by, job by job; what is within policy is stopped by nothing.
fn of_attempt(outcome: &Outcome<'_>) -> Vec<String> {
    let again = outcome.attempt.steps.iter().filter(|step| matches!(step, Step::Again(_)));
    let known = again.map(|_| "its known id".to_owned());
    outcome.endings.iter().flat_map(|ending| stops(ending)).chain(known).collect()
}

/// What stopped these, each once. A limit is told with the phones that it lets ring.
fn words<'o, 't: 'o>(outcomes: impl Iterator<Item = &'o Outcome<'t>>) -> String {
    let mut words: Vec<String> = Vec::new();
    for outcome in outcomes {
        let is_limit = outcome.attempt.allowed > 0 && outcome.endings.len() > outcome.attempt.allowed;
        for stop in of_attempt(outcome) {
            let told =
                if is_limit { format!("{stop} after {} phones", outcome.attempt.allowed) } else { stop };
            if !words.contains(&told) {
                words.push(told);
            }
        }
    }
    words.join("; ")
}

fn counted<'o, 't: 'o>(outcomes: impl Iterator<Item = &'o Outcome<'t>>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for stop in outcomes.flat_map(of_attempt) {
        *counts.entry(stop).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let told: Vec<_> = counts.into_iter().map(|(stop, count)| format!("{stop} {count}")).collect();
    told.join(", ")
}
