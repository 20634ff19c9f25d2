//! A PostgreSQL database for each test: cloned from a migrated template, dropped when the test is over, also
//! when it panics.
//!
//! The server is the one of `DATABASE_URL`, whose role must be allowed to create databases. A missing server
//! fails the test; nothing is skipped.

use std::sync::LazyLock;

use sqlx::{Connection, Executor, PgConnection, migrate::Migrator};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// Whoever makes the template holds this lock; any number does, as long as it is the same for all.
const TEMPLATE_LOCK: i64 = 0x6265_6c6c_7465_7374;

/// Names the history of migrations, so that another history has another template.
static TEMPLATE: LazyLock<String> = LazyLock::new(|| {
    let mut history: u64 = 0;
    for byte in MIGRATOR.iter().flat_map(|migration| migration.checksum.iter()) {
        history = history.rotate_left(5).wrapping_mul(31) ^ u64::from(*byte);
    }
    format!("bellwether_template_{history:016x}")
});

/// A database of one test's own.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// On the server that all tests share.
    pub(crate) async fn create() -> Self {
        let server = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL must name a PostgreSQL server (deploy/services.sh up starts one)");
        Self::create_on(server).await
    }

    /// Clones the template, which is made first if this server has none for this history.
    pub(crate) async fn create_on(server: String) -> Self {
        let mut admin = PgConnection::connect(&server).await.expect("DATABASE_URL answers");
        make_template(&server, &mut admin).await;
        let name: String = sqlx::query_scalar("select 'bellwether_test_' || md5(random()::text)")
            .fetch_one(&mut admin)
            .await
            .expect("a name");
        let clone = format!("create database {name} template {}", *TEMPLATE);
        admin.execute(clone.as_str()).await.expect("the role may create databases");
        admin.close().await.expect("the server is there");
        Self { server, name }
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// The same, for another role.
    #[allow(dead_code, reason = "two suites share this file, and one of them has no roles")]
    pub(crate) fn url_as(&self, role: &str, password: &str) -> String {
        let url = self.url();
        let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
        let rest = rest.split_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{role}:{password}@{rest}")
    }
}

impl Drop for TestDatabase {
    /// On a thread of its own, because the test's runtime may be unwinding.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                admin.execute(format!("drop database {name} with (force)").as_str()).await?;
                admin.close().await
            })
        });
        let is_dropped = dropped.join().is_ok_and(|dropped: Result<(), sqlx::Error>| dropped.is_ok());
        assert!(is_dropped || std::thread::panicking(), "the test's database {} is left behind", self.name);
    }
}

async fn make_template(server: &str, admin: &mut PgConnection) {
    // A template that is marked as one is complete.
    const IS_COMPLETE: &str = "select exists (select from pg_database where datname = $1 and datistemplate)";
    let name = TEMPLATE.as_str();
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *admin)
        .await
        .expect("a lock");
    let is_complete: bool =
        sqlx::query_scalar(IS_COMPLETE).bind(name).fetch_one(&mut *admin).await.expect("an answer");
    if !is_complete {
        for sql in [format!("drop database if exists {name} with (force)"), format!("create database {name}")]
        {
            admin.execute(sql.as_str()).await.expect("the role may create databases");
        }
        let mut template =
            PgConnection::connect(&with_database(server, name)).await.expect("the template answers");
        MIGRATOR.run_direct(&mut template).await.expect("the migrations apply");
        template.close().await.expect("the server is there");
        let mark = format!("alter database {name} is_template true");
        admin.execute(mark.as_str()).await.expect("the database is ours");
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(TEMPLATE_LOCK).execute(admin).await.expect("our lock");
}

/// The same server and options, another database.
fn with_database(url: &str, name: &str) -> String {
    let (address, options) =
        url.split_once('?').map_or((url, None), |(address, options)| (address, Some(options)));
    let (scheme, rest) = address.split_once("://").expect("a URL has a scheme");
    let host = rest.split('/').next().unwrap_or(rest);
    options.map_or_else(
        || format!("{scheme}://{host}/{name}"),
        |options| format!("{scheme}://{host}/{name}?{options}"),
    )
}
