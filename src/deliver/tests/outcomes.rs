//! The answers of an ordinary day, from the wire to the outcome.

use super::*;
use crate::{
    model::{Reason, ThrottleScope},
    simulator::{Fault, FaultAction, Provider as Simulated, QuotaScope},
};

fn reason(word: &str) -> Reason {
    Reason::new(word)
}

async fn after(bank: &Bank, fault: Fault, token: &str) -> Outcome {
    bank.simulator.inject(fault);
    bank.ring(token).await
}

#[tokio::test]
async fn apns_answers_become_outcomes() {
    let bank = Bank::open().await;
    bank.simulator.mark_gone("ios", 1_700_000_000_000);
    let gone = bank.ring("ios").await;
    assert_eq!(
        gone,
        Outcome::TokenGone {
            since: Some(Timestamp::from_millisecond(1_700_000_000_000).expect("a time")),
            reason: reason("Unregistered"),
            certain: true
        }
    );
    let unknown = bank.ring("ios-unknown").await;
    assert_eq!(unknown, Outcome::TokenGone { since: None, reason: reason("BadDeviceToken"), certain: false });

    let device = &phones(&bank, Platform::Ios, 1)[0];
    let token = device.token.reveal();
    for (status, word, expected) in [
        (413, "PayloadTooLarge", Outcome::Rejected { reason: reason("PayloadTooLarge") }),
        (
            429,
            "TooManyRequests",
            Outcome::Throttled {
                scope: ThrottleScope::Device,
                retry_after: None,
                reason: reason("TooManyRequests"),
            },
        ),
        (
            500,
            "InternalServerError",
            Outcome::Unavailable { retry_after: None, reason: reason("InternalServerError") },
        ),
        (
            503,
            "ServiceUnavailable",
            Outcome::Unavailable { retry_after: None, reason: reason("ServiceUnavailable") },
        ),
    ] {
        assert_eq!(after(&bank, Fault::answer(status, word), token).await, expected, "{status} {word}");
    }
    assert!(matches!(bank.ring(token).await, Outcome::Accepted { .. }));
}

#[tokio::test]
async fn fcm_answers_become_outcomes() {
    let bank = Bank::open().await;
    bank.simulator.mark_gone("android", 1);
    let gone = bank.ring("android").await;
    assert_eq!(gone, Outcome::TokenGone { since: None, reason: reason("UNREGISTERED"), certain: true });
    let device = &phones(&bank, Platform::Android, 1)[0];
    let token = device.token.reveal();
    let unknown = |word| Outcome::Unknown { retry_after: None, reason: reason(word) };
    for (status, word, expected) in [
        (400, "INVALID_ARGUMENT", Outcome::Rejected { reason: reason("INVALID_ARGUMENT") }),
        (401, "THIRD_PARTY_AUTH_ERROR", Outcome::Rejected { reason: reason("THIRD_PARTY_AUTH_ERROR") }),
        (
            403,
            "SENDER_ID_MISMATCH",
            Outcome::TokenGone { since: None, reason: reason("SENDER_ID_MISMATCH"), certain: false },
        ),
        (500, "INTERNAL", unknown("INTERNAL")),
        (503, "UNAVAILABLE", unknown("UNAVAILABLE")),
    ] {
        assert_eq!(after(&bank, Fault::answer(status, word), token).await, expected, "{status} {word}");
    }
    let device_quota =
        Fault::answer(429, "QUOTA_EXCEEDED").amended(|answer| answer.quota = QuotaScope::Device);
    let outcome = after(&bank, device_quota, token).await;
    assert!(matches!(outcome, Outcome::Throttled { scope: ThrottleScope::Device, .. }), "{outcome:?}");
    assert!(
        matches!(bank.ring(token).await, Outcome::Accepted { .. }),
        "one device's quota stops no one else"
    );
}

#[tokio::test]
async fn a_throttle_of_the_project_pauses_the_app_until_it_is_over() {
    let bank = Bank::open().await;
    let quota = Fault::answer(429, "QUOTA_EXCEEDED").amended(|answer| answer.quota = QuotaScope::Project);
    let quota = quota.on(Simulated::Fcm);
    let outcome = after(&bank, quota, "android").await;
    assert!(matches!(outcome, Outcome::Throttled { scope: ThrottleScope::Project, .. }), "{outcome:?}");
    let asked = bank.simulator.requests();
    assert_eq!(bank.ring("android").await, Outcome::NotSent(NotSent::Throttled));
    assert_eq!(bank.simulator.requests(), asked, "it was not even asked");
    bank.clock.advance(Duration::from_mins(2));
    assert!(matches!(bank.ring("android").await, Outcome::Accepted { .. }));
}

#[tokio::test]
async fn an_expired_provider_token_is_renewed_once_and_the_same_permit_sent_again() {
    // The sender's clock is moved below, and must not run ahead of the simulator's.
    let bank = Bank::open_at(Duration::from_mins(30), |_| {}, |_| {}).await;
    assert!(matches!(bank.ring("ios").await, Outcome::Accepted { .. }));
    bank.clock.advance(Duration::from_mins(25));
    let outcome = after(&bank, Fault::answer(403, "ExpiredProviderToken"), "ios").await;
    assert!(matches!(outcome, Outcome::Accepted { .. }), "{outcome:?}");
    assert_eq!(bank.simulator.requests(), 3);
}

