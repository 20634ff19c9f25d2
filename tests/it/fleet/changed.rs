//! The world changes in the middle of a campaign: nobody is added, who left is left out and counted.

use bellwether::{clock::Clock, simulator::SimulatorConfig};

use super::{COHORT, Fleet};
use crate::{
    harness::service::{APP, TestPhone},
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
    let reached = fleet.screens();
    let mut untouched = fleet.phones.iter().filter(|phone| !reached.contains_key(&phone.token));
    let mut next = || untouched.next_back().expect("most are still to come").clone();
    let moved = next();
    // One phone is somebody else's from now on, and somebody comes in.
    let newcomer = TestPhone::android("newcomer");
    let buyer = TestPhone { user: "buyer".to_owned(), ..moved.clone() };
    fleet.stage.register(&[newcomer.clone(), buyer]).await;
    // A process that starts anew with the edited file changes nothing either.
    assert!(worker.stop().await.success());
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
    let left_out = exported.values().filter(|told| told.outcome == "left_out").count();
    let accepted = exported.values().filter(|told| told.outcome == "accepted").count();
    say(format_args!("{} frozen in {APP}: {accepted} accepted, {left_out} left out", exported.len()));
    assert_eq!((exported.len(), left_out, accepted), (1_000, 1, 999));
}
