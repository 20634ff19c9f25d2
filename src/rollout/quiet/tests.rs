//! What the clocks of the world do to a night.

use proptest::prelude::*;

use super::*;
use crate::rollout::{FrozenBreakers, FrozenStage, FrozenTake};

/// East and west of everywhere, north and south, with half hours and quarters, with and without summer time.
const ZONES: [&str; 12] = [
    "Europe/Warsaw",
    "America/New_York",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Niue",
    "Asia/Kolkata",
    "America/St_Johns",
    "Pacific/Chatham",
    "Africa/Cairo",
    "America/Santiago",
    "Etc/UTC",
];

fn find(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

fn warsaw() -> TimeZone {
    TimeZone::get("Europe/Warsaw").expect("a zone")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn until(from: &str, to: &str, now: &str) -> Option<Timestamp> {
    quiet_until(&(from.to_owned(), to.to_owned()), &warsaw(), at(now))
}

#[test]
fn a_night_passes_midnight() {
    // Warsaw is an hour ahead of UTC in November.
    let seven = at("2026-11-22T06:00:00Z");
    assert_eq!(until("22:00", "07:00", "2026-11-21T20:59:59Z"), None);
    assert_eq!(until("22:00", "07:00", "2026-11-21T21:00:00Z"), Some(seven));
    assert_eq!(until("22:00", "07:00", "2026-11-22T05:59:59Z"), Some(seven));
    assert_eq!(until("22:00", "07:00", "2026-11-22T06:00:00Z"), None);
}

#[test]
fn a_siesta_is_over_the_same_day() {
    assert_eq!(until("13:00", "15:00", "2026-11-21T12:30:00Z"), Some(at("2026-11-21T14:00:00Z")));
    assert_eq!(until("13:00", "15:00", "2026-11-21T14:00:00Z"), None);
}

#[test]
fn an_end_that_the_clocks_skip_comes_an_hour_later() {
    // On 28 March 2027 there is no 02:30 in Warsaw.
    assert_eq!(until("22:00", "02:30", "2027-03-27T23:00:00Z"), Some(at("2027-03-28T01:30:00Z")));
}

#[test]
fn hours_that_make_no_sense_are_never_over() {
    assert_eq!(until("x", "07:00", "2026-11-21T12:00:00Z"), Some(Timestamp::MAX));
}

#[test]
fn an_end_that_comes_twice_is_the_one_that_is_still_to_come() {
    // On 25 October 2026 the clocks of Warsaw go back from 03:00 to 02:00, at 01:00 UTC: 02:30 comes at 00:30 and at 01:30.
    let (first, second) = (at("2026-10-25T00:30:00Z"), at("2026-10-25T01:30:00Z"));
    assert_eq!(until("22:00", "02:30", "2026-10-24T23:00:00Z"), Some(first));
    assert_eq!(until("22:00", "02:30", "2026-10-25T00:45:00Z"), None);
    assert_eq!(until("22:00", "02:30", "2026-10-25T01:10:00Z"), Some(second));
    assert_eq!(until("22:00", "02:30", "2026-10-25T01:30:00Z"), None);
}

fn nights(from: &str, to: &str) -> Nights {
    let stage = FrozenStage {
        take: FrozenTake::Buckets(10_000),
        bake_ms: 0,
        manual_gate: false,
        must_pass: false,
        max_rate: None,
    };
    let plan = FrozenPlan {
        name: "p".to_owned(),
        stages: vec![stage],
        quiet_hours: Some((from.to_owned(), to.to_owned())),
        avoid_quarter_hours: false,
        breakers: FrozenBreakers::default(),
        health: crate::rollout::FrozenHealth::default(),
        downstream: Vec::new(),
        pace: None,
    };
    let none = FrozenPlan { quiet_hours: None, ..plan.clone() };
    assert!(Nights::of(&none, warsaw(), find).is_none(), "no quiet hours, no nights");
    Nights::of(&plan, warsaw(), find).expect("it has quiet hours")
}

#[test]
fn each_sleeps_by_their_own_clock_and_without_one_by_the_apps() {
    let mut nights = nights("22:00", "07:00");
    // 20:00 in Warsaw, 04:00 in Tokyo, 14:00 in New York.
    let evening = at("2026-11-21T19:00:00Z");
    let tokyo = Some(at("2026-11-21T22:00:00Z"));
    assert_eq!(nights.quiet_until(Some("Asia/Tokyo"), evening), tokyo);
    for awake in [None, Some("Europe/Warsaw"), Some("America/New_York"), Some("Mars/Olympus"), Some("")] {
        assert_eq!(nights.quiet_until(awake, evening), None, "{awake:?}");
    }
    // 23:00 in Warsaw, 07:00 in Tokyo, 17:00 in New York.
    let night = at("2026-11-21T22:00:00Z");
    let warsaw = Some(at("2026-11-22T06:00:00Z"));
    for asleep in [None, Some("Europe/Warsaw"), Some("Mars/Olympus"), Some("")] {
        assert_eq!(nights.quiet_until(asleep, night), warsaw, "{asleep:?}");
    }
    assert_eq!(nights.quiet_until(Some("Asia/Tokyo"), night), None);
    assert_eq!(nights.quiet_until(Some("America/New_York"), night), None);
}

#[test]
fn a_zone_is_looked_up_once_in_a_stretch_and_names_do_not_pile_up() {
    fn never(name: &str) -> Option<TimeZone> {
        assert_ne!(name, "Asia/Tokyo", "looked up again");
        find(name)
    }
    let mut nights = nights("22:00", "07:00");
    let evening = at("2026-11-21T19:00:00Z");
    let first = nights.quiet_until(Some("Asia/Tokyo"), evening);
    nights.look_up = never;
    let later = evening + SignedDuration::from_hours(2);
    assert_eq!(nights.quiet_until(Some("Asia/Tokyo"), later), first);
    for number in 0..2 * MOST_ZONES {
        nights.quiet_until(Some(&format!("nowhere/{number}")), evening);
    }
    assert!(nights.known.len() <= MOST_ZONES);
}

/// Quiet hours that leave at least three hours of the day, so that no change of the clocks swallows them.
fn hours() -> impl Strategy<Value = (String, String)> {
    (0..1_440u32, 1..1_260u32).prop_map(|(from, long)| {
        let word = |minute: u32| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
        (word(from), word(from + long))
    })
}

/// An instant in two years of summer and winter times.
fn instant() -> impl Strategy<Value = Timestamp> {
    let begin = at("2026-01-01T00:00:00Z").as_second();
    (0..2 * 365 * 86_400i64)
        .prop_map(move |second| Timestamp::from_second(begin + second).expect("it is in range"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The end lies ahead, it is an end, and before it it is quiet, unless the clocks are changed meanwhile.
    #[test]
    fn a_night_ends_once_and_not_before_its_end(hours in hours(), zone in 0..ZONES.len(), now in instant(), part in 0.0..1.0f64) {
        let zone = find(ZONES[zone]).expect("a zone");
        if let Some(end) = quiet_until(&hours, &zone, now) {
            let long = end.duration_since(now);
            prop_assert!(long.is_positive() && long <= SignedDuration::from_hours(23), "{}", long);
            prop_assert_eq!(quiet_until(&hours, &zone, end), None);
            let between = now + long.mul_f64(part);
            if zone.to_offset(now) == zone.to_offset(end) {
                prop_assert_eq!(quiet_until(&hours, &zone, between), Some(end));
            }
        }
    }

    /// What is remembered is what would be found out again: nobody is rung who sleeps, and nobody left alone who is awake.
    /// Begins in the two days before the clocks are changed somewhere, and asks mostly about there.
    #[test]
    fn what_is_remembered_of_a_zone_is_right(
        hours in hours(),
        somewhere in 0..ZONES.len(),
        (before, ahead) in (instant(), 0..172_800i64),
        asked in proptest::collection::vec((proptest::option::weighted(0.3, 0..ZONES.len() + 2), 0..9_000i64), 1..60),
    ) {
        let changed = find(ZONES[somewhere]).and_then(|zone| Some(zone.following(before).next()?.timestamp()));
        let mut now = changed.unwrap_or(before) - SignedDuration::from_secs(ahead);
        let mut nights = nights(&hours.0, &hours.1);
        for (elsewhere, passes) in asked {
            now += SignedDuration::from_secs(passes);
            let zone = elsewhere.unwrap_or(somewhere);
            let name = ZONES.get(zone).copied().or((zone == ZONES.len()).then_some("Mars/Olympus"));
            let own = name.and_then(find).unwrap_or_else(warsaw);
            prop_assert_eq!(nights.quiet_until(name, now), quiet_until(&hours, &own, now), "{:?} at {}", name, now);
        }
    }
}
