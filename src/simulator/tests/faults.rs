use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::json;

use super::{
    super::{Fault, FaultAction, NewPhone, Platform, Profile, Provider, QuotaScope, Simulator},
    Client, DEADLINE, SEND,
    fcm::{bearer, message},
    push, read, start, start_with,
};
use crate::clock::Clock;

/// What the phone received in all.
fn accepted(simulator: &Simulator) -> u32 {
    simulator.phone("ios").expect("registered").accepted
}

#[tokio::test]
async fn a_scripted_answer_is_given_as_often_as_it_says() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let unavailable = Fault::answer(503, "ServiceUnavailable").times(2);
    simulator.inject(unavailable.amended(|answer| answer.retry_after = Some(7)));
    simulator.inject(Fault::answer(410, "ExpiredToken").for_token("ios"));
    let mut told = Vec::new();
    for _ in 0..4 {
        let answer = client.send(push(&simulator, "ios")).await.expect("an answer");
        let wait = answer.headers.get("retry-after").map(|seconds| seconds.as_bytes().to_vec());
        told.push((answer.status, wait));
    }
    let seven = Some(b"7".to_vec());
    assert_eq!(told, [(503, seven.clone()), (503, seven), (410, None), (200, None)]);
    assert_eq!(accepted(&simulator), 1);
}

#[tokio::test]
async fn fcm_errors_carry_their_details_or_leave_them_out() {
    let simulator = start().await;
    let bearer = bearer(&simulator).await;
    let client = Client::fcm(&simulator).await;
    for (status, code) in
        [(401, "THIRD_PARTY_AUTH_ERROR"), (403, "SENDER_ID_MISMATCH"), (404, "UNREGISTERED")]
    {
        for bare in [false, true] {
            let fault = Fault::answer(status, code).on(Provider::Fcm);
            simulator.inject(fault.amended(|answer| answer.without_fcm_error = bare));
            let request = message(&bearer, SEND, &json!({ "token": "android" }));
            let answer = client.send(request).await.expect("an answer");
            assert_eq!(answer.status, status);
            assert_eq!(answer.body.contains("FcmError"), !bare, "{}", answer.body);
            assert_eq!(answer.body.contains(code), !bare, "{}", answer.body);
        }
    }
    let fault = Fault::answer(429, "QUOTA_EXCEEDED");
    simulator.inject(fault.amended(|answer| {
        (answer.retry_after, answer.quota) = (Some(60), QuotaScope::Project);
    }));
    let request = message(&bearer, SEND, &json!({ "token": "android" }));
    let answer = client.send(request).await.expect("an answer");
    assert_eq!((answer.status, &answer.headers["retry-after"]), (429, &"60".parse().expect("60")));
    let quota = &answer.json()["error"]["details"][1];
    assert_eq!(quota["@type"], "type.googleapis.com/google.rpc.QuotaFailure");
    assert_eq!(quota["violations"][0]["subject"], "project:bank-prod");
}

#[tokio::test]
async fn streams_are_refused_and_reset_with_or_without_the_phone_ringing() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    for (action, reason, rings) in [
        (FaultAction::RefuseStream, h2::Reason::REFUSED_STREAM, 0),
        (FaultAction::ResetStream { taken: false }, h2::Reason::INTERNAL_ERROR, 0),
        (FaultAction::ResetStream { taken: true }, h2::Reason::INTERNAL_ERROR, 1),
    ] {
        simulator.inject(Fault::once(action));
        let error = client.send(push(&simulator, "ios")).await.err().expect("a reset");
        assert_eq!(error.reason(), Some(reason));
        assert_eq!(accepted(&simulator), rings);
    }
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_connection_is_dropped_without_a_word() {
    let simulator = start().await;
    simulator.inject(Fault::once(FaultAction::CloseConnection { taken: true }).every(2));
    let client = Client::apns(&simulator).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    let error = client.send(push(&simulator, "ios")).await.err().expect("a lost connection");
    assert!(!error.is_go_away() && !error.is_reset(), "{error}");
    assert_eq!(accepted(&simulator), 2);
    assert_eq!(simulator.record()[1].reason, "closed");
}

/// Sends the head of a push; its body is held back, so that the simulator cannot decide about it.
async fn open(
    client: &Client,
    request: Request<Vec<u8>>,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let (parts, _) = request.into_parts();
    let mut sender = client.sender.clone().ready().await.expect("a stream");
    sender.send_request(Request::from_parts(parts, ()), false).expect("a stream")
}

