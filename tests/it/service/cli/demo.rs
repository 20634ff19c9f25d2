//! `demo`: the whole service without services, by the simulators' own count.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

/// The demo's plan takes some seconds by its nature; a debug build on a busy machine takes longer.
const PATIENCE: Duration = Duration::from_mins(4);

#[tokio::test]
async fn i1_i2_i4_i5_i6_i7_the_demo_rings_whom_it_should_and_each_once() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_bellwether"));
    demo.args(["--output", "json", "demo", "--phones", "1000"]).stdin(Stdio::null()).kill_on_drop(true);
    let ended = timeout(PATIENCE, demo.output()).await.expect("the demo ends").expect("it starts");
    let told: Value = serde_json::from_slice(&ended.stdout).expect("JSON, and nothing else");
    assert_eq!(ended.status.code(), Some(0), "{told}");
    assert_eq!(told["test_payloads"]["production_phones_reached"], 0);
    assert_eq!(told["direct"], json!({"jobs": 500, "phones_reached": 500, "requests": 500}));
    assert_eq!(
        told["invariants"],
        json!({"I1": true, "I2": true, "I4": true, "I5": true, "I6": true, "I7": true})
    );
    let rollout = |name: &str, devices: u64| json!({"name": name, "state": "Completed", "frozen": devices, "accepted": devices, "phones_reached": devices});
    // Our own people go first, also in what is for customers.
    let expected = [
        rollout("test-campaign", 5),
        rollout("news-for-our-people", 3_000),
        rollout("update-for-customers", 3_000 + 121),
    ];
    let mut rollouts = told["rollouts"].as_array().expect("a list").clone();
    let bad = rollouts.pop().expect("the bad one");
    assert_eq!(rollouts, expected);
    assert_eq!((&bad["name"], &bad["state"]), (&json!("terms-for-customers"), &json!("Halted")));
    let cause = bad["cause"].as_str().expect("a cause");
    assert!(cause.starts_with("rejected-too-often: "), "{cause}");
    assert!(bad["phones_reached"].as_u64().is_some_and(|reached| reached <= 200), "{bad}");
    assert_eq!(
        (&told["test_payloads"]["refused"], &told["test_payloads"]["held"]),
        (&json!(6), &json!(3)),
        "what nobody can tell from the real thing waits for people"
    );
}
