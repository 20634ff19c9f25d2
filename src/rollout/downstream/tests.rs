//! Guards against every order of readings, and against a model that remembers all of them.

use proptest::prelude::*;

use super::*;
use crate::audience::{Beyond, Downstream, Probe};

const STALE_AFTER: Duration = Duration::from_secs(15);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("an instant")
}

fn guard(pause: Option<f64>, halt: Option<f64>, hold: u64, no_data: WhenBlind) -> FrozenDownstream {
    FrozenDownstream::of(&Downstream {
        name: "login-p99".to_owned(),
        probe: Probe::Prometheus("up".to_owned()),
        beyond: Beyond::Above,
        pause,
        halt,
        hold: Duration::from_secs(hold),
        no_data,
    })
}

fn halting() -> FrozenDownstream {
    guard(None, Some(0.8), 30, WhenBlind::Pause)
}

/// What is known after these readings.
fn after(guard: &FrozenDownstream, readings: &[(i64, Option<f64>)]) -> Watched {
    let mut watched = Watched::from(at(0));
    for (second, value) in readings {
        watched.note(guard, Reading { at: at(*second), value: *value });
    }
    watched
}

/// What is judged right after the last of these readings.
fn judged(guard: &FrozenDownstream, readings: &[(i64, Option<f64>)]) -> Judgement {
    let now = readings.last().map_or(0, |(second, _)| *second);
    after(guard, readings).judge(guard, at(now), STALE_AFTER)
}

fn number(value: f64) -> Number {
    Number::new(value).expect("finite")
}

#[test]
fn nothing_is_fine_before_it_was_read() {
    let watched = after(&halting(), &[]);
    let blind = Judgement::Blind { halts: false, since: at(0) };
    assert_eq!(watched.judge(&halting(), at(0), STALE_AFTER), blind);
    assert_eq!(watched.judge(&halting(), at(90), STALE_AFTER), blind);
}

#[test]
fn a_breach_halts_when_it_has_lasted_and_not_before() {
    let mut readings = vec![(0, Some(0.1)), (5, Some(0.8))];
    assert_eq!(
        judged(&halting(), &readings),
        Judgement::Fine { value: number(0.8) },
        "on the bound is within"
    );
    readings.push((10, Some(0.81)));
    let value = number(0.81);
    assert_eq!(judged(&halting(), &readings), Judgement::Waiting { halts: true, since: at(10), value });
    readings.push((39, Some(0.81)));
    assert_eq!(judged(&halting(), &readings), Judgement::Waiting { halts: true, since: at(10), value });
    readings.push((40, Some(0.81)));
    assert_eq!(judged(&halting(), &readings), Judgement::Breached { halts: true, since: at(10), value });
    readings.push((41, Some(0.2)));
    assert_eq!(judged(&halting(), &readings), Judgement::Fine { value: number(0.2) });
    readings.push((42, Some(0.9)));
    let value = number(0.9);
    assert_eq!(judged(&halting(), &readings), Judgement::Waiting { halts: true, since: at(42), value });
}

#[test]
fn without_a_hold_one_reading_is_enough() {
    let judgement = judged(&guard(None, Some(0.8), 0, WhenBlind::Pause), &[(7, Some(0.9))]);
    assert_eq!(judgement, Judgement::Breached { halts: true, since: at(7), value: number(0.9) });
}

#[test]
fn it_pauses_before_it_halts_and_each_has_its_own_time() {
    let both = guard(Some(0.5), Some(0.8), 10, WhenBlind::Pause);
    let mut readings = vec![(0, Some(0.6)), (10, Some(0.9))];
    let breached =
        |halts, since, value| Judgement::Breached { halts, since: at(since), value: number(value) };
    assert_eq!(judged(&both, &readings), breached(false, 0, 0.9));
    readings.push((20, Some(0.85)));
    assert_eq!(judged(&both, &readings), breached(true, 10, 0.85));
    readings.push((21, Some(0.7)));
    assert_eq!(judged(&both, &readings), breached(false, 0, 0.7), "it is not that bad any more");
}

