//! How many people a text may reach, asked of the ledger by several processes.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;

use super::{Store, fixtures::app};
use crate::{
    audience::ReachLimit,
    guard::TextLimit,
    ledger::{BroadcastStop, Ledger, ReachAsk},
    model::{Digest, ProducerId},
};

const WITHIN: Duration = Duration::from_mins(1);

fn text(name: u32) -> TextLimit {
    let limit = ReachLimit { max_users: 100, within: WITHIN };
    TextLimit { text: Digest::of(&name.to_be_bytes()), limit, declared: false }
}

async fn lease(ledger: &Ledger, texts: &[u32], want: u64, now: Timestamp) -> Vec<u64> {
    let asks: Vec<_> = texts.iter().map(|name| ReachAsk { text: text(*name), want }).collect();
    ledger.lease_reach(&asks, now).await.expect("an answer")
}

pub(super) async fn two_processes_never_lease_more_of_a_text_than_its_limit_in_any_window(store: &Store) {
    let (ledger, other) = (&store.ledger, store.other_process().await);
    let start = ledger.now().await.expect("the clock");
    // Batches of both processes ask for the same texts in another order, at once, and again as the window slides.
    let mut given: [Vec<(Timestamp, u64)>; 3] = Default::default();
    for step in 0..12 {
        let now = start + WITHIN / 7 * step;
        let asks = (0..8_u64).map(|n| {
            let order: [u32; 3] = if n % 2 == 0 { [0, 1, 2] } else { [2, 1, 0] };
            let process = if n % 2 == 0 { ledger } else { &other };
            async move { (order, lease(process, &order, n + 3, now).await) }
        });
        for (order, leased) in join_all(asks).await {
            for (name, leased) in order.iter().zip(leased) {
                given[*name as usize].push((now, leased));
            }
        }
    }
    for given in &given {
        assert!(given.iter().map(|(_, given)| given).sum::<u64>() >= 200, "it is given again: {given:?}");
        for (end, _) in given {
            let inside = given.iter().filter(|(at, _)| *at <= *end && *at >= *end - WITHIN);
            let inside: u64 = inside.map(|(_, given)| given).sum();
            assert!(inside <= 100, "{inside} in one window");
        }
    }
    assert_eq!(lease(ledger, &[7, 8], 30, start).await, [30, 30], "another text is another's allowance");
    assert_eq!(lease(&other, &[8, 9], 90, start).await, [70, 90]);
}

pub(super) async fn a_stopped_broadcast_is_told_once_a_window_by_one_process(store: &Store) {
    let (ledger, other) = (&store.ledger, store.other_process().await);
    let producer = ProducerId::parse("cards").expect("a producer");
    let stop = |name| BroadcastStop { producer: producer.clone(), app: app(), text: text(name) };
    let now = ledger.now().await.expect("the clock");
    lease(ledger, &[1, 2], 200, now).await;
    let (one, two) = (stop(1), stop(2));
    let told = join_all([ledger, &other, ledger].map(|process| process.stop_broadcast(&one))).await;
    let told: usize = told.into_iter().map(|told| usize::from(told.expect("on record"))).sum();
    assert_eq!(told, 1);
    assert!(other.stop_broadcast(&two).await.expect("on record"), "another text");
    let events = ledger.outbox_batch(10).await.expect("an answer");
    let keys: Vec<_> = events.iter().map(|event| event.routing_key.as_str()).collect();
    assert_eq!(keys, ["broadcast.stopped.cards"; 2]);
    assert!(events[0].event.contains("\"max_users\":100"), "{}", events[0].event);
    let (later, kept) = (now + WITHIN, ledger.forget_old(now).await.expect("an answer").reach);
    let over = ledger.forget_old(later + WITHIN + WITHIN).await.expect("an answer").reach;
    assert_eq!((kept, over), (0, 2));
}
