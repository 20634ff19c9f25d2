//! What the demo prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{afternoon::Seen, output};

/// The result for programs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    phones: u64,
    test_payloads: TestPayloads,
    direct: Direct,
    /// Staged rollouts; none before campaigns exist.
    rollouts: Vec<Rollout>,
    invariants: BTreeMap<&'static str, bool>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct TestPayloads {
    submitted: usize,
    refused: usize,
    held: usize,
    production_phones_reached: u64,
}

#[derive(Debug, Serialize)]
struct Direct {
    jobs: u64,
    phones_reached: u64,
    requests: u64,
}

/// A rollout's line: a type without values until rollouts exist.
#[derive(Debug, Serialize)]
enum Rollout {}

impl Report {
    /// Counts, and whether each invariant held.
    pub(super) fn new(phones: u64, seen: &Seen, seconds: f64) -> Self {
        let submitted = seen.ways.iter().map(|way| way.submitted).sum();
        let refused = seen.ways.iter().map(|way| way.refused).sum();
        let stopped_by_rule = seen.ways.iter().all(|way| way.by_rule == way.submitted);
        let (testers, shown) = seen.testers;
        let invariants = BTreeMap::from([
            // No customer saw a test, the rule said so, and those whom tests are for saw them.
            ("I1", seen.customers_reached_by_tests == 0 && stopped_by_rule && testers == shown),
            // Every delivery belongs to a recorded intent.
            ("I2", seen.record_agrees),
            // Nobody was rung twice.
            ("I6", seen.codes.requests == seen.codes.phones_reached),
            // Every job came to its end.
            ("I7", seen.unsettled == 0 && seen.codes.phones_reached == seen.codes.jobs),
        ]);
        Self {
            phones,
            test_payloads: TestPayloads {
                submitted,
                refused,
                held: 0,
                production_phones_reached: seen.customers_reached_by_tests,
            },
            direct: Direct {
                jobs: seen.codes.jobs,
                phones_reached: seen.codes.phones_reached,
                requests: seen.codes.requests,
            },
            rollouts: Vec::new(),
            invariants,
            seconds: (seconds * 10.0).round() / 10.0,
        }
    }

    /// True if every invariant held.
    pub(super) fn holds(&self) -> bool {
        self.invariants.values().all(|held| *held)
    }

    /// The result for people.
    pub(super) fn table(&self, seen: &Seen) -> String {
        let mut rows: Vec<Vec<String>> = seen
            .ways
            .iter()
            .map(|way| {
                let what = format!("3 test pushes to all customers, {}", way.name);
                let by_rule = format!("{} refused, {} of them by {}", way.refused, way.by_rule, way.rule);
                vec![what, by_rule, "none may ring".to_owned()]
            })
            .collect();
        let (testers, shown) = seen.testers;
        rows.push(vec![
            "the same 3 to the registered testers".to_owned(),
            "delivered".to_owned(),
            format!("{shown} of {testers} testers show all 3"),
        ]);
        rows.push(vec![
            format!("{} one-time codes, one customer each", self.direct.jobs),
            format!("{} requests", self.direct.requests),
            format!("{} phones show one", self.direct.phones_reached),
        ]);
        let invariants: Vec<_> = self
            .invariants
            .iter()
            .map(|(name, held)| format!("{name} {}", if *held { "held" } else { "BROKEN" }))
            .collect();
        format!(
            "{table}\n\n{phones} customers' phones; reached by a test push: {reached}\ninvariants: {invariants}\n{seconds} s",
            table = output::table(&["what was enqueued", "what became of it", "phones"], &rows),
            phones = self.phones,
            reached = self.test_payloads.production_phones_reached,
            invariants = invariants.join(", "),
            seconds = self.seconds,
        )
    }
}
