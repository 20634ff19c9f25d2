//! Metrics for Prometheus: base units, closed label sets. Never a device, a user, a text or a campaign's id.

mod labels;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

pub use labels::{Dependency, JobVerdict, RegistrationOutcome};

use crate::ledger::Shadow;
use crate::model::{AppId, Lane, Outcome, ProducerId, Provider, RolloutState};
use labels::{
    ApiLabels, AppLabels, CredentialLabels, DependencyLabels, FindingLabels, JobLabels, LaneLabels,
    ProducerLabels, ProviderLabels, QueueLabels, RegistrationLabels, ResultLabels, RuleLabels, ScopeLabels,
    SendLabels, ShadowLabels, StateLabels,
};

/// Every metric of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    jobs: Family<JobLabels, Counter>,
    registrations: Family<RegistrationLabels, Counter>,
    displaced: Counter,
    findings: Family<FindingLabels, Counter>,
    sends: Family<SendLabels, Counter>,
    send_seconds: Family<ProviderLabels, Histogram>,
    enqueue_to_accept_seconds: Family<LaneLabels, Histogram>,
    in_flight: Family<ProviderLabels, Gauge>,
    halted: Family<ScopeLabels, Gauge>,
    queue_messages: Family<QueueLabels, Gauge>,
    dead_letters: Gauge,
    ledger_commits: Counter,
    ledger_commit_seconds: Histogram,
    dependency_up: Family<DependencyLabels, Gauge>,
    audit_head_sequence: Gauge,
    credential_expiry_seconds: Family<CredentialLabels, Gauge>,
    token_gone_held: Family<CredentialLabels, Counter>,
    rollouts: Family<StateLabels, Gauge>,
    pace_limit: Family<AppLabels, Gauge>,
    coordinating: Gauge,
    policy_active: Gauge,
    shadow_rules: Family<ShadowLabels, Gauge>,
    sends_after_halt: Family<LaneLabels, Counter>,
    halt_seconds: Histogram,
    api_requests: Family<ApiLabels, Counter>,
    webhook: Family<ResultLabels, Counter>,
    oldest_notice: Gauge,
    broadcasts_stopped: Family<AppLabels, Counter>,
    producers_stopped: Family<ProducerLabels, Counter>,
    producer_devices: Family<ProducerLabels, Gauge>,
    producer_limit: Family<ProducerLabels, Gauge>,
    guard_broken: Family<RuleLabels, Counter>,
}

