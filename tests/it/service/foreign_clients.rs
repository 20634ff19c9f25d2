//! Jobs from clients that are not ours, exactly as the README has them: each reaches both providers, to the byte.

use std::process::Stdio;

use bellwether::{
    clock::Clock,
    ledger::{DeviceRecord, JobRecord, JobState},
    model::{OutcomeCode, Platform, UserId},
    simulator::{Provider, RecordedRequest},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{
    broker::{PATIENCE, eventually, within},
    service::{APP, Serving, Stage, TestPhone},
};

/// The n-th code block of this language in the README's section on enqueueing.
fn readme(language: &str, n: usize) -> String {
    let text = include_str!("../../../README.md");
    let section = text.split("\n## ").find(|part| part.starts_with("Enqueue")).expect("a section Enqueue");
    let fence = format!("```{language}\n");
    let block = section.split(&fence).nth(n + 1).expect("an example in this language");
    block.split("```").next().expect("the block ends").to_owned()
}

/// Runs an example where `job.json` is, as the producer `cards`.
async fn run(stage: &Stage, program: &str, package: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(stage.folder()).stdin(Stdio::null()).kill_on_drop(true);
    command.env("AMQP_URL", stage.broker.url(stage.producer("cards")));
    let why = match within(program, command.output()).await {
        Ok(ran) if ran.status.success() => return,
        Ok(ran) => String::from_utf8_lossy(&ran.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    panic!("{program}: {why}\nIs the Debian package {package} installed?");
}

/// A job with every field that a provider sees.
fn job(id: &str, expires_at: Timestamp) -> Value {
    json!({
        "v": 1, "id": id, "app": APP, "intent": "production", "to": {"users": ["anna"]},
        "notification": {
            "title": "Bank", "body": "Zażółć gęślą jaźń",
            "localized": {"en": {"title": "Bank", "body": "In English"}},
            "category": "payments", "link": "https://bank.example.pl/p/7", "data": {"payment": "7"},
            "collapse_id": "payment-7", "priority": "normal",
            "apns": {"aps": {"badge": 3}}, "fcm": {"android": {"notification": {"color": "#aa0000"}}}
        },
        "expires_at": expires_at.to_string(), "labels": {"team": "cards"}
    })
}

/// A served stage with Anna's two phones, and a job in its folder.
struct Scene {
    stage: Stage,
    serving: Serving,
    expires_at: Timestamp,
}

impl Scene {
    async fn set(id: &str, configuration: impl FnOnce(&Stage) -> String) -> Self {
        let stage = Stage::set().await;
        stage.register(&[TestPhone::ios("anna"), TestPhone::android("anna")]).await;
        stage.configure(&configuration(&stage));
        let now = Timestamp::from_second(Clock::system().now().as_second()).expect("an instant");
        let expires_at = now + SignedDuration::from_mins(10);
        std::fs::write(stage.folder().join("job.json"), job(id, expires_at).to_string()).expect("a job file");
        let serving = stage.serve().await;
        Self { stage, serving, expires_at }
    }

    /// What was asserted of the three clients alike: the wire, the record, the metrics.
    async fn rang(self, id: &str) {
        let Self { stage, serving, expires_at } = self;
        let requests = stage.simulator.wait_for_requests(3, PATIENCE).await;
        requests.unwrap_or_else(|error| panic!("{error}: {}", serving.log()));
        let (ledger, key) = (stage.ledger().await, stage.key("cards", id));
        let record = eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
        on_record(&record, expires_at);
        let anna = UserId::parse("anna").expect("a user id");
        let devices = ledger.devices_of(None, &anna).await.expect("the ledger answers");
        let device = |platform| {
            let of = devices.iter().find(|record: &&DeviceRecord| record.device.platform == platform);
            of.expect("a device").device.id
        };
        let sent = stage.simulator.record();
        let to = |provider| sent.iter().find(|request| request.provider == provider).expect("a request");
        let apns_id = key.message_id(device(Platform::Ios)).to_string();
        on_apns(to(Provider::Apns), &apns_id, expires_at);
        on_fcm(to(Provider::Fcm));
        measured(&serving).await;
        let service = stage.broker.client(stage.broker.service()).await;
        for queue in ["jobs.direct", "dead"] {
            assert_eq!(service.ready(queue).await, Some(0), "{queue}");
        }
        assert!(serving.stop().await.success());
    }
}

fn on_record(record: &JobRecord, expires_at: Timestamp) {
    assert!(matches!(record.state, JobState::Finished { .. }), "{:?}", record.state);
    assert_eq!(record.expires_at, expires_at);
    let outcomes: Vec<_> = record.targets.iter().map(|target| target.outcome).collect();
    assert_eq!(outcomes, [OutcomeCode::Accepted; 2]);
}

fn on_apns(request: &RecordedRequest, apns_id: &str, expires_at: Timestamp) {
    let token = TestPhone::ios("anna").token;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", &*format!("/3/device/{token}")));
    let expiration = expires_at.as_second().to_string();
    for (name, value) in [
        ("authorization", "valid"),
        ("apns-topic", "pl.example.bank"),
        ("apns-push-type", "alert"),
        ("apns-priority", "5"),
        ("apns-expiration", &expiration),
        ("apns-collapse-id", "payment-7"),
        ("apns-id", apns_id),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let expected = json!({
        "aps": {"alert": {"title": "Bank", "body": "Zażółć gęślą jaźń"}, "badge": 3, "sound": "default",
                "category": "payments"},
        "link": "https://bank.example.pl/p/7", "payment": "7"
    });
    assert_eq!(serde_json::from_str::<Value>(&request.body).expect("JSON"), expected);
}

fn on_fcm(request: &RecordedRequest) {
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/v1/projects/bank-prod/messages:send")
    );
    assert_eq!(request.header("authorization"), Some("valid"));
    let mut body: Value = serde_json::from_str(&request.body).expect("JSON");
    let ttl = body["message"]["android"].as_object_mut().expect("an object").remove("ttl").expect("a ttl");
    let seconds: u64 = ttl.as_str().and_then(|ttl| ttl.strip_suffix('s')?.parse().ok()).expect("seconds");
    assert!((500..=600).contains(&seconds), "{ttl}: ten minutes, less what has passed");
    let expected = json!({"message": {
        "token": TestPhone::android("anna").token,
        "notification": {"title": "Bank", "body": "Zażółć gęślą jaźń"},
        "data": {"payment": "7", "link": "https://bank.example.pl/p/7"},
        "android": {"priority": "NORMAL", "collapse_key": "payment-7", "notification":
            {"color": "#aa0000", "tag": "payment-7", "channel_id": "payments"}}
    }});
    assert_eq!(body, expected);
}

async fn measured(serving: &Serving) {
    let accepted = |provider| ["outcome=\"accepted\"", "app=\"pl.example.bank\"", provider];
    for (name, labels, value) in [
        ("bellwether_jobs_total", &["lane=\"direct\"", "verdict=\"clear\""][..], 1.0),
        ("bellwether_sends_total", &accepted("provider=\"apns\""), 1.0),
        ("bellwether_sends_total", &accepted("provider=\"fcm\""), 1.0),
        ("bellwether_send_seconds_count", &[], 2.0),
        ("bellwether_enqueue_to_accept_seconds_count", &["lane=\"direct\""], 2.0),
        ("bellwether_ledger_commit_seconds_count", &[], 1.0),
    ] {
        let read = serving.metric(name, labels).await;
        assert!((read - value).abs() < 0.5, "{name} {labels:?}: {read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_python_example_rings_both_phones() {
    let scene = Scene::set("python-1", |_| String::new()).await;
    // Debian's own Python: that is where its packages are.
    run(&scene.stage, "/usr/bin/python3", "python3-pika", &["-c", &readme("python", 0)]).await;
    scene.rang("python-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_ruby_example_rings_both_phones() {
    let scene = Scene::set("ruby-1", |_| String::new()).await;
    run(&scene.stage, "/usr/bin/ruby", "ruby-bunny", &["-e", &readme("ruby", 0)]).await;
    scene.rang("ruby-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_amqp_publish_rings_both_phones_on_a_single_producers_queue() {
    let of_cards = |stage: &Stage| {
        format!("amqp.single_producer = {{ \"jobs.direct\" = {:?} }}", stage.producer("cards"))
    };
    let scene = Scene::set("shell-1", of_cards).await;
    let example = readme("sh", 0);
    assert!(example.contains("amqp-publish"), "{example}");
    run(&scene.stage, "/bin/sh", "amqp-tools", &["-ec", &example]).await;
    scene.rang("shell-1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_single_producer_amqp_publish_is_told_to_say_who_it_is() {
    let scene = Scene::set("shell-1", |_| String::new()).await;
    run(&scene.stage, "/bin/sh", "amqp-tools", &["-ec", &readme("sh", 0)]).await;
    let service = scene.stage.broker.client(scene.stage.broker.service()).await;
    let dead = crate::harness::told::Dead::next(&service).await;
    assert_eq!((dead.code(), dead.field()), ("missing-field", "user_id"));
    assert!(dead.headers["x-bellwether-problem"].contains("single-producer"), "{:?}", dead.headers);
    assert_eq!(scene.stage.simulator.requests(), 0);
    assert!(scene.serving.stop().await.success());
}
