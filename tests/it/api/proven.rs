//! Campaigns to an audience that asks for a proof.

use serde_json::json;

use super::*;

const TESTER: &str = "qa-ios-1";

/// The production audience asks for a proof, and there is a plan for tests.
fn asks_for_a_proof(policy: &std::path::Path) {
    let file = policy.join(format!("cohorts/{AUDIENCE}.toml"));
    let text = std::fs::read_to_string(&file).expect("the audience");
    std::fs::write(&file, format!("proof = \"required\"\n{text}")).expect("the audience");
    std::fs::write(policy.join("plans/at-once.toml"), "[[stage]]\npercent = 100\n").expect("a plan");
}

fn test_of(id: &str, body: &str) -> Value {
    let mut job = Office::job(id, body);
    job["intent"] = json!("test");
    job["plan"] = json!("at-once");
    job["to"] = json!({"audience": "qa-phones", "at_most": 5});
    job
}

fn rules(view: &Value) -> Vec<&str> {
    let findings = view["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    findings.iter().filter_map(|finding| finding["rule"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_nobody_has_seen_on_a_phone_wait_until_somebody_has() {
    let office = Office::with("api.requests_per_second = 1000\n", asks_for_a_proof).await;
    office.stage.register(&[TestPhone::ios(TESTER)]).await;
    let (_, rita) = office.token("rita", &["enqueue:production", "promote"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers"]).await;
    let (_, tina) = office.token("qa-lead", &["enqueue:test"]).await;
    let submit = async |token: &str, job: &Value| {
        let answer = office.post(token, "campaigns", job).await.ok();
        (answer["campaign"].as_str().expect("an id").to_owned(), answer["held"] == json!(true))
    };

    let (campaign, held) = submit(&rita, &Office::job("news", "Kupisz bilet za 5 zł")).await;
    assert!(held);
    let view = office.reaches(&rita, &campaign, "pending_approval").await;
    assert_eq!(rules(&view), ["proof-missing"]);
    let approval = office.approval(&ada, &campaign).await;
    office.post(&ada, &format!("rollouts/{campaign}/approve"), &approval).await.refused(409, "waits");

    // The same words to a tester, and somebody looks.
    let (test, held) = submit(&tina, &test_of("news-test", "Kupisz bilet za 7 zł")).await;
    assert!(!held);
    office.reaches(&tina, &test, "completed").await;
    let prove = |campaign: &str| format!("rollouts/{campaign}/prove");
    let seen = json!({"reason": "on an iPhone and a Pixel, both languages"});
    office.post(&ada, &prove(&test), &seen).await.refused(403, "not_allowed");
    office.post(&tina, &prove(&campaign), &seen).await.refused(409, "conflict");
    office.post(&tina, &prove(&uuid::Uuid::from_u128(1).to_string()), &seen).await.refused(404, "not_found");
    office.post(&tina, &prove(&test), &json!({"reason": ""})).await.refused(400, "malformed");
    let view = office.post(&tina, &prove(&test), &seen).await.ok();
    assert_eq!((&view["proven"]["by"], &view["proven"]["reason"]), (&json!("qa-lead"), &seen["reason"]));

    // It waits for nothing but the approvals now, and goes out.
    let view = office.get(&rita, &format!("rollouts/{campaign}")).await.ok();
    assert_eq!(view["findings"][0]["accepted_reason"], json!(format!("proven by the test campaign {test}")));
    for approver in [&ada, &bob] {
        office.post(approver, &format!("rollouts/{campaign}/approve"), &approval).await.ok();
    }
    office.post(&rita, &format!("rollouts/{campaign}/start"), &json!({})).await.ok();
    office.reaches(&rita, &campaign, "completed").await;

    // What is proven is proven for the next campaign, too; other words are not.
    let (again, _) = submit(&rita, &Office::job("again", "Kupisz bilet za 9 zł!")).await;
    let view = office.reaches(&rita, &again, "pending_approval").await;
    assert_eq!(rules(&view), ["duplicate-campaign"]);
    let (other, _) = submit(&rita, &Office::job("other", "Kupisz bilet do kina")).await;
    let view = office.reaches(&rita, &other, "pending_approval").await;
    assert_eq!(rules(&view), ["proof-missing"]);
    assert!(office.serving.stop().await.success());
}
