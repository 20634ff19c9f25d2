//! Fleet-wide rates: what is leased, by whom, of which row.

use std::{num::NonZeroU32, time::Duration};

use futures_util::future::join_all;

use super::{Store, campaign_set::Set, fixtures::app};
use crate::{
    clock::Clock,
    ledger::{LeaseAsk, LeaseKey, Ledger, Ruled},
    model::{AppId, Provider, RolloutId},
    pace::shared::DIRECT_HORIZON,
};

const HORIZON: Duration = Duration::from_millis(250);

fn rate() -> NonZeroU32 {
    NonZeroU32::new(1_000).expect("not zero")
}

async fn campaign(ledger: &Ledger, key: LeaseKey, want: u32) -> u32 {
    let ask = LeaseAsk { key, rate: rate(), least: None, want, horizon: HORIZON };
    ledger.lease_slots(&ask).await.expect("an answer").slots
}

async fn direct(ledger: &Ledger, app: &AppId, want: u32) -> u32 {
    let leased = ledger.lease_direct(Provider::Apns, app, rate(), want).await.expect("an answer");
    leased.iter().map(|leased| leased.slots).sum()
}

pub(super) async fn i11_leases_of_one_rate_never_overlap(store: &Store) {
    let (clock, other) = (Clock::system(), store.other_process().await);
    let began = clock.monotonic();
    let key = LeaseKey::Rollout(RolloutId::new(7));
    let asks = (0..30).map(|n| campaign(if n % 2 == 0 { &store.ledger } else { &other }, key.clone(), 20));
    let slots: u32 = join_all(asks).await.into_iter().sum();
    // A horizon's worth, and what went by while they were asking.
    let most = (HORIZON + clock.monotonic().duration_since(began)).as_millis() + 1;
    assert!((250..=most).contains(&slots.into()), "{slots} slots at once, {most} allowed");
}

pub(super) async fn i11_both_lanes_draw_on_one_row_and_campaigns_leave_the_reserve(store: &Store) {
    let (clock, app, other) = (Clock::system(), app(), store.other_process().await);
    let began = clock.monotonic();
    let key = LeaseKey::Provider(Provider::Apns, app.clone());
    let campaigns = join_all((0..20).map(|_| campaign(&store.ledger, key.clone(), 100)));
    let directs = join_all((0..20).map(|_| direct(&other, &app, 100)));
    let (campaigns, directs) = tokio::join!(campaigns, directs);
    let (campaigns, directs): (u32, u32) = (campaigns.into_iter().sum(), directs.into_iter().sum());
    let passed = clock.monotonic().duration_since(began);
    let most = (HORIZON + passed).as_millis() + 2;
    assert!(u128::from(campaigns + directs) <= most, "{campaigns} and {directs}, {most} allowed");
    assert!(u128::from(campaigns) <= most * 4 / 5, "{campaigns} of {most}");
    assert!(u128::from(directs) >= DIRECT_HORIZON.as_millis() / 5, "{directs} of the reserve");
}

pub(super) async fn a_throttle_lowers_the_row_for_whoever_leases_next(store: &Store) {
    let (throttled, other) = (app(), store.other_process().await);
    let spared = AppId::parse("pl.example.shop").expect("an app");
    for _ in 0..5 {
        store.ledger.lower_rate(Provider::Apns, &throttled).await.expect("on record");
    }
    let key = |app: &AppId| LeaseKey::Provider(Provider::Apns, app.clone());
    assert_eq!(campaign(&other, key(&spared), 1_000).await, 200);
    let left = campaign(&other, key(&throttled), 1_000).await;
    // Half of it, and what has recovered since.
    assert!((100..120).contains(&left), "{left} slots");
    assert!(direct(&other, &throttled, 1_000).await < direct(&other, &spared, 1_000).await);
}

pub(super) async fn i11_a_rollout_that_follows_a_signal_is_given_what_was_noted_until_that_is_over(
    store: &Store,
) {
    let stages = "[[stage]]\npercent = 50\ngate = \"time\"\n[[stage]]\npercent = 100\n";
    let set = Set::with(store, 10, stages, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let (ledger, rollout) = (&set.ledger, campaign.rollout);
    let per_second = |rate| NonZeroU32::new(rate).expect("not zero");
    // In a horizon of a second, what is given is the rate; each ask has a row that nobody has used for a second.
    let given = async |rate: u32| {
        let ask = LeaseAsk {
            key: LeaseKey::Rollout(rollout),
            rate: per_second(rate),
            least: Some(per_second(10)),
            want: 10_000,
            horizon: Duration::from_secs(1),
        };
        let leased = ledger.lease_slots(&ask).await.expect("an answer");
        (leased.apart.as_micros(), leased.slots)
    };
    let apart = async |rate| given(rate).await.0;
    assert_eq!(ledger.pace(rollout).await.expect("an answer"), None);
    assert_eq!(given(1_000).await, (100_000, 10), "nothing is noted");
    let (minute, none) = (Duration::from_mins(1), Duration::ZERO);
    ledger.note_pace(&ruling, (rollout, 0), (per_second(250), Some(3.5)), minute).await.expect("it rules");
    let noted = ledger.pace(rollout).await.expect("an answer").expect("it was noted");
    assert_eq!((noted.rate, noted.headroom), (per_second(250), Some(3.5)));
    assert_eq!((apart(1_000).await, apart(100).await), (4_000, 10_000), "the smaller of the two");
    assert!(set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"));
    let seen = ledger.rollout(campaign.id).await.expect("an answer").expect("it is there");
    assert!(set.ruled(&ruling, &seen, Ruled::Open(1)).await.expect("it rules"));
    assert_eq!(apart(1_000).await, 100_000, "another stage begins at the least");
    ledger.note_pace(&ruling, (rollout, 0), (per_second(250), None), minute).await.expect("it rules");
    assert_eq!(apart(1_000).await, 100_000, "what was heard of the stage before came late");
    ledger.note_pace(&ruling, (rollout, 1), (per_second(250), None), minute).await.expect("it rules");
    assert_eq!(apart(1_000).await, 4_000);
    ledger.note_pace(&ruling, (rollout, 1), (per_second(250), None), none).await.expect("it rules");
    assert_eq!(apart(1_000).await, 100_000, "what was noted is over");
}
