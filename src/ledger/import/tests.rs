//! Both formats, and what each refuses.

use super::*;
use crate::model::Environment;

fn read(text: &str, format: DeviceFormat) -> (Vec<NewDevice>, Vec<RefusedLine>) {
    let reader = DeviceReader::new(text.as_bytes(), format).expect("a header");
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for line in reader {
        match line.expect("memory does not fail") {
            Ok(device) => good.push(device),
            Err(line) => refused.push(line),
        }
    }
    (good, refused)
}

#[test]
fn both_formats_read_the_same_device() {
    let json = r#"{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"abc","country":"PL",
        "language":"pl","last_seen_at":"2026-11-01T00:00:00Z"}"#
        .replace('\n', " ");
    let csv = "user_id,app,platform,token,country,language,last_seen_at,timezone\n\
               u-1,pl.example.bank,ios,abc,PL,pl,2026-11-01T00:00:00Z,\n";
    let (from_json, from_csv) = (read(&json, DeviceFormat::Ndjson), read(csv, DeviceFormat::Csv));
    assert_eq!(from_json, from_csv);
    assert_eq!((from_json.0.len(), from_json.1.len()), (1, 0));
    assert_eq!(from_json.0[0].environment, Environment::Production);
}

#[test]
fn good_lines_stay_and_bad_ones_are_named_without_being_quoted() {
    let good = r#"{"user_id":"u-1","app":"a","platform":"ios","token":"abc"}"#;
    let lines = [
        good,
        r#"{"user_id":"u-1","app":"a","platform":"ios"}"#,
        "",
        r#"{"user_id":"u-1","app":"a","platform":"ios","token":"secret/secret"}"#,
        r#"{"user_id":"u-1","app":"a","platform":"secret","token":"abc"}"#,
        r#"{"user_id":"u-1","app":"a","platform":"ios","token":"abc","colour":"red"}"#,
        r#"{"user_id":7,"app":"a","platform":"ios","token":"abc"}"#,
        "[secret",
        good,
    ];
    let (devices, refused) = read(&lines.join("\n"), DeviceFormat::Ndjson);
    assert_eq!(devices.len(), 2);
    let named: Vec<_> = refused.iter().map(|line| (line.line, line.field.as_str())).collect();
    let expected = [(2, "token"), (4, "token"), (5, "platform"), (6, "colour"), (7, "user_id"), (8, "line")];
    assert_eq!(named, expected);
    assert!(refused.iter().all(|line| !line.to_string().contains("secret")), "{refused:?}");
}

#[test]
fn a_csv_line_of_another_length_is_refused_and_an_unknown_column_ends_the_import() {
    let (devices, refused) = read("user_id,app,platform,token\nu,a,ios\nu,a,android,t\n", DeviceFormat::Csv);
    assert_eq!((devices.len(), refused.len()), (1, 1));
    assert_eq!(refused[0].line, 2);
    let error = DeviceReader::new("user_id,tokn\n".as_bytes(), DeviceFormat::Csv).expect_err("unknown");
    assert!(error.to_string().contains("column 2 is none of user_id, "), "{error}");
    assert!(!error.to_string().contains("tokn"), "it may be somebody's: {error}");
}

#[test]
fn a_quote_that_is_not_closed_refuses_its_own_line_and_no_other() {
    let file = "user_id,app,platform,token\nu-1,a,android,t1\n\"u-2,a,android,t2\nu-3,a,android,t3\n\"u\"4,a,android,t4\n";
    let (devices, refused) = read(file, DeviceFormat::Csv);
    let users: Vec<_> = devices.iter().map(|device| device.user.as_str()).collect();
    assert_eq!(users, ["u-1", "u-3"]);
    let refused: Vec<_> = refused.iter().map(|line| (line.line, line.reason.as_str())).collect();
    assert_eq!(
        refused,
        [(3, "opens a quote that it does not close"), (5, "has something behind a closing quote")]
    );
}

#[test]
fn what_editors_put_before_the_first_line_is_no_part_of_it() {
    let csv = "\u{feff}user_id,app,platform,token\nu,a,android,t\n";
    let json = "\u{feff}{\"user_id\":\"u\",\"app\":\"a\",\"platform\":\"android\",\"token\":\"t\"}\n";
    for (file, format) in [(csv, DeviceFormat::Csv), (json, DeviceFormat::Ndjson)] {
        let (devices, refused) = read(file, format);
        assert_eq!((devices.len(), refused.len()), (1, 0), "{format:?}");
    }
}

#[test]
fn whoever_stands_there_twice_is_not_guessed_at() {
    let twice = r#"{"user_id":"u-1","user_id":"u-2","app":"a","platform":"ios","token":"abc"}"#;
    let (devices, refused) = read(twice, DeviceFormat::Ndjson);
    assert_eq!((devices.len(), refused[0].field.as_str()), (0, "user_id"));
    let header = "user_id,user_id,app,platform,token\n";
    let error = DeviceReader::new(header.as_bytes(), DeviceFormat::Csv).expect_err("ambiguous");
    assert!(error.to_string().contains("user_id twice"), "{error}");
}

