use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    super::{RecordDetail, Simulator, SimulatorArgs, TooFewRequests, bank::Terms, run},
    Client, DEADLINE, http, push, start, start_with,
};
use crate::clock::Clock;

async fn get(simulator: &Simulator, path: &str) -> (u16, String) {
    let base = simulator.inspect_endpoint().expect("an inspection endpoint");
    let answer = http(simulator).get(format!("{base}{path}")).send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

async fn post(simulator: &Simulator, path: &str, body: &'static str) -> (u16, String) {
    let base = simulator.inspect_endpoint().expect("an inspection endpoint");
    let request = http(simulator).post(format!("{base}{path}")).body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[tokio::test]
async fn a_login_is_watched_by_whoever_asks_and_where_there_is_none_that_is_said() {
    let without = start_with(|config| config.inspect_port = Some(0)).await;
    assert_eq!(
        get(&without, "/login").await,
        (404, "nobody opens the app here: start with --login\n".to_owned())
    );
    let simulator = start_with(|config| {
        (config.inspect_port, config.login) = (Some(0), Some(Terms::default()));
    })
    .await;
    let told = json(&get(&simulator, "/login").await.1);
    assert_eq!((&told["capacity"], &told["declared"]), (&200.into(), &150.into()));
    let (status, told) = get(&simulator, "/login/metrics").await;
    assert!(status == 200 && told.contains("# TYPE login_headroom gauge\nlogin_headroom "), "{told}");
}

#[tokio::test]
async fn another_process_registers_injects_looks_and_resets() {
    let simulator = start_with(|config| config.inspect_port = Some(0)).await;
    let phones = "{\"token\":\"new\",\"platform\":\"ios\",\"app\":\"x\"}\n\n";
    assert_eq!(post(&simulator, "/phones", phones).await.0, 200);
    let fault = r#"{"token":"new","action":{"kind":"answer","status":500,"reason":"InternalServerError"}}"#;
    assert_eq!(post(&simulator, "/faults", fault).await.0, 200);
    let (status, why) = post(&simulator, "/faults", "{}").await;
    assert_eq!((status, why.starts_with("line 1: ")), (400, true), "{why}");

    let client = Client::apns(&simulator).await;
    for status in [500, 200] {
        let answer = client.send(push(&simulator, "new")).await.expect("an answer");
        assert_eq!(answer.status, status);
    }
    let (_, requests) = get(&simulator, "/requests?since=1").await;
    let request = json(requests.trim_end());
    assert_eq!((&request["number"], &request["path"]), (&2.into(), &"/3/device/new".into()));
    assert_eq!(json(&get(&simulator, "/phones/new").await.1)["screen"][0]["body"], "Hello");
    assert_eq!(get(&simulator, "/phones/nobody").await.0, 404);
    let (_, screens) = get(&simulator, "/screens").await;
    assert_eq!((screens.lines().count(), &json(&screens)["token"]), (1, &"new".into()));
    let summary = json(&get(&simulator, "/summary").await.1);
    assert_eq!((&summary["requests"], &summary["phones_reached"]), (&2.into(), &1.into()));
    assert_eq!(summary["answers"][1]["reason"], "InternalServerError");
    let credentials = json(&get(&simulator, "/credentials").await.1);
    assert_eq!(credentials["ca_pem"], simulator.credentials().ca_pem);

    assert_eq!(post(&simulator, "/reset", "").await.0, 204);
    let summary = json(&get(&simulator, "/summary").await.1);
    assert_eq!((&summary["requests"], &summary["shown"]), (&0.into(), &0.into()));
    assert_eq!(summary["phones"], 3);
}

#[tokio::test]
async fn a_compact_record_keeps_counts_and_screens_only() {
    let simulator = start_with(|config| {
        config.inspect_port = Some(0);
        config.detail = RecordDetail::Compact;
    });
    let simulator = simulator.await;
    let client = Client::apns(&simulator).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    assert_eq!(simulator.record().len(), 0);
    assert_eq!(get(&simulator, "/requests").await.0, 409);
    assert_eq!((simulator.requests(), simulator.screens().len()), (1, 1));
    assert_eq!(&*simulator.summary().answers[0].reason, "Accepted");
}

#[tokio::test]
async fn waiting_ends_with_the_last_request_or_the_deadline() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let (waited, answer) =
        tokio::join!(simulator.wait_for_requests(1, DEADLINE), client.send(push(&simulator, "ios")),);
    assert_eq!((waited, answer.expect("an answer").status), (Ok(()), 200));
    let missed = simulator.wait_for_requests(2, Duration::from_millis(1)).await;
    assert_eq!(missed, Err(TooFewRequests { seen: 1, wanted: 2 }));
}

#[tokio::test]
async fn shutdown_closes_every_socket() {
    let simulator = start_with(|config| config.inspect_port = Some(0)).await;
    let client = Client::apns(&simulator).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    tokio::time::timeout(DEADLINE, simulator.shutdown()).await.expect("in time");
    let ended = tokio::time::timeout(DEADLINE, client.connection).await.expect("in time");
    // With or without an error: nobody says goodbye.
    drop(ended.expect("no panic"));
    assert!(tokio::net::TcpStream::connect(simulator.addresses.apns).await.is_err());
}

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: SimulatorArgs,
}

#[tokio::test]
async fn the_command_writes_what_a_sender_needs_before_it_says_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().to_str().expect("text");
    let cli = Cli::try_parse_from(["simulator", "--phones", "3", "--latency", "0", "--out", out]);
    let stop = CancellationToken::new();
    let (mut about, mut devices) = (Value::Null, String::new());
    let read = |name: &str| {
        std::fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let announce = |line: &str| {
        assert!(line.starts_with("simulator ready: APNs https://localhost:"), "{line}");
        (about, devices) = (json(&read("simulator.json")), read("devices.ndjson"));
        stop.cancel();
    };
    let args = cli.expect("arguments").args;
    run(args, Clock::system(), stop.clone(), announce).await.expect("it runs");
    assert_eq!(about["topics"], serde_json::json!(["pl.example.bank"]));
    assert!(read("ca.pem").starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(read("apns-key.p8").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(json(&read("service-account.json"))["token_uri"], about["token_uri"]);
    let first = json(devices.lines().next().expect("three lines"));
    assert_eq!((devices.lines().count(), &first["user_id"]), (3, &"user-000000".into()));
    assert_eq!((&first["platform"], &first["environment"]), (&"ios".into(), &"production".into()));
}
