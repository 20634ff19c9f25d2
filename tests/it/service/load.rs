//! A load of direct jobs, one phone each, and the account of what became of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bellwether::{
    clock::Clock,
    model::OutcomeCode,
    simulator::{Latency, Profile, Provider, RecordedRequest, SimulatorConfig},
};
use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::time::interval;
use uuid::Uuid;

use crate::harness::{
    broker::{eventually, within},
    service::{Stage, TestPhone},
};

/// Every queue that must be empty when all is done.
const QUEUES: [&str; 7] =
    ["jobs.direct", "retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h", "dead"];

/// Longer than any wait of the tests' short ladder and claims, or the start of a process.
const STANDSTILL: Duration = Duration::from_secs(20);

/// Seldom enough not to be a load itself.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Providers that take a moment, so that a request can be caught on the wire.
pub(crate) fn slow_providers(profile: Profile, milliseconds: u64) -> SimulatorConfig {
    let latency = Some(Latency::around(Duration::from_millis(milliseconds)));
    SimulatorConfig { profile: profile.with_latency(latency), ..SimulatorConfig::quiet(Clock::system()) }
}

/// Tells the figures of a run.
#[expect(clippy::print_stderr, reason = "read by whoever runs the test with --nocapture")]
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("{what}");
}

/// Job `n` is for phone `n`; half of them are Apple's.
pub(crate) struct Load {
    pub(crate) phones: Vec<TestPhone>,
    at_most_once: bool,
}

impl Load {
    pub(crate) async fn on(stage: &Stage, count: usize) -> Self {
        let phone = |number: usize| {
            let user = format!("user-{number}");
            if number.is_multiple_of(2) { TestPhone::ios(&user) } else { TestPhone::android(&user) }
        };
        let phones: Vec<_> = (0..count).map(phone).collect();
        stage.register(&phones).await;
        Self { phones, at_most_once: false }
    }

    pub(crate) fn at_most_once(self) -> Self {
        Self { at_most_once: true, ..self }
    }

    /// The job's id.
    pub(crate) fn id(number: usize) -> String {
        format!("job-{number}")
    }

    /// The job, as its producer writes it.
    pub(crate) fn job(&self, number: usize) -> String {
        let user = self.phones[number].user.as_str();
        let mut job = Stage::job(&Self::id(number), "production", &[user], &format!("Kod {number}"));
        if self.at_most_once {
            job["at_most_once"] = json!(true);
        }
        job.to_string()
    }

    /// Puts the jobs into the queue, and returns when the broker has confirmed all of them.
    pub(crate) async fn publish(&self, stage: &Stage, numbers: impl IntoIterator<Item = usize>) {
        let client = stage.client("cards").await;
        let publish = async |number: usize| {
            let (job, options) = (self.job(number), BasicPublishOptions::default());
            let (exchange, key) = ("bellwether.jobs".into(), "direct".into());
            let properties = client.properties();
            let published = client.channel.basic_publish(exchange, key, options, job.as_bytes(), properties);
            published.await.expect("the broker is there").await.expect("a confirm").is_ack()
        };
        let confirmed = within("the confirms", join_all(numbers.into_iter().map(publish))).await;
        assert!(confirmed.into_iter().all(|is_ack| is_ack));
    }

    /// Waits until so many jobs are over, as long as some end; a load that stands still fails the test, with what is
    /// left of it.
    pub(crate) async fn finished(&self, stage: &Stage, count: usize) {
        const LEFT: &str = "select j.job_id, j.state, j.tries, coalesce(w.reason, '') \
             from direct_job j left join failure_word w using (producer, job_id) \
             where j.state <> 'finished' and not j.campaign order by j.due_at limit 10";
        const FINISHED: &str = "select count(*) from direct_job where state = 'finished' and not campaign";
        let mut connection = connection(stage).await;
        let count = i64::try_from(count).expect("a count");
        let (clock, mut before) = (Clock::system(), -1);
        let mut progress = clock.monotonic();
        let mut look = interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let finished: i64 =
                sqlx::query_scalar(FINISHED).fetch_one(&mut connection).await.expect("an answer");
            if finished == count {
                return;
            }
            if finished != before {
                (before, progress) = (finished, clock.monotonic());
            }
            if clock.monotonic().duration_since(progress) > STANDSTILL {
                let left: Vec<(String, String, i32, String)> =
                    sqlx::query_as(LEFT).fetch_all(&mut connection).await.expect("an answer");
                panic!(
                    "{finished} of {count} jobs are over, and none since {STANDSTILL:?}; left (job, state, tries, last word): {left:?}"
                );
            }
        }
    }

    /// The ledger and the simulators' record, device for device: one item on the screen of whoever is recorded as
    /// reached, none on the others'; and every repeat has its first's ids. Answers how many ended with each outcome.
    pub(crate) async fn reconcile(&self, stage: &Stage, count: usize) -> BTreeMap<&'static str, usize> {
        let record = on_record(stage).await;
        assert_eq!(record.len(), count, "every job is on record");
        let wire = Wire::of(stage);
        let mut ends = BTreeMap::new();
        for (number, phone) in self.phones.iter().take(count).enumerate() {
            let job = record.get(&Self::id(number)).unwrap_or_else(|| panic!("job {number} is lost"));
            let [(token, outcome)] = &job.targets[..] else { panic!("job {number}: {:?}", job.targets) };
            assert_eq!((token, job.state.as_str()), (&phone.token, "finished"), "job {number}");
            let seen = stage.simulator.phone(token).expect("a registered phone");
            let items: Vec<_> = seen.screen.iter().map(|shown| shown.body.to_string()).collect();
            let expected = vec![format!("Kod {number}")];
            match outcome {
                OutcomeCode::Accepted => assert_eq!(items, expected, "job {number}"),
                // Nobody knows, so either is right; never twice.
                OutcomeCode::Unknown => assert!(items.is_empty() || items == expected, "{number}: {items:?}"),
                OutcomeCode::TokenGone => assert_eq!(items, Vec::<String>::new(), "job {number}"),
                other => panic!("job {number} ended as {other:?}"),
            }
            *ends.entry(outcome.as_str()).or_default() += 1;
        }
        for (token, requests) in &wire.by_token {
            let ids: BTreeSet<_> = requests.iter().map(|request| message_id(request)).collect();
            assert_eq!(ids.len(), 1, "repeats to {token} have other ids");
        }
        ends
    }

    /// Nothing is left in any queue. To be asked once every process has stopped: what one holds is not ready.
    pub(crate) async fn nothing_is_queued(stage: &Stage) {
        let client = stage.broker.client(stage.broker.service()).await;
        for queue in QUEUES {
            eventually(queue, async || (client.ready(queue).await == Some(0)).then_some(())).await;
        }
    }
}

