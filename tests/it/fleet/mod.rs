//! Campaigns through a whole fleet: several processes of the real program, real services, providers at the wire.
//!
//! Each test is small by default, so that all of them fit into every run; `deploy/chaos.sh` runs them at full size,
//! by [`SIZE`].

mod asleep;
mod breakers;
mod changed;
mod chaos;
mod fenced;
mod follows;
mod guarded;
mod halted;
mod left_behind;
mod mended;
mod outage;
mod paced;
mod steered;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bellwether::{
    clock::Clock,
    simulator::{PhoneScreen, Provider, RecordedRequest, SimulatorConfig},
};
use jiff::SignedDuration;
use lapin::options::BasicPublishOptions;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::interval;

use crate::{
    harness::{
        broker::within,
        service::{APP, Serving, Stage, TestPhone},
    },
    service::load::{Wire, message_id},
};

/// `seed,kills,devices` of the tests that have a size: `deploy/chaos.sh` sets it.
const SIZE: &str = "BELLWETHER_TEST_FLEET";

/// How large a run is.
#[derive(Debug, Clone, Copy)]
struct Size {
    seed: u64,
    kills: usize,
    devices: usize,
}

impl Size {
    /// What is asked for, else what fits into every run.
    fn given(kills: usize, devices: usize) -> Self {
        let Ok(text) = std::env::var(SIZE) else { return Self { seed: 1, kills, devices } };
        let numbers: Vec<u64> = text.split(',').filter_map(|number| number.parse().ok()).collect();
        let [seed, kills, devices] = numbers[..] else { panic!("{SIZE}: write seed,kills,devices") };
        let count = |number| usize::try_from(number).expect("a count");
        Self { seed, kills: count(kills), devices: count(devices) }
    }

    /// True if a run at full size was asked for.
    fn is_full() -> bool {
        std::env::var(SIZE).is_ok()
    }
}

/// Longer than a claim, a lease and a retry of the tests' configuration together.
const STANDSTILL: Duration = Duration::from_secs(45);

/// Seldom enough not to be a load itself.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// An audience of our own people that is as large as a test needs.
const COHORT: &str = "everyone-inside";

/// A stage with phones that make one audience, and what a campaign needs.
struct Fleet {
    stage: Stage,
    phones: Vec<TestPhone>,
}

/// A campaign's plan, as the test writes it. Its stages are too small to pass: where it says nothing of a gate, time opens it.
fn plan(stages: &[&str]) -> String {
    let gate = |stage: &str| if stage.contains("gate") { "" } else { "gate = \"time\"\n" };
    stages.iter().map(|stage| format!("[[stage]]\n{stage}\n{}", gate(stage))).collect::<Vec<_>>().join("\n")
}

impl Fleet {
    /// `count` phones, and a plan `wide` with these stages.
    async fn with(simulator: SimulatorConfig, count: usize, stages: &[&str]) -> Self {
        let more = "[campaign]\nretry_seconds = [1, 2, 4]\n[worker]\nlease_seconds = 5\n";
        let stage = Stage::with(simulator, more).await;
        let policy = stage.folder().join("audiences");
        let write = |path: &str, text: &str| std::fs::write(policy.join(path), text).expect("a policy file");
        write(
            &format!("cohorts/{COHORT}.toml"),
            &format!(
                "class = \"internal\"\napp = \"{APP}\"\ndefault_plan = \"wide\"\n[select]\ncountry = [\"PL\"]\n\
                 [limits]\nmax_devices = 2_000_000\n"
            ),
        );
        write("plans/wide.toml", &plan(stages));
        let producers = policy.join("producers.toml");
        let text = std::fs::read_to_string(&producers).expect("producers.toml");
        let text = text.replace(
            "[\"customers-pl\", \"staff\"]",
            &format!("[\"customers-pl\", \"staff\", \"{COHORT}\"]"),
        );
        std::fs::write(&producers, text).expect("producers.toml");
        let phone = |number: usize| {
            let user = format!("person-{number}");
            if number.is_multiple_of(2) { TestPhone::ios(&user) } else { TestPhone::android(&user) }
        };
        let phones: Vec<_> = (0..count).map(phone).collect();
        stage.register(&phones).await;
        Self { stage, phones }
    }

