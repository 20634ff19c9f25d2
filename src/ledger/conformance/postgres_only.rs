//! What only PostgreSQL has: roles, partitions, and a server that can go away.

use sqlx::{Executor, PgConnection};

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set},
    fixtures::*,
    importing::import,
};
use crate::ledger::{Erasure, HaltScope, Ledger, LedgerError, LedgerOptions, NoIntent};

/// A connection that has only what a member of the serving role has.
async fn serving(store: &Store) -> PgConnection {
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    let mut connection = pg.pool.acquire().await.expect("a connection").detach();
    connection.execute("set role bellwether_serving").await.expect("the role is there");
    connection
}

#[tokio::test]
async fn i10_the_serving_role_cannot_alter_the_audit_or_the_schema() {
    let store = Store::postgres().await;
    store.ledger.audit_append("ada", "x", &serde_json::json!({})).await.expect("appended");
    let mut serving = serving(&store).await;
    for sql in [
        "update audit set actor = 'eve'",
        "delete from audit",
        "truncate audit",
        "alter table audit disable trigger audit_append_only",
        "drop table audit",
        "create table mine (n int)",
        "truncate device",
        "delete from device",
        "delete from direct_job",
        "create role eve",
    ] {
        let error = serving.execute(sql).await.expect_err(sql);
        // Not the trigger's refusal: the role must not even get that far.
        let error = error.to_string();
        let is_denied = error.contains("permission denied") || error.contains("must be owner");
        assert!(is_denied, "{sql}: {error}");
    }
}

#[tokio::test]
async fn the_serving_role_can_do_all_that_serving_needs() {
    let store = Store::postgres().await;
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    // A login role of this test's own, dropped again below.
    let role: String = sqlx::query_scalar("select 'server_' || md5(random()::text)")
        .fetch_one(&pg.pool)
        .await
        .expect("a name");
    let password: String =
        sqlx::query_scalar("select md5(random()::text)").fetch_one(&pg.pool).await.expect("a password");
    let create = format!("create role {role} login password '{password}' in role bellwether_serving");
    sqlx::raw_sql(&create).execute(&pg.pool).await.expect("the role may create roles");
    let super::Keep::Database(database) = &store.keep else { panic!("a test of PostgreSQL") };
    let url = database.url_as(&role, &password);
    let served = serve(&store, &url).await;
    sqlx::raw_sql(&format!("drop role {role}")).execute(&pg.pool).await.expect("nothing depends on it");
    served.expect("serving needs nothing more");
}

async fn serve(store: &Store, url: &str) -> Result<(), LedgerError> {
    let ledger = Ledger::connect(url, LedgerOptions::default()).await?;
    assert!(ledger.schema_is_current().await?);
    ledger.import(vec![phone("a", "1"), phone("b", "2")]).await?;
    ledger.import(vec![phone("b", "1")]).await?;
    let device = ledger.devices_of(None, &user("b")).await?.remove(0).device;
    ledger.apply_registrations(&[super::registrations::register(1, "queued", "a")]).await?;
    ledger.apply_registrations(&[super::registrations::remove(2, "queued")]).await?;
    let forgotten = Erasure::User(user("a"), None);
    assert_eq!(ledger.forget_devices(&forgotten, "ada").await?, 2);
    let (done, deferred) = (job("done", &["b"]), job("deferred", &["b"]));
    let now = ledger.now().await?;
    let mut finished = over(&done, 1, &[(0, &device, gone(None))], now, None);
    finished.gone = vec![0];
    let waiting = over(&deferred, 1, &[(0, &device, throttled())], now, Some(now));
    ledger.commit_direct(&[finished, waiting], &[]).await?;
    let taken = ledger.take_deferred(&[pointer(&deferred, 1)], std::time::Duration::ZERO).await?;
    assert_eq!(taken.len(), 1);
    let events = ledger.outbox_batch(10).await?;
    ledger.outbox_done(&events.iter().map(|event| event.seq).collect::<Vec<_>>()).await?;
    ledger.set_halt(&HaltScope::All, "ada", "drill").await?;
    ledger.clear_halt(&HaltScope::All, "ada").await?;
    let audience = super::selection::audience("country = [\"PL\"]");
    ledger.estimate_audience(&audience).await?;
    ledger.explain_audience(&audience).await?;
    ledger.forget_old(hours(now, 91 * 24)).await?;
    ledger.close().await;
    assert!(store.ledger.audit_verify(None).await?.is_ok());
    Ok(())
}

#[tokio::test]
async fn a_lost_connection_is_transient_and_healed() {
    let store = Store::postgres().await;
    let other = store.other_process().await;
    other.ping().await.expect("it answers");
    store
        .tamper(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and pid <> pg_backend_pid()",
            "",
        )
        .await;
    let mut failures = 0;
    // At most one failure for each connection that the pool had.
    while let Err(error) = other.ping().await {
        assert!(error.is_transient(), "{error}");
        failures += 1;
        assert!(failures <= LedgerOptions::default().max_connections, "it never recovers");
    }
    let options =
        LedgerOptions { acquire_timeout: std::time::Duration::from_millis(50), ..LedgerOptions::default() };
    let refused = Ledger::connect("postgres://nobody@127.0.0.1:1/x", options).await;
    assert!(refused.expect_err("nobody listens there").is_transient());
}