#[test]
fn one_phone_is_one_token_in_either_case() {
    let line = |token: &str| format!(r#"{{"user_id":"u","app":"a","platform":"ios","token":"{token}"}}"#);
    let (devices, _) = read(&format!("{}\n{}", line("ABCDEF01"), line("abcdef01")), DeviceFormat::Ndjson);
    assert_eq!(devices[0].owner_key(), devices[1].owner_key());
}

#[test]
fn tags_and_attributes_are_read_from_both_formats() {
    let json = r#"{"user_id":"u","app":"a","platform":"ios","token":"abc","tags":["beta","a \"b\\"],
        "attributes":{"tier":"gold","since":2019,"none":null}}"#
        .replace('\n', " ");
    let csv = "user_id,app,platform,token,tags,attributes\n\
               u,a,ios,abc,\"beta; a \"\"b\\\",\"{\"\"since\"\":2019,\"\"tier\"\":\"\"gold\"\"}\"\n";
    let (from_json, from_csv) = (read(&json, DeviceFormat::Ndjson), read(csv, DeviceFormat::Csv));
    assert_eq!(from_json, from_csv);
    let device = &from_json.0[0];
    assert_eq!(device.tags.iter().collect::<Vec<_>>(), ["a \"b\\", "beta"]);
    let attributes = serde_json::to_string(&device.attributes).expect("JSON");
    assert_eq!(attributes, r#"{"since":2019,"tier":"gold"}"#);
}

#[test]
fn tags_and_attributes_beyond_their_bounds_are_refused_by_line_and_field() {
    let line = |more: &str| format!(r#"{{"user_id":"u","app":"a","platform":"ios","token":"abc",{more}}}"#);
    let list = |count: usize| (0..count).map(|n| format!("\"t{n}\"")).collect::<Vec<_>>().join(",");
    let pairs = |count: usize| (0..count).map(|n| format!("\"n{n}\":1")).collect::<Vec<_>>().join(",");
    let refused = [
        (r#""tags":"a;b""#.to_owned(), "tags: is not a list"),
        (r#""tags":[1]"#.to_owned(), "tags: has a tag that is not a string"),
        (format!(r#""tags":[{}]"#, list(17)), "tags: has more than 16 tags"),
        (
            format!(r#""tags":["{}"]"#, "x".repeat(65)),
            "tags: has a tag that is not 1 to 64 bytes without control characters, ';' or space around it",
        ),
        (r#""attributes":"{}""#.to_owned(), "attributes: is not an object"),
        (
            r#""attributes":{"a":{"b":1}}"#.to_owned(),
            "attributes: has a value that is not a string, a number or a boolean",
        ),
        (r#""attributes":{"a":1,"a":1}"#.to_owned(), "attributes: has a name twice"),
        (format!(r#""attributes":{{{}}}"#, pairs(17)), "attributes: has more than 16 attributes"),
        (
            r#""attributes":{"a b":1}"#.to_owned(),
            "attributes: has a name that is not a letter and up to 31 letters, digits, '_' or '-'",
        ),
        (
            format!(r#""attributes":{{"a":"{}"}}"#, "x".repeat(65)),
            "attributes: has a text that is longer than 64 bytes or has control characters",
        ),
    ];
    let text: Vec<String> = refused.iter().map(|(more, _)| line(more)).collect();
    let (devices, told) = read(&text.join("\n"), DeviceFormat::Ndjson);
    assert_eq!(devices, []);
    let told: Vec<String> = told.iter().map(ToString::to_string).collect();
    let expected: Vec<String> =
        refused.iter().zip(1..).map(|((_, why), line)| format!("line {line}: {why}")).collect();
    assert_eq!(told, expected);
    let fits = line(&format!(r#""tags":[{}],"attributes":{{{}}}"#, list(16), pairs(16)));
    assert_eq!(read(&fits, DeviceFormat::Ndjson).0.len(), 1);
    let (_, told) = read("user_id,app,platform,token,attributes\nu,a,ios,abc,{x\n", DeviceFormat::Csv);
    assert_eq!(told[0].to_string(), "line 2: attributes: is not JSON");
}

#[test]
fn a_line_without_end_is_refused_and_the_next_one_read() {
    let good = r#"{"user_id":"u","app":"a","platform":"ios","token":"abc"}"#;
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    let limit = 64 * 1024;
    let (devices, refused) = read(&format!("{}\n{good}\n", padded(limit - 1)), DeviceFormat::Ndjson);
    assert_eq!((devices.len(), refused.len()), (2, 0));
    let (devices, refused) = read(&format!("{}\n{good}", padded(10 * limit)), DeviceFormat::Ndjson);
    assert_eq!(devices.len(), 1);
    assert_eq!(refused[0].to_string(), "line 1: line: is longer than 64 KiB");
}