#[test]
fn no_number_is_blind_at_once_and_mends_nothing() {
    let blind = Judgement::Blind { halts: false, since: at(15) };
    let mut readings = vec![(10, Some(0.9)), (15, None), (20, Some(f64::NAN)), (25, Some(f64::INFINITY))];
    assert_eq!(judged(&halting(), &readings), blind);
    readings.push((40, Some(0.9)));
    let breached = Judgement::Breached { halts: true, since: at(10), value: number(0.9) };
    assert_eq!(judged(&halting(), &readings), breached);
    readings.push((45, None));
    assert_eq!(judged(&halting(), &readings), breached, "what was seen to last is not unseen");
    let strict = guard(None, Some(0.8), 30, WhenBlind::Halt);
    let judgement = judged(&strict, &[(0, Some(0.1)), (5, None)]);
    assert_eq!(judgement, Judgement::Blind { halts: true, since: at(5) });
}

#[test]
fn what_ends_it_goes_before_what_lets_it_wait() {
    let strict = guard(Some(0.5), None, 0, WhenBlind::Halt);
    let judgement = judged(&strict, &[(0, Some(0.6)), (5, None)]);
    assert_eq!(judgement, Judgement::Blind { halts: true, since: at(5) });
}

#[test]
fn an_old_number_is_none_and_neither_is_one_of_the_future() {
    let watched = after(&halting(), &[(10, Some(0.1))]);
    let judge = |second| watched.judge(&halting(), at(second), STALE_AFTER);
    assert!(judge(25).is_fine());
    assert_eq!(judge(26), Judgement::Blind { halts: false, since: at(10) });
    assert_eq!(judge(9), Judgement::Blind { halts: false, since: at(9) });
}

#[test]
fn a_clock_that_is_set_back_begins_anew() {
    let mut readings = vec![(100, Some(0.9)), (40, Some(0.9))];
    let value = number(0.9);
    assert_eq!(judged(&halting(), &readings), Judgement::Waiting { halts: true, since: at(40), value });
    readings.push((70, Some(0.9)));
    assert_eq!(judged(&halting(), &readings), Judgement::Breached { halts: true, since: at(40), value });
}

#[test]
fn what_is_frozen_and_what_was_seen_read_as_they_were_written() {
    let guard = guard(Some(0.1 + 0.2), Some(1e300), 30, WhenBlind::Halt);
    let text = serde_json::to_string(&guard).expect("JSON");
    insta::assert_snapshot!(text);
    assert_eq!(serde_json::from_str::<FrozenDownstream>(&text).expect("a guard"), guard);
    let watched = after(&guard, &[(1, Some(0.4)), (2, None)]);
    let text = serde_json::to_string(&watched).expect("JSON");
    insta::assert_snapshot!(text);
    assert_eq!(serde_json::from_str::<Watched>(&text).expect("what was seen"), watched);
    assert!(serde_json::from_str::<Number>("\"NaN\"").is_err());
    assert_eq!(String::from(number(-0.0)), "0");
}

#[test]
fn an_operator_reads_what_is_wrong() {
    let told = |readings: &[_]| {
        let guard = guard(Some(0.5), Some(0.8), 30, WhenBlind::Pause);
        judged(&guard, readings).of(&guard).to_string()
    };
    insta::assert_snapshot!(
        [
            told(&[]),
            told(&[(0, Some(0.25))]),
            told(&[(0, Some(0.75))]),
            told(&[(0, Some(0.9))]),
            told(&[(0, Some(0.75)), (30, Some(0.75))]),
            told(&[(0, Some(0.9)), (30, Some(0.95))]),
        ]
        .join("\n")
    );
}

