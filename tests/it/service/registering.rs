//! Devices by queue, through the whole service: registered, moved, removed, in their order, by whoever may.

use bellwether::{
    ledger::{DeviceRecord, Ledger},
    model::UserId,
    simulator::{NewPhone, Platform},
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};

use crate::harness::{
    broker::{TestClient, eventually},
    service::{APP, Serving, Stage, TestPhone},
    services::PrivateServices,
    told::{Dead, Events, trace},
};

fn message(operation: &str, version: i64, phone: &TestPhone) -> Value {
    let platform = match phone.platform {
        Platform::Ios => "ios",
        Platform::Android => "android",
    };
    let mut message = json!({"v": 1, "operation": operation, "version": version, "app": APP,
                             "platform": platform, "token": phone.token});
    if operation == "register" {
        message["user_id"] = json!(phone.user);
        message["country"] = json!("PL");
    }
    message
}

async fn devices(ledger: &Ledger, user: &str) -> Vec<DeviceRecord> {
    ledger.devices_of(None, &UserId::parse(user).expect("a user")).await.expect("an answer")
}

async fn outcomes(serving: &Serving, outcome: &str) -> f64 {
    serving.metric("bellwether_registrations_total", &[&format!("outcome=\"{outcome}\"")]).await
}

/// Waits until so many messages have come to this end, and to no other.
async fn counted(serving: &Serving, expected: &[(&str, u32)]) {
    let all: u32 = expected.iter().map(|(_, count)| count).sum();
    eventually("every message counted", async || {
        (serving.metric("bellwether_registrations_total", &[]).await >= f64::from(all)).then_some(())
    })
    .await;
    for (outcome, count) in expected {
        let counted = outcomes(serving, outcome).await;
        assert!((counted - f64::from(*count)).abs() < 0.5, "{outcome}: {counted}, expected {count}");
    }
}

