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
