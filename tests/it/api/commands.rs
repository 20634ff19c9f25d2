//! `bellwether rollout`, as release managers use it: through the API, and without it through the ledger.

use std::process::Output;

use axum::{
    Json, Router,
    http::StatusCode,
    response::IntoResponse as _,
    routing::{get, post},
};
use bellwether::api::wire::{Code, Problem};
use insta::assert_snapshot;

use super::*;
use crate::service::cli::told;

impl Office {
    /// Runs a command in somebody's name.
    pub(super) async fn as_person(&self, token: &str, arguments: &[&str]) -> Output {
        let mut command = self.stage.command(arguments);
        command.env("BELLWETHER_URL", self.url()).env("BELLWETHER_TOKEN", token);
        within("a command", command.output()).await.expect("the program runs")
    }

    /// The same, as golden files have it.
    async fn told(&self, token: &str, arguments: &[&str]) -> String {
        told(&self.stage, &self.as_person(token, arguments).await)
    }
}

/// How long something took, masked: it differs from run to run.
fn ageless(text: &str) -> String {
    let mut words: Vec<&str> = text.split(' ').collect();
    for at in 1..words.len() {
        let is_unit = words[at].split('\n').next().is_some_and(|unit| matches!(unit, "s" | "min"));
        if is_unit && words[at - 1].bytes().all(|b| b.is_ascii_digit()) {
            words[at - 1] = "N";
        }
    }
    words.join(" ")
}

pub(super) fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

pub(super) fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_two_people_take_a_campaign_from_approval_to_its_end_by_commands_alone() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let confirmed =
        ["rollout", "approve", &campaign, "--confirm-count", "3", "--confirm-audience", "customers"];

    assert_snapshot!(
        "approve_without_a_terminal",
        office.told(&ada, &["rollout", "approve", &campaign]).await
    );
    let wrong = ["rollout", "approve", &campaign, "--confirm-count", "2", "--confirm-audience", "customers"];
    let refused = office.as_person(&ada, &wrong).await;
    assert_eq!(code(&refused), 9, "{refused:?}");
    let mut dry = confirmed.to_vec();
    dry.extend(["--dry-run", "--output", "json"]);
    let dry = office.as_person(&ada, &dry).await;
    assert_eq!((code(&dry), &json_of(&dry)["body"]["count"]), (0, &json!(3)));
    let view = office.get(&ada, &format!("rollouts/{campaign}")).await.ok();
    assert_eq!(view["approvals"], json!([]), "nothing was approved so far");
    assert_eq!(json_of(&dry)["body"]["digest"], view["digest"]);

    let first = office.as_person(&ada, &confirmed).await;
    assert_eq!(code(&first), 0, "{first:?}");
    assert_eq!(code(&office.as_person(&ada, &confirmed).await), 4, "the same person twice");
    assert_eq!(code(&office.as_person(&rita, &["rollout", "start", &campaign]).await), 7);
    let status = async |more: &[&str]| {
        let mut arguments = vec!["rollout", "status", &campaign];
        arguments.extend(more);
        code(&office.as_person(&rita, &arguments).await)
    };
    assert_eq!(status(&[]).await, 7, "it waits for people");
    assert_eq!(status(&["--for", "approved", "--timeout", "1s"]).await, 8);
    assert_eq!(code(&office.as_person(&bob, &confirmed).await), 0);
    let more = office.as_person(&bob, &confirmed).await;
    assert!(code(&more) == 0 && String::from_utf8_lossy(&more.stderr).contains("it has all its approvals"));
    assert_eq!(code(&office.as_person(&bob, &wrong).await), 9, "it is another that was meant");
    assert_eq!(status(&["--for", "approved"]).await, 0);

    let by_job = "spring/spring";
    let dry = office.told(&rita, &["rollout", "start", by_job, "--dry-run"]).await;
    assert_snapshot!("start_dry_run", dry);
    assert_eq!(office.stage.simulator.requests(), 0);
    assert_eq!(code(&office.as_person(&rita, &["rollout", "start", by_job]).await), 0);
    let watched = office.as_person(&rita, &["rollout", "watch", &campaign]).await;
    let lines = String::from_utf8(watched.stdout.clone()).expect("text");
    assert_eq!(code(&watched), 0, "{watched:?}");
    assert!(
        lines.lines().last().is_some_and(|line| line.contains(" completed, stage 2 of 2: 3 of 3 devices")),
        "{lines}"
    );
    assert_eq!(status(&[]).await, 0);
    let shown = office.told(&rita, &["rollout", "show", &campaign]).await;
    assert_snapshot!("show_completed", ageless(&shown));
    let listed = office.told(&rita, &["rollout", "list"]).await;
    assert_snapshot!("list_completed", ageless(&listed));
    assert_eq!(code(&office.as_person(&rita, &["rollout", "abort", &campaign, "--reason", "late"]).await), 6);

    // Who looks into the ledger sees the same.
    let (show, list) =
        (["--output", "json", "rollout", "show", &campaign], ["--output", "json", "rollout", "list"]);
    for arguments in [&show[..], &list[..]] {
        let (api, ledger) = (office.as_person(&rita, arguments).await, office.stage.run(arguments).await);
        assert_eq!(json_of(&api), json_of(&ledger), "{arguments:?}");
    }
    let yaml = office.stage.run(&["--output", "yaml", "rollout", "show", &campaign]).await;
    assert!(String::from_utf8_lossy(&yaml.stdout).contains("\nstate: completed\n"), "{yaml:?}");
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_asked_and_what_is_not_there_is_said_with_what_to_do() {
    let office = Office::open("").await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let (_, rita) = office.token("rita", &["promote"]).await;
    let said = [
        told(&office.stage, &office.stage.run(&["rollout", "start", nobody]).await),
        told(&office.stage, &office.stage.run(&["rollout", "abort", nobody]).await),
        told(&office.stage, &office.stage.run(&["rollout", "pause", "spring"]).await),
        told(&office.stage, &office.stage.run(&["rollout", "show", nobody]).await),
        told(&office.stage, &office.stage.run(&["rollout", "list"]).await),
        office.told(&rita, &["rollout", "show", nobody]).await,
        office.told(&rita, &["rollout", "show", "marketing/none"]).await,
        office.told(&rita, &["rollout", "reject", nobody, "--reason", " "]).await,
        office.told("bw_wrong", &["rollout", "list"]).await,
    ];
    assert_snapshot!("mistakes", said.join("\n"));
    assert!(office.serving.stop().await.success());
}