/// From a millisecond to 65 s, doubling: a loopback test and a provider's worst minute both fit.
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("bellwether");
        let mut inner = Inner {
            registry: Registry::default(),
            jobs: Family::default(),
            registrations: Family::default(),
            displaced: Counter::default(),
            findings: Family::default(),
            sends: Family::default(),
            send_seconds: Family::new_with_constructor(latency_histogram),
            enqueue_to_accept_seconds: Family::new_with_constructor(latency_histogram),
            in_flight: Family::default(),
            halted: Family::default(),
            queue_messages: Family::default(),
            dead_letters: Gauge::default(),
            ledger_commits: Counter::default(),
            ledger_commit_seconds: latency_histogram(),
            dependency_up: Family::default(),
            audit_head_sequence: Gauge::default(),
            credential_expiry_seconds: Family::default(),
            token_gone_held: Family::default(),
            rollouts: Family::default(),
            pace_limit: Family::default(),
            coordinating: Gauge::default(),
            policy_active: Gauge::default(),
            shadow_rules: Family::default(),
            sends_after_halt: Family::default(),
            halt_seconds: latency_histogram(),
            api_requests: Family::default(),
            webhook: Family::default(),
            oldest_notice: Gauge::default(),
            broadcasts_stopped: Family::default(),
            producers_stopped: Family::default(),
            producer_devices: Family::default(),
            producer_limit: Family::default(),
            guard_broken: Family::default(),
        };
        inner.register(&mut registry);
        inner.registry = registry;
        Self(Arc::new(inner))
    }

    /// In the OpenMetrics text format (which Prometheus reads).
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry).expect("writing into a string does not fail");
        text
    }

    /// A job was judged.
    pub fn job(&self, lane: Lane, verdict: JobVerdict) {
        let labels = JobLabels { lane: lane.as_str(), verdict: verdict.as_str() };
        self.0.jobs.get_or_create(&labels).inc();
    }

    /// A message about a device came to its end.
    pub fn registration(&self, outcome: RegistrationOutcome) {
        let labels = RegistrationLabels { outcome: outcome.as_str() };
        self.0.registrations.get_or_create(&labels).inc();
    }

    /// So many phones had to make room for others of the same person.
    pub fn displaced(&self, devices: u64) {
        self.0.displaced.inc_by(devices);
    }

    /// The guard found something.
    pub fn finding(&self, rule: &str, verdict: &str) {
        let labels = FindingLabels { rule: rule.to_owned(), verdict: verdict.to_owned() };
        self.0.findings.get_or_create(&labels).inc();
    }

    /// A rule of the guard broke.
    pub fn guard_broken(&self, rule: &'static str) {
        self.0.guard_broken.get_or_create(&RuleLabels { rule }).inc();
    }

    /// A send ended, `took` after it began.
    pub fn send(&self, provider: Provider, app: &AppId, outcome: &Outcome, took: Duration) {
        let reason = outcome.reason().map_or_else(String::new, |reason| reason.as_str().to_owned());
        let (provider, outcome) = (provider.as_str(), outcome.code().as_str());
        let labels = SendLabels { provider, app: app.to_string(), outcome, reason };
        self.0.sends.get_or_create(&labels).inc();
        self.0.send_seconds.get_or_create(&ProviderLabels { provider }).observe(took.as_secs_f64());
    }

    /// A provider accepted a notification `took` after its job was taken from the queue.
    pub fn accepted(&self, lane: Lane, took: Duration) {
        let labels = LaneLabels { lane: lane.as_str() };
        self.0.enqueue_to_accept_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Requests that are on the wire now.
    pub fn set_in_flight(&self, provider: Provider, requests: usize) {
        let labels = ProviderLabels { provider: provider.as_str() };
        self.0.in_flight.get_or_create(&labels).set(i64::try_from(requests).unwrap_or(i64::MAX));
    }

    /// The scopes that are halted now; a scope that is not among them drops to 0.
    pub fn set_halted(&self, scopes: &[String]) {
        self.0.halted.clear();
        for scope in scopes {
            self.0.halted.get_or_create(&ScopeLabels { scope: scope.clone() }).set(1);
        }
    }

    /// Messages that wait in a queue.
    pub fn set_queue_messages(&self, queue: &str, messages: u32) {
        let labels = QueueLabels { queue: queue.to_owned() };
        self.0.queue_messages.get_or_create(&labels).set(messages.into());
        if queue == "dead" {
            self.0.dead_letters.set(messages.into());
        }
    }

    /// A batch was committed in `took`.
    pub fn committed(&self, took: Duration) {
        self.0.ledger_commits.inc();
        self.0.ledger_commit_seconds.observe(took.as_secs_f64());
    }

    /// Whether a dependency answers.
    pub fn set_up(&self, dependency: Dependency, up: bool) {
        let labels = DependencyLabels { dependency: dependency.as_str() };
        self.0.dependency_up.get_or_create(&labels).set(up.into());
    }

    /// A post to the webhook ended.
    pub fn webhook(&self, result: &'static str) {
        self.0.webhook.get_or_create(&ResultLabels { result }).inc();
    }

    /// For how long the oldest notice has waited for somebody to take it. Only the coordinator says so; 0 elsewhere.
    pub fn set_oldest_notice(&self, age: Duration) {
        self.0.oldest_notice.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// The newest audit entry.
    pub fn set_audit_head(&self, sequence: i64) {
        self.0.audit_head_sequence.set(sequence);
    }

    /// How long an app's credential is still good for.
    pub fn set_credential_expiry(&self, app: &AppId, provider: Provider, seconds: i64) {
        let labels = CredentialLabels { app: app.to_string(), provider: provider.as_str() };
        self.0.credential_expiry_seconds.get_or_create(&labels).set(seconds);
    }

    /// How many rollouts that are not over stand in each state. Only the coordinator says so; empty elsewhere.
    pub fn set_rollouts(&self, states: &[(RolloutState, u64)]) {
        self.0.rollouts.clear();
        for (state, count) in states {
            let labels = StateLabels { state: state.as_str() };
            self.0.rollouts.get_or_create(&labels).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }

    /// What the signals of our own systems allow the running campaigns of each app together, in notifications a second.
    pub fn set_pace_limits<'a>(&self, limits: impl IntoIterator<Item = (&'a AppId, NonZeroU32)>) {
        self.0.pace_limit.clear();
        for (app, limit) in limits {
            self.0.pace_limit.get_or_create(&AppLabels { app: app.to_string() }).inc_by(limit.get().into());
        }
    }

    /// Whether this process coordinates the campaigns. Over the fleet, the sum is 1.
    pub fn set_coordinating(&self, coordinating: bool) {
        self.0.coordinating.set(coordinating.into());
    }

    /// Whether the policy of this process is the one in force.
    pub fn set_policy_active(&self, active: bool) {
        self.0.policy_active.set(active.into());
    }

    /// The rules in shadow under the policy in force.
    pub fn set_shadows(&self, shadows: &[Shadow]) {
        self.0.shadow_rules.clear();
        for Shadow { app, rule, since } in shadows {
            let labels = ShadowLabels { app: app.to_string(), rule: rule.clone() };
            self.0.shadow_rules.get_or_create(&labels).set(since.as_second());
        }
    }

    /// A request ended that had been handed to its connection when a halt that covers it was heard.
    pub fn sent_after_halt(&self, lane: Lane) {
        self.0.sends_after_halt.get_or_create(&LaneLabels { lane: lane.as_str() }).inc();
    }

    /// A halt was heard so many seconds after it was put on record.
    pub fn halt_heard(&self, seconds: f64) {
        self.0.halt_seconds.observe(seconds);
    }

    /// A request to the operators' API was answered. Both words are of closed sets: the document's operations, the codes of
    /// problems.
    pub fn api_request(&self, verb: &'static str, code: &'static str) {
        self.0.api_requests.get_or_create(&ApiLabels { verb, code }).inc();
    }

    /// A direct text of this app's reached as many people as it may. Once a window, by whichever process told it.
    pub fn broadcast_stopped(&self, app: &AppId) {
        self.0.broadcasts_stopped.get_or_create(&AppLabels { app: app.to_string() }).inc();
    }

    /// A producer's direct jobs reached as many devices as they may in a day. Once a day, by whichever process told it.
    pub fn producer_stopped(&self, producer: &ProducerId) {
        self.0.producers_stopped.get_or_create(&ProducerLabels { producer: producer.to_string() }).inc();
    }

    /// How many devices a producer's direct jobs reached today over the fleet, and how many they may.
    pub fn producer_day(&self, producer: &ProducerId, reached: u64, limit: u64) {
        let labels = ProducerLabels { producer: producer.to_string() };
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.producer_devices.get_or_create(&labels).set(gauge(reached));
        self.0.producer_limit.get_or_create(&labels).set(gauge(limit));
    }

    /// A provider called a token gone, and the burst breaker did not believe it.
    pub fn token_gone_held(&self, app: &AppId, provider: Provider) {
        let labels = CredentialLabels { app: app.to_string(), provider: provider.as_str() };
        self.0.token_gone_held.get_or_create(&labels).inc();
    }
}

