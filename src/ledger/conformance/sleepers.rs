//! The late tail: those who sleep, beside those whom a provider put off.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, devices, end, told},
    fixtures::{accepted, hours, phone, throttled},
};
use crate::{
    ledger::{CampaignRecord, Claim, LateTail, OverBecause, RolloutRecord, Ruled, Ruling},
    model::{FrozenDevice, NewDevice, Outcome, OutcomeCode},
};

fn asleep(until: Timestamp) -> Outcome {
    Outcome::QuietHours { until }
}

/// Sends a chunk: whoever is not named is accepted.
async fn send(set: &Set<'_>, seen: &RolloutRecord, claim: &Claim, others: &[(FrozenDevice, Outcome)]) {
    let mut first = 0;
    while first < claim.devices.len() {
        // In pieces that a slow start grants.
        let n = (claim.devices.len() - first).min(10);
        let mut answer = set.exchange(seen, claim, &[], &[Set::ask(claim, first, n, false)], false).await;
        let mut over = end(claim, first, devices(&mut answer, 0), &accepted());
        for (place, outcome) in over.outcomes.iter_mut().enumerate() {
            let other = others.iter().find(|(device, _)| *device == claim.devices[first + place]);
            if let (Some((_, outcome)), Some((_, other))) = (outcome, other) {
                *outcome = other.clone();
            }
        }
        first += n;
        set.exchange(seen, claim, &[over], &[], first == claim.devices.len()).await;
    }
}

async fn follow(set: &Set<'_>, ruling: &Ruling, seen: &RolloutRecord) {
    let made = set.ledger.follow_retries(ruling, seen, |_| Duration::ZERO).await.expect("it rules");
    assert_eq!(made, 1);
}

async fn claim(set: &Set<'_>, campaign: &CampaignRecord) -> Option<Claim> {
    let mut claims = set.claim(campaign, "w", LEASE).await;
    assert!(claims.len() <= 1);
    claims.pop()
}

pub(super) async fn i6_a_minutes_throttle_is_no_night_and_a_night_is_not_asked_about_every_minute(
    store: &Store,
) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let first = claim(&set, &campaign).await.expect("a chunk");
    let now = set.ledger.now().await.expect("the clock");
    let (soon, late) = (hours(now, 2), hours(now, 8));
    let [slow, early, owl, other_owl] = [2, 3, 5, 7].map(|place| first.devices[place]);
    let night = [(early, asleep(soon)), (owl, asleep(late)), (other_owl, asleep(late))];
    send(&set, &seen, &first, &[&night[..], &[(slow, throttled())]].concat()).await;
    let progress = set.ledger.stage_progress(campaign.rollout).await.expect("an answer");
    assert_eq!((progress[0].first_left, progress[0].to_follow), (0, 1), "the stage has been sent");

    // Due as the throttled one is; who is met asleep is deferred again.
    follow(&set, &ruling, &seen).await;
    let second = claim(&set, &campaign).await.expect("it is due");
    assert_eq!(second.devices, [slow, early, owl, other_owl]);
    send(&set, &seen, &second, &night).await;

    // Only sleepers are left: the first morning.
    follow(&set, &ruling, &seen).await;
    assert!(claim(&set, &campaign).await.is_none(), "nobody is asked before");
    let tail = || async { set.ledger.late_tail(campaign.rollout).await.expect("an answer") };
    assert_eq!(tail().await, Some(LateTail { devices: 3, due_at: soon }));
    let morning = "update claim set until = 0 where done_at is null";
    store.tamper(morning, morning).await;
    let third = claim(&set, &campaign).await.expect("it is morning");
    send(&set, &seen, &third, &night[1..]).await;
    follow(&set, &ruling, &seen).await;
    assert_eq!(tail().await, Some(LateTail { devices: 2, due_at: late }));

    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    let count = |code| tallies[0].counts[&code];
    assert_eq!((count(OutcomeCode::QuietHours), count(OutcomeCode::Throttled)), (8, 1));
    assert_eq!(told(&set, &campaign).await[&early].1, OutcomeCode::Accepted);
    assert!(set.ruled(&ruling, &seen, Ruled::Over(OverBecause::Expired)).await.expect("it rules"));
    let told = told(&set, &campaign).await;
    let accepted = told.values().filter(|(_, code, _)| *code == OutcomeCode::Accepted).count();
    assert_eq!(accepted, first.devices.len() - 2);
    assert_eq!([told[&owl].1, told[&other_owl].1], [OutcomeCode::Expired; 2]);
}

pub(super) async fn i9_a_night_that_outlasts_the_campaign_holds_it_until_its_expiry(store: &Store) {
    let set = Set::with(store, 4, ALL, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let first = claim(&set, &campaign).await.expect("a chunk");
    let owl = first.devices[1];
    let never = campaign.expires_at + SignedDuration::from_secs(1);
    send(&set, &seen, &first, &[(owl, asleep(never))]).await;
    follow(&set, &ruling, &seen).await;
    let progress = set.ledger.stage_progress(campaign.rollout).await.expect("an answer");
    assert_eq!((progress[0].first_left, progress[0].retries_left), (0, 1), "not everyone has had it");
    assert!(claim(&set, &campaign).await.is_none());
    assert_eq!(told(&set, &campaign).await[&owl].1, OutcomeCode::QuietHours);
    assert!(set.ruled(&ruling, &seen, Ruled::Over(OverBecause::Expired)).await.expect("it rules"));
    assert_eq!(told(&set, &campaign).await[&owl].1, OutcomeCode::Expired);
}

pub(super) async fn devices_come_with_their_zones_where_these_are_asked_for(store: &Store) {
    let set = Set::with(store, 2, ALL, "").await;
    let zone = |person: u8, zone: &str| NewDevice {
        timezone: Some(zone.to_owned()),
        ..phone(&format!("person-{person}"), &format!("first-{person}"))
    };
    let moved = vec![zone(1, "Asia/Tokyo"), phone("person-2", "first-2")];
    set.ledger.import(moved).await.expect("the import is committed");
    let (campaign, _, seen) = set.open().await;
    let claim = claim(&set, &campaign).await.expect("a chunk");
    let now = set.ledger.now().await.expect("the clock");
    let answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 2, false)], false).await;
    let open = answer.segments[0].as_ref().expect("it is open");
    let mut zones: Vec<_> = open.zones().collect();
    zones.sort_unstable();
    assert_eq!(zones, [None, Some("Asia/Tokyo")]);
    assert!(open.at() >= now && open.at() <= set.ledger.now().await.expect("the clock"));
}
