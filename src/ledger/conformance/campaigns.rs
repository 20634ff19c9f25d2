//! A campaign's way through the ledger: submitted, frozen, opened, claimed, exchanged, retried, ended, halted.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, THREE, devices, end, step, told},
    fixtures::{self, accepted, app, phone, throttled},
};
use crate::{
    audience::Class,
    ledger::{Deposed, Exchange, HaltScope, NoIntent, OverBecause, Ruled, Submitted},
    model::{Bucket, Job, OutcomeCode, RolloutState},
};

pub(super) async fn i7_a_campaign_is_answered_from_the_record(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let campaign = set.submit().await;
    assert_eq!(set.submit_as(&set.job).await, Submitted::Known(campaign.id));
    let other = set.job.canonical_json().replace("News", "Other news");
    let other = Job::parse(other.as_bytes()).expect("a job");
    assert_eq!(set.submit_as(&other).await, Submitted::Conflict);
    assert_eq!((campaign.key.clone(), campaign.class), (set.key.clone(), Class::Internal));
    assert_eq!(campaign.job.map(|job| job.digest()), Some(set.job.digest()));
    assert_eq!(set.ledger.live_rollouts().await.expect("an answer").len(), 1);
}

pub(super) async fn i6_freezing_takes_each_device_once_and_our_own_people_first(store: &Store) {
    let set = Set::with(store, 40, THREE, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let seen = set.freeze(&ruling, &campaign, 5_000).await;
    assert_eq!((seen.state, seen.frozen), (RolloutState::Approved, 53));
    let told = told(&set, &campaign).await;
    assert_eq!(told.len(), 53, "nobody twice");
    let in_stage = |stage: u16| told.values().filter(|(of, ..)| *of == stage).count();
    assert_eq!([in_stage(0), in_stage(1), in_stage(2)], [2, 7, 44]);
    let buckets = |name: &str| Bucket::of(&fixtures::user(name));
    for (device, (stage, ..)) in &told {
        let is_staff = device.bucket == buckets("person-1") || device.bucket == buckets("person-2");
        assert_eq!(is_staff, *stage == 0, "{device:?}");
    }
    let stages = set.ledger.stages(campaign.rollout).await.expect("an answer");
    assert_eq!(stages.iter().map(|stage| stage.devices).collect::<Vec<_>>(), [2, 7, 44]);
}

pub(super) async fn i8_whoever_resumes_a_freeze_gets_the_same_lists(store: &Store) {
    let set = Set::with(store, 2_500, ALL, "").await;
    let (campaign, first) = (set.submit().await, set.rule().await);
    assert!(!step(&set, &first, &campaign).await.expect("it rules").done);
    set.ledger.abdicate(&first).await.expect("it rules");
    let second =
        set.ledger.rule("b", None, LEASE, set.now()).await.expect("an answer").expect("nobody rules");
    assert!(
        matches!(step(&set, &first, &campaign).await, Err(Deposed::Deposed)),
        "the older term writes nothing"
    );
    let seen = set.freeze(&second, &campaign, 1_000).await;
    let told = told(&set, &campaign).await;
    assert_eq!((seen.frozen, told.len()), (3_333, 3_333));
    assert!(seen.frozen_digest.is_some());
}

pub(super) async fn i5_an_older_term_changes_nothing(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (campaign, old) = (set.submit().await, set.rule().await);
    assert_eq!(set.ledger.rule("b", None, LEASE, set.now()).await.expect("an answer"), None, "one at a time");
    let seen = set.freeze(&old, &campaign, 5_000).await;
    set.ledger.abdicate(&old).await.expect("it rules");
    let new = set.ledger.rule("b", None, LEASE, set.now()).await.expect("an answer").expect("nobody rules");
    assert!(new.term > old.term);
    let ledger = set.ledger;
    assert!(matches!(set.ruled(&old, &seen, Ruled::Open(0)).await, Err(Deposed::Deposed)));
    assert!(matches!(set.ruled(&old, &seen, Ruled::Sent(0)).await, Err(Deposed::Deposed)));
    assert!(matches!(ledger.follow_retries(&old, &seen, |_| LEASE).await, Err(Deposed::Deposed)));
    let ended = set.ruled(&old, &seen, Ruled::Over(OverBecause::Completed)).await;
    assert!(matches!(ended, Err(Deposed::Deposed)));
    assert_eq!(set.seen(campaign.id).await, seen);
}

pub(super) async fn a_stage_is_opened_once_and_in_order(store: &Store) {
    let set = Set::with(store, 20, THREE, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let seen = set.freeze(&ruling, &campaign, 5_000).await;
    assert!(!set.ruled(&ruling, &seen, Ruled::Open(1)).await.expect("it rules"), "not the first");
    assert!(set.claim(&campaign, "w", LEASE).await.is_empty(), "nothing is open");
    assert!(set.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"));
    let seen = set.seen(campaign.id).await;
    assert!(!set.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"), "not twice");
    let claims = set.claim(&campaign, "w", LEASE).await;
    assert_eq!(claims.iter().map(|claim| (claim.stage, claim.devices.len())).collect::<Vec<_>>(), [(0, 2)]);
}

pub(super) async fn outcomes_go_in_and_retries_carry_what_is_not_final(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    assert_eq!((claim.devices.len(), claim.number), (12, 1));
    // Slow start: ten at first.
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 12, false)], false).await;
    let first = devices(&mut answer, 0);
    assert_eq!(first.len(), 10, "the window of the slow start");
    let waits = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 10, 2, false)], false).await;
    assert_eq!(waits.segments[0].as_ref().err(), Some(&NoIntent::Window));
    let mut over = end(&claim, 0, first, &accepted());
    if let Some(outcome) = over.outcomes[3].as_mut() {
        outcome.1 = throttled();
    }
    let mut answer = set.exchange(&seen, &claim, &[over], &[Set::ask(&claim, 10, 2, false)], false).await;
    assert_eq!(answer.recorded, [true]);
    let last = devices(&mut answer, 0);
    let over = end(&claim, 10, last, &accepted());
    set.exchange(&seen, &claim, &[over], &[], true).await;
    let progress = set.ledger.stage_progress(campaign.rollout).await.expect("an answer");
    assert_eq!((progress[0].first_left, progress[0].to_follow), (0, 1));
    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::Accepted], 11);
    assert_eq!(tallies[0].counts[&OutcomeCode::Throttled], 1);

    let made = set.ledger.follow_retries(&ruling, &seen, |_| Duration::ZERO).await.expect("it rules");
    assert_eq!(made, 1);
    assert_eq!(set.ledger.follow_retries(&ruling, &seen, |_| Duration::ZERO).await.expect("it rules"), 0);
    let retry = set.claim(&campaign, "w", LEASE).await.remove(0);
    assert_eq!(retry.devices, [claim.devices[3]]);
    let mut answer = set.exchange(&seen, &retry, &[], &[Set::ask(&retry, 0, 1, false)], false).await;
    let over = end(&retry, 0, devices(&mut answer, 0), &accepted());
    set.exchange(&seen, &retry, &[over], &[], true).await;
    let told = told(&set, &campaign).await;
    assert!(told.values().all(|(_, code, _)| *code == OutcomeCode::Accepted));
    assert_eq!(told[&claim.devices[3]].2, 2, "tried twice");
    let completed = Ruled::Over(OverBecause::Completed);
    assert!(!set.ruled(&ruling, &seen, completed.clone()).await.expect("it rules"), "its stage is not sent");
    assert!(set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"));
    let baking = set.seen(campaign.id).await;
    assert_eq!(baking.state, RolloutState::Baking);
    assert!(set.ruled(&ruling, &baking, completed).await.expect("it rules"));
    assert_eq!(set.seen(campaign.id).await.state, RolloutState::Completed);
    let history = set.ledger.deliveries_to(&app(), claim.devices[3], 10).await.expect("an answer");
    assert_eq!((history.len(), history[0].campaign), (1, campaign.id));
}

