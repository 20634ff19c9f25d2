//! `check` and `audience check`: a line for each thing that must be right.

use insta::assert_snapshot;

use super::told;
use crate::harness::{
    broker::within,
    service::{APP, Stage},
};

#[tokio::test(flavor = "multi_thread")]
async fn check_has_a_line_for_everything_that_must_be_right() {
    let stage = Stage::set().await;
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 0
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    ok  ledger  answers
    ok  schema  current
    ok  policy in force  none yet; the first service brings this one
    ok  broker  amqp://127.0.0.1:PORT (virtual host VHOST)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    ok  credentials  readable
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  fcm pl.example.bank https://localhost:PORT  answers
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_goes_on_after_what_is_wrong_and_names_it() {
    let stage = Stage::set().await;
    stage.configure("send.connect_timeout_seconds = 1");
    let mut away = stage.command(&["check"]);
    away.env("AMQP_URL", "amqp://u:secret@127.0.0.1:1/%2f");
    away.env("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/x");
    let away = within("check", away.output()).await.expect("it ends");
    assert_snapshot!(told(&stage, &away), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    FAILED  ledger  the ledger's database: pool timed out while waiting for an open connection
    FAILED  broker  amqp://127.0.0.1:PORT (virtual host /): IO error: Connection refused (os error 111)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    ok  credentials  readable
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  apns pl.example.bank https://localhost:PORT  answers
    ok  fcm pl.example.bank https://localhost:PORT  answers
    "#);
    stage.simulator.shutdown().await;
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    ok  ledger  answers
    ok  schema  current
    ok  policy in force  none yet; the first service brings this one
    ok  broker  amqp://127.0.0.1:PORT (virtual host VHOST)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    ok  credentials  readable
    FAILED  apns pl.example.bank https://localhost:PORT  connecting to https://localhost:PORT 127.0.0.1:PORT Connection refused (os error 111)
    FAILED  apns pl.example.bank https://localhost:PORT  connecting to https://localhost:PORT 127.0.0.1:PORT Connection refused (os error 111)
    FAILED  fcm pl.example.bank https://localhost:PORT  connecting to https://localhost:PORT 127.0.0.1:PORT Connection refused (os error 111)
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_a_key_or_an_authority_that_cannot_be_used() {
    let stage = Stage::set().await;
    stage.configure("send.connect_timeout_seconds = 1");
    let file = stage.configuration();
    let good = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(stage.folder().join("no.p8"), "-----BEGIN PRIVATE KEY-----\nsecret\n").expect("a file");
    let line = good.lines().find(|line| line.starts_with("key_file")).expect("a key file");
    std::fs::write(&file, good.replace(line, "key_file = \"no.p8\"")).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    ok  ledger  answers
    ok  schema  current
    ok  policy in force  none yet; the first service brings this one
    ok  broker  amqp://127.0.0.1:PORT (virtual host VHOST)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    FAILED  credentials  app pl.example.bank, apns: key file DIR/no.p8: it holds no EC private key in PEM; expected the .p8 file that Apple issued: an EC P-256 private key in PKCS#8 PEM
    "#);
    // Another simulator's authority is not this one's.
    let other = Stage::set().await;
    let ca = format!("ca_file = {:?}", other.folder().join("ca.pem"));
    let line = good.lines().find(|line| line.starts_with("ca_file")).expect("an authority");
    std::fs::write(&file, good.replace(line, &ca)).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    ok  ledger  answers
    ok  schema  current
    ok  policy in force  none yet; the first service brings this one
    ok  broker  amqp://127.0.0.1:PORT (virtual host VHOST)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    ok  credentials  readable
    FAILED  apns pl.example.bank https://localhost:PORT  TLS with https://localhost:PORT invalid peer certificate: BadSignature
    FAILED  apns pl.example.bank https://localhost:PORT  TLS with https://localhost:PORT invalid peer certificate: BadSignature
    FAILED  fcm pl.example.bank https://localhost:PORT  TLS with https://localhost:PORT invalid peer certificate: BadSignature
    "#);
    std::fs::write(&file, good.replace(APP, "pl.example.bnk")).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    ok  configuration  worker: 1000 streams, claims of 10 s
    ok  policy  hash HASH
    ok  operators' API  127.0.0.1:PORT, loopback, without TLS
    ok  ledger  answers
    ok  schema  current
    ok  policy in force  none yet; the first service brings this one
    ok  broker  amqp://127.0.0.1:PORT (virtual host VHOST)
    warn  signal login-headroom  no Prometheus is configured: write downstream.prometheus
    warn  signal transfer-headroom  no connection, or no trust in it
    warn  guard cautious login-p99  no Prometheus is configured: write downstream.prometheus
    warn  guard urgent transfer-headroom  no connection, or no trust in it
    FAILED  credentials  providers."pl.example.bnk": the policy's apps.toml has no such app
    "#);
    std::fs::write(&file, format!("prefetch = 1\n{good}")).expect("written");
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    FAILED  configuration  DIR/bellwether.toml:1: unknown field `prefetch`, expected one of `policy`, `ledger`, `amqp`, `listen`, `api`, `direct`, `registry`, `campaign`, `worker`, `send`, `notify`, `downstream`, `providers`
    "#);
    std::fs::remove_file(&file).expect("it was there");
    assert_snapshot!(told(&stage, &stage.run(&["check"]).await), @r#"
    exit 1
    -- out
    FAILED  configuration  DIR/bellwether.toml: No such file or directory (os error 2); name another with --config or BELLWETHER_CONFIG
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn audience_check_needs_no_service_and_names_file_line_and_key() {
    let stage = Stage::set().await;
    let folder = stage.folder().join("audiences");
    let check = async || {
        let mut command = stage.command(&["audience", "check", &folder.to_string_lossy()]);
        command.args(["--config", "/nonexistent.toml"]).output().await.expect("it runs")
    };
    assert_snapshot!(told(&stage, &check().await), @r#"
    exit 0
    -- out
    1 app, 4 producers, 3 audiences, 6 plans
      customers-pl  production  selected  at most  4500000 devices  cautious
      qa-phones  test  5 listed  at most  50 devices  no plan
      staff  internal  8 listed  at most  2000 devices  staff-only
      cautious  staff → 1 % → 10 % → 100 %
      cautious-test  staff → 1 % → 10 % → 100 %
      exponential  staff → 1 % → 2 % → 4 % → 8 % → 16 % → 32 % → 64 % → 100 %
      linear  staff → 20 % → 40 % → 60 % → 80 % → 100 %
      staff-only  10 devices → 100 %
      urgent  staff → 1 % → 100 %
    hash HASH
    "#);
    let cohort = folder.join("cohorts/qa-phones.toml");
    let text = std::fs::read_to_string(&cohort).expect("a cohort");
    std::fs::write(&cohort, text.replace("class = \"test\"", "class = \"tset\"")).expect("written");
    let producers = folder.join("producers.toml");
    let text = std::fs::read_to_string(&producers).expect("producers");
    std::fs::write(&producers, text.replace("direct_limit = 20 ", "direct_limits = 20 ")).expect("written");
    assert_snapshot!(told(&stage, &check().await), @r#"
    exit 1
    -- err
    DIR/audiences/cohorts/qa-phones.toml:3: class: "tset" is not known here; write "test" or "internal" or "production"
    DIR/audiences/producers.toml:9: producers.cards.direct_limits: is not a field that is known here; write one of owners, apps, intents, audiences, scopes, devices_per_day, direct_limit, direct_text, undeclared
    "#);
}