/// What the ledger says of one job.
#[derive(Debug)]
pub(crate) struct OnRecord {
    pub(crate) state: String,
    /// Token and outcome of each device.
    pub(crate) targets: Vec<(String, OutcomeCode)>,
}

async fn connection(stage: &Stage) -> PgConnection {
    PgConnection::connect(&stage.database_url()).await.expect("the database answers")
}

/// Every job on record, read past the service's own code.
pub(crate) async fn on_record(stage: &Stage) -> BTreeMap<String, OnRecord> {
    let mut connection = connection(stage).await;
    let devices: Vec<(Uuid, String)> = sqlx::query_as("select public_id, token from device")
        .fetch_all(&mut connection)
        .await
        .expect("the devices");
    let tokens: BTreeMap<Uuid, String> = devices.into_iter().collect();
    let jobs: Vec<(String, String, Vec<u8>, Vec<u8>)> =
        sqlx::query_as("select job_id, state, devices, outcomes from direct_job")
            .fetch_all(&mut connection)
            .await
            .expect("the jobs");
    let target = |(device, outcome): (&[u8], &u8)| {
        let device = Uuid::from_slice(&device[..16]).expect("a device id");
        (tokens[&device].clone(), OutcomeCode::from_byte(*outcome).expect("an outcome"))
    };
    let job = |(id, state, devices, outcomes): (String, String, Vec<u8>, Vec<u8>)| {
        let targets = devices.chunks_exact(24).zip(&outcomes).map(target).collect();
        (id, OnRecord { state, targets })
    };
    jobs.into_iter().map(job).collect()
}

/// Waits until the database has let go of a process that was killed: what it had sent to commit is committed by then.
pub(crate) async fn forgotten_by_the_database(stage: &Stage) {
    const HELD: &str = "select count(*) from pg_stat_activity \
         where datname = current_database() and application_name = 'bellwether'";
    let mut connection = connection(stage).await;
    eventually("its connections end", async || {
        let held: i64 = sqlx::query_scalar(HELD).fetch_one(&mut connection).await.expect("an answer");
        (held == 0).then_some(())
    })
    .await;
}

/// The requests for notifications, in order.
pub(crate) struct Wire {
    pub(crate) by_token: BTreeMap<String, Vec<std::sync::Arc<RecordedRequest>>>,
}

impl Wire {
    pub(crate) fn of(stage: &Stage) -> Self {
        let mut by_token: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for request in stage.simulator.record() {
            if request.provider != Provider::OAuth {
                by_token.entry(token(&request)).or_default().push(request);
            }
        }
        Self { by_token }
    }

    /// Requests beyond the first of each device.
    pub(crate) fn repeats(&self) -> usize {
        self.by_token.values().map(|requests| requests.len() - 1).sum()
    }
}

fn token(request: &RecordedRequest) -> String {
    match request.provider {
        Provider::Apns => request.path.trim_start_matches("/3/device/").to_owned(),
        Provider::Fcm | Provider::OAuth => {
            let body: Value = serde_json::from_str(&request.body).expect("FCM speaks JSON");
            body["message"]["token"].as_str().expect("a token").to_owned()
        }
    }
}

/// By which a phone knows a repeat.
pub(crate) fn message_id(request: &RecordedRequest) -> String {
    match request.provider {
        Provider::Apns => request.header("apns-id").expect("every request has one").to_owned(),
        Provider::Fcm | Provider::OAuth => {
            let body: Value = serde_json::from_str(&request.body).expect("FCM speaks JSON");
            body["message"]["android"]["notification"]["tag"].as_str().expect("a tag").to_owned()
        }
    }
}
