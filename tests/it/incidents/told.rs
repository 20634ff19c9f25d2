//! What the service tells of each job, until it has come to its end. What stopped a job is read from here alone.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio::sync::watch;

use crate::harness::{
    broker::within,
    told::{Events, trace},
};

/// Where a job has come to, by what the service says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The guard refused it, by these rules.
    Refused(Vec<String>),
    /// It was no job, for this field.
    Malformed(String),
    /// A direct job was sent to so many phones.
    Sent(u64),
    /// A campaign stands there.
    Stands { state: String, held: Vec<String>, approvals: u64, cause: String },
}

impl Ending {
    /// Nothing more becomes of it unless somebody lets it.
    fn is_settled(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Malformed(_) | Self::Sent(_) => true,
            Self::Stands { state, .. } => {
                !matches!(state.as_str(), "draft" | "approved" | "running" | "baking")
            }
        }
    }
}

/// Where each job has come to, by its number.
pub(super) type Endings = BTreeMap<usize, Ending>;

/// Follows the service's events.
pub(super) struct Told {
    /// Each campaign's job.
    campaigns: HashMap<String, usize>,
    /// Each message's job.
    traces: HashMap<String, usize>,
    endings: watch::Sender<Endings>,
}

impl Told {
    /// Of so many jobs, of which these are campaigns.
    pub(super) fn new(jobs: usize, campaigns: HashMap<String, usize>) -> (Self, watch::Receiver<Endings>) {
        let (endings, follow) = watch::channel(Endings::new());
        let traces = (0..jobs).map(|n| (trace(n), n)).collect();
        (Self { campaigns, traces, endings }, follow)
    }

    /// Listens for as long as something is told.
    pub(super) async fn listen(&self, events: &Events) {
        loop {
            within("a word of a job", async { while !self.hear(&events.next().await.1) {} }).await;
        }
    }

    /// Notes an event; answers whether it was of a job.
    fn hear(&self, event: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let job = self.traces.get(&text(&event["traceparent"]));
        let campaign = self.campaigns.get(&text(&event["campaign"]));
        let ending = match text(&event["type"]).as_str() {
            "job.refused" => Ending::Refused(rules(event, "refuse")),
            "job.malformed" => Ending::Malformed(text(&event["field"])),
            "job.finished" => Ending::Sent(event["outcomes"]["accepted"].as_u64().unwrap_or_default()),
            "job.held" | "rollout.changed" => return self.campaign(event, campaign),
            _ => return false,
        };
        let Some(job) = job else { return false };
        self.endings.send_modify(|endings| {
            endings.insert(*job, ending);
        });
        true
    }

    fn campaign(&self, event: &Value, job: Option<&usize>) -> bool {
        let Some(job) = job else { return false };
        self.endings.send_modify(|endings| {
            let unknown = Ending::Stands {
                state: "draft".to_owned(),
                held: Vec::new(),
                approvals: 0,
                cause: String::new(),
            };
            let Ending::Stands { state, held, approvals, cause } = endings.entry(*job).or_insert(unknown)
            else {
                panic!("job {job} was refused and is a campaign: {event}");
            };
            if event["type"] == "job.held" {
                *held = rules(event, "hold");
                return;
            }
            event["state"].as_str().unwrap_or_default().clone_into(state);
            event["cause"].as_str().unwrap_or_default().clone_into(cause);
            *approvals = event["approvals_needed"].as_u64().unwrap_or(*approvals);
        });
        true
    }
}

/// The rules whose findings have this verdict, each once, in the guard's order.
fn rules(event: &Value, verdict: &str) -> Vec<String> {
    let findings = event["findings"].as_array().map_or(&[][..], Vec::as_slice);
    let mut rules: Vec<String> = Vec::new();
    for finding in findings.iter().filter(|finding| finding["verdict"] == verdict) {
        let rule = finding["rule"].as_str().expect("a finding names its rule");
        if !rules.iter().any(|known| known == rule) {
            rules.push(rule.to_owned());
        }
    }
    rules
}

/// Waits until each of these jobs has come to its end.
pub(super) async fn settled(follow: &mut watch::Receiver<Endings>, jobs: &[usize]) {
    until(follow, |endings| jobs.iter().all(|job| endings.get(job).is_some_and(Ending::is_settled))).await;
}

/// Waits until the jobs stand so. Whoever listens fails the test if nothing is told any more.
pub(super) async fn until(follow: &mut watch::Receiver<Endings>, stand: impl Fn(&Endings) -> bool) {
    follow.wait_for(|endings| stand(endings)).await.expect("whoever listens outlives those who wait");
}
