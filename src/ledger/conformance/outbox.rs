//! The outbox.

use std::collections::BTreeSet;

use super::{Store, fixtures::*};

async fn fill(store: &Store, events: usize) {
    let device = devices(store, vec![phone("a", "1")]).await.remove(0);
    let now = store.ledger.now().await.expect("the clock");
    let finished: Vec<_> = (0..events)
        .map(|n| over(&job(&format!("j-{n}"), &["a"]), 1, &[(0, &device, accepted())], now, None))
        .collect();
    store.ledger.commit_direct(&finished, &[]).await.expect("committed");
}

pub(super) async fn each_event_is_handed_to_one_relay(store: &Store) {
    const EVENTS: usize = 40;
    fill(store, EVENTS).await;
    let relays = [store.other_process().await, store.other_process().await];
    let drain = async |relay: &crate::ledger::Ledger| {
        let mut got = Vec::new();
        loop {
            let batch = relay.outbox_batch(3).await.expect("a batch");
            if batch.is_empty() {
                return got;
            }
            assert!(got.len() <= EVENTS, "the same events are handed out again and again");
            got.extend(batch.into_iter().map(|outgoing| outgoing.seq));
        }
    };
    let (one, two) = tokio::join!(drain(&relays[0]), drain(&relays[1]));
    assert!(one.is_sorted() && two.is_sorted(), "the oldest first");
    let all: BTreeSet<i64> = one.iter().chain(&two).copied().collect();
    assert_eq!((all.len(), one.len() + two.len()), (EVENTS, EVENTS));
    assert_eq!(store.ledger.outbox_len().await.expect("a count"), 40, "kept until they are confirmed");
    let confirmed: Vec<i64> = all.into_iter().collect();
    store.ledger.outbox_done(&confirmed).await.expect("removed");
    assert_eq!(store.ledger.outbox_len().await.expect("a count"), 0);
}

pub(super) async fn a_dead_relays_events_are_handed_out_again(store: &Store) {
    fill(store, 2).await;
    let first = store.ledger.outbox_batch(10).await.expect("a batch");
    assert_eq!(store.ledger.outbox_batch(10).await.expect("a batch"), []);
    let lapse = "update outbox set lease_until = 1";
    store.tamper(lapse, lapse).await;
    assert_eq!(store.ledger.outbox_batch(10).await.expect("a batch"), first, "the same, with the same ids");
}
