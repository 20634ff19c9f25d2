//! The afternoon of 5 August 2020, when three test texts rang every customer's phone, in all the ways that it could
//! have come about: none rings anybody, and each is told with the rule that refused it. To a tester, they ring.

use bellwether::model::{OutcomeCode, RolloutState, UserId};
use serde_json::{Value, json};

use crate::harness::{
    broker::{PATIENCE, TestClient, eventually},
    service::{APP, Stage, TestPhone},
    told::{Dead, Events, audited_refusals},
};

const TEXTS: [&str; 3] = ["ęśąćż", "test wiadomości push", "Życzymy miłego dnia"];
const CUSTOMERS: [&str; 3] = ["anna", "piotr", "zofia"];
/// A registered tester of the shipped policy.
const TESTER: &str = "qa-ios-1";

/// One way of sending a text to the wrong people.
struct Way {
    what: &'static str,
    producer: &'static str,
    /// `intent`, unless it has none.
    intent: Option<&'static str>,
    to: Value,
    /// Which rule must name which field.
    rule: &'static str,
    field: &'static str,
}

impl Way {
    fn job(&self, text: usize, expires_at: &str) -> Value {
        let mut job = json!({
            "v": 1, "id": format!("{}-{text}", self.what), "app": APP, "to": self.to,
            "notification": {"title": "Bank", "body": TEXTS[text]}
        });
        if let Some(intent) = self.intent {
            job["intent"] = json!(intent);
        }
        if self.is_campaign() {
            job["expires_at"] = json!(expires_at);
        }
        job
    }

    fn is_campaign(&self) -> bool {
        self.to.get("audience").is_some()
    }
}

fn in_an_hour() -> String {
    let now = bellwether::clock::Clock::system().now();
    (now + jiff::SignedDuration::from_hours(1)).to_string()
}

fn ways(customer: &str, tester: &str) -> Vec<Way> {
    let way = |what, producer, intent, to, rule, field| Way { what, producer, intent, to, rule, field };
    let all = || json!({"audience": "customers-pl", "at_most": 4_000_000});
    let test = Some("test");
    let wrong = "test-to-production";
    let unlabelled = "label-missing";
    vec![
        way("everybody", "marketing", test, all(), wrong, "to.audience"),
        way("everybody-by-qa", "qa", test, all(), wrong, "to.audience"),
        way("unlabelled", "marketing", None, all(), unlabelled, "intent"),
        way("mislabelled", "marketing", Some("testing"), all(), unlabelled, "intent"),
        way("users", "cards", test, json!({"users": CUSTOMERS}), wrong, "to.users[0]"),
        way("devices", "cards", test, json!({"devices": [customer]}), wrong, "to.devices[0]"),
        way("mixed-users", "qa", test, json!({"users": [TESTER, "anna"]}), wrong, "to.users[1]"),
        way("mixed-devices", "qa", test, json!({"devices": [tester, customer]}), wrong, "to.devices[1]"),
        way("unlabelled-users", "cards", None, json!({"users": CUSTOMERS}), unlabelled, "intent"),
        way("mislabelled-users", "cards", Some("Test"), json!({"users": CUSTOMERS}), unlabelled, "intent"),
    ]
}

async fn device_of(stage: &Stage, user: &str) -> String {
    let user = UserId::parse(user).expect("a user id");
    let devices = stage.ledger().await.devices_of(None, &user).await.expect("the ledger answers");
    devices.first().expect("a registered device").device.id.to_string()
}