impl Inner {
    fn register_guard(&self, registry: &mut Registry) {
        registry.register(
            "guard_broken",
            "Rules of the guard that broke on a job",
            self.guard_broken.clone(),
        );
        let stopped = self.broadcasts_stopped.clone();
        registry.register(
            "broadcasts_stopped",
            "Direct texts that reached as many people as they may",
            stopped,
        );
        let (stopped, devices) = (self.producers_stopped.clone(), self.producer_devices.clone());
        registry.register(
            "producers_stopped",
            "Producers that reached as many devices as they may in a day",
            stopped,
        );
        registry.register(
            "producer_devices",
            "Distinct devices of a producer's direct jobs today, over the fleet, as last handed in",
            devices,
        );
        registry.register(
            "producer_devices_limit",
            "How many it may reach in a day",
            self.producer_limit.clone(),
        );
        registry.register("guard_findings", "Findings of the guard, by rule", self.findings.clone());
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("jobs", "Jobs judged, by lane and verdict", self.jobs.clone());
        let registrations = self.registrations.clone();
        registry.register("registrations", "Messages about devices, by outcome", registrations);
        let displaced = self.displaced.clone();
        registry.register("devices_displaced", "Phones gone because their owner has too many", displaced);
        self.register_guard(registry);
        registry.register("sends", "Sends that ended, by outcome and reason", self.sends.clone());
        let send_seconds = self.send_seconds.clone();
        registry.register_with_unit("send", "From request to answer", Unit::Seconds, send_seconds);
        registry.register_with_unit(
            "enqueue_to_accept",
            "From the queue to the provider's acceptance",
            Unit::Seconds,
            self.enqueue_to_accept_seconds.clone(),
        );
        registry.register("in_flight", "Requests on the wire", self.in_flight.clone());
        registry.register("halted", "1 for each scope that is halted", self.halted.clone());
        registry.register("queue_messages", "Messages waiting in a queue", self.queue_messages.clone());
        registry.register("dead_letters", "Messages in the dead-letter queue", self.dead_letters.clone());
        registry.register("ledger_commits", "Batches committed", self.ledger_commits.clone());
        let commit_seconds = self.ledger_commit_seconds.clone();
        registry.register_with_unit(
            "ledger_commit",
            "Time of a batch's commit",
            Unit::Seconds,
            commit_seconds,
        );
        registry.register("dependency_up", "1 if a dependency answers", self.dependency_up.clone());
        let head = self.audit_head_sequence.clone();
        registry.register("audit_head_sequence", "Number of the newest audit entry", head);
        registry.register_with_unit(
            "credential_expiry",
            "How long a provider credential is still good for",
            Unit::Seconds,
            self.credential_expiry_seconds.clone(),
        );
        registry.register(
            "pace_limit",
            "What signals allow the running campaigns of an app together, in notifications a second",
            self.pace_limit.clone(),
        );
        registry.register("rollouts", "Rollouts that are not over, by state", self.rollouts.clone());
        registry.register("coordinating", "1 where campaigns are coordinated", self.coordinating.clone());
        registry.register(
            "policy_active",
            "1 where the policy that the process was started with is in force",
            self.policy_active.clone(),
        );
        registry.register(
            "shadow_rules",
            "Rules of the guard that report and decide nothing: since when, in seconds since 1970",
            self.shadow_rules.clone(),
        );
        registry.register(
            "sends_after_halt",
            "Requests that were under way when a halt was heard, and ended after it",
            self.sends_after_halt.clone(),
        );
        registry.register_with_unit(
            "halt",
            "From a halt's record to its hearing",
            Unit::Seconds,
            self.halt_seconds.clone(),
        );
        registry.register("webhook", "Posts to the webhook, by result", self.webhook.clone());
        let (help, oldest) = ("Age of the oldest notice that nobody has taken", self.oldest_notice.clone());
        registry.register_with_unit("webhook_oldest", help, Unit::Seconds, oldest);
        let api_requests = self.api_requests.clone();
        registry.register("api_requests", "Requests to the operators' API, by verb and answer", api_requests);
        registry.register(
            "token_gone_held",
            "Tokens called gone in a suspicious burst, and kept",
            self.token_gone_held.clone(),
        );
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_documented_names_and_labels() {
        let metrics = Metrics::new();
        metrics.job(Lane::Direct, JobVerdict::Clear);
        let app = AppId::parse("pl.example.bank").expect("an app");
        let accepted = Outcome::Accepted { provider_id: None };
        metrics.send(Provider::Apns, &app, &accepted, Duration::from_millis(70));
        metrics.accepted(Lane::Direct, Duration::from_millis(3));
        let text = metrics.encode();
        for line in [
            r#"bellwether_jobs_total{lane="direct",verdict="clear"} 1"#,
            r#"bellwether_sends_total{provider="apns",app="pl.example.bank",outcome="accepted",reason=""} 1"#,
            r#"bellwether_send_seconds_count{provider="apns"} 1"#,
            r#"bellwether_enqueue_to_accept_seconds_count{lane="direct"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
