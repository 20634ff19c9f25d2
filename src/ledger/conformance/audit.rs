//! The audit chain in the database.

use serde_json::json;

use super::{Store, fixtures::*};
use crate::ledger::{AuditHead, Broken, BrokenWhy, Ledger};

const OPEN_PG: &str = "alter table audit disable trigger audit_append_only;";
const OPEN_LITE: &str =
    "drop trigger if exists audit_refuses_update; drop trigger if exists audit_refuses_delete;";

async fn append(ledger: &Ledger, n: u32) -> AuditHead {
    ledger.audit_append("ada", "policy.activated", &json!({ "n": n })).await.expect("appended")
}

pub(super) async fn i10_tampering_is_found(store: &Store) {
    let ledger = &store.ledger;
    assert_eq!(ledger.audit_verify(None).await.expect("an answer"), Ok(AuditHead::GENESIS));
    let mut heads = Vec::new();
    for n in 1..=5 {
        heads.push(append(ledger, n).await);
    }
    assert_eq!(ledger.audit_verify(Some(heads[2])).await.expect("an answer"), Ok(heads[4]));
    assert_eq!(ledger.audit_head().await.expect("an answer"), Some(heads[4]));
    assert_eq!(ledger.tell_audit_head().await.expect("told"), Some(heads[4]));
    assert_eq!(ledger.outbox_batch(1).await.expect("a batch")[0].routing_key, "audit.head");

    let steps = [
        ("update audit set actor = 'eve' where seq = 4", 4, BrokenWhy::Changed),
        ("delete from audit where seq = 3", 3, BrokenWhy::Missing),
        ("update audit set body = '{\"n\":7}' where seq = 1", 1, BrokenWhy::Changed),
    ];
    for (sql, sequence, why) in steps {
        store.tamper(&format!("{OPEN_PG}{sql}"), &format!("{OPEN_LITE}{sql}")).await;
        assert_eq!(
            ledger.audit_verify(None).await.expect("an answer"),
            Err(Broken { sequence, why }),
            "{sql}"
        );
    }

    // A rewritten end is whole in itself: only a head that was kept outside tells.
    let cut = "delete from audit where seq > 0";
    store.tamper(&format!("{OPEN_PG}{cut}"), &format!("{OPEN_LITE}{cut}")).await;
    let forged = append(ledger, 9).await;
    assert_eq!(ledger.audit_verify(None).await.expect("an answer"), Ok(forged));
    let told = |head| ledger.audit_verify(Some(head));
    let not_as_told = Broken { sequence: 1, why: BrokenWhy::NotAsTold };
    assert_eq!(told(heads[0]).await.expect("an answer"), Err(not_as_told));
    let missing = Broken { sequence: 2, why: BrokenWhy::Missing };
    assert_eq!(told(heads[4]).await.expect("an answer"), Err(missing));
}

pub(super) async fn i10_the_chain_does_not_fork_under_concurrency(store: &Store) {
    let processes = [store.other_process().await, store.other_process().await, store.other_process().await];
    let ten = async |ledger: &Ledger| {
        for n in 0..10 {
            append(ledger, n).await;
        }
    };
    tokio::join!(ten(&processes[0]), ten(&processes[1]), ten(&processes[2]));
    let head = store.ledger.audit_verify(None).await.expect("an answer").expect("whole");
    assert_eq!(head.sequence, 30);
}

pub(super) async fn the_audit_is_append_only_for_its_owner_too(store: &Store) {
    devices(store, vec![phone("a", "1")]).await;
    append(&store.ledger, 1).await;
    for sql in ["update audit set actor = 'eve'", "delete from audit", "truncate audit"] {
        let error = match &store.ledger {
            Ledger::Postgres(pg) => sqlx::raw_sql(sql).execute(&pg.pool).await.map(drop),
            // SQLite has no truncate.
            Ledger::Sqlite(_) if sql.starts_with("truncate") => continue,
            Ledger::Sqlite(lite) => sqlx::raw_sql(sql).execute(&lite.writer).await.map(drop),
        };
        let error = error.expect_err(sql).to_string();
        assert!(error.contains("append-only"), "{sql}: {error}");
    }
    assert!(store.ledger.audit_verify(None).await.expect("an answer").is_ok());
}

/// Keeps the audit as it is, and puts it back.
async fn keep(store: &Store) {
    let keep = "create table kept as select * from audit;";
    store.tamper(&format!("{OPEN_PG}{keep}"), &format!("{OPEN_LITE}{keep}")).await;
}

async fn put_back(store: &Store) {
    let back = "delete from audit; insert into audit select * from kept;";
    store.tamper(back, back).await;
    assert!(store.ledger.audit_verify(None).await.expect("an answer").is_ok());
}

