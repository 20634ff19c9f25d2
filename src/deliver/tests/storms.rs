//! No request is lost, doubled or falsely failed, whatever the connections do.

use std::collections::HashMap;

use super::*;
use crate::simulator::{Fault, FaultAction, Phone};

fn accepted_per_phone(bank: &Bank) -> HashMap<String, u32> {
    let mut phones = HashMap::new();
    bank.simulator.for_each_phone(|token, phone: &Phone| {
        phones.insert(token.to_owned(), phone.accepted);
    });
    phones
}

/// What was told against what the phones got. Returns how many are unknown.
fn balance(bank: &Bank, outcomes: &[(Device, Outcome)]) -> usize {
    let phones = accepted_per_phone(bank);
    let mut unknown = 0;
    for (device, outcome) in outcomes {
        let got = phones[device.token.reveal()];
        match outcome {
            Outcome::Accepted { .. } => assert_eq!(got, 1, "told accepted, got {got}"),
            Outcome::Unknown { .. } => {
                unknown += 1;
                assert!(got <= 1, "told unknown, got {got}");
            }
            other => panic!("falsely failed: {other:?}"),
        }
    }
    unknown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goaway_every_500_streams_loses_doubles_and_fails_nothing() {
    for platform in [Platform::Ios, Platform::Android] {
        let bank = Bank::open_with(|config| config.profile.goaway_every = Some(500), |_| {}).await;
        let devices = phones(&bank, platform, 5_000);
        let outcomes = bank.ring_all(&devices, 300).await;
        assert_eq!(outcomes.len(), 5_000);
        assert_eq!(balance(&bank, &outcomes), 0, "a graceful GOAWAY leaves no doubt");
        let connections = bank.simulator.summary().connections;
        assert!((10..=14).contains(&connections), "{connections} connections for 5,000 sends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goaway_that_drops_streams_has_them_sent_again() {
    let bank = Bank::open().await;
    let devices = phones(&bank, Platform::Ios, 2_000);
    let action = FaultAction::GoAway { graceful: false, reason: None };
    bank.simulator.inject(Fault::once(action).every(400).times(4));
    let outcomes = bank.ring_all(&devices, 200).await;
    assert_eq!(balance(&bank, &outcomes), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_streams_and_lost_connections_are_told_as_they_are() {
    let bank = Bank::open().await;
    let devices = phones(&bank, Platform::Ios, 2_000);
    bank.simulator.inject(Fault::once(FaultAction::RefuseStream).every(7).always());
    bank.simulator.inject(Fault::once(FaultAction::CloseConnection { taken: true }).every(500).times(3));
    let outcomes = bank.ring_all(&devices, 100).await;
    let unknown = balance(&bank, &outcomes);
    assert!((1..=300).contains(&unknown), "{unknown} unknown after three lost connections");
}

#[tokio::test]
async fn one_stream_only_until_the_provider_token_is_accepted() {
    // The simulator refuses a second stream before that, and counts it.
    let bank = Bank::open().await;
    let devices = phones(&bank, Platform::Ios, 200);
    let outcomes = bank.ring_all(&devices, 200).await;
    assert_eq!(balance(&bank, &outcomes), 0);
    assert_eq!(bank.simulator.requests(), 200, "none was refused and sent again");
    assert_eq!(bank.deliver.in_flight(Provider::Apns), 0);
}

#[tokio::test]
async fn a_send_that_is_dropped_gives_its_stream_and_its_count_back() {
    let bank = Bank::open().await;
    bank.simulator.inject(Fault::once(FaultAction::Silence { taken: false }));
    {
        let mut silent = std::pin::pin!(bank.ring("ios"));
        tokio::select! {
            outcome = &mut silent => panic!("{outcome:?}"),
            () = bank.seen(1) => {}
        }
        assert_eq!(bank.deliver.in_flight(Provider::Apns), 1);
    }
    assert_eq!(bank.deliver.in_flight(Provider::Apns), 0);
    assert!(matches!(bank.ring("ios").await, Outcome::Accepted { .. }), "the only stream is free again");
}

#[tokio::test]
async fn a_send_under_way_is_small() {
    // Thousands are under way, each in an allocation of its own; above 1 KiB glibc takes a slow path for them.
    let bank = Bank::open().await;
    let message = bank.message(Duration::from_mins(1));
    let app = AppId::parse(APP).expect("an app");
    let cleared = Cleared::for_test(key(), Digest::of(b"job"), app, message.expires_at());
    let mut job = OpenJob::for_test(key(), Digest::of(b"job"), vec![device("ios", 1)]);
    let permit = Permit::new(&cleared, job.start().remove(0)).expect("both proofs are of this job");
    let sending = bank.deliver.send(permit, Slot::for_test(), &message);
    let bytes = size_of_val(&sending);
    assert!(matches!(in_time(sending).await, Sent::Done(Outcome::Accepted { .. })));
    assert!(bytes <= 1_000, "{bytes} bytes");
}
