//! What the model shows: who collapses, who survives, and why.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Bank, Campaign, Terms,
    afternoon::{Run, play, safe_rate},
};

/// A tenth of everybody: of the bank, of its customers, of the providers.
fn small() -> (Terms, Campaign) {
    let whole = Terms::default();
    let terms = Terms {
        capacity: whole.capacity / 10,
        declared: whole.declared / 10,
        queue: whole.queue / 10,
        ordinary: whole.ordinary / 10,
        ordinary_evening: whole.ordinary_evening / 10,
        busiest: whole.busiest / 10,
        ..whole
    };
    let rate = |per_second: u32| NonZeroU32::new(per_second).expect("not zero");
    (terms, Campaign { phones: 100_000, quota: rate(400), min: rate(5), max: rate(200) })
}

fn rung_after(run: &Run) -> Duration {
    run.rung_after.expect("everybody was rung")
}

#[test]
fn unpaced_it_collapses_capped_it_survives_and_with_feedback_it_survives_and_is_sooner() {
    let (terms, campaign) = small();
    for seed in 1..=8 {
        let [unpaced, capped, feedback] = play(terms, campaign, seed);
        assert!(unpaced.minutes_above_slo() >= 60, "seed {seed}: {} minutes", unpaced.minutes_above_slo());
        assert!(unpaced.peak_utilisation > 2.0, "seed {seed}: {}", unpaced.peak_utilisation);
        assert!(unpaced.seen.gave_up > 10_000, "seed {seed}: {:?}", unpaced.seen);
        for run in [&capped, &feedback] {
            assert_eq!(run.seen.gave_up + run.seen.failed, 0, "seed {seed}, {:?}: {:?}", run.way, run.seen);
            assert!(run.peak_utilisation < 1.1, "seed {seed}, {:?}: {}", run.way, run.peak_utilisation);
            assert!(run.minutes_above_slo() <= 5, "seed {seed}, {:?}: {}", run.way, run.minutes_above_slo());
        }
        assert!(rung_after(&unpaced) < rung_after(&feedback), "seed {seed}");
        assert!(rung_after(&feedback) < rung_after(&capped), "seed {seed}");
    }
}

#[test]
fn it_is_the_queue_and_the_repetition_that_keep_it_down_when_the_openers_are_gone() {
    let (terms, campaign) = small();
    let minutes = |terms| {
        let [unpaced, ..] = play(terms, campaign, 1);
        unpaced.minutes_above_slo()
    };
    let collapsed = minutes(terms);
    // Nine seconds of work: whoever is in the queue is served in time.
    let short_queue = minutes(Terms { queue: terms.capacity * 9, ..terms });
    let three_tries = minutes(Terms { tries: 3, ..terms });
    assert!(short_queue * 3 < collapsed, "{short_queue} and {collapsed}");
    assert!(three_tries * 3 < collapsed, "{three_tries} and {collapsed}");
}

#[test]
fn in_the_busiest_hour_feedback_survives_too_and_a_small_campaign_is_no_stampede() {
    let (terms, campaign) = small();
    let busiest = Terms { ordinary: terms.busiest, ordinary_evening: terms.busiest, ..terms };
    let [unpaced, capped, feedback] = play(busiest, campaign, 1);
    assert!(unpaced.seen.gave_up > 10_000, "{:?}", unpaced.seen);
    assert_eq!((capped.seen.gave_up, feedback.seen.gave_up), (0, 0));
    // What is free is what the cap was made for, so there is little to gain, and little is lost.
    let (slower, faster) = (rung_after(&feedback).as_secs_f64(), rung_after(&capped).as_secs_f64());
    assert!((0.8..1.25).contains(&(slower / faster)), "{slower} and {faster} s");

    let [unpaced, ..] = play(terms, Campaign { phones: 20_000, ..campaign }, 1);
    assert_eq!(unpaced.seen.gave_up, 0, "{:?}", unpaced.seen);
}

#[test]
fn every_attempt_ends_once_and_every_phone_is_rung_once() {
    let (terms, campaign) = small();
    for run in play(terms, campaign, 3) {
        assert_eq!(run.minutes.iter().map(|minute| minute.rung).sum::<u64>(), campaign.phones);
        let ended = run.seen.let_in + run.seen.failed;
        // Those who wait as the run ends.
        assert!(run.seen.attempts - ended < u64::from(terms.queue), "{:?}", run.seen);
        assert!(run.seen.late <= run.seen.let_in && run.seen.gave_up <= run.seen.failed, "{:?}", run.seen);
    }
}

#[test]
fn the_safe_rate_keeps_the_declared_capacity_in_the_busiest_hour() {
    let (terms, campaign) = (Terms::default(), Campaign::to(1_000_000));
    assert_eq!(safe_rate(terms, campaign), 625);
    assert_eq!(safe_rate(Terms { busiest: 200, ..terms }, campaign), 1, "there is no room at all");
    assert_eq!(
        safe_rate(Terms { declared: 9_999, ..terms }, campaign),
        4_000,
        "no faster than the providers"
    );
}

#[test]
fn a_bank_can_be_watched_and_time_may_come_in_any_pieces() {
    let (mut whole, mut pieces) = (Bank::new(Terms::default(), 7), Bank::new(Terms::default(), 7));
    whole.step(Duration::from_mins(1), 50_000);
    pieces.step(Duration::from_millis(70), 50_000);
    for _ in 0..799 {
        pieces.step(Duration::from_millis(75), 0);
    }
    pieces.step(Duration::from_millis(5), 0);
    assert_eq!(whole.seen(), pieces.seen());
    let watched = [whole.headroom() + whole.demand(), whole.utilisation() * 200.0 - whole.demand()];
    assert!((watched[0] - 150.0).abs() < 1e-9 && watched[1].abs() < 1e-9, "{watched:?}");
    assert!(whole.demand() > 80.0, "{}", whole.demand());
}

#[test]
fn the_same_seed_is_the_same_afternoon_and_another_is_not() {
    let (terms, campaign) = small();
    let attempts = |seed| play(terms, campaign, seed).map(|run| run.seen.attempts);
    assert_eq!(attempts(1), attempts(1));
    assert_ne!(attempts(1), attempts(2));
}
