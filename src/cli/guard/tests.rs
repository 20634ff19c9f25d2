//! Golden files of what a person reads.

use super::*;

fn explained(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let policy = Policy::load(Path::new("audiences")).expect("the policy that is shipped");
    let mut job = json!({
        "v": 1, "id": "cards-7", "app": "pl.example.bank", "intent": "production", "to": { "users": ["u-7"] },
        "notification": { "title": "Karta", "body": "Zablokowaliśmy płatność 50,00 zł w sklepie Żabka" }
    });
    change(&mut job);
    let job = Job::parse(job.to_string().as_bytes()).expect("a job");
    let producer = ProducerId::parse("cards").expect("a producer");
    let now = "2026-11-21T12:00:00Z".parse().expect("an instant");
    told(&job, &producer, &judged(&job, &producer, &policy, now), Paint::NONE)
}

#[test]
fn a_clear_job_is_told_in_few_lines() {
    insta::assert_snapshot!(explained(|_| {}));
}

#[test]
fn a_placeholder_is_shown_where_it_stands() {
    insta::assert_snapshot!(explained(|job| {
        job["notification"]["body"] =
            json!("Cześć {{imię}}, zobacz ofertę: https://staging.bank.example.pl/oferta");
        job["notification"]["localized"] = json!({ "zh": { "body": "您好，%s，请查看" } });
    }));
}

#[test]
fn a_test_to_a_customer_is_told_with_every_reason() {
    insta::assert_snapshot!(explained(|job| {
        job["intent"] = json!("test");
        job["notification"]["data"] = json!({ "image": "http://10.0.0.7/a\u{1b}[2J.png" });
    }));
}

#[test]
fn a_campaign_beyond_its_producer_s_scope_and_its_audience_s_limit() {
    insta::assert_snapshot!(explained(|job| {
        job["to"] = json!({ "audience": "customers-pl", "at_most": 9_000_000 });
        job["expires_at"] = json!("2026-11-21T20:00:00Z");
        job["notification"]["body"] = json!("Важное сообщение от банка");
    }));
}

#[test]
fn each_verdict_has_its_exit_code() {
    assert_eq!(ended(&Verdict::Refuse(Vec::new())), ("refused", Exit::Refused));
    assert_eq!(ended(&Verdict::Hold(Vec::new())), ("held", Exit::Waits));
}

#[test]
fn the_producer_is_named_if_several_may_send_it() {
    let policy = Policy::load(Path::new("audiences")).expect("the policy that is shipped");
    let job = |intent: &str| {
        let json = format!(
            r#"{{"v":1,"id":"j","app":"pl.example.bank","intent":"{intent}","to":{{"users":["u"]}},"notification":{{"body":"b"}}}}"#
        );
        Job::parse(json.as_bytes()).expect("a job")
    };
    assert_eq!(only_producer(&policy, &job("production")).expect("one").as_str(), "cards");
    let several = only_producer(&policy, &job("test")).expect_err("cards and qa");
    assert_eq!(several.to_string(), "whose job is it? --producer cards or qa");
    assert_eq!(Exit::of(&several), Exit::Usage);
    let unlabelled = br#"{"v":1,"id":"j","app":"pl.example.bank","expires_at":"2026-11-21T20:00:00Z","to":{"audience":"customers-pl","at_most":9},"notification":{"body":"b"}}"#;
    let unlabelled = Job::parse(unlabelled).expect("a job");
    let marketing = only_producer(&policy, &unlabelled).expect("one");
    assert_eq!(marketing.as_str(), "marketing");
    let now = "2026-11-21T12:00:00Z".parse().expect("an instant");
    let told = as_json(&marketing, &judged(&unlabelled, &marketing, &policy, now));
    assert_eq!(
        (told["verdict"].as_str(), told["findings"][0]["field"].as_str()),
        (Some("refused"), Some("intent"))
    );
    assert_eq!(told["not_known"][0], "whose devices these are");
}
