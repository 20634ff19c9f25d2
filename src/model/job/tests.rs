use serde_json::{Value, json};

use super::*;

type Case = (MalformedCode, &'static str, fn(&mut Value));

fn direct() -> Value {
    json!({
        "v": 1, "id": "otp-1", "app": "pl.example.bank", "intent": "production",
        "to": {"users": ["u-1", "u-2", "u-1"]},
        "notification": {"title": "Login", "body": "Your code is 123456"}
    })
}

fn parse(value: &Value) -> Result<Job, Malformed> {
    Job::parse(value.to_string().as_bytes())
}

fn refused(change: impl FnOnce(&mut Value)) -> (MalformedCode, String) {
    let mut value = direct();
    change(&mut value);
    let error = parse(&value).expect_err("must be malformed");
    assert!(!error.problem.contains("123456"), "the text leaked: {}", error.problem);
    (error.code, error.field)
}

#[test]
fn a_job_is_read_and_each_recipient_counted_once() {
    let job = parse(&direct()).expect("a job");
    assert_eq!(job.intent(), Some(Intent::Production));
    assert!(matches!(job.to(), Some(Recipients::Users(users)) if users.len() == 2));
    assert_eq!(job.lane(), Lane::Direct);
}

#[test]
fn the_canonical_form_reads_back_to_the_same_job_and_digest() {
    let job = parse(&direct()).expect("a job");
    let again = Job::parse(job.canonical_json().as_bytes()).expect("a job");
    assert_eq!(job, again);
    let spaced = serde_json::to_string_pretty(&direct()).expect("JSON");
    assert_eq!(Job::parse(spaced.as_bytes()).expect("a job").digest(), job.digest());
}

#[test]
fn every_mistake_names_its_field_and_never_quotes_the_text() {
    use MalformedCode as Code;
    let cases: [Case; 12] = [
        (Code::UnknownField, "tittle", |v| v["tittle"] = json!("x")),
        (Code::UnknownField, "notification.sound", |v| v["notification"]["sound"] = json!("x")),
        (Code::MissingField, "notification.body", |v| {
            v["notification"].as_object_mut().expect("an object").remove("body");
        }),
        (Code::WrongType, "notification.title", |v| v["notification"]["title"] = json!(7)),
        (Code::WrongType, "notification", |v| v["notification"] = json!("123456")),
        (Code::InvalidValue, "to.users[1]", |v| v["to"]["users"][1] = json!("")),
        (Code::InvalidValue, "to", |v| v["to"]["devices"] = json!([])),
        (Code::InvalidValue, "to.users", |v| v["to"]["users"] = json!([])),
        (Code::UnknownVersion, "v", |v| v["v"] = json!(2)),
        (Code::InvalidValue, "id", |v| v["id"] = json!("a b")),
        (Code::MissingField, "expires_at", |v| v["to"] = json!({"audience": "all", "at_most": 5})),
        (Code::InvalidValue, "notification.body", |v| v["notification"]["body"] = json!(" ")),
    ];
    for (code, field, change) in cases {
        assert_eq!(refused(change), (code, field.to_owned()));
    }
}

#[test]
fn bytes_that_are_no_job_are_told_apart() {
    let code = |bytes: &[u8]| Job::parse(bytes).expect_err("must be malformed").code;
    assert_eq!(code(b"{"), MalformedCode::NotJson);
    assert_eq!(code(b"\xff\xfe"), MalformedCode::NotUtf8);
    assert_eq!(code(&vec![b' '; MAX_JOB_BYTES + 1]), MalformedCode::TooLarge);
    let mut two = direct().to_string();
    two.push_str("{}");
    assert_eq!(code(two.as_bytes()), MalformedCode::NotJson);
    let deep = direct().to_string().replace(
        "\"title\"",
        &format!("\"apns\":{{\"a\":{}{}}},\"title\"", "[".repeat(500), "]".repeat(500)),
    );
    assert_eq!(code(deep.as_bytes()), MalformedCode::TooDeep);
    let twice = direct().to_string().replacen('{', "{\"intent\":\"test\",", 1);
    let error = Job::parse(twice.as_bytes()).expect_err("must be malformed");
    assert_eq!((error.code, error.field.as_str()), (MalformedCode::DuplicateField, "intent"));
}

#[test]
fn fields_in_a_list_are_no_job() {
    let listed = json!([1, "otp-1", "pl.example.bank", "production", {"users": ["u-1"]}, {"body": "123456"}]);
    let error = parse(&listed).expect_err("must be malformed");
    assert_eq!((error.code, error.field.as_str()), (MalformedCode::WrongType, "job"));
    let cases: [(&str, fn(&mut Value)); 3] = [
        ("to", |v| v["to"] = json!([null, null, ["u-1"]])),
        ("notification", |v| v["notification"] = json!([null, "123456"])),
        ("notification.localized.de", |v| v["notification"]["localized"] = json!({"de": [null, "123456"]})),
    ];
    for (field, change) in cases {
        assert_eq!(refused(change), (MalformedCode::WrongType, field.to_owned()));
    }
}

#[test]
fn missing_labels_are_left_to_the_guard() {
    let mut value = direct();
    for label in ["app", "intent", "to"] {
        value.as_object_mut().expect("an object").remove(label);
    }
    let job = parse(&value).expect("the form is right");
    assert_eq!((job.app(), job.intent(), job.to()), (None, None, None));
    value["intent"] = json!("prodution");
    assert_eq!(parse(&value).expect("the form is right").claimed_intent(), Some("prodution"));
}
