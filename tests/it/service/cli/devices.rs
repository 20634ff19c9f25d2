//! `device import` and `show`.

use insta::assert_snapshot;
use serde_json::Value;

use super::told;
use crate::harness::service::Stage;

/// What was told, with the time that it took masked.
fn timeless(stage: &Stage, output: &std::process::Output) -> String {
    let told = told(stage, output);
    let timed =
        |line: &str, noun: &str| line.split_once(noun).map(|(devices, _)| format!("{devices}{noun}TIME"));
    let masked = told.lines().map(|line| {
        timed(line, " devices in ").or_else(|| timed(line, " device in ")).unwrap_or_else(|| line.to_owned())
    });
    masked.collect::<Vec<_>>().join("\n")
}

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
    assert_snapshot!(timeless(&stage, &import(&stage, "devices.ndjson", ndjson).await), @r#"
    exit 1
    -- out
    2 new, 0 updated, 0 moved to another user, 1 repeated, 0 displaced, 4 lines refused
    3 devices in TIME
    -- err
    DIR/devices.ndjson: line 3: platform: is not ios or android
    DIR/devices.ndjson: line 5: token: is missing
    DIR/devices.ndjson: line 6: an unknown name: is no field of a device; known: user_id, app, platform, token, environment, country, language, timezone, app_version, last_seen_at, tags, attributes
    DIR/devices.ndjson: line 7: line: is not a JSON object
    4 lines were refused, as named above; all others are in
    "#);
    let csv = "user_id,app,platform,token,country,last_seen_at\n\
               u-3,pl.example.bank,android,secret-5,PL,2026-11-01T00:00:00Z\n\
               u-3,pl.example.bank,android,secret-6,Poland,\n\
               u-3,pl.example.bank,android\n\
               u-1,pl.example.bank,ios,secret-1,PL,\n";
    assert_snapshot!(timeless(&stage, &import(&stage, "devices.csv", csv).await), @r#"
    exit 1
    -- out
    1 new, 0 updated, 1 moved to another user, 0 repeated, 0 displaced, 2 lines refused
    2 devices in TIME
    -- err
    DIR/devices.csv: line 3: country: is not two upper-case letters (ISO 3166-1)
    DIR/devices.csv: line 4: line: has 3 fields, the header has 6
    2 lines were refused, as named above; all others are in
    "#);
    assert_snapshot!(timeless(&stage, &import(&stage, "devices.csv", "user_id,tokn\n").await), @r#"
    exit 1
    -- err
    error: cannot read DIR/devices.csv: the first line must name the fields; column 2 is none of user_id, app, platform, token, environment, country, language, timezone, app_version, last_seen_at, tags, attributes
    "#);
    assert_snapshot!(timeless(&stage, &import(&stage, "devices.txt", "").await), @r#"
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
async fn every_refused_line_is_reported_and_a_hundred_are_named() {
    let stage = Stage::set().await;
    let good = r#"{"user_id":"u","app":"pl.example.bank","platform":"ios","token":"secret-1"}"#;
    let bad = r#"{"user_id":"u","app":"pl.example.bank","platform":"ios","token":"secret/secret"}"#;
    let lines: Vec<&str> = std::iter::repeat_n(bad, 149).chain([good, bad, good]).collect();
    let file = stage.folder().join("a, b.ndjson");
    std::fs::write(&file, lines.join("\n")).expect("a file");
    let (file, report) = (file.to_string_lossy().into_owned(), stage.folder().join("refused.csv"));
    let report_name = report.to_string_lossy().into_owned();
    let run = stage.run(&["device", "import", &file, "--refused", &report_name, "--output", "json"]).await;

    let err = String::from_utf8(run.stderr.clone()).expect("UTF-8");
    let named = err.lines().filter(|line| line.starts_with(&file)).count();
    let last = err.lines().last().map(|line| line.replace(&*stage.folder().to_string_lossy(), "DIR"));
    assert_eq!((run.status.code(), named), (Some(1), 100), "{err}");
    assert_eq!(last.as_deref(), Some("150 lines were refused; all others are in; see DIR/refused.csv"));
    let mut counts: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    let times = ["seconds", "devices_per_second"].map(|name| counts[name].take());
    assert!(times.iter().all(|time| time.as_f64().is_some_and(|time| time > 0.0)), "{times:?}");
    let expected = serde_json::json!({
        "new": 1, "updated": 0, "moved": 0, "repeated": 1, "displaced": 0, "refused": 150, "devices": 2,
        "seconds": null, "devices_per_second": null,
    });
    assert_eq!(counts, expected);

    let text = std::fs::read_to_string(&report).expect("a report");
    assert!(!text.contains("secret"), "{text}");
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(rows.headers().expect("a header"), vec!["file", "line", "field", "reason"]);
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(rows.len(), 150);
    let reason = "is not 1 to 4000 letters, digits, '-', '_', ':', '.' or '~'";
    assert_eq!(rows[149], vec![file.as_str(), "151", "token", reason]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_refused_lines_is_made_before_anything_is_imported_and_never_over_the_file() {
    let stage = Stage::set().await;
    let good = r#"{"user_id":"u","app":"pl.example.bank","platform":"ios","token":"secret-1"}"#;
    let file = stage.folder().join("devices.ndjson");
    std::fs::write(&file, good).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let report = |to: String| {
        let (stage, file) = (&stage, &file);
        async move { timeless(stage, &stage.run(&["device", "import", file, "--refused", &to]).await) }
    };
    assert_snapshot!(report(file.clone()).await, @r#"
    exit 1
    -- err
    error: DIR/devices.ndjson: the refused lines would overwrite what is to be imported
    "#);
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), good);
    assert_snapshot!(report(stage.folder().join("none/refused.csv").to_string_lossy().into_owned()).await, @r#"
    exit 1
    -- err
    error: cannot write DIR/none/refused.csv: No such file or directory (os error 2)
    "#);
    let to = stage.folder().join("refused.csv");
    assert_snapshot!(report(to.to_string_lossy().into_owned()).await, @r#"
    exit 0
    -- out
    1 new, 0 updated, 0 moved to another user, 0 repeated, 0 displaced, 0 lines refused
    1 device in TIME
    "#);
    assert_eq!(std::fs::read_to_string(&to).expect("a report"), "file,line,field,reason\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_cannot_go_on_says_what_is_in() {
    let stage = Stage::set().await;
    let file = stage.folder().join("devices.ndjson");
    std::fs::create_dir(&file).expect("a folder, which can be opened and not read");
    let run = stage.run(&["device", "import", &file.to_string_lossy()]).await;
    assert_snapshot!(timeless(&stage, &run), @r#"
    exit 1
    -- out
    0 new, 0 updated, 0 moved to another user, 0 repeated, 0 displaced, 0 lines refused
    0 devices in TIME
    -- err
    error: DIR/devices.ndjson: the import stopped; what is counted above is in: cannot read DIR/devices.ndjson: Is a directory (os error 21)
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_devices_are_shown_without_their_tokens() {
    let stage = Stage::set().await;
    let line =
        r#"{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"secret-1","language":"pl",
        "tags":["staff","beta"],"attributes":{"tier":"gold"}}"#
            .replace('\n', " ");
    let imported = import(&stage, "devices.ndjson", &line).await;
    assert!(imported.status.success(), "{}", told(&stage, &imported));
    let shown = stage.run(&["device", "show", "--user", "u-1"]).await;
    assert_snapshot!(told(&stage, &shown), @r#"
    exit 0
    -- out
    device  user  app  platform  environment  language  tags  attributes  registered  gone
    UUID  u-1  pl.example.bank  ios  production  pl  beta;staff  {"tier":"gold"}  INSTANT  -
    "#);
    let json = stage.run(&["device", "show", "--user", "u-1", "--output", "json"]).await;
    let devices: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(!devices.to_string().contains("secret"), "{devices}");
    assert_eq!(devices[0]["tags"], serde_json::json!(["beta", "staff"]));
    assert_eq!(devices[0]["attributes"], serde_json::json!({"tier": "gold"}));
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
