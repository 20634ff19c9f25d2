//! What a broken or hostile producer can send: each is refused with a reason that names the field, told, and counted;
//! none crashes the service, blocks it or gets lost, and nothing of its text is told or logged (I12).

mod cases;

use std::collections::BTreeMap;

use bellwether::model::{JobId, OutcomeCode};
use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;

use crate::harness::{
    broker::{PATIENCE, TestClient, eventually},
    service::{Stage, TestPhone},
    told::{Dead, Events, audited_refusals, trace},
};
use cases::{Case, SECRET, Who};

/// What the service told of one message.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    code: String,
    field: String,
}

/// The clients of the producers, and of somebody whom the policy does not know.
struct Clients {
    known: BTreeMap<&'static str, TestClient>,
    stranger: TestClient,
}

impl Clients {
    async fn of(stage: &Stage) -> Self {
        let mut known = BTreeMap::new();
        for name in ["cards", "marketing", "qa", "mobile-backend"] {
            known.insert(name, stage.client(name).await);
        }
        let stranger = stage.broker.producer("stranger").await;
        Self { known, stranger: stage.broker.client(&stranger).await }
    }

    async fn publish(&self, n: usize, case: &Case) {
        let client = match case.who {
            Who::Producer(name) => &self.known[name],
            Who::Stranger => &self.stranger,
            Who::Nobody | Who::Forger => &self.known["cards"],
        };
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongString(trace(n).into()));
        let properties = match case.who {
            Who::Nobody => lapin::BasicProperties::default(),
            Who::Forger => client.properties().with_type("bellwether.pointer".into()),
            _ => client.properties(),
        };
        let published =
            client.publish("bellwether.jobs", "direct", properties.with_headers(headers), &case.body);
        published.await.unwrap_or_else(|error| panic!("{}: {error}", case.what));
    }
}

