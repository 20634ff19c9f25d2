//! The world changes in the middle of a campaign: nobody is added, who left is left out and counted.

use bellwether::{
    audience::Policy,
    clock::Clock,
    ledger::Activation,
    model::{OperatorName, UserId},
    simulator::SimulatorConfig,
};
use serde_json::Value;

use super::{COHORT, Fleet};
use crate::{
    harness::{
        broker::eventually,
        service::{APP, TestPhone},
    },
    service::load::say,
};

#[tokio::test(flavor = "multi_thread")]
async fn i8_who_comes_in_mid_campaign_is_not_added_and_who_goes_is_left_out_and_counted() {
    let fleet =
        Fleet::with(SimulatorConfig::quiet(Clock::system()), 1_000, &["percent = 100\nmax_rate = 100"]).await;
    let coordinator = fleet.serve("intake,coordinator").await;
    let worker = fleet.serve("worker").await;
    fleet.publish(&fleet.job("changed")).await;
    fleet.stage.simulator.wait_for_requests(100, super::STANDSTILL).await.expect("it goes out");

    // The audience's file is edited: wider, and somebody new would be in it.
    let cohort = fleet.stage.folder().join(format!("audiences/cohorts/{COHORT}.toml"));
    let text = std::fs::read_to_string(&cohort).expect("the cohort");
    std::fs::write(&cohort, text.replace("[\"PL\"]", "[\"PL\", \"DE\"]")).expect("the cohort");
    let [moved, forgotten] = last_of(&fleet).await;
    // One phone is somebody else's from now on, and somebody comes in.
    let newcomer = TestPhone::android("newcomer");
    let buyer = TestPhone { user: "buyer".to_owned(), ..moved.clone() };
    fleet.stage.register(&[newcomer.clone(), buyer]).await;
    // Somebody asks to be forgotten.
    let ledger = fleet.stage.ledger().await;
    let user = UserId::parse(&forgotten.user).expect("a user");
    let id = ledger.devices_of(None, &user).await.expect("an answer").remove(0).device.id.to_string();
    let erased = fleet
        .stage
        .run(&["device", "forget", "--user", &forgotten.user, "--by", "anna", "--output", "json"])
        .await;
    let erased: Value = serde_json::from_slice(&erased.stdout).expect("JSON");
    assert_eq!(erased["devices"], 1);
    // Two people put the edited file in force. The processes of the old one stand still; those that start anew with it
    // change nothing either.
    let edited = Policy::load(&fleet.stage.folder().join("audiences")).expect("a policy");
    let person = |name: &str| OperatorName::parse(name).expect("a name");
    let proposed = ledger.activate_policy(&edited, &person("first")).await.expect("an answer");
    assert_eq!(proposed, Activation::Proposed);
    assert_eq!(worker.get("/readyz").await.0, 200, "one person changes nothing");
    let activated = ledger.activate_policy(&edited, &person("second")).await.expect("an answer");
    assert_eq!(activated, Activation::InForce);
    for serving in [&worker, &coordinator] {
        eventually("it stands still", async || (serving.get("/readyz").await.0 == 503).then_some(())).await;
    }
    assert!(worker.stop().await.success());
    assert!(coordinator.stop().await.success());
    let coordinator = fleet.serve("intake,coordinator").await;
    let worker = fleet.serve("worker").await;
    fleet.over().await;
    assert!(worker.stop().await.success());
    assert!(coordinator.stop().await.success());

    let screens = fleet.screens();
    assert!(!screens.contains_key(&newcomer.token), "rung, and must not be");
    assert!(!screens.contains_key(&moved.token), "its new owner is in nobody's audience");
    let exported = fleet.export("changed").await;
    assert_eq!(exported.get("newcomer").map(|told| &told.outcome), None);
    assert_eq!(exported[&moved.user].outcome, "left_out");
    // The forgotten one is listed without a name, and its id still answers.
    assert!(!screens.contains_key(&forgotten.token), "rung, and was forgotten");
    assert!(!exported.contains_key(&forgotten.user), "its name is still told");
    let nobody = &exported[""];
    assert_eq!((nobody.outcome.as_str(), nobody.told["device"].as_str()), ("left_out", Some(id.as_str())));
    let shown = fleet.stage.run(&["delivery", "show", "--device", &id, "--output", "json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!((&shown[0]["outcome"], &shown[0]["user"]), (&"left_out".into(), &Value::Null));
    let left_out = exported.values().filter(|told| told.outcome == "left_out").count();
    let accepted = exported.values().filter(|told| told.outcome == "accepted").count();
    say(format_args!("{} frozen in {APP}: {accepted} accepted, {left_out} left out", exported.len()));
    assert_eq!((exported.len(), left_out, accepted), (1_000, 2, 998));
}

/// The two phones whose turn comes last: nobody has begun with them.
async fn last_of(fleet: &Fleet) -> [TestPhone; 2] {
    let campaign = format!("{}/changed", fleet.stage.producer("marketing"));
    let output = fleet.stage.run(&["delivery", "export", "--campaign", &campaign]).await;
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines =
        text.lines().rev().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    [(); 2].map(|()| {
        let told = lines.next().expect("most are still to come");
        assert_eq!(told["at"], Value::Null, "it was begun with");
        let phone = fleet.phones.iter().find(|phone| told["user"] == phone.user.as_str());
        phone.expect("one of the audience").clone()
    })
}
