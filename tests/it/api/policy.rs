//! The policy in force takes two people; and what was approved under another is void at once.

use std::{fs, path::PathBuf};

use bellwether::audience::Policy;

use super::*;

impl Office {
    fn policy_file(&self, path: &str) -> PathBuf {
        self.stage.folder().join("audiences").join(path)
    }

    /// Changes a file of the folder; its text before.
    fn edit(&self, path: &str, from: &str, to: &str) -> String {
        let file = self.policy_file(path);
        let before = fs::read_to_string(&file).expect("a policy file");
        assert!(before.contains(from), "{path} has no {from:?}");
        fs::write(file, before.replace(from, to)).expect("a policy file");
        before
    }

    /// The folder as it is sent.
    fn folder(&self) -> Value {
        let policy = Policy::load(&self.stage.folder().join("audiences")).expect("a policy");
        json!({ "files": policy.files() })
    }

    async fn approved(&self, people: [&str; 2], campaign: &str) {
        for token in people {
            let right = self.approval(token, campaign).await;
            self.post(token, &format!("rollouts/{campaign}/approve"), &right).await.ok();
        }
    }

    async fn audited(&self, kind: &str) -> Vec<(String, Value)> {
        let entries = self.ledger.audit_entries(1, 1_000).await.expect("an answer");
        let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
        of_kind
            .map(|entry| (entry.actor, serde_json::from_str(&entry.body).expect("a body is JSON")))
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_policy_comes_into_force_by_two_people_and_who_loaded_another_stands_still() {
    let mut office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, ada) = office.token("ada", &["policy"]).await;
    let (_, twin) = office.token("\u{430}da", &["policy"]).await;
    let (_, bob) = office.token("bob", &["policy"]).await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (diff, activate) = ("policy/diff", "policy/activate");
    let sent = office.submitted(&rita, "before").await;
    let first = office.get(&rita, "policy").await.ok();
    assert_eq!(
        (&first["in_force"]["policy"], &first["in_force"]["by"]),
        (&first["loaded"], &json!("bellwether"))
    );
    assert_eq!(first["proposed"], Value::Null);
    let api = office.stage.start(office.stage.command(&["serve", "--role", "api"])).await;

    office.edit(&format!("cohorts/{AUDIENCE}.toml"), "max_devices = 1_000", "max_devices = 2_000");
    // More than a job may have, less than a policy.
    let members: Vec<_> = (0..20_000).map(|number| format!("staff-number-{number}")).collect();
    fs::write(office.policy_file("cohorts/crowd.txt"), members.join("\n")).expect("a policy file");
    let crowd = format!(
        "class = \"internal\"\napp = \"{APP}\"\nmembers_file = \"crowd.txt\"\n[limits]\nmax_devices = 30_000\n"
    );
    fs::write(office.policy_file("cohorts/crowd.toml"), crowd).expect("a policy file");
    let folder = office.folder();
    office.post(&rita, diff, &folder).await.refused(403, "not_allowed");
    office.post(&rita, activate, &folder).await.refused(403, "not_allowed");
    let told = office.post(&ada, diff, &folder).await.ok();
    let lines = told["diff"].to_string();
    assert!(lines.contains("-max_devices = 1_000") && lines.contains("+max_devices = 2_000"), "{lines}");
    assert!(lines.contains("0 members removed, 20000 added") && !lines.contains("staff-number"), "{lines}");
    for wrong in [json!({}), json!({"files": []}), json!({"files": [{"path": "apps.toml", "text": "x"}]})] {
        let answer = office.post(&ada, activate, &wrong).await;
        assert!(
            [(400, "malformed"), (422, "refused_by_guard")].contains(&(answer.status, answer.code())),
            "{answer:?}"
        );
    }

    // One person is one, however often and under whichever name.
    for token in [&ada, &ada, &twin] {
        let answer = office.post(token, activate, &folder).await.ok();
        assert_eq!((&answer["in_force"], &answer["policy"]), (&json!(false), &told["policy"]));
    }
    let waits = office.get(&rita, "policy").await.ok();
    assert_eq!((&waits["in_force"], &waits["proposed"]["by"]), (&first["in_force"], &json!("ada")));
    assert_eq!(office.serving.get("/readyz").await.0, 200);
    assert_eq!(office.post(&bob, activate, &folder).await.ok()["in_force"], json!(true));
    let now = office.get(&rita, "policy").await.ok();
    assert_eq!((&now["in_force"]["policy"], &now["in_force"]["by"]), (&told["policy"], &json!("bob")));
    assert_eq!((&now["loaded"], &now["proposed"]), (&first["loaded"], &Value::Null));

    eventually("it stands still", async || {
        let (status, text) = office.serving.get("/readyz").await;
        (status == 503 && text.contains("policy: another is in force")).then_some(())
    })
    .await;
    assert!(office.serving.metric("bellwether_policy_active", &[]).await < 0.5);
    let job = Office::job("late", "Nowa aplikacja");
    office.post(&rita, "campaigns", &job).await.refused(503, "unavailable");
    office.post(&rita, &format!("rollouts/{sent}/retry"), &json!({})).await.refused(503, "unavailable");
    // Who only answers operators stays in the balancer's list: they must be able to halt.
    eventually("it knows", async || {
        let (status, text) = api.get("/readyz").await;
        (status == 200 && text.contains("policy: another is in force")).then_some(())
    })
    .await;
    assert!(api.stop().await.success());
    assert!(office.serving.stop().await.success());
    office.serving = office.stage.serve().await;
    office.post(&rita, "campaigns", &job).await.ok();
    assert_eq!(office.audited("policy.proposed").await.len(), 1);
    assert_eq!(office.audited("policy.activated").await[0].1["proposed_by"], json!("ada"));
    assert!(office.serving.stop().await.success());
}

/// A kind of policy file, and a change of it that nobody looked at.
const KINDS: [(&str, &str, &str); 5] = [
    ("cohorts/customers.toml", "country = [\"PL\"]", "country = [\"PL\", \"DE\"]"),
    ("plans/swift.toml", "bake = \"1s\"", "bake = \"2s\""),
    ("producers.toml", "owners = [\"rita\", \"owen\"]", "owners = [\"rita\", \"olga\"]"),
    ("apps.toml", "max_rate = 9_000", "max_rate = 9_001"),
    ("cohorts/staff.txt", "staff-0001", "staff-9999"),
];

#[tokio::test(flavor = "multi_thread")]
async fn i8_an_edit_of_any_policy_file_after_the_approval_voids_it_and_is_shown() {
    let office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let (start, approve) = (format!("rollouts/{campaign}/start"), format!("rollouts/{campaign}/approve"));
    let right = office.approval(&ada, &campaign).await;
    for (round, (path, from, to)) in KINDS.into_iter().enumerate() {
        office.approved([&ada, &bob], &campaign).await;
        let before = office.edit(path, from, to);
        let answer = office.post(&rita, &start, &json!({})).await;
        answer.refused(412, "stale_digest");
        let shown = answer.body["diff"].to_string();
        let line = if path == "cohorts/staff.txt" {
            "1 members removed, 1 added".to_owned()
        } else {
            to.replace('"', "\\\"")
        };
        assert!(shown.contains(path) && shown.contains(&line), "{path}: {shown}");
        let view = office.get(&rita, &format!("rollouts/{campaign}")).await.ok();
        assert_eq!(view["state"], json!("pending_approval"), "{path}");
        assert!(
            view["cause"]
                .as_str()
                .is_some_and(|cause| cause.starts_with("policy-changed: the policy folder is not")),
            "{view}"
        );
        let approvals = view["approvals"].as_array().expect("approvals");
        assert_eq!(approvals.len(), 2 * (round + 1));
        assert!(approvals.iter().all(|approval| approval["voided_at"].is_string()), "{view}");
        // Nobody approves it either, while the folder says something else; nor starts what is void.
        office.post(&ada, &approve, &right).await.refused(412, "stale_digest");
        fs::write(office.policy_file(path), before).expect("a policy file");
        office.post(&rita, &start, &json!({})).await.refused(409, "waits");
    }
    let voided = office.audited("rollout.void").await;
    assert_eq!(voided.len(), KINDS.len());
    for (actor, body) in voided {
        assert_eq!((actor.as_str(), &body["differs"][0]["what"]), ("rita", &json!("the policy folder")));
    }
    // A half-written file is a difference like any other, and the command line says so by its exit code.
    office.approved([&ada, &bob], &campaign).await;
    let before = office.edit("apps.toml", "[apps", "[[apps");
    let started = office
        .stage
        .command(&["rollout", "start", &campaign])
        .env("BELLWETHER_URL", office.url())
        .env("BELLWETHER_TOKEN", &rita)
        .output();
    let started = within("rollout start", started).await.expect("it runs");
    let said = String::from_utf8_lossy(&started.stderr).into_owned();
    assert_eq!(started.status.code(), Some(9), "{said}");
    assert!(
        said.contains("+[[apps") && said.contains("the policy folder is not what it was approved under"),
        "{said}"
    );
    fs::write(office.policy_file("apps.toml"), before).expect("a policy file");
    assert_eq!(office.stage.simulator.requests(), 0, "nobody was rung");

    office.approved([&ada, &bob], &campaign).await;
    office.post(&rita, &start, &json!({})).await.ok();
    office.reaches(&rita, &campaign, "completed").await;
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_under_another_policy_it_is_approved_anew_and_not_if_the_guard_refuses_it_there() {
    let mut office = Office::open("api.requests_per_second = 1000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers", "policy"]).await;
    let (_, bob) = office.token("bob", &["approve:customers", "policy"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let (start, preview) = (format!("rollouts/{campaign}/start"), format!("rollouts/{campaign}/preview"));
    assert_eq!(office.get(&ada, &preview).await.ok()["drift"], json!([]));
    office.approved([&ada, &bob], &campaign).await;
    let shown_then = office.approval(&ada, &campaign).await;

    office.edit("plans/swift.toml", "bake = \"1s\"", "bake = \"2s\"");
    // Whoever asks for it now may not have it any more.
    let allowed = format!("audiences = [\"{AUDIENCE}\"]");
    let before = office.edit("producers.toml", &allowed, "audiences = [\"staff\"]");
    let activate = async |office: &Office| {
        for token in [&ada, &bob] {
            office.post(token, "policy/activate", &office.folder()).await.ok();
        }
    };
    activate(&office).await;
    let answer = office.post(&rita, &start, &json!({})).await;
    answer.refused(412, "stale_digest");
    assert!(answer.body["diff"].to_string().contains("+audiences = [\\\"staff\\\"]"), "{answer:?}");
    assert_eq!(office.audited("rollout.void").await.len(), 1);
    office
        .post(&ada, &format!("rollouts/{campaign}/approve"), &shown_then)
        .await
        .refused(412, "stale_digest");

    assert!(office.serving.stop().await.success());
    office.serving = office.stage.serve().await;
    office
        .post(&ada, &format!("rollouts/{campaign}/approve"), &shown_then)
        .await
        .refused(422, "refused_by_guard");
    fs::write(office.policy_file("producers.toml"), before).expect("a policy file");
    activate(&office).await;
    assert!(office.serving.stop().await.success());
    office.serving = office.stage.serve().await;

    // What was approved then is another thing than what is to be approved now.
    let drift = office.get(&ada, &preview).await.ok()["drift"].to_string();
    assert!(drift.contains("plans/swift.toml") && !drift.contains("producers.toml"), "{drift}");
    office
        .post(&ada, &format!("rollouts/{campaign}/approve"), &shown_then)
        .await
        .refused(412, "stale_digest");
    assert_ne!(office.approval(&ada, &campaign).await["digest"], shown_then["digest"]);
    office.approved([&ada, &bob], &campaign).await;
    office.post(&rita, &start, &json!({})).await.ok();
    office.reaches(&rita, &campaign, "completed").await;
    assert!(office.serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_compares_and_activates_and_its_exit_codes_say_what_came_of_it() {
    let office = Office::open("").await;
    let (_, ada) = office.token("ada", &["policy"]).await;
    let (_, bob) = office.token("bob", &["policy"]).await;
    let (_, eve) = office.token("eve", &["promote"]).await;
    let run = async |token: &str, arguments: &[&str]| {
        let mut command = office.stage.command(arguments);
        command.env("BELLWETHER_URL", office.url()).env("BELLWETHER_TOKEN", token);
        let output = within("policy", command.output()).await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, said) = run(&ada, &["policy", "diff"]).await;
    assert_eq!((code, out.as_str(), said.as_str()), (Some(0), "", "this is the policy in force\n"));
    office.edit("plans/swift.toml", "bake = \"1s\"", "bake = \"2s\"");
    let (code, out, _) = run(&ada, &["policy", "diff"]).await;
    assert!(code == Some(0) && out.contains("-bake = \"1s\"\n+bake = \"2s\"\n"), "{out}");
    let (code, _, said) = run(&eve, &["policy", "activate"]).await;
    assert!(code == Some(4) && said.contains("scope policy"), "{said}");
    let (code, out, said) = run(&ada, &["policy", "activate"]).await;
    assert!(code == Some(7) && out.contains("+bake = \"2s\"") && said.contains("proposed: "), "{said}");
    let (code, out, _) = run(&eve, &["policy", "show"]).await;
    assert!(code == Some(0) && out.contains("proposed  ") && out.contains("by ada, "), "{out}");
    let (code, out, said) = run(&bob, &["policy", "activate", "--output", "json"]).await;
    let done: Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == Some(0) && done["in_force"] == json!(true), "{out}{said}");
    let (code, out, _) = run(&eve, &["policy", "show"]).await;
    assert!(code == Some(0) && out.contains("loaded  "), "{out}");

    office.edit("plans/swift.toml", "bake = \"2s\"", "bakes = \"2s\"");
    for verb in ["diff", "activate"] {
        let (code, _, said) = run(&ada, &["policy", verb]).await;
        assert!(code == Some(3) && said.contains("plans/swift.toml:3: stage"), "{said}");
    }
    let checked = office.stage.run(&["check"]).await;
    assert!(String::from_utf8_lossy(&checked.stdout).contains("FAILED  policy"));
    office.edit("plans/swift.toml", "bakes = \"2s\"", "bake = \"3s\"");
    let checked = office.stage.run(&["check"]).await;
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("FAILED  policy in force  is ") && text.contains("bellwether policy activate"),
        "{text}"
    );
    assert!(office.serving.stop().await.success());
}
