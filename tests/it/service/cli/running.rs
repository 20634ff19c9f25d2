//! `migrate` and `serve`: how it begins, how it ends, and TLS on every side.

use std::time::Duration;

use bellwether::{clock::Clock, ledger::JobState, model::OutcomeCode, simulator::SimulatorConfig};
use insta::assert_snapshot;
use reqwest::Url;
use sqlx::{Connection, Executor, PgConnection};

use super::told;
use crate::harness::{
    broker::{Broker, PATIENCE, eventually, within},
    database::TestDatabase,
    service::{Stage, TestPhone},
};

async fn empty(stage: &Stage) {
    let mut database = PgConnection::connect(&stage.database()).await.expect("the database answers");
    database.execute("drop schema public cascade; create schema public").await.expect("it is ours");
    database.close().await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_refused_with_what_to_do_and_migrate_twice_is_migrate_once() {
    let stage = Stage::set().await;
    empty(&stage).await;
    assert_snapshot!(told(&stage, &stage.run(&["serve"]).await), @r#"
    exit 1
    -- err
    error: the ledger's schema is not this version's; run `bellwether migrate`
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["halt", "--ledger", "--all", "--by", "a", "--reason", "x"]).await), @r#"
    exit 1
    -- err
    error: the ledger's schema is not this version's; run `bellwether migrate`
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["migrate"]).await), @r#"
    exit 0
    -- err
    the ledger's schema is up to date
    "#);
    assert_snapshot!(told(&stage, &stage.run(&["migrate"]).await), @r#"
    exit 0
    -- err
    the ledger's schema is up to date
    "#);
    assert!(stage.serve().await.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_says_what_is_wrong_with_its_configuration() {
    let stage = Stage::set().await;
    let file = stage.configuration();
    let good = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, good.replace("listen.health", "listen.helth")).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["serve"]).await), @r#"
    exit 1
    -- err
    error: DIR/bellwether.toml:3: unknown field `helth`, expected `health`
    "#);
    std::fs::write(&file, good.replace("amqp.url", "# amqp.url")).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["serve"]).await), @r#"
    exit 1
    -- err
    error: DIR/bellwether.toml: amqp.url is not set; set it there or in the environment as AMQP_URL
    "#);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    std::fs::write(&file, good.replace("127.0.0.1:0\"", &format!("{port}\""))).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["serve"]).await), @r#"
    exit 1
    -- err
    error: cannot listen on 127.0.0.1:PORT; choose another listen.health: Address already in use (os error 98)
    "#);
    stage.configure("amqp.single_producer = { \"jobs\" = \"cards\" }");
    assert_snapshot!(told(&stage, &stage.run(&["serve"]).await), @r#"
    exit 1
    -- err
    error: amqp.single_producer: single_producer names the queue "jobs"; it may name jobs.direct, jobs.campaign and devices
    "#);
}