/// Seconds that mostly go on and sometimes do not, and numbers around both bounds.
fn readings() -> impl Strategy<Value = Vec<(i64, Option<f64>)>> {
    let value = prop_oneof![
        6 => prop_oneof![Just(0.1), Just(0.5), Just(0.6), Just(0.8), Just(0.9)].prop_map(Some),
        1 => Just(None),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)].prop_map(Some),
    ];
    let step = prop_oneof![20 => 0_i64..20, 1 => -200_i64..200];
    prop::collection::vec((step, value), 0..40).prop_map(|steps| {
        let mut second = 0;
        let read = |(step, value)| {
            second += step;
            (second, value)
        };
        steps.into_iter().map(read).collect()
    })
}

fn guards() -> impl Strategy<Value = FrozenDownstream> {
    let bounds = prop_oneof![Just((None, Some(0.8))), Just((Some(0.5), None)), Just((Some(0.5), Some(0.8))),];
    let blind = prop_oneof![Just(WhenBlind::Pause), Just(WhenBlind::Halt)];
    (bounds, 0_u64..60, blind).prop_map(|((pause, halt), hold, blind)| guard(pause, halt, hold, blind))
}

/// The readings since the last one that was within this bound, without those that are no number.
fn unbroken(bound: f64, readings: &[(i64, Option<f64>)]) -> Vec<i64> {
    let numbers = readings
        .iter()
        .rev()
        .filter_map(|(second, value)| value.filter(|value| value.is_finite()).map(|value| (*second, value)));
    let mut seconds: Vec<_> =
        numbers.take_while(|(_, value)| *value > bound).map(|(second, _)| second).collect();
    seconds.reverse();
    seconds
}

proptest! {
    /// I3 unknown-is-no.
    #[test]
    fn i3_never_fine_without_a_fresh_clean_number(guard in guards(), readings in readings(), later in -30_i64..60) {
        let last = readings.last().map_or(0, |(second, _)| *second);
        let now = last + later;
        let judgement = after(&guard, &readings).judge(&guard, at(now), STALE_AFTER);
        let is_clean = readings.last().and_then(|(_, value)| *value).is_some_and(|value| {
            let bound = guard.pause.or(guard.halt).expect("one of the two").get();
            value.is_finite() && value <= bound
        });
        prop_assert_eq!(judgement.is_fine(), is_clean && (0..=15).contains(&later), "{:?}", judgement);
    }

    #[test]
    fn a_breach_stops_exactly_when_it_was_watched_for_long_enough(guard in guards(), readings in readings()) {
        let judgement = judged(&guard, &readings);
        let lasted = |bound: Option<Number>| {
            let seconds = unbroken(bound?.get(), &readings);
            let (first, last) = (seconds.iter().min()?, seconds.last()?);
            ((last - first) * 1_000 >= i64::try_from(guard.hold_ms).ok()?).then_some(at(*first))
        };
        let (halted, paused) = (lasted(guard.halt), lasted(guard.pause));
        if let Judgement::Breached { halts, since, .. } = judgement {
            prop_assert_eq!(Some(since), if halts { halted } else { paused });
        }
        let is_blind = matches!(judgement, Judgement::Blind { .. });
        prop_assert_eq!(judgement.halts() && !is_blind, halted.is_some() , "{:?}", judgement);
        prop_assert!(paused.is_none() || judgement.halts() || judgement.pauses(), "{:?}", judgement);
    }

    /// Whoever takes over judges as if they had read all of it.
    #[test]
    fn what_was_seen_survives_being_written_down(guard in guards(), readings in readings(), at_reading in 0_usize..40) {
        let (before, rest) = readings.split_at(at_reading.min(readings.len()));
        let text = serde_json::to_string(&after(&guard, before)).expect("JSON");
        let mut watched: Watched = serde_json::from_str(&text).expect("what was seen");
        for (second, value) in rest {
            watched.note(&guard, Reading { at: at(*second), value: *value });
        }
        prop_assert_eq!(watched, after(&guard, &readings));
    }
}
