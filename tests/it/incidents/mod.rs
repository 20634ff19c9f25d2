//! Real incidents, replayed: whatever rang the wrong phones elsewhere is sent through the whole service, in every way in
//! which it could have happened, and the simulators say who was rung.
//!
//! One incident is one file of `tests/incidents/`; nothing else is needed for another. What stopped it is read from what the
//! service tells, and never written in a file. `BELLWETHER_INCIDENTS=write` writes the README's table anew.

mod approve;
mod attempt;
mod file;
mod ground;
mod table;
mod told;

use std::collections::{BTreeMap, HashMap};

use bellwether::model::{CampaignId, Job, ProducerId};
use futures_util::{StreamExt as _, stream};
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use self::{
    attempt::{Attempt, Step},
    file::Incident,
    ground::ProducerName,
    told::{Ending, Endings, Told},
};
use crate::harness::{
    broker::{TestClient, eventually},
    service::{Serving, Stage},
    told::{Events, trace},
};

/// Producers who enqueue at once.
const AT_ONCE: usize = 24;

/// Every attempt, and the number of each of its jobs.
struct Tries {
    attempts: Vec<Attempt>,
    users: BTreeMap<ProducerName, String>,
    numbers: HashMap<String, usize>,
}

impl Tries {
    fn new(attempts: Vec<Attempt>, users: BTreeMap<ProducerName, String>) -> Self {
        let ids = attempts.iter().flat_map(Attempt::jobs).map(id);
        let numbers: HashMap<_, _> = ids.enumerate().map(|(n, id)| (id, n)).collect();
        Self { attempts, users, numbers }
    }

    fn user(&self, attempt: &Attempt) -> &str {
        &self.users[&ground::producer_of(attempt)]
    }

    fn numbers_of(&self, attempt: &Attempt) -> Vec<usize> {
        attempt.jobs().map(|job| self.numbers[&id(job)]).collect()
    }

    /// The campaign that a job asks for; of a direct job it is one that there never is.
    fn campaign(&self, attempt: &Attempt, job: &Value) -> CampaignId {
        let job = Job::parse(job.to_string().as_bytes()).expect("a job's form is right");
        let producer = ProducerId::parse(self.user(attempt)).expect("a producer's name");
        CampaignId::derive(&job.key(&producer), &job.digest())
    }

    fn campaigns(&self) -> HashMap<String, usize> {
        let jobs = self.attempts.iter().flat_map(|attempt| attempt.jobs().map(move |job| (attempt, job)));
        jobs.map(|(attempt, job)| (self.campaign(attempt, job).to_string(), self.numbers[&id(job)])).collect()
    }

    /// How often a job is enqueued that is known already.
    fn agains(&self) -> usize {
        let steps = self.attempts.iter().flat_map(|attempt| &attempt.steps);
        steps.filter(|step| matches!(step, Step::Again(_))).count()
    }

    /// What one producer enqueues, a step after the other.
    async fn by_one(&self, stage: &Stage, attempts: &[&Attempt], mut follow: watch::Receiver<Endings>) {
        let Some(user) = attempts.first().map(|attempt| self.user(attempt)) else { return };
        let client = stage.broker.client(user).await;
        for (attempt, step) in
            attempts.iter().flat_map(|attempt| attempt.steps.iter().map(move |step| (attempt, step)))
        {
            let jobs = match step {
                Step::Jobs(jobs) => jobs.as_slice(),
                Step::Again(job) | Step::Anonymous(job) => std::slice::from_ref(job),
            };
            for job in jobs {
                self.enqueue(&client, job, matches!(step, Step::Anonymous(_))).await;
            }
            let numbers: Vec<_> = jobs.iter().map(|job| self.numbers[&id(job)]).collect();
            told::settled(&mut follow, &numbers).await;
            if attempt.variant.is_none() {
                approve::let_go(stage, self.campaign(attempt, &jobs[0]), &mut follow, numbers[0]).await;
            }
        }
    }

    async fn enqueue(&self, client: &TestClient, job: &Value, is_anonymous: bool) {
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString(trace(self.numbers[&id(job)]).into()));
        let properties = if is_anonymous { lapin::BasicProperties::default() } else { client.properties() };
        let key = if job["to"]["users"].is_array() { "direct" } else { "campaign" };
        let (body, properties) = (job.to_string(), properties.with_headers(headers));
        let published = client.publish("bellwether.jobs", key, properties, body.as_bytes());
        published.await.expect("the broker takes it");
    }

    /// Enqueues everything, and waits until it is over with each.
    async fn run(&self, stage: &Stage, serving: &Serving) -> Endings {
        let events = Events::of(stage).await;
        let (told, follow) = Told::new(self.numbers.len(), self.campaigns());
        let mut by_producer: BTreeMap<_, Vec<&Attempt>> = BTreeMap::new();
        for attempt in &self.attempts {
            by_producer.entry(self.user(attempt)).or_default().push(attempt);
        }
        let everything = stream::iter(by_producer.into_values())
            .map(|attempts| {
                let follow = follow.clone();
                async move { self.by_one(stage, &attempts, follow).await }
            })
            .buffer_unordered(AT_ONCE)
            .collect::<()>();
        tokio::select! {
            () = everything => {}
            () = told.listen(&events) => {}
        }
        eventually("what is known is acknowledged", async || {
            let known = serving.metric("bellwether_jobs_total", &["verdict=\"known\""]).await;
            (format!("{known}") == self.agains().to_string()).then_some(())
        })
        .await;
        follow.borrow().clone()
    }
}