pub(super) async fn i6_who_takes_over_sends_again_only_what_was_not_recorded(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    let dead = set.claim(&campaign, "dead", Duration::ZERO).await.remove(0);
    // The claim has ended at once; nobody has taken the chunk, and still nothing can be begun under it.
    let late = set.exchange(&seen, &dead, &[], &[Set::ask(&dead, 0, 4, false)], false).await;
    assert_eq!(late.segments[0].as_ref().err(), Some(&NoIntent::ClaimLost));
    assert_eq!(late.until, [None]);
    let second = set.claim(&campaign, "second", LEASE).await.remove(0);
    let asks = [Set::ask(&second, 0, 4, false), Set::ask(&second, 4, 4, false)];
    let mut answer = set.exchange(&seen, &second, &[], &asks, false).await;
    let (first, doubtful) = (devices(&mut answer, 0), devices(&mut answer, 1));
    set.exchange(&seen, &second, &[end(&second, 0, first, &accepted())], &[], false).await;
    set.ledger.release_claim(&second).await.expect("an answer");
    let third = set.claim(&campaign, "third", LEASE).await.remove(0);
    let halfway: Vec<_> = third.halfway.iter().map(|half| (half.first, half.n, half.recorded)).collect();
    assert_eq!(halfway, [(0, 4, true), (4, 4, false)]);
    let mut answer = set.exchange(&seen, &third, &[], &[Set::ask(&third, 4, 4, true)], false).await;
    let again = devices(&mut answer, 0);
    assert_eq!(again, doubtful, "the same devices");
    // The word of whoever lost the claim comes late: the new holder answers for these.
    let stale = set.exchange(&seen, &second, &[end(&second, 4, doubtful, &accepted())], &[], false).await;
    assert_eq!(stale.recorded, [false]);
    let answer = set.exchange(&seen, &third, &[end(&third, 4, again, &accepted())], &[], false).await;
    assert_eq!(answer.recorded, [true]);
    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::Accepted], 8, "each outcome is counted once");
}

