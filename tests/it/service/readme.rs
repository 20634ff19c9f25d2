//! What the README says of events and tests is so. Its examples are run in `foreign_clients`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use bellwether::model::Event;
use serde_json::Value;

const README: &str = include_str!("../../../README.md");

fn section(heading: &str) -> &'static str {
    let heading = format!("\n{heading}\n");
    let text = README.split(&heading).nth(1).unwrap_or_else(|| panic!("no section {heading}"));
    text.split("\n#").next().expect("a section")
}

/// The words in code quotes, each with whatever sign follows it.
fn quoted(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let parts: Vec<_> = text.split('`').collect();
    let words = (1..parts.len()).step_by(2);
    let words: Vec<_> =
        words.map(|n| (parts[n], parts.get(n + 1).and_then(|after| after.chars().next()))).collect();
    words.into_iter()
}

/// The fields of an object, with a `?` behind those that may be absent.
fn fields(object: &Value) -> BTreeSet<String> {
    let required = object["required"].as_array().cloned().unwrap_or_default();
    let properties = object["properties"].as_object().expect("an object has fields");
    let field = |name: &String| {
        let optional = if required.contains(&Value::from(name.as_str())) { "" } else { "?" };
        format!("{name}{optional}")
    };
    properties.keys().filter(|name| *name != "type").map(field).collect()
}

fn told(text: &str) -> BTreeSet<String> {
    quoted(text)
        .map(|(word, sign)| if sign == Some('?') { format!("{word}?") } else { word.to_owned() })
        .collect()
}

#[test]
fn the_readmes_events_are_those_of_the_schema() {
    let (schema, text) = (Event::schema(), section("### Events"));
    let types = schema["oneOf"].as_array().expect("a type for each event");
    let of_schema: BTreeMap<_, _> = types
        .iter()
        .map(|event| (event["properties"]["type"]["const"].as_str().expect("a type"), fields(event)))
        .collect();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let of_readme: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`'), told(cells[3]))
        })
        .collect();
    assert_eq!(of_readme, of_schema);

    let common: BTreeSet<_> = fields(&schema);
    let sentence = text.split("Every event has").nth(1).and_then(|text| text.split(". ").next());
    let named: BTreeSet<_> = quoted(sentence.expect("a sentence")).map(|(word, _)| word.to_owned()).collect();
    let bare: BTreeSet<_> = common.iter().map(|field| field.trim_end_matches('?').to_owned()).collect();
    assert_eq!(&named - &BTreeSet::from(["type".to_owned()]), bare);
    let finding = text.split("A finding has").nth(1).and_then(|text| text.split(';').next());
    let mut named = told(finding.expect("a sentence"));
    assert!(named.remove("clear"));
    assert_eq!(named, fields(&schema["$defs"]["FindingNote"]));
    let codes = text.split("The codes of `job.malformed` are").nth(1).and_then(|text| text.split('.').next());
    let codes = told(codes.expect("a sentence"));
    let known = &schema["$defs"]["MalformedCode"];
    let known = known["oneOf"].as_array().into_iter().flatten().filter_map(|code| code["const"].as_str());
    assert_eq!(codes, known.map(str::to_owned).collect());
}

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let mut text = String::new();
    for folder in ["src", "tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
    }
    let table = section("## What it guarantees, and how that is tested");
    let rows: Vec<_> =
        table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| guarantee")).collect();
    assert!(rows.len() >= 8, "{}", rows.len());
    for row in rows {
        let tests = row.rsplit('|').nth(1).expect("a cell of tests");
        assert!(quoted(tests).next().is_some(), "no test is named: {row}");
        for (name, _) in quoted(tests) {
            let defined = [format!("fn {name}("), format!("fn {name}<")];
            assert!(defined.iter().any(|defined| text.contains(defined)), "there is no test {name}");
        }
    }
    assert!(!README.contains("<!-- I1 -->") && !README.contains("<!-- guarantees -->"));
}

/// What differs from run to run and with the number of phones: numbers and ids, and how wide a column is for them.
fn without_numbers(transcript: &str) -> Vec<String> {
    let word = |word: &str| {
        let is_number = word.starts_with(|first: char| first.is_ascii_digit());
        let is_id = word.len() == 36 && word.bytes().filter(|byte| *byte == b'-').count() == 4;
        let is_rule = !word.is_empty() && word.chars().all(|line| line == '\u{2500}');
        if is_number || is_id || is_rule { "#".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    transcript.lines().map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_tour_is_what_two_people_see() {
    let transcript = section("### A tour").split("```").nth(1).expect("a transcript");
    let transcript = transcript.strip_prefix("text\n").expect("it is plain text");
    let mut tour = tokio::process::Command::new("deploy/tour.sh");
    tour.args(["--phones", "24000", "--binary", env!("CARGO_BIN_EXE_bellwether")]);
    tour.current_dir(env!("CARGO_MANIFEST_DIR")).kill_on_drop(true);
    let seen = tokio::time::timeout(Duration::from_mins(5), tour.output()).await;
    let seen = seen.expect("it comes to an end").expect("the script runs");
    assert!(seen.status.success(), "{}", String::from_utf8_lossy(&seen.stderr));
    let seen = String::from_utf8(seen.stdout).expect("text");
    assert_eq!(without_numbers(&seen), without_numbers(transcript));
}
