//! `device import` and `show`.

use insta::assert_snapshot;
use serde_json::Value;

use super::told;
use crate::harness::service::Stage;

async fn import(stage: &Stage, name: &str, text: &str) -> std::process::Output {
    let file = stage.folder().join(name);
    std::fs::write(&file, text).expect("a file");
    stage.run(&["device", "import", &file.to_string_lossy()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn good_lines_are_imported_and_the_others_named_by_line_and_field() {
    let stage = Stage::set().await;
    let ndjson = r#"{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"secret-1","language":"pl"}
{"user_id":"u-1","app":"pl.example.bank","platform":"android","token":"secret-2","environment":"production"}
{"user_id":"u-1","app":"pl.example.bank","platform":"windows","token":"secret-3"}

{"user_id":"u-1","app":"pl.example.bank","platform":"ios"}
{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"secret-4","colour[2J":"red"}
[secret]
{"user_id":"u-2","app":"pl.example.bank","platform":"ios","token":"secret-1"}
"#;
    assert_snapshot!(told(&stage, &import(&stage, "devices.ndjson", ndjson).await), @r#"
    exit 1
    -- out
    2 new, 0 updated, 0 moved to another user, 1 repeated, 0 displaced, 4 lines refused
    -- err
    DIR/devices.ndjson: line 3: platform: is not ios or android
    DIR/devices.ndjson: line 5: token: is missing
    DIR/devices.ndjson: line 6: an unknown name: is no field of a device; known: user_id, app, platform, token, environment, country, language, timezone, app_version, last_seen_at
    DIR/devices.ndjson: line 7: line: is not a JSON object
    "#);
    let csv = "user_id,app,platform,token,country,last_seen_at\n\
               u-3,pl.example.bank,android,secret-5,PL,2026-11-01T00:00:00Z\n\
               u-3,pl.example.bank,android,secret-6,Poland,\n\
               u-3,pl.example.bank,android\n\
               u-1,pl.example.bank,ios,secret-1,PL,\n";
    assert_snapshot!(told(&stage, &import(&stage, "devices.csv", csv).await), @r#"
    exit 1
    -- out
    1 new, 0 updated, 1 moved to another user, 0 repeated, 0 displaced, 2 lines refused
    -- err
    DIR/devices.csv: line 3: country: is not two upper-case letters (ISO 3166-1)
    DIR/devices.csv: line 4: line: has 3 fields, the header has 6
    "#);
    assert_snapshot!(told(&stage, &import(&stage, "devices.csv", "user_id,tokn\n").await), @r#"
    exit 1
    -- err
    error: cannot read DIR/devices.csv: the header names "tokn"; known: user_id, app, platform, token, environment, country, language, timezone, app_version, last_seen_at
    "#);
    assert_snapshot!(told(&stage, &import(&stage, "devices.txt", "").await), @r#"
    exit 1
    -- err
    error: DIR/devices.txt: say how it is written with --format ndjson or --format csv
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["device", "import", "/nonexistent.csv"]).await), @r#"
    exit 1
    -- err
    error: cannot read /nonexistent.csv: No such file or directory (os error 2)
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_devices_are_shown_without_their_tokens() {
    let stage = Stage::set().await;
    let line =
        r#"{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"secret-1","language":"pl"}"#;
    let imported = import(&stage, "devices.ndjson", line).await;
    assert!(imported.status.success(), "{}", told(&stage, &imported));
    let shown = stage.run(&["device", "show", "--user", "u-1"]).await;
    assert_snapshot!(told(&stage, &shown), @r#"
    exit 0
    -- out
    device  user  app  platform  environment  language  registered  gone
    UUID  u-1  pl.example.bank  ios  production  pl  INSTANT  -
    "#);
    let json = stage.run(&["device", "show", "--user", "u-1", "--output", "json"]).await;
    let devices: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(!devices.to_string().contains("secret"), "{devices}");
    let id = devices[0]["device"].as_str().expect("an id");
    let again = stage.run(&["device", "show", "--device", id, "--output", "json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).expect("JSON"), devices);
    assert_snapshot!(told(&stage, &stage.run(&["device", "show", "--user", "nobody"]).await), @r#"
    exit 5
    -- err
    error: no such device is registered
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_forgotten_by_somebody_who_says_who_they_are_and_only_once() {
    let stage = Stage::set().await;
    let line = |app: &str, token: &str| {
        format!(r#"{{"user_id":"u-1","app":"{app}","platform":"ios","token":"{token}"}}"#)
    };
    let lines = [line("pl.example.bank", "a1"), line("pl.example.bank", "b2"), line("pl.example.shop", "c3")];
    let imported = import(&stage, "devices.ndjson", &lines.join("\n")).await;
    assert!(imported.status.success(), "{}", told(&stage, &imported));
    let mut nameless = stage.command(&["device", "forget", "--user", "u-1"]);
    let nameless = nameless.env_remove("USER").output().await.expect("the program runs");
    assert_snapshot!(told(&stage, &nameless), @r#"
    exit 1
    -- err
    error: say who you are with --by NAME; it stands in the audit log
    "#);
    let forget = async |more: &[&str]| {
        stage.run(&[&["device", "forget", "--user", "u-1", "--by", "anna"], more].concat()).await
    };
    assert_snapshot!(told(&stage, &forget(&["--dry-run"]).await), @r#"
    exit 0
    -- out
    3 devices would be forgotten
    "#);
    assert_snapshot!(told(&stage, &forget(&["--app", "pl.example.shop"]).await), @r#"
    exit 0
    -- out
    1 device forgotten
    "#);
    assert_snapshot!(told(&stage, &forget(&[]).await), @r#"
    exit 0
    -- out
    2 devices forgotten
    "#);
    assert_snapshot!(told(&stage, &forget(&[]).await), @r#"
    exit 5
    -- err
    error: no such device is registered
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["device", "show", "--user", "u-1"]).await), @r#"
    exit 5
    -- err
    error: no such device is registered
    "#);
    let schema = stage.run(&["device", "schema"]).await;
    let schema: Value = serde_json::from_slice(&schema.stdout).expect("JSON");
    assert_eq!(schema["title"], "Registration");
}
