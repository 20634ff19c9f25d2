//! Campaigns, from a job in the queue to the phones of exactly those whom the policy names.

use std::time::Duration;

use bellwether::{
    audience::Policy,
    clock::Clock,
    ledger::{Asked, Ledger, RolloutRecord, Verb, VerbRefused},
    model::{OperatorName, RolloutState},
    rollout::{
        Rollout,
        machine::{Held, Pause, Paused},
    },
    simulator::Provider,
};
use jiff::SignedDuration;
use lapin::{
    options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::{Value, json};

use crate::harness::{
    broker::{PATIENCE, TestClient, eventually},
    service::{APP, Serving, Stage, TestPhone},
    told::{Dead, Events},
};

/// Members of the shipped policy's internal audience, and one of its testers.
const STAFF: [&str; 3] = ["staff-0001", "staff-0002", "staff-0003"];
const TESTER: &str = "qa-ios-1";

/// A stage with the phones of staff, of a tester and of a customer, and a plan that goes to everybody at any hour.
async fn staged() -> (Stage, Vec<TestPhone>) {
    let stage = Stage::set().await;
    for (name, gate) in [("at-once", "time"), ("gated", "manual")] {
        let plan = format!(
            "customers_first = \"a test\"\n[[stage]]\ndevices = 1\ngate = \"{gate}\"\n[[stage]]\npercent = 100\n"
        );
        std::fs::write(stage.folder().join(format!("audiences/plans/{name}.toml")), plan).expect("a plan");
    }
    let mut phones = STAFF.map(TestPhone::ios).to_vec();
    phones.push(TestPhone { user: STAFF[0].to_owned(), ..TestPhone::android("another phone of the first") });
    phones.push(TestPhone::ios(TESTER));
    phones.push(TestPhone::ios("anna"));
    stage.register(&phones).await;
    (stage, phones)
}

fn job(id: &str, intent: &str, audience: &str, plan: Option<&str>) -> Value {
    let expires = Clock::system().now() + SignedDuration::from_hours(2);
    let mut job = json!({"v": 1, "id": id, "app": APP, "intent": intent, "expires_at": expires.to_string(),
        "to": {"audience": audience, "at_most": 50}, "notification": {"title": "Bank", "body": "Nowa aplikacja"}});
    if let Some(plan) = plan {
        job["plan"] = json!(plan);
    }
    job
}

async fn enqueue(client: &TestClient, job: &Value) {
    let body = job.to_string();
    let published = client.publish("bellwether.jobs", "campaign", client.properties(), body.as_bytes());
    published.await.expect("the producer may publish jobs");
}

async fn serve(stage: &Stage, roles: &str) -> Serving {
    let serving = stage.start(stage.command(&["serve", "--role", roles])).await;
    eventually("ready", async || (serving.get("/readyz").await.0 == 200).then_some(())).await;
    serving
}

async fn rollout(stage: &Stage, ledger: &Ledger, id: &str) -> Option<RolloutRecord> {
    let campaign = ledger.campaign_by_job(&stage.key("marketing", id)).await.expect("an answer")?;
    ledger.rollout(campaign).await.expect("an answer")
}

async fn reaches(stage: &Stage, ledger: &Ledger, id: &str, wanted: RolloutState) -> RolloutRecord {
    eventually(wanted.as_str(), async || {
        rollout(stage, ledger, id).await.filter(|rollout| rollout.state == wanted)
    })
    .await
}

/// The owners of the phones that were rung, each phone once.
fn rung(stage: &Stage, phones: &[TestPhone]) -> Vec<String> {
    let accepted = |phone: &TestPhone| stage.simulator.phone(&phone.token).map_or(0, |seen| seen.accepted);
    assert!(phones.iter().all(|phone| accepted(phone) <= 1), "somebody was rung twice");
    let mut rung: Vec<_> =
        phones.iter().filter(|phone| accepted(phone) > 0).map(|phone| phone.user.clone()).collect();
    rung.sort();
    rung
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_to_staff_reaches_every_phone_of_staff_once_and_no_other() {
    let (stage, phones) = staged().await;
    let (ledger, serving) = (stage.ledger().await, stage.serve().await);
    let (events, marketing) = (Events::of(&stage).await, stage.client("marketing").await);
    let to_staff = job("news", "production", "staff", Some("at-once"));
    enqueue(&marketing, &to_staff).await;
    let done = reaches(&stage, &ledger, "news", RolloutState::Completed).await;
    assert_eq!((done.frozen, done.stage), (4, Some(1)));
    assert_eq!(rung(&stage, &phones), ["staff-0001", "staff-0001", "staff-0002", "staff-0003"]);
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "completed") {
        let event = events.next_of(&["rollout.changed"]).await;
        states.push(event["state"].as_str().expect("a state").to_owned());
    }
    states.dedup();
    assert_eq!(states, ["draft", "approved", "running", "baking", "running", "baking", "completed"]);

    // The same again is answered from the record; another content under the same id is refused.
    enqueue(&marketing, &to_staff).await;
    let mut other = to_staff.clone();
    other["notification"]["body"] = json!("Inna treść");
    enqueue(&marketing, &other).await;
    let refused = events.next_of(&["job.refused"]).await;
    assert_eq!(refused["findings"][0]["rule"], "id-reused");
    // The id is one key for both lanes.
    let direct = Stage::job("news", "production", &["anna"], "Inna treść");
    marketing.enqueue(&direct.to_string()).await;
    let refused = events.next_of(&["job.refused"]).await;
    assert_eq!(refused["findings"][0]["rule"], "id-reused");
    let cards = stage.client("cards").await;
    cards.enqueue(&direct.to_string()).await;
    // Five for staff, of which one fetches FCM's access token, and the one.
    stage.simulator.wait_for_requests(6, PATIENCE).await.expect("another producer's id is another job");
    let service = stage.broker.client(stage.broker.service()).await;
    for _ in 0..2 {
        assert_eq!(Dead::next(&service).await.code(), "id-reused");
    }
    eventually("nothing waits", async || (service.ready("jobs.campaign").await == Some(0)).then_some(()))
        .await;
    let record = stage.simulator.record();
    assert_eq!(record.iter().filter(|request| request.provider != Provider::OAuth).count(), 5);
    assert_eq!(rung(&stage, &phones).len(), 5);

    let shown = stage.run(&["--output", "json", "job", "show", stage.producer("marketing"), "news"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown["state"], &shown["frozen"]), (&json!("completed"), &json!(4)));
    let cancelled = stage.run(&["job", "cancel", stage.producer("marketing"), "news"]).await;
    assert_eq!(cancelled.status.code(), Some(1), "it is over");
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_test_campaign_reaches_the_testers_and_a_plan_through_staff_is_refused() {
    let (stage, phones) = staged().await;
    let serving = stage.serve().await;
    let (events, qa) = (Events::of(&stage).await, stage.client("qa").await);
    enqueue(&qa, &job("t-1", "test", "qa-phones", Some("urgent"))).await;
    let refused = events.next_of(&["job.refused"]).await;
    assert_eq!(
        (&refused["findings"][0]["rule"], &refused["findings"][0]["field"]),
        (&json!("test-to-production"), &json!("plan"))
    );
    enqueue(&qa, &job("t-2", "test", "qa-phones", None)).await;
    assert_eq!(events.next_of(&["job.refused"]).await["findings"][0]["rule"], "plan-missing");
    enqueue(&qa, &job("t-3", "test", "qa-phones", Some("at-once"))).await;
    stage.simulator.wait_for_requests(1, PATIENCE).await.expect("the tester's phone rings");
    loop {
        let event = events.next_of(&["rollout.changed"]).await;
        if event["state"] == "completed" {
            break;
        }
    }
    assert_eq!(rung(&stage, &phones), [TESTER]);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_campaign_to_customers_rings_nobody_before_people_approve_start_and_promote_it() {
    let (stage, phones) = staged().await;
    let (ledger, serving) = (stage.ledger().await, stage.serve().await);
    let (events, marketing) = (Events::of(&stage).await, stage.client("marketing").await);
    enqueue(&marketing, &job("all", "production", "customers-pl", Some("gated"))).await;
    let pending = reaches(&stage, &ledger, "all", RolloutState::PendingApproval).await;
    assert_eq!((pending.frozen, pending.electorate.people), (6, 1), "every phone of Poland, and one person");
    let digest = pending.frozen_digest.expect("it is frozen");
    let policy = Policy::load(&stage.folder().join("audiences")).expect("a policy").hash();
    let approve = |digest| Verb::Approve { digest, policy, holds: Duration::from_hours(24), peak: None };
    let ask = async |by: &str, verb: Verb| {
        let by = OperatorName::parse(by).expect("a name");
        ledger.verb(pending.id, &Asked { verb, by: &by, reason: None }).await.expect("an answer")
    };
    // Nobody has seen it on a tester's phone, as the audience asks: somebody answers for that.
    let held = ask("release-manager", approve(digest)).await.expect_err("it is held");
    assert_eq!(held, VerbRefused::Findings(vec![1]));
    let manager = OperatorName::parse("release-manager").expect("a name");
    let accepted = ledger.accept_finding(pending.id, 1, (&manager, "a try-out")).await;
    accepted.expect("an answer").expect("it waits");
    let refused = ask("marketing-lead", approve(digest)).await.expect_err("it owns the producer");
    assert!(refused.to_string().contains("own its producer"), "{refused}");
    let other = approve(bellwether::model::Digest::ZERO);
    assert_eq!(ask("release-manager", other).await.expect_err("another"), VerbRefused::OtherDigest);
    assert!(ask("release-manager", Verb::Start).await.is_err(), "nobody has approved it");
    ask("release-manager", approve(digest)).await.expect("one is enough for so few");
    assert_eq!(rung(&stage, &phones), Vec::<String>::new(), "nobody has started it");
    ask("release-manager", Verb::Start).await.expect("it is approved");
    let gate = reaches(&stage, &ledger, "all", RolloutState::Paused).await;
    assert_eq!(gate.stands, Rollout::Paused(Paused { why: Pause::Gate, at: Held::Baking(0) }));
    assert_eq!(rung(&stage, &phones).len(), 1, "the first stage");
    ask("release-manager", Verb::Promote).await.expect("the gate opens");
    reaches(&stage, &ledger, "all", RolloutState::Completed).await;
    assert_eq!(rung(&stage, &phones).len(), 6, "each once");
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "completed") {
        states
            .push(events.next_of(&["rollout.changed"]).await["state"].as_str().expect("a state").to_owned());
    }
    states.dedup();
    let way = ["draft", "pending_approval", "approved", "running", "baking", "paused", "baking", "running"];
    assert_eq!(states[..8], way);
    assert_eq!(states[8..], ["baking", "completed"]);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_what_one_process_took_in_others_finish_after_it_was_killed() {
    let (stage, phones) = staged().await;
    let ledger = stage.ledger().await;
    let intake = serve(&stage, "intake").await;
    let marketing = stage.client("marketing").await;
    enqueue(&marketing, &job("news", "production", "staff", Some("at-once"))).await;
    enqueue(&marketing, &job("withdrawn", "production", "staff", Some("at-once"))).await;
    for id in ["news", "withdrawn"] {
        reaches(&stage, &ledger, id, RolloutState::Draft).await;
    }
    let cancel = ["job", "cancel", stage.producer("marketing"), "withdrawn"];
    assert!(stage.run(&cancel).await.status.success());
    let again = stage.run(&cancel).await;
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("withdrawn before"));
    assert_eq!(stage.simulator.requests(), 0, "nobody coordinates, nobody works");
    intake.kill().await;

    // No job queue is consumed here: what is enqueued now waits.
    let workers = [serve(&stage, "worker").await, serve(&stage, "coordinator,worker").await];
    enqueue(&marketing, &job("later", "production", "staff", Some("at-once"))).await;
    reaches(&stage, &ledger, "news", RolloutState::Completed).await;
    assert_eq!(rung(&stage, &phones).len(), 4);
    let gone = rollout(&stage, &ledger, "withdrawn").await.expect("on record");
    assert_eq!((gone.state, gone.epoch), (RolloutState::Aborted, 2));
    assert!(rollout(&stage, &ledger, "later").await.is_none());
    for process in workers {
        assert!(process.stop().await.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_hears_of_work_and_of_halts_at_once_and_strange_words_hurt_nobody() {
    let (stage, phones) = staged().await;
    let (ledger, serving) = (stage.ledger().await, stage.serve().await);
    let service = stage.broker.client(stage.broker.service()).await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let queue =
        service.channel.queue_declare("".into(), options, FieldTable::default()).await.expect("a queue");
    let name = queue.name().clone();
    let bound = service.channel.queue_bind(
        name.clone(),
        "bellwether.control".into(),
        "".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("the exchange is there");
    let hears = async |word: &str| {
        eventually(word, async || {
            let options = BasicGetOptions { no_ack: true };
            let got = service.channel.basic_get(name.clone(), options).await.expect("the queue is there")?;
            (got.delivery.data == word.as_bytes()).then_some(())
        })
        .await;
    };
    for strange in ["", "[]", "{\"halted\":7}", "{\"resumed\":\"all\"}", "{\"halted\":\"all\"}"] {
        let said = service.channel.basic_publish(
            "bellwether.control".into(),
            "".into(),
            lapin::options::BasicPublishOptions::default(),
            strange.as_bytes(),
            service.properties(),
        );
        assert!(said.await.expect("published").await.expect("confirmed").is_ack());
    }
    // The last of these was a lie: nothing is halted, so it goes on.
    enqueue(&stage.client("marketing").await, &job("news", "production", "staff", Some("at-once"))).await;
    hears("{\"work\":true}").await;
    reaches(&stage, &ledger, "news", RolloutState::Completed).await;
    assert_eq!(rung(&stage, &phones).len(), 4);
    let halt = ["halt", "--ledger", "--audience", "staff", "--by", "anna", "--reason", "wrong text"];
    let halted = stage.run(&halt).await;
    assert!(halted.status.success() && !String::from_utf8_lossy(&halted.stderr).contains("broker"));
    hears("{\"halted\":\"audience:staff\"}").await;
    assert!(serving.stop().await.success());
}