#[tokio::test]
async fn a_fresh_token_that_is_called_expired_stops_the_sender_and_a_probe_a_minute_starts_it_again() {
    let bank = Bank::open().await;
    let outcome = after(&bank, Fault::answer(403, "ExpiredProviderToken"), "ios").await;
    assert_eq!(outcome, Outcome::CredentialStop { reason: reason("ExpiredProviderToken") });
    assert_eq!(bank.simulator.requests(), 1, "no use in sending it again");
    assert_eq!(bank.ring("ios").await, Outcome::NotSent(NotSent::CredentialsStopped));
    assert_eq!(bank.simulator.requests(), 1);
    assert!(matches!(bank.ring("android").await, Outcome::Accepted { .. }), "the other provider goes on");
    bank.clock.advance(Duration::from_mins(1));
    assert!(matches!(bank.ring("ios").await, Outcome::Accepted { .. }), "the probe");
    assert!(matches!(bank.ring("ios").await, Outcome::Accepted { .. }));
}

#[tokio::test]
async fn refused_access_is_renewed_once_and_then_stops_the_sender() {
    let bank = Bank::open().await;
    assert!(matches!(bank.ring("android").await, Outcome::Accepted { .. }));
    bank.simulator.revoke_access_tokens();
    assert!(matches!(bank.ring("android").await, Outcome::Accepted { .. }), "a new token was fetched");

    let refused = Fault::answer(401, "UNAUTHENTICATED").on(Simulated::Fcm).always();
    bank.simulator.inject(refused.amended(|answer| answer.without_fcm_error = true));
    let outcome = bank.ring("android").await;
    assert!(matches!(outcome, Outcome::CredentialStop { .. }), "{outcome:?}");
    assert_eq!(bank.ring("android").await, Outcome::NotSent(NotSent::CredentialsStopped));
}

#[tokio::test]
async fn a_404_or_403_without_an_fcm_error_never_costs_a_token() {
    for status in [403, 404] {
        let bank = Bank::open().await;
        let fault = Fault::answer(status, "NOT_FOUND").amended(|answer| answer.without_fcm_error = true);
        let outcome = after(&bank, fault, "android").await;
        assert!(matches!(outcome, Outcome::CredentialStop { .. }), "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_hundred_sends_share_one_exchange_and_one_signature() {
    let bank = Bank::open().await;
    let mut devices = phones(&bank, Platform::Android, 100);
    devices.extend(phones(&bank, Platform::Ios, 100));
    let outcomes = bank.ring_all(&devices, 200).await;
    assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Accepted { .. })));
    let record = bank.simulator.record();
    let exchanges = record.iter().filter(|request| request.provider == Simulated::OAuth).count();
    assert_eq!(exchanges, 1);
}

#[tokio::test]
async fn a_token_endpoint_that_is_away_takes_nothing_and_one_that_refuses_stops_the_sender() {
    let bank = Bank::open().await;
    let away = Fault::answer(503, "unavailable").on(Simulated::OAuth);
    let outcome = after(&bank, away, "android").await;
    assert!(matches!(outcome, Outcome::Unavailable { .. }), "{outcome:?}");
    bank.clock.advance(Duration::from_secs(2));
    let outcome = after(&bank, Fault::answer(400, "invalid_grant").on(Simulated::OAuth), "android").await;
    assert_eq!(outcome, Outcome::CredentialStop { reason: reason("invalid_grant") });
}

#[tokio::test]
async fn lost_connections_and_resets_are_unknown_and_a_refused_stream_is_not() {
    let bank = Bank::open().await;
    assert!(matches!(bank.ring("ios").await, Outcome::Accepted { .. }));
    let outcome = after(&bank, Fault::once(FaultAction::CloseConnection { taken: true }), "ios").await;
    assert_eq!(outcome, Outcome::Unknown { retry_after: None, reason: reason("connection_lost") });
    let outcome = after(&bank, Fault::once(FaultAction::ResetStream { taken: true }), "ios").await;
    assert_eq!(outcome, Outcome::Unknown { retry_after: None, reason: reason("stream_reset_2") });

    bank.simulator.inject(Fault::once(FaultAction::RefuseStream));
    let message = bank.message(Duration::from_mins(1));
    let app = AppId::parse(APP).expect("an app");
    let cleared = Cleared::for_test(key(), Digest::of(b"job"), app, message.expires_at());
    let mut job = OpenJob::for_test(key(), Digest::of(b"job"), vec![device("ios", 1)]);
    let started = job.start().remove(0);
    let permit = Permit::new(&cleared, started).expect("both proofs are of this job");
    let sent = in_time(bank.deliver.send(permit, Slot::for_test(), &message)).await;
    let Sent::NotTaken(permit) = sent else { panic!("{sent:?}") };
    let sent = in_time(bank.deliver.send(permit, Slot::for_test(), &message)).await;
    assert!(matches!(sent, Sent::Done(Outcome::Accepted { .. })), "{sent:?}");
}
