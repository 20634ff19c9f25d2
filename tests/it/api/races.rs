//! People who act at the same instant.

use serde_json::json;

use super::*;

/// Rounds of the race.
const ROUNDS: usize = 100;

/// What was on the wire when the abort was on record ends within this: the simulators answer at once.
const ON_THE_WIRE: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn i5_approve_and_abort_at_the_same_instant_and_no_phone_rings_after_the_abort() {
    let office = Office::open("api.requests_per_second = 10000\n").await;
    let (_, rita) = office.token("rita", &["enqueue:production"]).await;
    let (_, ada) = office.token("ada", &["approve:customers"]).await;
    let (_, bob) = office.token("bob", &["approve:customers", "promote"]).await;
    let (_, eve) = office.token("eve", &["promote"]).await;
    let (mut approved, mut returned) = (0, Vec::new());
    for round in 0..ROUNDS {
        let campaign = office.submitted(&rita, &format!("round-{round}")).await;
        let right = office.approval(&ada, &campaign).await;
        let verb = |verb: &str| format!("rollouts/{campaign}/{verb}");
        office.post(&ada, &verb("approve"), &right).await.ok();
        // Some get a head start, so that both orders are seen.
        let (approver_waits, aborter_waits) = [(0, 0), (0, 1), (0, 3), (3, 0)][round % 4];
        let dawdle = async |token: &str, steps: usize| {
            for _ in 0..steps {
                office.get(token, "whoami").await.ok();
            }
        };
        let go = async {
            dawdle(&bob, approver_waits).await;
            let approved = office.post(&bob, &verb("approve"), &right).await;
            let started = office.post(&bob, &verb("start"), &json!({})).await;
            (approved, started)
        };
        let stop = async {
            dawdle(&eve, aborter_waits).await;
            let aborted = office.post(&eve, &verb("abort"), &json!({"reason": "wrong text"})).await;
            (aborted, office.stage.simulator.elapsed_micros())
        };
        let ((approval, start), (aborted, at)) = tokio::join!(go, stop);
        assert_eq!(aborted.ok()["state"], "aborted");
        returned.push(at);
        match approval.status {
            200 => approved += 1,
            _ => approval.refused(409, "over"),
        }
        if start.status != 200 {
            start.refused(409, "over");
        }
        let view = office.get(&eve, &format!("rollouts/{campaign}")).await.ok();
        assert_eq!(view["state"], "aborted", "an abort is for good");
    }
    for request in office.stage.simulator.record() {
        let round = (0..ROUNDS).rev().find(|round| request.body.contains(&format!("round-{round}\"")));
        let Some(round) = round else { continue };
        let late = request.elapsed_micros.saturating_sub(returned[round]);
        assert!(Duration::from_micros(late) < ON_THE_WIRE, "round {round}: {late} µs after the abort");
    }
    assert!(
        approved > 0 && approved < ROUNDS,
        "both orders were seen: {approved} of {ROUNDS} approved first"
    );
    assert!(office.serving.stop().await.success());
}
