//! `audience list`, `show`, `count` and `explain`.

use insta::assert_snapshot;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::told;
use crate::harness::service::Stage;

/// Six of our own people, of whom five have phones, and three customers.
async fn register(stage: &Stage) {
    let line = |user: &str, platform: &str, more: Value| {
        let mut line = json!({"user_id": user, "app": "pl.example.bank", "platform": platform,
            "token": format!("{user}-{platform}"), "last_seen_at": "2026-11-20T00:00:00Z"});
        line.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        line.to_string()
    };
    let polish = |version: &str| json!({"country": "PL", "language": "pl", "app_version": version});
    let lines = [
        line("staff-1", "ios", polish("5.10.0")),
        line("staff-1", "android", polish("5.9")),
        line("staff-2", "ios", polish("5.10.0")),
        line("c-1", "ios", polish("5.10.0")),
        line("c-1", "android", json!({"country": "PL", "app_version": "nightly"})),
        line("c-2", "ios", json!({"country": "DE", "language": "de-AT", "app_version": "5.2"})),
        line("c-3", "android", json!({"country": "PL", "environment": "sandbox"})),
        line("c-4", "android", polish("4.1")),
        line("qa-ios-1", "ios", json!({"environment": "sandbox"})),
    ];
    let file = stage.folder().join("devices.ndjson");
    std::fs::write(&file, lines.join("\n")).expect("a file");
    let imported = stage.run(&["device", "import", &file.to_string_lossy()]).await;
    assert!(imported.status.success(), "{}", told(stage, &imported));
    let mut database = PgConnection::connect(&stage.database()).await.expect("the database answers");
    database.execute("update device set gone_at = 1 where user_id = 'c-4'").await.expect("one is gone");
    // Without statistics the planner guesses, and its guess would be in the snapshots.
    database.execute("analyze device").await.expect("analyzed");
    database.close().await.expect("it is there");
}

