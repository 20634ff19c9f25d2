//! `halt --ledger` and `unhalt`, on the direct lane.

use bellwether::ledger::JobState;
use insta::assert_snapshot;
use serde_json::Value;

use super::told;
use crate::harness::{
    broker::{PATIENCE, eventually},
    service::{APP, Stage, TestPhone},
    told::Events,
};

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_halt_stops_what_is_new_until_it_is_lifted_and_stands_in_the_audit() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    let events = Events::of(&stage).await;
    let app = ["halt", "--ledger", "--app", APP, "--by", "anna", "--reason", "wrong text"];
    assert_snapshot!(told(&stage, &stage.run(&app).await), @r#"
    exit 0
    -- err
    halted: app:pl.example.bank. No campaign was under way or waiting. Nothing new is sent: direct jobs, and campaigns that arrive from now on, wait until `bellwether unhalt` or their expiry.
    "#);
    let cards = stage.client("cards").await;
    cards.enqueue(&Stage::job("j-1", "production", &["anna"], "Kod 123").to_string()).await;
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "j-1"));
    let waiting = async || {
        let job = ledger.job(&key).await.expect("an answer")?;
        matches!(job.state, JobState::Waiting { .. }).then_some(job)
    };
    assert_eq!(eventually("waiting", waiting).await.tries, 0);
    // Its rest is over, and it is still halted; others come and go meanwhile.
    stage.bring_forward().await;
    cards.enqueue(&Stage::job("j-2", "production", &["nobody"], "Kod 124").to_string()).await;
    let other = stage.key("cards", "j-2");
    eventually("the next one", async || ledger.job(&other).await.expect("an answer")).await;
    assert!(waiting().await.is_some());
    let shown = stage.run(&["job", "show", stage.producer("cards"), "j-1"]).await;
    assert_snapshot!(told(&stage, &shown), @r#"
    exit 0
    -- out
    cards/j-1: waiting, tries: 0
    received INSTANT  expires INSTANT
    next try INSTANT  finished -
    recipients without a device of the app: 0
    "#);
    assert_eq!(stage.simulator.requests(), 0, "halted");

    let lift = ["unhalt", "--ledger", "--app", APP, "--by", "piotr"];
    assert_snapshot!(told(&stage, &stage.run(&lift).await), @r#"
    exit 0
    -- err
    no longer halted: app:pl.example.bank. What waits goes on within 30 seconds; campaigns that the halt ended stay over.
    "#);
    stage.bring_forward().await;
    stage.simulator.wait_for_requests(1, PATIENCE).await.expect("it rings after the halt");
    assert_snapshot!(told(&stage, &stage.run(&lift).await), @r#"
    exit 5
    -- err
    app:pl.example.bank was not halted
    "#);

    let set = events.next_of(&["halt.set"]).await;
    assert_eq!((&set["by"], &set["reason"]), (&Value::from("anna"), &Value::from("wrong text")));
    assert_eq!(events.next_of(&["halt.cleared"]).await["by"], "piotr");
    let entries = ledger.audit_entries(1, 100).await.expect("an answer");
    let halts: Vec<_> = entries.iter().filter(|entry| entry.kind.starts_with("halt")).collect();
    let told: Vec<_> = halts.iter().map(|entry| (entry.actor.as_str(), entry.kind.as_str())).collect();
    assert_eq!(told, [("anna", "halt.set"), ("piotr", "halt.cleared")]);
    assert!(halts[0].body.contains("wrong text"), "{}", halts[0].body);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_the_audits_head_is_told_outside() {
    let stage = Stage::set().await;
    let first = stage.serve().await;
    let events = Events::of(&stage).await;
    let set = ["halt", "--ledger", "--all", "--by", "anna", "--reason", "wrong text"];
    assert!(stage.run(&set).await.status.success());
    assert!(first.stop().await.success());
    // A process tells the head when it begins, and every minute that it moved.
    let second = stage.serve().await;
    let head = stage.ledger().await.audit_head().await.expect("an answer").expect("an entry");
    let told = loop {
        let told = events.next_of(&["audit.head"]).await;
        if told["sequence"].as_i64() == Some(head.sequence) {
            break told;
        }
    };
    assert_eq!(told["hash"].as_str(), Some(&*head.hash.to_string()));
    assert!(second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_of_everything_stops_every_app_and_one_of_another_app_stops_none() {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let other = ["halt", "--ledger", "--app", "pl.example.other", "--by", "anna", "--reason", "x"];
    let misspelt = stage.run(&other).await;
    assert_eq!(misspelt.status.code(), Some(5), "an app that the policy does not have");
    assert!(String::from_utf8_lossy(&misspelt.stderr).contains("known: pl.example.bank"));
    let apps = stage.folder().join("audiences/apps.toml");
    let more = "\n[apps.\"pl.example.other\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\n\
                link_hosts = []\nfcm = { project = \"other-prod\", max_rate = 100 }\n";
    let text = std::fs::read_to_string(&apps).expect("apps.toml") + more;
    std::fs::write(&apps, text).expect("apps.toml is written");
    assert!(stage.run(&other).await.status.success());
    let serving = stage.serve().await;
    let cards = stage.client("cards").await;
    cards.enqueue(&Stage::job("j-1", "production", &["anna"], "Kod 123").to_string()).await;
    stage.simulator.wait_for_requests(1, PATIENCE).await.expect("another app's halt is no halt");
    let all = ["halt", "--ledger", "--all", "--by", "anna", "--reason", "x"];
    assert!(stage.run(&all).await.status.success());
    cards.enqueue(&Stage::job("j-2", "production", &["anna"], "Kod 123").to_string()).await;
    eventually("it waits", async || {
        let waiting = serving.metric("bellwether_jobs_total", &["verdict=\"waiting\""]).await;
        (waiting > 0.5).then_some(())
    })
    .await;
    assert_eq!(stage.simulator.requests(), 1);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_says_who_and_why_or_is_none() {
    let stage = Stage::set().await;
    let no_reason = stage.run(&["halt", "--ledger", "--all", "--by", "anna"]).await;
    assert_eq!(no_reason.status.code(), Some(2));
    let mut nobody = stage.command(&["halt", "--ledger", "--all", "--reason", "x"]);
    let nobody = nobody.env_remove("USER").output().await.expect("it runs");
    assert_snapshot!(told(&stage, &nobody), @r#"
    exit 1
    -- err
    error: say who you are with --by NAME; it stands in the audit log
    "#);
    assert_eq!(stage.ledger().await.halts().await.expect("an answer"), []);
}
