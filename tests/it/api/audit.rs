//! The audit, as auditors read it.

use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;
use crate::harness::service::Stage;

/// As many entries as a busy year has.
const LONG: usize = 100_000;

/// By how much a reader of all of them may grow after the first thousand, in kilobytes. Kept whole, they would take fifty
/// thousand.
const GROWTH: u64 = 8_000;

/// Changes the audit as its owner can, and nobody else.
async fn tamper(stage: &Stage, sql: &str) {
    let mut database = PgConnection::connect(&stage.database()).await.expect("the database answers");
    let open = "alter table audit disable trigger audit_append_only";
    for sql in [open, sql] {
        sqlx::raw_sql(sql).execute(&mut database).await.expect("the statement is right");
    }
    database.close().await.expect("the database is there");
}

impl Office {
    /// A command, through the API with this token, or straight into the ledger.
    async fn asked_audit(&self, token: Option<&str>, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = self.stage.command(arguments);
        if let Some(token) = token {
            command.env("BELLWETHER_URL", self.url()).env("BELLWETHER_TOKEN", token);
        }
        let output = within("a command", command.output()).await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_the_audit_reads_the_same_by_the_api_and_from_the_ledger_and_its_scope_is_asked_for() {
    let office = Office::open("").await;
    let (_, ada) = office.token("ada", &["halt"]).await;
    let halt = json!({ "scope": "app:pl.example.bank", "reason": "Za dużo" });
    office.post(&ada, "halts", &halt).await.ok();
    for path in ["audit", "audit/verify"] {
        office.get(&ada, path).await.refused(403, "not_allowed");
        office.get("bw_nobody", path).await.refused(401, "not_authenticated");
    }
    for wrong in [
        "audit?limit=0",
        "audit?limit=501",
        "audit?from=0",
        "audit?kind=%00",
        "audit?x=1",
        "audit/verify?head=7",
    ] {
        office.get(&office.root, wrong).await.refused(400, "malformed");
    }
    let page = office.get(&office.root, "audit?limit=2").await.ok();
    assert_eq!((page["entries"].as_array().map(Vec::len), &page["next"]), (Some(2), &json!(3)));
    let halts = office.get(&office.root, "audit?kind=halt.set&actor=ada").await.ok();
    assert_eq!(halts["entries"].as_array().map(Vec::len), Some(1));
    let body: Value =
        serde_json::from_str(halts["entries"][0]["body"].as_str().expect("a text")).expect("JSON");
    assert_eq!(body["reason"], "Za dużo");

    let list = ["audit", "list", "--output", "json"];
    let (by_api, from_ledger) =
        (office.asked_audit(Some(&office.root), &list).await, office.asked_audit(None, &list).await);
    assert_eq!(by_api, from_ledger);
    let lines: Vec<Value> =
        by_api.1.lines().map(|line| serde_json::from_str(line).expect("one entry a line")).collect();
    assert_eq!(json!(lines.last()), halts["entries"][0]);
    let table = office.asked_audit(Some(&office.root), &["audit", "list", "--last", "1"]).await;
    assert!(table.1.contains("halt.set") && table.1.lines().count() == 3, "{}", table.1);
    assert_eq!(office.asked_audit(Some(&ada), &list).await.0, Some(4));
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_whoever_rewrote_the_audit_is_found_out_by_the_command_and_the_entry_is_named() {
    let office = Office::open("").await;
    office.token("ada", &["halt"]).await;
    let verify = ["audit", "verify", "--output", "json"];
    let whole: Value =
        serde_json::from_str(&office.asked_audit(Some(&office.root), &verify).await.1).expect("JSON");
    assert_eq!(whole["whole"], json!(true));
    let head = format!("{}:{}", whole["head"]["sequence"], whole["head"]["hash"].as_str().expect("a hash"));
    let told = ["audit", "verify", "--head", &head];
    for token in [Some(office.root.as_str()), None] {
        let (code, out, _) = office.asked_audit(token, &told).await;
        assert!(code == Some(0) && out.contains("the audit is whole"), "{out}");
    }
    tamper(&office.stage, "update audit set body = body || ' ' where seq = 2").await;
    for token in [Some(office.root.as_str()), None] {
        let (code, out, _) = office.asked_audit(token, &told).await;
        assert!(code == Some(1) && out.contains("BROKEN at entry 2: the entry was changed"), "{out}");
    }
    assert!(office.serving.stop().await.success());
}

/// The most memory that a process has had so far, in kilobytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_entries_are_listed_in_the_memory_of_a_thousand() {
    let stage = Stage::set().await;
    let hostile = "{\"reason\":\"\u{9b}2J\u{202e}\"}";
    tamper(
        &stage,
        &format!(
            "insert into audit (seq, at, actor, kind, body, prev, hash) select n, n, 'ada', 'halt.set', \
             '{hostile}' || repeat(' ', 200), sha256(n::text::bytea), sha256(n::text::bytea) \
             from generate_series(1, {LONG}) n"
        ),
    )
    .await;
    let mut command = stage.command(&["audit", "list", "--output", "json"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let pid = child.id().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (mut count, mut early, mut late) = (0, 0, 0);
    while let Some(line) = within("a line", lines.next_line()).await.expect("text") {
        count += 1;
        assert!(!line.contains(['\u{9b}', '\u{202e}']), "a terminal would obey it: {line:?}");
        // It cannot have ended: what is left does not fit into a pipe.
        match count {
            1_000 => early = peak(pid),
            98_000 => late = peak(pid),
            _ => {}
        }
    }
    assert_eq!(count, LONG);
    assert!(child.wait().await.expect("it ends").success());
    assert!(early > 0 && late < early + GROWTH, "{early} kB, then {late} kB");
}