fn id(job: &Value) -> String {
    job["id"].as_str().expect("a job has an id").to_owned()
}

/// What became of an attempt.
struct Outcome<'t> {
    attempt: &'t Attempt,
    endings: Vec<&'t Ending>,
    /// Phones of its crowd that rang, by the simulators' record.
    rung: usize,
}

impl Outcome<'_> {
    fn beyond(&self) -> usize {
        self.rung.saturating_sub(self.attempt.allowed)
    }
}

/// What the simulators saw of an attempt's crowd.
fn rung(stage: &Stage, attempt: &Attempt) -> Vec<String> {
    let phones = ground::phones(attempt).into_iter();
    let seen = phones.map(|phone| {
        let accepted = stage.simulator.phone(&phone.token).expect("a registered phone").accepted;
        assert!(accepted <= 1, "{} rang {accepted} times", phone.user);
        (phone.user, accepted)
    });
    seen.filter(|(_, accepted)| *accepted > 0).map(|(user, _)| user).collect()
}

/// Rollouts of which somebody is on record as about to be rung.
async fn rollouts_begun(stage: &Stage) -> i64 {
    let mut database = PgConnection::connect(&stage.database_url()).await.expect("the database answers");
    sqlx::query_scalar("select count(distinct rollout) from segment")
        .fetch_one(&mut database)
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_incident_rings_a_phone_beyond_policy_without_an_approval() {
    let incidents = file::all();
    let attempts: Vec<_> = incidents.iter().flat_map(attempt::attempts).collect();
    let (stage, users) = ground::set(&attempts).await;
    let tries = Tries::new(attempts, users);
    let serving = stage.serve().await;
    let endings = tries.run(&stage, &serving).await;
    // Drained: whatever was to be sent is.
    assert!(serving.stop().await.success());

    let mut outcomes = Vec::new();
    for attempt in &tries.attempts {
        let rung = rung(&stage, attempt);
        let endings: Vec<_> = tries.numbers_of(attempt).iter().map(|n| &endings[n]).collect();
        if attempt.variant.is_none() {
            let meant: Vec<_> = attempt.users().take(attempt::MEANT).collect();
            assert_eq!(rung, meant, "{}: as it was meant it arrives, and nowhere else", attempt.id);
        } else {
            check(&Outcome { attempt, endings: endings.clone(), rung: rung.len() });
        }
        outcomes.push(Outcome { attempt, endings, rung: rung.len() });
    }
    let meant = outcomes.iter().filter(|outcome| outcome.attempt.variant.is_none()).count();
    assert!(meant > 0, "a service that sends nothing proves nothing");
    let begun = rollouts_begun(&stage).await;
    assert_eq!(usize::try_from(begun).ok(), Some(meant), "no other rollout has begun");
    table::hold(&incidents, &outcomes);
}

/// What every attempt must come to, whatever stopped it.
fn check(outcome: &Outcome<'_>) {
    let Outcome { attempt, endings, rung } = outcome;
    assert_eq!(
        outcome.beyond(),
        0,
        "{}: {rung} phones rang, {} may: {endings:?}",
        attempt.id,
        attempt.allowed
    );
    if attempt.allowed > 0 {
        assert!(*rung > 0, "{}: what is within policy arrives: {endings:?}", attempt.id);
    }
    let is_a_test = |job: &Value| job["intent"] == "test";
    let refused = |ending: &&Ending| matches!(ending, Ending::Refused(_) | Ending::Malformed(_));
    if attempt.jobs().any(is_a_test) {
        // I1: there is nobody whose approval it could wait for.
        assert!(endings.iter().all(refused), "{}: {endings:?}", attempt.id);
    }
}

#[test]
fn a_file_that_says_what_nobody_reads_is_an_error_that_names_it() {
    let sound = "organisation = \"A bank\"\nyear = 2020\nshort = \"a test to everyone\"\nhappened = \"It did.\"\n\
                 sender = \"An engineer\"\nlanguage = \"pl\"\nvariant = \"labelled\"\n\
                 [meant]\nclass = \"test\"\nwhom = \"testers\"\n[hit]\nclass = \"production\"\nwhom = \"everyone\"\n\
                 [[message]]\nbody = \"x\"\n";
    let read = Incident::read("a-bank", sound).expect("it is sound");
    assert_eq!((read.id.as_str(), read.variants().len()), ("a-bank", file::Variant::ALL.len()));
    let wrong = |from: &str, to: &str| {
        let changed = sound.replacen(from, to, 1);
        assert_ne!(changed, sound);
        Incident::read("a-bank", &changed).expect_err("it is wrong")
    };
    let misspelt = wrong("sender", "sendr");
    assert!(
        misspelt.starts_with("tests/incidents/a-bank.toml: ") && misspelt.contains("unknown field `sendr`"),
        "{misspelt}"
    );
    assert!(wrong("whom", "who").contains("unknown field `who`"));
    assert!(wrong("body = \"x\"", "body = \"x\"\nlink = \"y\"").contains("unknown field `link`"));
    assert!(wrong("\"labelled\"", "\"labeled\"").contains("unknown variant `labeled`"));
    assert!(wrong("year = 2020\n", "").contains("missing field `year`"));
    assert!(wrong("variant =", "variants = [\"replayed\"]\nvariant =").contains("leaves out the variant"));
    assert!(Incident::read("A Bank", sound).expect_err("no id").contains("name the file"));
}