/// The shipped audiences, and one that asks for more; of any time.
fn write_audiences(stage: &Stage) {
    let cohorts = stage.folder().join("audiences/cohorts");
    let customers = cohorts.join("customers-pl.toml");
    let text = std::fs::read_to_string(&customers).expect("a cohort");
    std::fs::write(&customers, text.replace("last_seen_within = \"90d\"\n", "")).expect("written");
    let lines = "class = \"internal\"\napp = \"pl.example.bank\"\ndescription = \"Old phones of our own\"\n\
        default_plan = \"staff-only\"\n[select]\napp_version = \">=5, <5.10\"\n\
        tags = [\"beta\", \"staff\"]\nattributes = { tier = \"gold\", level = 3 }\nnot_seen_within = \"36h\"\n\
        scan = \"Few phones, once a month\"\n[limits]\nmax_devices = 2\n";
    std::fs::write(cohorts.join("old-phones.toml"), lines).expect("written");
    let lines = "class = \"internal\"\napp = \"pl.example.bank\"\ndefault_plan = \"staff-only\"\n\
        [select]\nplatform = [\"android\"]\n[limits]\nmax_devices = 1\n";
    std::fs::write(cohorts.join("one-too-many.toml"), lines).expect("written");
    let members = "staff-1\nstaff-2\nstaff-3\n";
    std::fs::write(cohorts.join("staff.txt"), members).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn audiences_are_listed_and_shown_as_their_files_say() {
    let stage = Stage::set().await;
    write_audiences(&stage);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "list"]).await), @r#"
    exit 0
    -- out
    audience  class  app  who  at most  plan
    customers-pl  production  pl.example.bank  selected  4500000  cautious
    old-phones  internal  pl.example.bank  selected  2  staff-only
    one-too-many  internal  pl.example.bank  selected  1  staff-only
    qa-phones  test  pl.example.bank  5 listed  50  -
    staff  internal  pl.example.bank  3 listed  2000  staff-only
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "show", "old-phones"]).await), @r#"
    exit 0
    -- out
    old-phones (internal audience of pl.example.bank)
      description  Old phones of our own
      app_version  >=5, <5.10
      tags  beta, staff
      attributes  level = 3, tier = "gold"
      not_seen_within  36h
      scan  Few phones, once a month
      at most  2 devices
      proof  optional
      plan  staff-only
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "show", "customers-pl"]).await), @r#"
    exit 0
    -- out
    customers-pl (production audience of pl.example.bank)
      description  Every customer in Poland
      country  PL
      platform  ios, android
      at most  4500000 devices
      approvals  1 above 0, 2 above 100000, 3 above 1000000
      proof  required
      plan  cautious
    "#);
    let json = stage.run(&["audience", "show", "old-phones", "--output", "json"]).await;
    let shown: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(shown["select"]["attributes"], json!({"tier": "gold", "level": 3}));
    assert_eq!(shown["select"]["app_version"], json!([">=5", "<5.10"]));
    assert_snapshot!(told(&stage, &stage.run(&["audience", "show", "nobody"]).await), @r#"
    exit 5
    -- err
    error: there is no audience nobody; `bellwether audience list` shows them
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_counted_and_estimated() {
    let stage = Stage::set().await;
    write_audiences(&stage);
    register(&stage).await;
    assert_snapshot!(told(&stage, &stage.run(&["audience", "count", "customers-pl"]).await), @r#"
    exit 0
    -- out
    customers-pl (production audience of pl.example.bank)
    counted  5 devices of 3 people
    allowed  4500000 devices
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "count", "one-too-many"]).await), @r#"
    exit 0
    -- out
    one-too-many (internal audience of pl.example.bank)
    counted  2 devices of 2 people
    allowed  1 devices: a campaign would be refused
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "count", "staff", "--estimate"]).await), @r#"
    exit 0
    -- out
    staff (internal audience of pl.example.bank)
    estimated  3 devices, counted, since it lists its members
    counted  3 devices of 2 people
    allowed  2000 devices
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "count", "nobody"]).await), @r#"
    exit 5
    -- err
    error: there is no audience nobody; `bellwether audience list` shows them
    "#);
    let counted = stage.run(&["audience", "count", "customers-pl", "--estimate", "--output", "json"]).await;
    let counted: Value = serde_json::from_slice(&counted.stdout).expect("JSON");
    assert_eq!((&counted["devices"], &counted["people"]), (&json!(5), &json!(3)));
    assert_eq!(counted["estimate"]["basis"], "statistics");
    assert!(counted["estimate"]["devices"].is_u64(), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_explained() {
    let stage = Stage::set().await;
    write_audiences(&stage);
    register(&stage).await;
    assert_snapshot!(told(&stage, &stage.run(&["audience", "explain", "nobody"]).await), @r#"
    exit 5
    -- err
    error: there is no audience nobody; `bellwether audience list` shows them
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "explain", "customers-pl"]).await), @r#"
    exit 0
    -- out
    customers-pl (production audience of pl.example.bank)
    counted  5 devices of 3 people
    allowed  4500000 devices
    left out  gone: 1, development builds: 1
    read  every device of the registry, by no index
    changed  no campaign to it was frozen yet

    by  value  devices  share
    platform  ios  3  60.0 %
    platform  android  2  40.0 %
    country  PL  5  100.0 %
    version  5.10.0  3  60.0 %
    version  5.9  1  20.0 %
    version  nightly  1  20.0 %
    language  pl  4  80.0 %
    language  -  1  20.0 %
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "explain", "staff"]).await), @r#"
    exit 0
    -- out
    staff (internal audience of pl.example.bank)
    counted  3 devices of 2 people
    allowed  2000 devices
    left out  gone: 0, development builds: 0, members without a device: 1
    read  each member is looked up
    changed  no campaign to it was frozen yet

    by  value  devices  share
    platform  ios  2  66.7 %
    platform  android  1  33.3 %
    country  PL  3  100.0 %
    version  5.10.0  2  66.7 %
    version  5.9  1  33.3 %
    language  pl  3  100.0 %
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["audience", "explain", "qa-phones"]).await), @r#"
    exit 0
    -- out
    qa-phones (test audience of pl.example.bank)
    counted  1 devices of 1 people
    allowed  50 devices
    left out  gone: 0, development builds: 0, members without a device: 4
    read  each member is looked up
    changed  no campaign to it was frozen yet

    by  value  devices  share
    platform  ios  1  100.0 %
    country  -  1  100.0 %
    version  -  1  100.0 %
    language  -  1  100.0 %
    "#);

    let explained = stage.run(&["audience", "explain", "customers-pl", "--output", "json"]).await;
    let explained: Value = serde_json::from_slice(&explained.stdout).expect("JSON");
    assert_eq!(
        explained["by"]["platform"],
        json!([{"value": "ios", "devices": 3}, {"value": "android", "devices": 2}])
    );
    assert_eq!(explained["left_out"]["gone"], 1);
    assert_eq!(explained["change"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_a_campaign_was_frozen_is_told_in_eighty_columns() {
    let stage = Stage::set().await;
    write_audiences(&stage);
    register(&stage).await;
    let mut database = PgConnection::connect(&stage.database()).await.expect("the database answers");
    let serving = stage.serve().await;
    let expires = bellwether::clock::Clock::system().now() + jiff::SignedDuration::from_hours(2);
    let job = json!({"v": 1, "id": "c-1", "app": "pl.example.bank", "intent": "production",
        "to": {"audience": "staff", "at_most": 50}, "expires_at": expires.to_string(),
        "notification": {"title": "Bank", "body": "Nowa aplikacja"}});
    let (client, body) = (stage.client("marketing").await, job.to_string());
    let published = client.publish("bellwether.jobs", "campaign", client.properties(), body.as_bytes());
    published.await.expect("the producer may publish jobs");
    let is_frozen = "select count(*) from rollout where frozen_digest is not null";
    crate::harness::broker::eventually("frozen", async || {
        let frozen: i64 = sqlx::query_scalar(is_frozen).fetch_one(&mut database).await.expect("an answer");
        (frozen == 1).then_some(())
    })
    .await;
    assert!(serving.stop().await.success());
    database
        .execute("update device set gone_at = 1 where token = 'staff-1-android'")
        .await
        .expect("one is gone");
    let explained = stage.run(&["audience", "explain", "staff"]).await;
    assert_snapshot!(told(&stage, &explained), @r#"
    exit 0
    -- out
    staff (internal audience of pl.example.bank)
    counted  2 devices of 2 people
    allowed  2000 devices
    left out  gone: 1, development builds: 0, members without a device: 1
    read  each member is looked up
    changed  since campaign UUID
      of INSTANT, 3 devices then, 2 now
      gained: 0, lost: 1

    by  value  devices  share
    platform  ios  2  100.0 %
    country  PL  2  100.0 %
    version  5.10.0  2  100.0 %
    language  pl  2  100.0 %
    "#);
    let text = String::from_utf8_lossy(&explained.stdout);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    database.close().await.expect("it is there");
}
