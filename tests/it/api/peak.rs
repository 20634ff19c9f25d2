//! A peak of app opens above what our own systems take is approved by whoever says so, and by nobody else.

use serde_json::{Value, json};

use super::{
    commands::{code, json_of},
    *,
};

/// Everybody opens the app, half of them within a second: the two customers come to more than one open a second at the
/// most, and our own systems take one.
async fn office() -> Office {
    Office::with("", |policy| {
        let apps = policy.join("apps.toml");
        let text = std::fs::read_to_string(&apps).expect("apps.toml");
        let app = format!("[apps.\"{APP}\"]\n");
        assert!(text.contains(&app), "{text}");
        let opens = format!("{app}opens = {{ share = 1.0, median_delay = \"1s\", capacity = 1 }}\n");
        let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("opens = ")).collect();
        std::fs::write(&apps, without.join("\n").replacen(&app, &opens, 1)).expect("apps.toml");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peak_above_what_our_own_systems_take_is_approved_by_whoever_accepts_it_and_nobody_else() {
    let office = office().await;
    let (_, rita) = office.token("rita", &["enqueue:production"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let campaign = office.submitted(&rita, "spring").await;
    let opens = office.get(&ada, &format!("rollouts/{campaign}/preview")).await.ok()["opens"].clone();
    assert_eq!((&opens["capacity"], &opens["accept_peak"]), (&json!(1), &json!(2)), "{opens}");

    let approve = format!("rollouts/{campaign}/approve");
    let right = office.approval(&ada, &campaign).await;
    let saying = |accept: Value| {
        let mut body = right.clone();
        body["accept_peak"] = accept;
        body
    };
    for too_few in [right.clone(), saying(json!(null)), saying(json!(1))] {
        let refused = office.post(&ada, &approve, &too_few).await;
        refused.refused(409, "waits");
        let detail = refused.body["detail"].as_str().expect("words");
        assert!(detail.contains("2 app opens a second") && detail.contains("take 1;"), "{detail}");
    }
    for wrong in [json!(-2), json!(2.5), json!("2")] {
        office.post(&ada, &approve, &saying(wrong)).await.refused(400, "malformed");
    }
    assert_eq!(office.get(&ada, &format!("rollouts/{campaign}")).await.ok()["approvals"], json!([]));

    // By command: without the number it waits, and says which.
    let arguments =
        ["rollout", "approve", &campaign, "--confirm-count", "3", "--confirm-audience", "customers"];
    let silent = office.as_person(&ada, &arguments).await;
    let said = String::from_utf8_lossy(&silent.stderr).into_owned();
    assert!(code(&silent) == 7 && said.contains("accept it with --accept-peak=2"), "{silent:?}");
    let shown = String::from_utf8_lossy(&silent.stdout).into_owned();
    assert!(shown.contains("MORE THAN OUR OWN SYSTEMS TAKE") && shown.contains("max_rate = "), "{shown}");
    let less = office.as_person(&ada, &[&arguments[..], &["--accept-peak=1"]].concat()).await;
    assert_eq!(code(&less), 7, "{less:?}");
    let dry = [&arguments[..], &["--dry-run", "--output", "json"]].concat();
    assert_eq!(json_of(&office.as_person(&ada, &dry).await)["body"]["accept_peak"], json!(2));
    let accepted = office.as_person(&ada, &[&arguments[..], &["--accept-peak=2"]].concat()).await;
    assert_eq!(code(&accepted), 0, "{accepted:?}");
    office.post(&bob, &approve, &saying(json!(7))).await.refused(409, "waits");
    office.post(&bob, &approve, &saying(json!(2.0))).await.ok();

    let audited = office.get(&office.root, "audit?kind=rollout.approve").await.ok();
    let told: Vec<Value> = audited["entries"].as_array().expect("entries").iter().map(accepts).collect();
    let of = |accepted| json!({ "estimated": 2, "capacity": 1, "accepted": accepted });
    assert_eq!(told, [of(2), of(2)], "{audited}");
    assert!(office.serving.stop().await.success());
}

/// What an entry says of the peak.
fn accepts(entry: &Value) -> Value {
    let body = entry["body"].as_str().map(|body| serde_json::from_str(body).expect("JSON"));
    body.unwrap_or_else(|| entry["body"].clone())["opens_per_second"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_the_peak_before_anything_is_submitted() {
    let office = office().await;
    let job = office.stage.folder().join("spring.json");
    std::fs::write(&job, Office::job("spring", "Nowa aplikacja").to_string()).expect("a file");
    let job = job.to_str().expect("a path");
    let shown = office.stage.run(&["campaign", "plan", job]).await;
    let told = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(code(&shown), 0, "{shown:?}");
    assert!(
        told.contains("reaches    3 devices now") && told.contains("MORE THAN OUR OWN SYSTEMS TAKE"),
        "{told}"
    );
    let planned = json_of(&office.stage.run(&["campaign", "plan", job, "--output", "json"]).await);
    assert_eq!((&planned["devices"], &planned["opens"]["accept_peak"]), (&json!(3), &json!(3)), "{planned}");
    assert!(planned["stages"][1]["rate_within"].is_u64(), "{planned}");
    let listed = json_of(&office.stage.run(&["rollout", "list", "--output", "json"]).await);
    assert_eq!(listed, json!([]), "nothing was submitted");
    assert!(office.serving.stop().await.success());
}
