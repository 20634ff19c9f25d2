//! How many devices a producer may reach in a day, asked of the ledger by several processes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future::join_all;
use jiff::Timestamp;
use uuid::Uuid;

use super::Store;
use crate::{
    guard::Sketch,
    ledger::{Day, DayAsk, DayLease, Ledger},
    model::{DeviceId, Digest, ProducerId},
};

const LIMIT: u64 = 1_000;

const A_DAY: Duration = Duration::from_hours(24);

fn cards() -> ProducerId {
    ProducerId::parse("cards").expect("a producer")
}

fn hash(n: u64) -> u64 {
    let digest = Digest::of(&n.to_be_bytes());
    Sketch::hash(DeviceId::from_uuid(Uuid::from_slice(&digest.as_bytes()[..16]).expect("16 bytes")))
}

/// A process that rings a device only against its lease.
struct Process {
    id: Uuid,
    known: HashSet<u64>,
    counted: Sketch,
    left: u64,
}

impl Process {
    fn new(id: u128) -> Self {
        Self { id: Uuid::from_u128(id), known: HashSet::new(), counted: Sketch::default(), left: 0 }
    }

    async fn ask(&mut self, ledger: &Ledger, day: Day, want: u64) -> DayLease {
        let (producer, process, counted) = (&cards(), self.id, &self.counted);
        let ask = DayAsk { producer, day, limit: LIMIT, process, counted, keep: self.left, want };
        let lease = ledger.lease_day(&ask).await.expect("an answer");
        self.counted = Sketch::default();
        self.left += lease.given;
        lease
    }

    /// Those of the devices that it may ring.
    async fn ring(&mut self, ledger: &Ledger, day: Day, devices: std::ops::Range<u64>) -> Vec<u64> {
        let mut rung = Vec::new();
        for device in devices {
            if self.known.contains(&device) {
                continue;
            }
            if self.left == 0 {
                self.ask(ledger, day, 7).await;
            }
            if self.left > 0 {
                self.left -= 1;
                self.known.insert(device);
                self.counted.add(hash(device));
                rung.push(device);
            }
        }
        rung
    }
}

pub(super) async fn processes_never_reach_more_devices_of_a_day_than_a_producer_may(store: &Store) {
    let (ledger, other) = (&store.ledger, store.other_process().await);
    let now = ledger.now().await.expect("the clock");
    let today = Day::of(now);
    let (mut one, mut two) = (Process::new(1), Process::new(2));
    // Both ring the same people first, and hand in what they counted: they are counted once.
    let (first, second) = tokio::join!(one.ring(ledger, today, 0..400), two.ring(&other, today, 0..400));
    assert_eq!((first.len(), second.len()), (400, 400));
    one.ask(ledger, today, 0).await;
    let handed_in = two.ask(&other, today, 0).await;
    assert_eq!(handed_in.reached, 400);
    // Then others, at once and more than there is room for.
    let mut rung: HashSet<u64> = first.into_iter().collect();
    let (here, there) =
        tokio::join!(one.ring(ledger, today, 400..1_200), two.ring(&other, today, 800..1_600));
    rung.extend(here);
    rung.extend(there);
    assert!(rung.len() as u64 <= LIMIT, "{} devices", rung.len());
    assert!(rung.len() as u64 > LIMIT - LIMIT / 10, "most of it is given: {}", rung.len());
    // One of them dies with its lease: that stays taken. The other hands back what it has not used.
    let mut three = Process::new(3);
    let before = three.ask(ledger, today, LIMIT).await;
    assert!(before.given <= LIMIT - before.reached);
    let tomorrow = Day::of(now + A_DAY);
    assert_eq!(two.ask(&other, tomorrow, 300).await.given, 300, "another day begins anew");
}

pub(super) async fn what_a_process_hands_back_is_given_to_another_and_saying_it_again_changes_nothing(
    store: &Store,
) {
    let ledger = &store.ledger;
    let today = Day::of(ledger.now().await.expect("the clock"));
    let (mut one, mut two) = (Process::new(1), Process::new(2));
    let all = one.ask(ledger, today, LIMIT).await;
    assert_eq!((all.given, all.reached), (LIMIT, 0));
    assert_eq!(two.ask(ledger, today, 10).await.given, 0, "all of it is leased");
    one.left = 40;
    (0..60).for_each(|n| one.counted.add(hash(n)));
    for _ in 0..2 {
        let again = Process { known: HashSet::new(), counted: one.counted.clone(), ..one };
        let mut again = again;
        let lease = again.ask(ledger, today, 0).await;
        assert_eq!((lease.given, lease.reached), (0, 60));
        assert!((0..60).all(|n| lease.fleet.surely_has(hash(n))) && !lease.fleet.surely_has(hash(60)));
    }
    assert_eq!(two.ask(ledger, today, LIMIT).await.given, LIMIT - 60 - 40);
}

pub(super) async fn a_stopped_producer_is_told_once_a_day_by_one_process(store: &Store) {
    let (ledger, other) = (&store.ledger, store.other_process().await);
    let now = ledger.now().await.expect("the clock");
    let today = Day::of(now);
    Process::new(1).ask(ledger, today, 1).await;
    let cards = cards();
    let told = [ledger, &other, ledger].map(|process| process.stop_producer(&cards, today, LIMIT));
    let told = join_all(told).await;
    let told: usize = told.into_iter().map(|told| usize::from(told.expect("on record"))).sum();
    assert_eq!(told, 1);
    let raised =
        async |process: &Ledger| process.stop_producer(&cards, today, 2 * LIMIT).await.expect("on record");
    assert!(raised(&other).await, "another limit is other news");
    assert!(!raised(ledger).await);
    let events = ledger.outbox_batch(10).await.expect("an answer");
    let keys: HashMap<_, _> = events.iter().map(|event| (event.routing_key.as_str(), &event.event)).collect();
    assert_eq!((events.len(), keys.len()), (2, 1));
    assert!(events[0].event.contains("\"devices_per_day\":1000"), "{keys:?}");
    let kept = |at: Timestamp| async move { ledger.forget_old(at).await.expect("an answer").days };
    assert_eq!((kept(now + A_DAY * 7).await, kept(now + A_DAY * 8).await), (0, 1));
}