async fn enqueue(client: &TestClient, way: &Way, job: &Value) {
    let lane = if way.is_campaign() { "campaign" } else { "direct" };
    let body = job.to_string();
    let published = client.publish("bellwether.jobs", lane, client.properties(), body.as_bytes());
    published.await.expect("the producer may publish jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_no_test_text_reaches_a_customer_in_any_way_and_each_refusal_is_told_thrice() {
    let stage = Stage::set().await;
    let mut phones = CUSTOMERS.map(TestPhone::ios).to_vec();
    phones.extend(CUSTOMERS.map(TestPhone::android));
    phones.push(TestPhone::ios(TESTER));
    stage.register(&phones).await;
    let (customer, tester) = (device_of(&stage, "anna").await, device_of(&stage, TESTER).await);
    let serving = stage.serve().await;
    let (events, service) = (Events::of(&stage).await, stage.broker.client(stage.broker.service()).await);

    let (ways, soon) = (ways(&customer, &tester), in_an_hour());
    for way in &ways {
        let client = stage.client(way.producer).await;
        for text in 0..TEXTS.len() {
            enqueue(&client, way, &way.job(text, &soon)).await;
        }
    }

    let (mut dead, mut told) = (Vec::new(), Vec::new());
    for _ in 0..ways.len() * TEXTS.len() {
        dead.push(Dead::next(&service).await);
        told.push(events.next_of(&["job.refused"]).await);
    }
    let audited = audited_refusals(&stage).await;
    for way in &ways {
        for text in 0..TEXTS.len() {
            let job = way.job(text, &soon);
            let (id, what) = (&job["id"], format!("{} {text}", way.what));
            let finding = |finding: &Value| finding["rule"] == way.rule && finding["field"] == way.field;

            let event = told.iter().find(|event| event["job"] == *id).expect("an event");
            let findings = event["findings"].as_array().expect("findings");
            assert!(findings.iter().any(finding), "{what}: {findings:?}");
            assert_eq!(event["producer"], stage.producer(way.producer), "{what}");

            let sent = job.to_string();
            let letter = dead.iter().find(|letter| letter.body == sent.as_bytes()).expect("a copy in dead");
            assert_eq!(letter.headers["x-bellwether-reason"], "refused", "{what}");
            assert!(letter.code().split(',').any(|rule| rule == way.rule), "{what}: {}", letter.code());
            let findings: Vec<Value> =
                serde_json::from_str(&letter.headers["x-bellwether-findings"]).expect("JSON");
            assert!(findings.iter().any(finding), "{what}: {findings:?}");

            let entry = audited.iter().find(|entry| entry["job"] == *id).expect("an entry in the audit");
            let rules = entry["rules"].as_array().expect("rules");
            assert!(rules.iter().any(|rule| rule == way.rule), "{what}: {rules:?}");
        }
    }
    assert_eq!(stage.simulator.requests(), 0, "{:?}", stage.simulator.record());

    // Labelled as real there is nothing to refuse; and nothing rings before people have looked at it.
    let (ledger, marketing) = (stage.ledger().await, stage.client("marketing").await);
    for text in 0..TEXTS.len() {
        let way = Way {
            what: "labelled-production",
            producer: "marketing",
            intent: Some("production"),
            to: json!({"audience": "customers-pl", "at_most": 4_000_000}),
            rule: "none",
            field: "none",
        };
        let mut job = way.job(text, &soon);
        job["plan"] = json!("urgent");
        enqueue(&marketing, &way, &job).await;
        let key = stage.key("marketing", job["id"].as_str().expect("an id"));
        let held = eventually("it waits for people", async || {
            let campaign = ledger.campaign_by_job(&key).await.expect("an answer")?;
            let rollout = ledger.rollout(campaign).await.expect("an answer")?;
            (rollout.state == RolloutState::PendingApproval).then_some(rollout)
        })
        .await;
        assert!(held.electorate.people >= 1, "{held:?}");
    }
    assert_eq!(stage.simulator.requests(), 0, "{:?}", stage.simulator.record());

    let qa = stage.client("qa").await;
    for (n, text) in TEXTS.iter().enumerate() {
        let job = Stage::job(&format!("to-a-tester-{n}"), "test", &[TESTER], text);
        qa.enqueue(&job.to_string()).await;
    }
    stage.simulator.wait_for_requests(3, PATIENCE).await.expect("the tester's phone rings");
    for n in 0..TEXTS.len() {
        let key = stage.key("qa", &format!("to-a-tester-{n}"));
        let record = eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
        assert_eq!(record.targets[0].outcome, OutcomeCode::Accepted);
    }
    for phone in &phones {
        let seen = stage.simulator.phone(&phone.token).expect("a registered phone");
        assert_eq!(seen.accepted, if phone.user == TESTER { 3 } else { 0 }, "{}", phone.user);
    }
    let screen = stage.simulator.phone(&phones[6].token).expect("the tester's phone").screen;
    let mut shown: Vec<_> = screen.iter().map(|shown| shown.body.to_string()).collect();
    shown.sort();
    let mut texts = TEXTS;
    texts.sort_unstable();
    assert_eq!(shown, texts);
    assert!(serving.stop().await.success());
}
