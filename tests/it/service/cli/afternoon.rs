//! `afternoon`: the figures for programs, and the picture in a file.

use std::process::{Command, Output};

use serde_json::{Value, json};

fn afternoon(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    program.args(["--output", "json", "afternoon"]).args(arguments);
    program.output().expect("it starts")
}

#[test]
fn the_figures_come_as_json_and_the_picture_goes_where_it_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = folder.path().join("afternoon.svg");
    let ended = afternoon(&["--phones", "100000", "--plot", picture.to_str().expect("UTF-8")]);
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    let told: Value = serde_json::from_slice(&ended.stdout).expect("JSON, and nothing else");
    assert_eq!((&told["phones"], &told["seed"]), (&json!(100_000), &json!(1)));
    let ways: Vec<_> = told["runs"].as_array().into_iter().flatten().map(|run| &run["way"]).collect();
    assert_eq!(ways, ["unpaced", "capped", "feedback"]);
    // 100,000 at 4,000 a second, and at 625.
    assert_eq!(told["runs"][0]["rung_after_seconds"], 25.0);
    assert_eq!(told["runs"][1]["rung_after_seconds"], 160.0);
    // So few openers are no stampede.
    assert_eq!(told["runs"][0]["minutes_above_slo"], 0);
    let drawn = std::fs::read_to_string(&picture).expect("the picture");
    assert!(drawn.starts_with("<svg ") && drawn.contains("to 100,000 phones"), "{drawn}");
}

#[test]
fn a_picture_that_cannot_be_written_is_an_error_that_names_the_file() {
    let ended = afternoon(&["--phones", "1000", "--plot", "/nowhere/at/all.svg"]);
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("cannot write /nowhere/at/all.svg"), "{said}");
}