/// An API that answers every approval with: it changed since.
async fn changeable(preview: Value) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut problem = Problem::new(Code::StaleDigest, "it is not what you were shown; look at it again");
    problem.diff = vec!["-max_devices = 1_000".to_owned(), "+max_devices = 9_\u{1b}[2J".to_owned()];
    let stale = move || async move { (StatusCode::PRECONDITION_FAILED, Json(problem)).into_response() };
    let router = Router::new()
        .route("/api/v1/rollouts/{id}/preview", get(async move || Json(preview)))
        .route("/api/v1/rollouts/{id}/approve", post(stale));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_what_changed_since_it_was_shown_is_not_approved_and_the_difference_is_told() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let preview = office.get(&ada, &format!("rollouts/{campaign}/preview")).await.ok();
    let url = format!("http://{}", changeable(preview).await);
    let mut command = office.stage.command(&[
        "rollout",
        "approve",
        &campaign,
        "--confirm-count",
        "3",
        "--confirm-audience",
        "customers",
        "--output",
        "json",
    ]);
    command.env("BELLWETHER_URL", url).env("BELLWETHER_TOKEN", "bw_x");
    let output = within("a command", command.output()).await.expect("the program runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(9), 0), "{said}");
    let after: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("It changed")).collect();
    assert_snapshot!(after.join("\n"), @r"
    It changed since it was shown:
    -max_devices = 1_000
    +max_devices = 9_\u{1b}[2J
    error: it is not what you were shown; look at it again
    ");
    assert!(office.serving.stop().await.success());
}