/// Nothing waits, and nothing is held.
async fn nothing_is_queued(stage: &Stage, serving: Serving) {
    assert!(serving.stop().await.success());
    let client = stage.broker.client(stage.broker.service()).await;
    eventually("an empty queue", async || (client.ready("devices").await == Some(0)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_backend_says_of_phones_is_so_and_late_or_repeated_words_change_nothing() {
    let stage = Stage::set().await;
    let serving = stage.serve().await;
    let (ledger, mobile) = (stage.ledger().await, stage.client("mobile-backend").await);
    let (anna, bert) = (TestPhone::ios("anna"), TestPhone::android("bert"));
    stage.simulator.register([&anna, &bert].map(|phone| NewPhone::new(phone.platform, phone.token.clone())));
    for _ in 0..2 {
        mobile.say(&message("register", 1, &anna)).await;
        mobile.say(&message("register", 1, &bert)).await;
    }
    counted(&serving, &[("registered", 2), ("stale", 2)]).await;
    // A phone that was registered so rings.
    let cards = stage.client("cards").await;
    cards.enqueue(&Stage::job("ring", "production", &["anna", "bert"], "Kod 123").to_string()).await;
    eventually("both rang", async || (stage.simulator.summary().accepted == 2).then_some(())).await;

    let seen = |version| {
        let mut update = message("update", version, &anna);
        update["last_seen_at"] = json!("2026-11-21T12:00:00Z");
        update
    };
    mobile.say(&seen(3)).await;
    // Out of order: late, and not heard.
    mobile.say(&message("remove", 2, &anna)).await;
    let sold = TestPhone { user: "carl".to_owned(), ..bert.clone() };
    mobile.say(&message("register", 5, &sold)).await;
    mobile.say(&message("register", 4, &bert)).await;
    mobile.say(&message("remove", 9, &sold)).await;
    mobile.say(&message("register", 8, &bert)).await;
    counted(
        &serving,
        &[("registered", 2), ("stale", 5), ("updated", 1), ("moved", 1), ("removed", 1), ("refused", 0)],
    )
    .await;
    let record = devices(&ledger, "anna").await.remove(0);
    assert_eq!((record.country.as_deref(), record.last_seen_at.is_some()), (Some("PL"), true));
    assert_eq!((devices(&ledger, "bert").await, devices(&ledger, "carl").await), (vec![], vec![]));
    let log = serving.log();
    assert!(!log.contains(&anna.token) && !log.contains(&bert.token), "a token was logged (I12)");
    nothing_is_queued(&stage, serving).await;
}

/// Publishes under a trace of its own, by which what is told of it is known again.
async fn publish(client: &TestClient, n: usize, properties: BasicProperties, body: &[u8]) {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(trace(n).into()));
    let properties = properties.with_headers(headers);
    client.publish("bellwether.devices", "devices", properties, body).await.expect("it may publish");
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_i12_whoever_may_not_and_whatever_is_none_is_refused_told_and_never_quoted() {
    let stage = Stage::set().await;
    let serving = stage.serve().await;
    let (events, service) = (Events::of(&stage).await, stage.broker.client(stage.broker.service()).await);
    let (mobile, cards) = (stage.client("mobile-backend").await, stage.client("cards").await);
    let stranger = stage.broker.producer("stranger").await;
    let stranger = stage.broker.client(&stranger).await;
    let anna = TestPhone::ios("anna-the-secret-user");
    let good = message("register", 1, &anna);
    let with = |field: &str, value: Value| {
        let mut message = good.clone();
        message[field] = value;
        message.to_string().into_bytes()
    };
    let by = |client: &TestClient| client.properties();
    let good_bytes = good.to_string().into_bytes();
    let cases: Vec<(&str, &str, &TestClient, BasicProperties, Vec<u8>)> = vec![
        ("producer-scope", "user_id", &cards, by(&cards), good_bytes.clone()),
        ("producer-scope", "user_id", &stranger, by(&stranger), good_bytes.clone()),
        ("producer-scope", "app", &mobile, by(&mobile), with("app", json!("pl.example.other"))),
        ("missing-field", "user_id", &mobile, BasicProperties::default(), good_bytes.clone()),
        ("unknown-field", "colour", &mobile, by(&mobile), with("colour", json!(anna.token))),
        ("unknown-version", "v", &mobile, by(&mobile), with("v", json!(2))),
        ("invalid-value", "country", &mobile, by(&mobile), with("country", json!(anna.token))),
        ("wrong-type", "version", &mobile, by(&mobile), with("version", json!(anna.token))),
        ("not-json", "registration", &mobile, by(&mobile), anna.token.clone().into_bytes()),
        ("too-large", "registration", &mobile, by(&mobile), vec![b' '; 200 * 1024]),
        ("device-unknown", "token", &mobile, by(&mobile), message("update", 1, &anna).to_string().into()),
    ];
    for (n, (.., client, properties, body)) in cases.iter().enumerate() {
        publish(client, n, properties.clone(), body).await;
    }
    let mut words = String::new();
    let (mut dead, mut told) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    for _ in &cases {
        let letter = Dead::next(&service).await;
        assert_eq!(letter.headers["x-bellwether-lane"], "devices");
        words.extend(letter.headers.values().map(String::as_str));
        dead.insert(letter.trace().to_owned(), (letter.code().to_owned(), letter.field().to_owned()));
        let event = events.next_of(&["device.refused", "device.malformed"]).await;
        words.push_str(&event.to_string());
        let (code, of) = if event["type"] == "device.refused" {
            ("rule", &event["findings"][0])
        } else {
            ("code", &event)
        };
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        told.insert(text(&event["traceparent"]), (text(&of[code]), text(&of["field"])));
    }
    for (n, (code, field, ..)) in cases.iter().enumerate() {
        let expected = ((*code).to_owned(), (*field).to_owned());
        assert_eq!((&dead[&trace(n)], &told[&trace(n)]), (&expected, &expected), "case {n}");
    }
    // A good one after all of them is not held up, and the registry has nothing else.
    mobile.say(&good).await;
    counted(&serving, &[("registered", 1), ("refused", 4), ("malformed", 7)]).await;
    let ledger = stage.ledger().await;
    let counts = ledger.device_counts().await.expect("an answer");
    assert_eq!(counts.iter().map(|count| count.devices).collect::<Vec<_>>(), [1]);
    ledger.audit_verify(None).await.expect("the ledger answers").expect("the chain is whole");
    words.push_str(&serving.log());
    words.push_str(&serving.get("/metrics").await.1);
    for secret in [&anna.token, &anna.user] {
        assert!(!words.contains(secret.as_str()), "{secret} was told or logged");
    }
    nothing_is_queued(&stage, serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_while_the_ledger_is_away_registrations_wait_and_none_is_lost() {
    let services = PrivateServices::up().await;
    let (broker, database) = tokio::join!(services.broker(), services.database());
    let simulator = bellwether::simulator::SimulatorConfig::quiet(bellwether::clock::Clock::system());
    let stage = Stage::on(broker, database, simulator, "").await;
    let serving = stage.serve().await;
    let mobile = stage.client("mobile-backend").await;
    let phone = |number: usize| TestPhone::ios(&format!("person-{number}"));
    for number in 0..50 {
        mobile.say(&message("register", 1, &phone(number))).await;
    }
    services.run(&["stop", "postgres"]).await;
    eventually("readyz says 503", async || (serving.get("/readyz").await.0 == 503).then_some(())).await;
    // More than are held at once, so that some are not even taken.
    for number in 50..1_600 {
        mobile.say(&message("register", 1, &phone(number))).await;
    }
    let service = stage.broker.client(stage.broker.service()).await;
    let waiting = service.ready("devices").await.expect("the queue is there");
    assert!(waiting >= 500, "taken without a ledger: all but {waiting}");
    assert_eq!(service.ready("dead").await, Some(0));
    services.run(&["start", "postgres"]).await;
    let ledger = eventually("the ledger answers", async || Some(stage.ledger().await)).await;
    eventually("all registered", async || {
        let counts = ledger.device_counts().await.ok()?;
        (counts.iter().map(|count| count.devices).sum::<u64>() == 1_600).then_some(())
    })
    .await;
    ledger.close().await;
    nothing_is_queued(&stage, serving).await;
    assert_eq!(service.ready("dead").await, Some(0), "no delivery limit was spent");
    drop((mobile, service, stage));
    drop(services);
}
