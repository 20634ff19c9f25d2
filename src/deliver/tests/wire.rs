//! What exactly is written.

use super::*;

#[tokio::test]
async fn apns_is_asked_exactly_this() {
    let bank = Bank::open().await;
    let message = bank.message(Duration::from_mins(10));
    let outcome = bank.ring("ios").await;
    assert!(matches!(outcome, Outcome::Accepted { provider_id: Some(_) }), "{outcome:?}");

    let record = bank.simulator.record();
    let request = record.last().expect("one request");
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/3/device/ios"));
    let id = key().message_id(device("ios", 1).id).to_string();
    let expiration = (message.expires_at() + Duration::from_mins(50)).as_second().to_string();
    for (name, value) in [
        ("apns-topic", APP),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", &expiration),
        ("apns-collapse-id", "c1"),
        ("apns-id", &id),
        ("authorization", "valid"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
    assert_eq!(body, json!({"aps": {"alert": {"title": "Bank", "body": "Zażółć"}, "sound": "default"}}));
    let Outcome::Accepted { provider_id: Some(answered) } = outcome else { unreachable!("asserted above") };
    assert_eq!(*answered, *id, "the provider's id is ours");
}

#[tokio::test]
async fn fcm_is_asked_exactly_this() {
    let bank = Bank::open().await;
    let outcome = bank.ring("android").await;
    let Outcome::Accepted { provider_id: Some(name) } = outcome else { panic!("{outcome:?}") };
    assert!(name.starts_with("projects/bank-prod/messages/"), "{name}");

    let record = bank.simulator.record();
    let request = record.last().expect("one request");
    assert_eq!(request.method, "POST");
    assert_eq!(request.path, "/v1/projects/bank-prod/messages:send");
    assert_eq!(request.header("authorization"), Some("valid"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_str(&request.body).expect("JSON");
    assert_eq!(
        body,
        json!({"message": {
            "token": "android",
            "notification": {"title": "Bank", "body": "Zażółć"},
            "android": {"priority": "HIGH", "ttl": "3600s", "collapse_key": "c1", "notification": {"tag": "c1"}}
        }})
    );
}

#[tokio::test]
async fn what_is_not_configured_expired_or_draining_is_never_written() {
    let bank = Bank::open_with(
        |_| {},
        |config| {
            let senders = config.apps.values_mut().next().expect("one app");
            senders.fcm = None;
        },
    )
    .await;
    assert_eq!(bank.ring("android").await, Outcome::NotSent(NotSent::NotConfigured));

    let sandbox = Device { environment: Environment::Sandbox, ..device("ios", 1) };
    let outcome = bank.ring_all(&[sandbox], 1).await.remove(0).1;
    assert_eq!(outcome, Outcome::NotSent(NotSent::NotConfigured), "no sandbox endpoint");

    let stale = bank.message(Duration::from_secs(5));
    bank.clock.advance(Duration::from_secs(5));
    let outcome = in_time(ring_all(&bank, &[device("ios", 1)], &stale, 1)).await.remove(0).1;
    assert_eq!(outcome, Outcome::Expired);

    in_time(bank.deliver.drain()).await;
    assert_eq!(bank.ring("ios").await, Outcome::NotSent(NotSent::Draining));
    assert_eq!(bank.simulator.requests(), 0);
}

#[tokio::test]
async fn a_check_connects_and_gets_a_token_without_ringing_anybody() {
    let bank = Bank::open().await;
    let checks = in_time(bank.deliver.check()).await;
    assert_eq!(checks.len(), 2);
    assert!(checks.iter().all(|check| check.result.is_ok()), "{checks:?}");
    assert!(bank.simulator.record().iter().all(|request| request.token.is_none()));
    assert_eq!(bank.deliver.credential_expiry().len(), 2);

    bank.simulator.shutdown().await;
    let deliver = Deliver::new(
        DeliverConfig {
            transport: Transport { connect_timeout: Duration::from_secs(1), ..Transport::default() },
            ..config_of(&bank.simulator, &bank.files)
        },
        Clock::system(),
    )
    .expect("good credentials");
    let checks = in_time(deliver.check()).await;
    assert!(checks.iter().all(|check| matches!(check.result, Err(CheckFailed::Connection(_)))), "{checks:?}");
}