async fn first_wrong(store: &Store, told: &[AuditHead]) -> Option<(i64, BrokenWhy)> {
    let found = store.ledger.audit_verify_against(told).await.expect("an answer");
    found.broken.map(|broken| (broken.sequence, broken.why))
}

pub(super) async fn i10_any_column_of_any_row_is_guarded(store: &Store) {
    for n in 1..=4 {
        append(&store.ledger, n).await;
    }
    keep(store).await;
    let zeros = "00".repeat(31);
    let (pg, lite) =
        (|byte: &str| format!("'\\x{byte}{zeros}'::bytea"), |byte: &str| format!("x'{byte}{zeros}'"));
    let same = |sql: &str| (sql.to_owned(), sql.to_owned());
    let changes = [
        same("seq = seq + 100"),
        same("seq = seq - 100"),
        same("at = at + 1"),
        same("at = 9223372036854775807"),
        same("actor = actor || ' '"),
        same("kind = 'x'"),
        same("body = replace(body, '{', '{ ')"),
        same("body = ''"),
        (format!("prev = {}", pg("11")), format!("prev = {}", lite("11"))),
        (format!("hash = {}", pg("22")), format!("hash = {}", lite("22"))),
        // No text at all, where the engine lets that be stored.
        ("body = 'x'".to_owned(), "body = cast(x'ff' as text)".to_owned()),
    ];
    for row in 1..=4 {
        for (pg, lite) in &changes {
            let sql = |change: &str| format!("update audit set {change} where seq = {row}");
            store.tamper(&sql(pg), &sql(lite)).await;
            let (wrong, _) = first_wrong(store, &[]).await.expect(pg);
            // A number that was lowered stands before the first.
            let is_named = wrong == row || (pg.contains("- 100") && wrong == row - 100);
            assert!(is_named, "{pg} in row {row}: {wrong}");
            put_back(store).await;
        }
    }
}

pub(super) async fn i10_a_removed_or_inserted_row_is_found_wherever_it_is(store: &Store) {
    let mut heads = Vec::new();
    for n in 1..=4 {
        heads.push(append(&store.ledger, n).await);
    }
    keep(store).await;
    for row in 1..=4 {
        let sql = format!("delete from audit where seq = {row}");
        store.tamper(&sql, &sql).await;
        assert_eq!(first_wrong(store, &heads[3..]).await, Some((row, BrokenWhy::Missing)), "row {row}");
        put_back(store).await;
    }
    for place in [0, -1, i64::MIN + 1] {
        let sql = format!(
            "insert into audit (seq, at, actor, kind, body, prev, hash) \
             select {place}, at, 'eve', kind, body, prev, hash from audit where seq = 1"
        );
        store.tamper(&sql, &sql).await;
        assert_eq!(first_wrong(store, &[]).await, Some((place, BrokenWhy::Inserted)));
        put_back(store).await;
    }
    // Between two: everything after it moves by one, and no number fits its hash any more.
    let between = "update audit set seq = seq + 1000 where seq > 2; update audit set seq = seq - 999 where seq > 2; \
         insert into audit (seq, at, actor, kind, body, prev, hash) \
         select 3, at, 'eve', kind, body, prev, hash from audit where seq = 2;";
    store.tamper(between, between).await;
    assert_eq!(first_wrong(store, &[]).await, Some((3, BrokenWhy::Changed)));
}

pub(super) async fn i10_a_rewritten_end_is_found_and_located_by_heads_that_were_kept(store: &Store) {
    let mut heads = Vec::new();
    for n in 1..=6 {
        heads.push(append(&store.ledger, n).await);
    }
    let cut = "delete from audit where seq > 3";
    store.tamper(&format!("{OPEN_PG}{cut}"), &format!("{OPEN_LITE}{cut}")).await;
    let mut forged = heads[2];
    for n in 4..=6 {
        forged = append(&store.ledger, n * 10).await;
    }
    let verify = async |told: &[AuditHead]| store.ledger.audit_verify_against(told).await.expect("an answer");
    let whole = verify(&[]).await;
    assert_eq!((whole.broken, whole.head), (None, forged), "whole in itself");
    assert_eq!(first_wrong(store, &[heads[3]]).await, Some((4, BrokenWhy::NotAsTold)));
    assert_eq!(first_wrong(store, &[heads[5]]).await, Some((6, BrokenWhy::NotAsTold)));
    // In whatever order they are given: the first that differs is named, and the last that does not.
    let found = verify(&[heads[5], heads[0], heads[4], heads[2]]).await;
    assert_eq!(found.broken, Some(Broken { sequence: 5, why: BrokenWhy::NotAsTold }));
    assert_eq!(found.fits, Some(heads[2]));
    assert_eq!(verify(&heads[..3]).await.broken, None, "these are as they were told");
}