pub(super) async fn i6_under_at_most_once_what_is_in_doubt_is_left_alone(store: &Store) {
    let set = Set::with(store, 9, ALL, r#""at_most_once":true,"#).await;
    let (campaign, _, seen) = set.open().await;
    let dead = set.claim(&campaign, "dead", LEASE).await.remove(0);
    let mut answer = set.exchange(&seen, &dead, &[], &[Set::ask(&dead, 0, 4, false)], false).await;
    assert_eq!(devices(&mut answer, 0).len(), 4);
    set.ledger.release_claim(&dead).await.expect("an answer");
    let next = set.claim(&campaign, "next", LEASE).await.remove(0);
    assert!(next.halfway.iter().all(|half| half.recorded), "nothing of it is to be sent");
    let told = told(&set, &campaign).await;
    let unknown: BTreeSet<_> =
        told.iter().filter(|(_, told)| told.1 == OutcomeCode::Unknown).map(|(key, _)| *key).collect();
    assert_eq!(unknown, dead.devices[..4].iter().copied().collect());
    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::Unknown], 4);
}

pub(super) async fn i8_who_left_since_is_left_out_and_nobody_is_added(store: &Store) {
    let set = Set::with(store, 4, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    // The phone of person-1 is somebody else's now, and a stranger has come in.
    let moved = vec![phone("buyer", "first-1"), phone("newcomer", "new-1")];
    set.ledger.import(moved).await.expect("the import is committed");
    let n = claim.devices.len();
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, n, false)], false).await;
    let found = devices(&mut answer, 0);
    let left = found.iter().position(Option::is_none).expect("one is left out");
    assert_eq!(claim.devices[left].bucket, Bucket::of(&fixtures::user("person-1")));
    assert_eq!(found.iter().flatten().count(), n - 1);
    assert!(found.iter().flatten().all(|device| device.user.as_str().starts_with("person-")));
    set.exchange(&seen, &claim, &[end(&claim, 0, found, &accepted())], &[], true).await;
    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::LeftOut], 1);
    assert_eq!(told(&set, &campaign).await[&claim.devices[left]].1, OutcomeCode::LeftOut);
}