#[tokio::test]
async fn an_address_of_no_known_kind_is_refused_without_its_password() {
    for url in ["mysql://u:hunter2@h/d", "hunter2", "postgres://u:hunter2@h:notaport/d"] {
        let error = Ledger::connect(url, LedgerOptions::default()).await.expect_err(url).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

/// How many connections of this database wait for a lock.
async fn waiting(connection: &mut PgConnection) -> i64 {
    let sql = "select count(*) from pg_stat_activity \
         where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(sql).fetch_one(connection).await.expect("an answer")
}

#[tokio::test]
async fn i5_a_halt_is_not_acknowledged_while_an_intent_is_under_way() {
    let store = Store::postgres().await;
    let set = Set::with(&store, 3, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    let mut looks = pg.pool.acquire().await.expect("a connection").detach();
    // Holds the exchange up between its look at the rollout and its intent.
    let mut between = pg.pool.begin().await.expect("a transaction");
    sqlx::query("select from claim for update").execute(&mut *between).await.expect("nobody holds it");
    let asks = [Set::ask(&claim, 0, 1, false)];
    let exchange = set.exchange(&seen, &claim, &[], &asks, false);
    let halt = async {
        while waiting(&mut looks).await < 1 {}
        let mut halt = std::pin::pin!(set.ledger.set_halt(&HaltScope::All, "duty", "now"));
        loop {
            tokio::select! {
                biased;
                _ = &mut halt => panic!("acknowledged, and the intent will be committed after it"),
                waiting = waiting(&mut looks) => if waiting >= 2 { break },
            }
        }
        between.commit().await.expect("committed");
        halt.await.expect("set");
    };
    let (answer, ()) = tokio::join!(exchange, halt);
    assert!(answer.segments[0].is_ok(), "its intent was committed first");
    let late = set.exchange(&seen, &claim, &[], &asks, false).await;
    assert_eq!(late.segments[0].as_ref().err(), Some(&NoIntent::Halted));
}

#[tokio::test]
async fn each_bucket_is_in_the_partition_that_the_exchange_asks_and_the_serving_role_may_ask_it() {
    let store = Store::postgres().await;
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    let fill = "insert into device (bucket, public_id, user_id, app, platform, environment, token, registered_at) \
         select n, gen_random_uuid(), n, 'a', 'ios', 'production', n, 0 from generate_series(0, 9999) n";
    sqlx::raw_sql(fill).execute(&pg.pool).await.expect("written");
    let rows: Vec<(i16, String)> = sqlx::query_as("select bucket, tableoid::regclass::text from device")
        .fetch_all(&pg.pool)
        .await
        .expect("read");
    assert_eq!(rows.len(), 10_000);
    for (bucket, table) in rows {
        assert_eq!(format!("device_p{:02}", crate::ledger::postgres::devices::partition(bucket)), table);
    }
    let mut serving = serving(&store).await;
    for partition in 0..64 {
        let sql = format!("select from device_p{partition:02}");
        serving.execute(sql.as_str()).await.expect("it may");
    }
}

#[tokio::test]
async fn whoever_marks_a_device_gone_takes_its_token_first_like_whoever_registers() {
    let store = Store::postgres().await;
    let device = devices(&store, vec![phone("u", "t")]).await.remove(0);
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    let mut looks = pg.pool.acquire().await.expect("a connection").detach();
    // Registers: has the token, and is about to touch the device.
    let mut registers = pg.pool.begin().await.expect("a transaction");
    sqlx::query("select from token_owner for update")
        .execute(&mut *registers)
        .await
        .expect("nobody holds it");
    let now = store.ledger.now().await.expect("the clock");
    let mut finished = over(&job("j", &["u"]), 1, &[(0, &device, gone(None))], now, None);
    finished.gone = vec![0];
    let marks = commit(&store.ledger, finished);
    let touches = async {
        while waiting(&mut looks).await < 1 {}
        sqlx::query("set local lock_timeout = 1").execute(&mut *registers).await.expect("set");
        let touched = sqlx::query("update device set country = 'DE'").execute(&mut *registers).await;
        touched.expect("nobody who waits for the token holds the device");
        registers.commit().await.expect("committed");
    };
    tokio::join!(marks, touches);
    let record = store.ledger.device(device.id).await.expect("an answer").expect("it is there");
    assert!(record.gone_at.is_some() && record.country.as_deref() == Some("DE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_of_the_same_tokens_take_them_in_one_order() {
    let store = Store::postgres().await;
    let other = store.other_process().await;
    let Ledger::Postgres(pg) = &store.ledger else { panic!("a test of PostgreSQL") };
    let phones = |owner: &str, count: u32| -> Vec<_> {
        (0..count).map(|n| phone(&format!("{owner}-{n}"), &format!("t-{n}"))).collect()
    };
    let mut keys: Vec<_> = phones("a", 40).iter().map(crate::model::NewDevice::owner_key).collect();
    keys.sort();
    let mut looks = pg.pool.acquire().await.expect("a connection").detach();
    // Somebody else registers the one in the middle, so that both stop where each may have taken what the other needs.
    let mut between = pg.pool.begin().await.expect("a transaction");
    let take = sqlx::query("insert into token_owner values ($1, 0, gen_random_uuid())")
        .bind(&keys[20].as_bytes()[..]);
    take.execute(&mut *between).await.expect("nobody has it");
    let one = import(&store.ledger, 1, 100, phones("a", 40));
    let two = import(&other, 1, 100, phones("b", 41));
    let release = async {
        while waiting(&mut looks).await < 2 {}
        between.rollback().await.expect("rolled back");
    };
    let (one, two, ()) = tokio::join!(one, two, release);
    assert_eq!((one.all(), two.all()), (40, 41));
    assert_eq!((one.moved + two.moved, one.new + two.new), (40, 41));
}