fn of_event(event: &Value) -> Reason {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if event["type"] == "job.malformed" {
        return Reason { code: text(&event["code"]), field: text(&event["field"]) };
    }
    let findings = event["findings"].as_array().expect("a refusal has findings");
    let first = findings.iter().find(|finding| finding["verdict"] != "clear").expect("a reason");
    Reason { code: text(&first["rule"]), field: text(&first["field"]) }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_i12_whatever_cannot_be_sent_is_refused_by_its_field_and_never_quoted() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna"), TestPhone::android("anna")]).await;
    // An app that `cards` was not given.
    let apps = stage.folder().join("audiences/apps.toml");
    let other = "[apps.\"pl.example.other\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
                 fcm = { project = \"other-prod\", max_rate = 100 }\n";
    let text = std::fs::read_to_string(&apps).expect("apps.toml");
    std::fs::write(&apps, format!("{text}\n{other}")).expect("apps.toml is written");
    let serving = stage.serve().await;
    let (events, service) = (Events::of(&stage).await, stage.broker.client(stage.broker.service()).await);
    let clients = Clients::of(&stage).await;

    // The id of a job that was sent, for a later one with another text.
    let ledger = stage.ledger().await;
    clients.known["cards"]
        .enqueue(&Stage::job("used", "production", &["anna"], "Pierwszy").to_string())
        .await;
    let used = stage.key("cards", "used");
    eventually("on record", async || ledger.job(&used).await.expect("an answer")).await;
    stage.simulator.wait_for_requests(3, PATIENCE).await.expect("the first job rings");

    let cases = cases::all();
    assert!(cases.len() >= 60, "{}", cases.len());
    for (n, case) in cases.iter().enumerate() {
        clients.publish(n, case).await;
    }
    // A good job after all of them is not held up.
    let cards = &clients.known["cards"];
    cards.enqueue(&Stage::job("good", "production", &["anna"], "Dobry").to_string()).await;
    let good = stage.key("cards", "good");
    let record = eventually("the good job", async || ledger.job(&good).await.expect("an answer")).await;
    assert!(record.targets.iter().all(|target| target.outcome == OutcomeCode::Accepted));

    let (mut dead, mut told) = (BTreeMap::new(), BTreeMap::new());
    let mut words = String::new();
    for _ in &cases {
        let letter = Dead::next(&service).await;
        let code = letter.code().split(',').next().unwrap_or_default().to_owned();
        let size: usize = letter.headers["x-bellwether-size"].parse().expect("a number");
        words.extend(letter.headers.values().map(String::as_str));
        let reason = Reason { code, field: letter.field().to_owned() };
        dead.insert(letter.trace().to_owned(), (reason, size));
        let event = events.next_of(&["job.refused", "job.malformed"]).await;
        words.push_str(&event.to_string());
        told.insert(event["traceparent"].as_str().expect("a trace").to_owned(), of_event(&event));
    }
    let mut wrong = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let expected = Reason { code: case.code.to_owned(), field: case.field.to_owned() };
        let (told, (reason, size)) = (&told[&trace(n)], &dead[&trace(n)]);
        if *reason != expected || *told != expected || *size != case.body.len() {
            wrong.push(format!(
                "{}: {expected:?}, but dead: {reason:?} of {size}, event: {told:?}",
                case.what
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert_eq!(audited_refusals(&stage).await.len(), cases.len());
    assert_eq!(stage.simulator.summary().accepted, 4, "two good jobs, two phones");
    let refused = serving.metric("bellwether_jobs_total", &["verdict=\"refuse\""]).await;
    let malformed = serving.metric("bellwether_jobs_total", &["verdict=\"malformed\""]).await;
    let all = serving.metric("bellwether_jobs_total", &[]).await;
    assert!((refused + malformed - count(cases.len())).abs() < 0.5, "{refused} + {malformed}");
    assert!((all - refused - malformed - 2.0).abs() < 0.5, "{all}: dead, and delivered");
    assert_eq!(serving.get("/readyz").await.0, 200);
    words.push_str(&serving.log());
    assert!(!words.contains(SECRET), "a text was told or logged");
    for queue in ["jobs.direct", "jobs.campaign", "dead"] {
        assert_eq!(service.ready(queue).await, Some(0), "{queue}");
    }
    assert!(serving.stop().await.success());
}

fn count(cases: usize) -> f64 {
    f64::from(u32::try_from(cases).expect("a few"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_user_id_closes_the_channel_with_406_and_rings_nobody() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    let job = |id: &str| Stage::job(id, "production", &["anna"], "Kod 123").to_string();
    for (n, victim) in [stage.producer("cards"), stage.broker.service()].into_iter().enumerate() {
        let qa = stage.client("qa").await;
        let forged = qa.properties().with_user_id(victim.into());
        let body = job(&format!("forged-{n}"));
        let error = qa.publish("bellwether.jobs", "direct", forged, body.as_bytes()).await;
        let error = error.expect_err("the broker knows who is connected");
        let ErrorKind::ProtocolError(amqp) = error.kind() else { panic!("no answer of the broker: {error}") };
        assert_eq!(*amqp.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED));
        assert_eq!(amqp.get_id(), 406);
        assert!(!qa.channel.status().connected(), "the channel is closed");
    }
    // What came after is there, what came before is not.
    stage.client("cards").await.enqueue(&job("own")).await;
    let ledger = stage.ledger().await;
    eventually("on record", async || ledger.job(&stage.key("cards", "own")).await.expect("an answer")).await;
    for producer in ["cards", "qa"] {
        for n in 0..2 {
            let mut key = stage.key(producer, "own");
            key.id = JobId::parse(&format!("forged-{n}")).expect("an id");
            assert!(ledger.job(&key).await.expect("an answer").is_none(), "{key}");
        }
    }
    let phone = stage.simulator.phone(&TestPhone::ios("anna").token).expect("a phone");
    assert_eq!(phone.accepted, 1);
    assert!(serving.stop().await.success());
}
