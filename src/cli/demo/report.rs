//! What the demo prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{afternoon::Seen, campaign, output};

/// The result for programs.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    phones: u64,
    test_payloads: TestPayloads,
    direct: Direct,
    /// Campaigns that went out.
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

#[derive(Debug, Serialize)]
struct Rollout {
    name: &'static str,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    frozen: u64,
    accepted: u64,
    phones_reached: u64,
}

impl From<&campaign::Seen> for Rollout {
    fn from(seen: &campaign::Seen) -> Self {
        Self {
            name: seen.name,
            state: format!("{:?}", seen.state),
            cause: seen.cause.clone(),
            frozen: seen.frozen,
            accepted: seen.accepted,
            phones_reached: seen.phones_reached,
        }
    }
}

/// What became of a campaign.
fn became(campaign: &campaign::Seen) -> String {
    let counts = format!("{}, {} frozen, {} accepted", campaign.state, campaign.frozen, campaign.accepted);
    if campaign.is_bad { format!("{counts}, {} rejected", campaign.rejected) } else { counts }
}

impl Report {
    /// Counts, and whether each invariant held.
    pub(super) fn new(phones: u64, seen: &Seen, seconds: f64) -> Self {
        let submitted = seen.ways.iter().map(|way| way.submitted).sum();
        let refused = seen.ways.iter().map(|way| way.refused).sum();
        let held = seen.ways.iter().map(|way| way.held).sum();
        let stopped_by_rule = seen.ways.iter().all(|way| way.by_rule == way.submitted);
        let (testers, shown) = seen.testers;
        let invariants = BTreeMap::from([
            // No customer saw a test, the rule said so, and those whom tests are for saw them.
            ("I1", seen.customers_reached_by_tests == 0 && stopped_by_rule && testers == shown),
            // Every delivery belongs to a recorded intent.
            ("I2", seen.record_agrees),
            // Customers were sent what two people approved, and not before.
            ("I4", seen.campaigns.iter().all(campaign::Seen::is_approved)),
            // What its own health had to halt was halted, after few.
            ("I5", seen.campaigns.iter().all(campaign::Seen::is_halted_in_time)),
            // Nobody was rung twice.
            (
                "I6",
                seen.codes.requests == seen.codes.phones_reached
                    && seen.campaigns.iter().all(campaign::Seen::is_once),
            ),
            // Every job came to its end.
            (
                "I7",
                seen.unsettled == 0
                    && seen.codes.phones_reached == seen.codes.jobs
                    && seen.campaigns.iter().all(campaign::Seen::is_whole),
            ),
        ]);
        Self {
            phones,
            test_payloads: TestPayloads {
                submitted,
                refused,
                held,
                production_phones_reached: seen.customers_reached_by_tests,
            },
            direct: Direct {
                jobs: seen.codes.jobs,
                phones_reached: seen.codes.phones_reached,
                requests: seen.codes.requests,
            },
            rollouts: seen.campaigns.iter().map(Rollout::from).collect(),
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
                let by_rule = match way.rule {
                    Some(rule) => format!("{} refused, {} of them by {rule}", way.refused, way.by_rule),
                    None => format!("{} waited for approval, and were rejected", way.held),
                };
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
        rows.extend(seen.campaigns.iter().map(|campaign| {
            vec![
                campaign.what.to_owned(),
                became(campaign),
                format!("{} phones show it", campaign.phones_reached),
            ]
        }));
        let login = format!(
            "the login of those who were rung: at most {:.0} % of its capacity, {} of {} attempts failed",
            seen.login.peak_utilisation * 100.0,
            seen.login.failed,
            seen.login.attempts
        );
        let invariants: Vec<_> = self
            .invariants
            .iter()
            .map(|(name, held)| format!("{name} {}", if *held { "held" } else { "BROKEN" }))
            .collect();
        format!(
            "{table}\n\n{phones} customers' phones; reached by a test push: {reached}\n{login}\ninvariants: {invariants}\n{seconds} s",
            table = output::table(&["what was enqueued", "what became of it", "phones"], &rows),
            phones = self.phones,
            reached = self.test_payloads.production_phones_reached,
            invariants = invariants.join(", "),
            seconds = self.seconds,
        )
    }
}