    /// Starts a process with these roles.
    async fn serve(&self, roles: &str) -> Serving {
        let serving = self.stage.start(self.stage.command(&["serve", "--role", roles])).await;
        crate::harness::broker::eventually("ready", async || {
            (serving.get("/readyz").await.0 == 200).then_some(())
        })
        .await;
        serving
    }

    fn job(&self, id: &str) -> Value {
        let expires = Clock::system().now() + SignedDuration::from_hours(2);
        json!({"v": 1, "id": id, "app": APP, "intent": "production",
               "to": {"audience": COHORT, "at_most": self.phones.len() + 1},
               "notification": {"title": "Bank", "body": "Nowa aplikacja"}, "expires_at": expires.to_string()})
    }

    /// Puts a campaign into its queue, as its producer does.
    async fn publish(&self, job: &Value) {
        let client = self.stage.client("marketing").await;
        let (exchange, key) = ("bellwether.jobs".into(), "campaign".into());
        let (options, properties) = (BasicPublishOptions::default(), client.properties());
        let body = job.to_string();
        let published = client.channel.basic_publish(exchange, key, options, body.as_bytes(), properties);
        let confirm = within("the publish", published).await.expect("the broker is there");
        assert!(within("the confirm", confirm).await.expect("a confirm").is_ack());
    }

    async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.stage.database_url()).await.expect("the database answers")
    }

    /// Waits until `sql` answers true, as long as the ledger or the wire moves.
    async fn until(&self, what: &str, sql: &str) {
        const MOVES: &str = "select coalesce((select sum(frozen + epoch) from rollout), 0)::bigint \
             + (select count(*) from segment where outcomes is not null) \
             + (select count(*) from claim where done_at is not null)";
        let mut database = self.database().await;
        let (clock, mut before) = (Clock::system(), (-1, 0));
        let (mut progress, mut look) = (clock.monotonic(), interval(LOOK_EVERY));
        loop {
            look.tick().await;
            let is_so: Option<bool> = sqlx::query_scalar(sql).fetch_optional(&mut database).await.expect(sql);
            if is_so == Some(true) {
                return;
            }
            let moves: i64 = sqlx::query_scalar(MOVES).fetch_one(&mut database).await.expect("an answer");
            let now = (moves, self.stage.simulator.requests());
            if now != before {
                (before, progress) = (now, clock.monotonic());
            }
            if clock.monotonic().duration_since(progress) > STANDSTILL {
                let rollouts: Vec<(i64, String, Option<String>, i16, i64)> =
                    sqlx::query_as("select id, state, cause, stage, frozen from rollout")
                        .fetch_all(&mut database)
                        .await
                        .expect("an answer");
                panic!("waiting for {what}, and nothing has moved for {STANDSTILL:?}: {rollouts:?}");
            }
        }
    }

    /// Waits until every rollout is over.
    async fn over(&self) {
        let sql = "select count(*) > 0 and bool_and(finished_at is not null) from rollout";
        self.until("the end of the rollout", sql).await;
    }

    /// What `delivery export` says, by user.
    async fn export(&self, campaign: &str) -> BTreeMap<String, Exported> {
        let campaign = format!("{}/{campaign}", self.stage.producer("marketing"));
        let output = self.stage.run(&["delivery", "export", "--campaign", &campaign]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        let line = |line: &str| {
            let told: Value = serde_json::from_str(line).expect("a line of JSON");
            let word = |name: &str| told[name].as_str().map(str::to_owned);
            let user = word("user").unwrap_or_default();
            (user, Exported { outcome: word("outcome").expect("an outcome"), told })
        };
        let exported: Vec<_> = text.lines().map(line).collect();
        let count = exported.len();
        let by_user: BTreeMap<_, _> = exported.into_iter().collect();
        assert_eq!(by_user.len(), count, "a person with one phone stands there once");
        by_user
    }

    /// The simulators' record of every phone that received something, by token.
    fn screens(&self) -> BTreeMap<String, PhoneScreen> {
        let screens = self.stage.simulator.screens();
        screens.into_iter().map(|screen| (screen.token.to_string(), screen)).collect()
    }

    /// **I6 once**, and nobody forgotten: the ledger and the simulators agree on every single phone.
    async fn reconcile(&self, campaign: &str) -> Account {
        let (exported, screens) = (self.export(campaign).await, self.screens());
        let mut account = Account::default();
        for phone in &self.phones {
            let Some(told) = exported.get(&phone.user) else {
                account.lost.insert(phone.user.clone());
                continue;
            };
            let shown = screens.get(&phone.token).map_or(0, |screen| screen.phone.screen.len());
            if shown > 1 {
                account.doubled.insert(phone.user.clone());
            }
            let agrees = match told.outcome.as_str() {
                "accepted" => shown == 1,
                "unknown" => shown <= 1,
                "token_gone" | "rejected" | "left_out" | "not_sent" | "expired" => shown == 0,
                _ => false,
            };
            if !agrees {
                account.disagreed.push((phone.user.clone(), told.told.to_string(), shown));
            }
            *account.outcomes.entry(told.outcome.clone()).or_default() += 1;
        }
        account.strangers = exported.len().saturating_sub(self.phones.len());
        account.repeats = Repeats::of(&Wire::of(&self.stage));
        account
    }
}