pub(super) async fn i5_a_halt_ends_what_it_covers_and_nothing_else(store: &Store) {
    for covers in ["all", "app:pl.example.bank", "audience:everyone", "campaign"] {
        let set = Set::with(store, 9, ALL, "").await;
        let mut set = set;
        let id = format!("halted-by-{}", covers.split(':').next().expect("a word"));
        set.job = Job::parse(set.job.canonical_json().replace("c-1", &id).as_bytes()).expect("a job");
        set.key = set.job.key(&set.key.producer);
        let (campaign, ruling, seen) = set.open().await;
        let claim = set.claim(&campaign, "w", LEASE).await;
        let claim = claim.into_iter().max_by_key(|claim| claim.devices.len()).expect("a chunk");
        let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 1, false)], false).await;
        let begun = devices(&mut answer, 0);
        let elsewhere: HaltScope = "audience:somebody-else".parse().expect("a scope");
        assert_eq!(set.ledger.set_halt(&elsewhere, "duty", "try").await.expect("set"), 0);
        assert_eq!(set.seen(campaign.id).await.state, RolloutState::Running);

        let scope =
            if covers == "campaign" { format!("campaign:{}", campaign.id) } else { covers.to_owned() };
        let scope: HaltScope = scope.parse().expect("a scope");
        assert_eq!(set.ledger.set_halt(&scope, "duty", "too loud").await.expect("set"), 1);
        let halted = set.seen(campaign.id).await;
        assert_eq!((halted.state, halted.epoch), (RolloutState::Halted, seen.epoch + 1));
        let what = if covers == "campaign" { "this campaign" } else { covers };
        assert_eq!(halted.cause, Some(format!("halted ({what}) by duty: too loud")));
        // What was sent is recorded all the same; nothing new is begun, claimed or opened.
        let over = [end(&claim, 0, begun, &accepted())];
        let answer = set.exchange(&seen, &claim, &over, &[Set::ask(&claim, 1, 1, false)], false).await;
        assert_eq!(answer.recorded, [true]);
        assert_eq!(answer.segments[0].as_ref().err(), Some(&NoIntent::Halted));
        assert!(set.claim(&campaign, "w", LEASE).await.is_empty());
        assert!(!set.ruled(&ruling, &seen, Ruled::Open(0)).await.expect("it rules"));
        let told = told(&set, &campaign).await;
        let count = |code| told.values().filter(|(_, told, _)| *told == code).count();
        assert_eq!((count(OutcomeCode::Accepted), count(OutcomeCode::NotSent)), (1, told.len() - 1));
        assert!(set.ledger.clear_halt(&scope, "duty").await.expect("cleared"));
        set.ledger.abdicate(&ruling).await.expect("it rules");
    }
}

pub(super) async fn i5_what_ended_after_a_halt_adds_up_over_the_workers(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    store.ledger.set_halt(&HaltScope::All, "duty", "wrong text").await.expect("halted");
    let other = store.other_process().await;
    for (ledger, requests) in [(&store.ledger, 3), (&other, 4)] {
        ledger.note_after_halt(campaign.rollout, requests).await.expect("on record");
    }
    assert_eq!((seen.after_halt, set.seen(campaign.id).await.after_halt), (0, 7));
}

pub(super) async fn i7_a_chunk_of_which_something_is_left_is_not_done(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let held = [(claim.chunk, claim.number)];
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 4, false)], false).await;
    let over = [end(&claim, 0, devices(&mut answer, 0), &accepted())];
    let early = Exchange {
        rollout: seen.rollout,
        epoch: seen.epoch,
        worker: "w",
        lease: LEASE,
        asked: set.now(),
        ends: &over,
        asks: &[],
        done: &held,
        held: &held,
        key: &set.key,
        digest: set.job.digest(),
        stopped: &set.stopped,
        zones: false,
    };
    set.ledger.exchange(&early).await.expect_err("eight of its devices were never sent");
    let progress = set.ledger.stage_progress(campaign.rollout).await.expect("an answer");
    assert_eq!(progress[0].first_left, 1);
}