#[tokio::test]
async fn a_goaway_drops_what_was_not_looked_at_and_answers_the_rest() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    client.until_streams(1000).await;
    let answered = open(&client, push(&simulator, "ios")).await;
    let dropped = open(&client, push(&simulator, "ios")).await;
    let trigger = open(&client, push(&simulator, "ios")).await;

    // The first is decided about, but its answer takes until after the GOAWAY.
    simulator.inject(Fault::once(FaultAction::Proceed).delayed(Duration::from_millis(200)));
    let (answered, mut body) = answered;
    body.send_data(Bytes::from(super::alert("kept")), true).expect("a body");
    simulator.wait_for_requests(2, DEADLINE).await.expect("the first");
    let reason = Some("Shutdown".to_owned());
    simulator.inject(Fault::once(FaultAction::GoAway { graceful: false, reason }));
    let (trigger, mut body) = trigger;
    body.send_data(Bytes::from(super::alert("lost")), true).expect("a body");
    // Whole on the wire before the client reads the GOAWAY, and behind what strikes.
    let (dropped, mut body) = dropped;
    body.send_data(Bytes::from(super::alert("late")), true).expect("a body");

    let error = read(trigger).await.err().expect("above the last stream");
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    assert_eq!(error.reason(), Some(h2::Reason::NO_ERROR));
    assert!(read(dropped).await.is_err());
    assert_eq!(read(answered).await.expect("an answer").status, 200);
    tokio::time::timeout(DEADLINE, client.connection)
        .await
        .expect("the connection ends")
        .expect("no panic")
        .expect("in order");
    let reasons: Vec<_> = simulator.record().iter().map(|seen| seen.reason.to_string()).collect();
    assert_eq!(reasons, ["Accepted", "Accepted", "GOAWAY"], "the dropped one was never looked at");
    assert_eq!(accepted(&simulator), 2);
}

#[tokio::test]
async fn a_graceful_goaway_answers_all_that_was_received() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    client.until_streams(1000).await;
    let (later, mut body) = open(&client, push(&simulator, "ios")).await;
    let fault = FaultAction::GoAway { graceful: true, reason: None };
    // One more stream is behind the one that strikes, so that it is received before.
    simulator.inject(Fault::once(fault));
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    body.send_data(Bytes::from(super::alert("still")), true).expect("a body");
    assert_eq!(read(later).await.expect("an answer").status, 200);
    let refused = client.send(push(&simulator, "ios")).await.err().expect("no new streams");
    assert!(refused.is_go_away(), "{refused}");
    assert_eq!(accepted(&simulator), 3);
}

#[tokio::test]
async fn the_profile_says_goaway_after_so_many_streams() {
    let simulator = start_with(|config| config.profile.goaway_every = Some(3)).await;
    let client = Client::apns(&simulator).await;
    for _ in 0..3 {
        assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    }
    let refused = client.send(push(&simulator, "ios")).await.err().expect("no new streams");
    assert!(refused.is_go_away(), "{refused}");
}

#[tokio::test]
async fn silence_lasts_and_a_delay_passes() {
    let simulator = start().await;
    let client = Client::apns(&simulator).await;
    let clock = Clock::system();
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    simulator.inject(Fault::once(FaultAction::Silence { taken: true }));
    let (mut silent, mut body) = open(&client, push(&simulator, "ios")).await;
    body.send_data(Bytes::from(super::alert("?")), true).expect("a body");
    simulator.wait_for_requests(2, DEADLINE).await.expect("the silent one");
    let delay = Duration::from_millis(50);
    simulator.inject(Fault::once(FaultAction::Proceed).delayed(delay));
    let asked = clock.monotonic();
    assert_eq!(client.send(push(&simulator, "ios")).await.expect("an answer").status, 200);
    assert!(clock.monotonic().duration_since(asked) >= delay);
    let answer = futures_util::FutureExt::now_or_never(&mut silent);
    assert!(answer.is_none(), "silence was broken");
    assert_eq!(accepted(&simulator), 3);
}

#[tokio::test]
async fn a_fault_on_the_token_endpoint_is_an_oauth_error() {
    let simulator = start().await;
    simulator.inject(Fault::answer(503, "temporarily_unavailable").on(Provider::OAuth));
    let (status, answer) = super::fcm::ask(&simulator).await;
    assert_eq!((status, &answer["error"]), (503, &json!("temporarily_unavailable")));
    assert_eq!(super::fcm::ask(&simulator).await.0, 200);
}

#[tokio::test]
async fn an_ordinary_day_accepts_about_94_of_100_at_the_wire_and_dead_tokens_stay_dead() {
    let profile = Profile::ordinary().with_latency(None);
    let simulator = start_with(|config| config.profile = profile).await;
    let client = Client::apns(&simulator).await;
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    let mut dead = None;
    for number in 0..1_000 {
        let token = format!("phone-{number}");
        simulator.register([NewPhone::new(Platform::Ios, &token)]);
        let told = match client.send(push(&simulator, &token)).await {
            Ok(answer) => answer.status.to_string(),
            Err(_) => "reset".to_owned(),
        };
        if told == "410" {
            dead = Some(token);
        }
        *counts.entry(told).or_default() += 1;
    }
    assert!((910..=970).contains(&counts["200"]), "{counts:?}");
    assert!((20..=65).contains(&counts["410"]), "{counts:?}");
    let dead = dead.expect("about 40 of 1,000");
    for _ in 0..3 {
        let answer = client.send(push(&simulator, &dead)).await.expect("an answer");
        assert_eq!(answer.status, 410);
    }
}