/// A job whose request is on the wire, and is not answered.
async fn in_flight() -> (Stage, crate::harness::service::Serving) {
    let stage = Stage::set().await;
    stage.register(&[TestPhone::ios("anna")]).await;
    let serving = stage.serve().await;
    stage.simulator.hold_answers();
    let job = Stage::job("j-1", "production", &["anna"], "Kod 123");
    stage.client("cards").await.enqueue(&job.to_string()).await;
    stage.simulator.wait_for_requests(1, PATIENCE).await.expect("on the wire");
    (stage, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_sigterm_finishes_and_records_what_is_begun() {
    let (stage, mut serving) = in_flight().await;
    serving.terminate().await;
    eventually("not ready", async || (serving.get("/readyz").await.0 == 503).then_some(())).await;
    assert_eq!(serving.get("/livez").await.0, 200, "it lives until it has drained");
    let began = Clock::system().monotonic();
    stage.simulator.give_answers();
    let log = serving.log_file().to_owned();
    assert!(serving.ended().await.success());
    assert!(Clock::system().monotonic().duration_since(began) < Duration::from_secs(10), "drains quickly");
    let text = std::fs::read_to_string(log).expect("the log");
    assert!(text.contains("\"drained\""), "{text}");
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "j-1"));
    let record = ledger.job(&key).await.expect("an answer").expect("on record");
    assert!(matches!(record.state, JobState::Finished { .. }), "{:?}", record.state);
    assert_eq!(record.targets[0].outcome, OutcomeCode::Accepted);
    let service = stage.broker.client(stage.broker.service()).await;
    assert_eq!(service.ready("jobs.direct").await, Some(0), "acknowledged");
    assert_eq!(stage.simulator.summary().accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_ends_it_at_once_and_the_job_stays_in_the_queue() {
    let (stage, mut serving) = in_flight().await;
    serving.terminate().await;
    eventually("stopping", async || serving.log().contains("a second signal ends it now").then_some(()))
        .await;
    serving.terminate().await;
    assert_eq!(serving.ended().await.code(), Some(143));
    let service = stage.broker.client(stage.broker.service()).await;
    eventually("back in the queue", async || (service.ready("jobs.direct").await == Some(1)).then_some(()))
        .await;
    stage.simulator.give_answers();
    let serving = stage.serve().await;
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "j-1"));
    eventually("sent by the next", async || ledger.job(&key).await.expect("an answer")).await;
    assert!(serving.stop().await.success());
    let requests = stage.simulator.record();
    let ids: Vec<_> = requests.iter().filter_map(|request| request.header("apns-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "a repeat has the same id: {ids:?}");
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; see deploy/services.sh"))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_over_tls_to_the_broker_and_the_database_as_the_serving_role() {
    let (broker, database) =
        tokio::join!(Broker::start(), TestDatabase::create_on(variable("DATABASE_TLS_URL")));
    let role = format!("serving_{:016x}", Clock::system().seed());
    let url = database.url_as(&role, "throw-away");
    let stage = Stage::on(broker, database, SimulatorConfig::quiet(Clock::system()), "").await;
    stage.configure(&format!("amqp.ca_file = {:?}", variable("CA_FILE")));
    stage.register(&[TestPhone::ios("anna")]).await;
    let mut owner = PgConnection::connect(&stage.database()).await.expect("the database answers");
    let make = format!("create role {role} login password 'throw-away' in role bellwether_serving");
    owner.execute(make.as_str()).await.expect("a login for the service");

    let listener: Url = variable("AMQPS_URL").parse().expect("a URL");
    let amqps = stage.broker.url_at(stage.broker.service(), &listener);
    let with = |arguments: &[&str]| {
        let mut command = stage.command(arguments);
        command.env("AMQP_URL", &amqps).env("DATABASE_URL", &url);
        command
    };
    let checked = within("check", with(&["check"]).output()).await.expect("it ends");
    assert!(checked.status.success(), "{}", told(&stage, &checked));
    assert!(told(&stage, &checked).contains("amqps://"), "{}", told(&stage, &checked));

    let serving = stage.start(with(&["serve"])).await;
    stage
        .client("cards")
        .await
        .enqueue(&Stage::job("j-1", "production", &["anna"], "Kod 123").to_string())
        .await;
    let (ledger, key) = (stage.ledger().await, stage.key("cards", "j-1"));
    eventually("on record", async || ledger.job(&key).await.expect("an answer")).await;
    let encrypted: Option<bool> = sqlx::query_scalar(
        "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = $1",
    )
    .bind(&role)
    .fetch_one(&mut owner)
    .await
    .expect("an answer");
    assert_eq!(encrypted, Some(true));
    assert!(serving.stop().await.success());

    let system_only = stage.folder().join("system.toml");
    let text = std::fs::read_to_string(stage.configuration()).expect("the configuration");
    std::fs::write(&system_only, text.replace("amqp.ca_file", "# amqp.ca_file")).expect("written");
    let mut unknown = with(&["check"]);
    unknown.arg("--config").arg(&system_only);
    unknown.env("DATABASE_URL", url.split("sslrootcert").next().expect("a part"));
    let unknown = within("check", unknown.output()).await.expect("it ends");
    assert_snapshot!(told(&stage, &unknown), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    FAILED  ledger  the ledger's database: error communicating with database: invalid peer certificate: UnknownIssuer
    FAILED  broker  amqps://127.0.0.1:PORT (virtual host VHOST): IO error: invalid peer certificate: UnknownIssuer
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    ok  credentials  readable
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  fcm pl.example.bank https://localhost:PORT  answers
    "#);
    owner.execute(format!("drop role {role}").as_str()).await.expect("nobody uses it");
    owner.close().await.expect("it is there");
}