/// A line of an export.
struct Exported {
    outcome: String,
    told: Value,
}

/// What a reconciliation found.
#[derive(Debug, Default)]
struct Account {
    /// In the audience, and not in the export.
    lost: BTreeSet<String>,
    /// Two items on one screen.
    doubled: BTreeSet<String>,
    /// The ledger says one thing, the phone another.
    disagreed: Vec<(String, String, usize)>,
    /// In the export, and not in the audience.
    strangers: usize,
    outcomes: BTreeMap<String, usize>,
    repeats: Repeats,
}

impl Account {
    fn is_clean(&self) {
        assert_eq!(self.lost, BTreeSet::new(), "never sent");
        assert_eq!(self.doubled, BTreeSet::new(), "two on a screen");
        assert!(self.disagreed.is_empty(), "{} disagree: {:?}", self.disagreed.len(), self.disagreed.first());
        assert_eq!(self.strangers, 0, "in nobody's audience");
        assert_eq!(self.repeats.other_ids, 0, "repeats have other ids");
    }
}

/// Requests that came after one that had been taken.
#[derive(Debug, Default)]
struct Repeats {
    /// After one that the provider had accepted: what a crash may cause.
    accepted: usize,
    /// After one that the phone may have received though no answer said so.
    doubtful: usize,
    /// Phones whose requests had more than one id.
    other_ids: usize,
}

impl Repeats {
    fn of(wire: &Wire) -> Self {
        let mut repeats = Self::default();
        for requests in wire.by_token.values() {
            let ids: BTreeSet<_> = requests.iter().map(|request| message_id(request)).collect();
            repeats.other_ids += usize::from(ids.len() > 1);
            let taken = |request: &&std::sync::Arc<RecordedRequest>| request.status == Some(200);
            if let Some(first) = requests.iter().position(|request| taken(&request)) {
                repeats.accepted += requests.len() - 1 - first;
            }
            let doubtful = requests.iter().position(|request| request.taken && request.status != Some(200));
            repeats.doubtful += doubtful.map_or(0, |first| requests.len() - 1 - first);
        }
        repeats
    }
}

/// When requests for notifications came, in order, in microseconds since the simulators began.
fn times(record: &[std::sync::Arc<RecordedRequest>]) -> Vec<u64> {
    let wanted = record.iter().filter(|request| request.provider != Provider::OAuth);
    let mut times: Vec<u64> = wanted.map(|request| request.elapsed_micros).collect();
    times.sort_unstable();
    times
}

/// The most of these, which are in order, in any second.
fn busiest_second(times: &[u64]) -> usize {
    let window = |first: usize| times[first..].partition_point(|at| *at < times[first] + 1_000_000);
    (0..times.len()).map(window).max().unwrap_or_default()
}
