//! What a stage comes to: how fast, how long, and how many people will open the app at once.
//!
//! Opens follow a send with a delay. Of those who were rung at `rate` a second for `T` seconds, and of whom a `share` opens
//! after a delay with the distribution `F`, `rate × share × (F(t) − F(t − T))` open in the second that is `t` after the
//! beginning. `F` is log-normal: most open soon, some much later. A stage that is longer than most delays peaks near its end,
//! at almost `rate × share`; a short one long after it, when most of those whom it rang take up their phones at once.

use std::time::Duration;

use crate::{
    api::wire::{Opens, PreviewStage},
    audience,
    audience::App,
    pace::shared::RESERVED_PERCENT,
};

const SPREAD: f64 = audience::Opens::SPREAD;

/// Each leaves two thirds of what is searched: after these, a day is less than a millisecond.
const THIRDS: u32 = 50;

/// How often the sum of the stages is looked at in the time of each, and twice the median delay behind it.
const LOOKS: u32 = 240;

/// Within this many standard deviations the density is taken for constant, which is right to five digits.
const CLOSE: f64 = 0.01;

/// Most notifications a second of a stage: the smaller of its own limit and what the app's providers take, less what the
/// direct lane has for itself.
pub(super) fn rate(max_rate: Option<u32>, app: Option<&App>) -> f64 {
    let apns = app.and_then(|app| app.apns.as_ref()).map_or(0, |apns| apns.max_rate.per_second());
    let fcm = app.and_then(|app| app.fcm.as_ref()).map_or(0, |fcm| fcm.max_rate.per_second());
    let providers = (f64::from(apns) + f64::from(fcm)) * f64::from(100 - RESERVED_PERCENT) / 100.0;
    max_rate.map_or(providers, |own| f64::from(own).min(providers))
}

/// How long so many devices take at this rate, in seconds; 0 if nothing can be sent at all.
pub(super) fn sending_seconds(devices: u64, rate: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate; a count of devices is far below 2^52")]
    let devices = devices as f64;
    if rate > 0.0 { devices / rate } else { 0.0 }
}

/// How an app's people are assumed to open it, and what our own systems take of that.
pub(super) fn assumed(app: Option<&App>) -> audience::Opens {
    app.map_or_else(audience::Opens::default, |app| app.opens)
}

/// The highest peak of app opens: of a stage, or of several together, whose people open the app at the same time.
pub(super) fn opens(stages: &[PreviewStage], assumed: audience::Opens) -> Opens {
    let peaks = stages.iter().map(|stage| (stage.peak_per_second, stage.stage));
    let peaks = peaks.chain([overlapping(stages, assumed)]);
    let (peak_per_second, stage) = peaks.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 1));
    let capacity = assumed.capacity.map(audience::Rate::per_second);
    let is_above = capacity.is_some_and(|capacity| peak_per_second > f64::from(capacity));
    Opens {
        peak_per_second,
        stage,
        assumed: in_words(assumed),
        capacity,
        accept_peak: is_above.then(|| rounded_up(peak_per_second)),
    }
}

/// Opens a second when they are most, of all stages together, and the stage whose people are most among them: each begins when the one before has
/// been sent and watched, and its gate is opened at once. Nobody is held to open a gate later.
fn overlapping(stages: &[PreviewStage], assumed: audience::Opens) -> (f64, u32) {
    let mut begins = 0.0;
    let windows: Vec<(f64, f64, &PreviewStage)> = stages
        .iter()
        .map(|stage| {
            let window = (begins, begins + stage.sending_seconds, stage);
            begins += stage.sending_seconds + stage.bake_seconds;
            window
        })
        .collect();
    let median = assumed.median_delay;
    let of = |(from, to, stage): &(f64, f64, &PreviewStage), time: f64| {
        if time <= *from {
            return 0.0;
        }
        stage.rate * assumed.share * between((time - to).max(0.0), time - from, median)
    };
    let looks = windows.iter().flat_map(|(from, to, _)| {
        let length = to - from + 2.0 * median.as_secs_f64();
        (1..=LOOKS).map(move |look| from + length * f64::from(look) / f64::from(LOOKS))
    });
    let all = |time: f64| -> f64 { windows.iter().map(|window| of(window, time)).sum() };
    let peak = looks.map(|time| (all(time), time)).max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((most, when)) = peak else { return (0.0, 1) };
    let chief = windows.iter().max_by(|a, b| of(a, when).total_cmp(&of(b, when)));
    (most, chief.map_or(1, |(.., stage)| stage.stage))
}

/// Whole opens a second, none of them left out.
fn rounded_up(peak: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a peak is a rate times shares: never negative, and below 2^32"
    )]
    let whole = peak.ceil() as u64;
    whole
}

/// The highest whole rate at which so many devices are opened within what our own systems take; `None` if this rate does. Fewer
/// a second never open more at once, so halving finds it; one a second always stays within, as a capacity is at least that.
pub(super) fn rate_within(devices: u64, rate: f64, assumed: audience::Opens) -> Option<u32> {
    let capacity = f64::from(assumed.capacity?.per_second());
    let is_within = |rate: f64| peak(rate, sending_seconds(devices, rate), assumed) <= capacity;
    if is_within(rate) {
        return None;
    }
    let (mut within, mut above) = (1, u32::try_from(rounded_up(rate)).unwrap_or(u32::MAX));
    while above - within > 1 {
        let half = u32::midpoint(within, above);
        if is_within(f64::from(half)) {
            within = half;
        } else {
            above = half;
        }
    }
    Some(within)
}

fn in_words(assumed: audience::Opens) -> String {
    format!(
        "{} % of those who are rung open the app, half of them within {} s",
        (assumed.share * 10_000.0).round() / 100.0,
        assumed.median_delay.as_secs()
    )
}

/// Opens a second, when they are most: at whatever time, most often after the sending.
pub(super) fn peak(rate: f64, sending_seconds: f64, assumed: audience::Opens) -> f64 {
    rate * assumed.share * most_within(sending_seconds, assumed.median_delay)
}

/// The largest part of the openers whose delays are within so many seconds of each other. The most common delay (the median by
/// e^−σ²) lies between the first and the last of them: earlier or later, more would be found by moving towards it. Between
/// these bounds the part is a concave function of the time, so that thirds find its top.
fn most_within(seconds: f64, median: Duration) -> f64 {
    if seconds <= 0.0 {
        return 0.0;
    }
    let within = |first: f64| between(first, first + seconds, median);
    let most_common = median.as_secs_f64() * (-SPREAD * SPREAD).exp();
    let (mut low, mut high) = ((most_common - seconds).max(0.0), most_common);
    for _ in 0..THIRDS {
        let third = (high - low) / 3.0;
        if within(low + third) < within(high - third) {
            low += third;
        } else {
            high -= third;
        }
    }
    within(f64::midpoint(low, high))
}

/// Which share of the openers opens between these seconds. Close to each other, the density times their distance is exacter
/// than the difference of two numbers of seven digits.
fn between(from: f64, to: f64, median: Duration) -> f64 {
    let (low, high) = (score(from, median), score(to, median));
    if high - low < CLOSE {
        density(f64::midpoint(low, high)) * (high - low)
    } else {
        normal(high) - normal(low)
    }
}

/// Where the delay lies in the standard normal distribution of its logarithm.
fn score(seconds: f64, median: Duration) -> f64 {
    (seconds.ln() - median.as_secs_f64().ln()) / SPREAD
}

/// The standard normal distribution function, to seven digits: Abramowitz and Stegun, Handbook of Mathematical Functions,
/// 26.2.17.
fn normal(x: f64) -> f64 {
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / 0.231_641_9f64.mul_add(x.abs(), 1.0);
    let series = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let upper = density(x) * series;
    if x >= 0.0 { 1.0 - upper } else { upper }
}

fn density(x: f64) -> f64 {
    (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn the_distribution_is_the_normal_one() {
        for (x, expected) in
            [(0.0, 0.5), (1.0, 0.841_344_7), (-1.0, 0.158_655_3), (1.96, 0.975_002_1), (-6.0, 0.0)]
        {
            near(normal(x), expected);
        }
    }

    #[test]
    fn a_stage_that_is_over_in_a_second_is_opened_by_those_whom_it_rang_when_they_take_up_their_phones() {
        let assumed = audience::Opens::default();
        // 1,360 people, at the top of a log-normal density: e^(σ²/2) ÷ (σ √2π × the median).
        let top = (SPREAD * SPREAD / 2.0).exp() / (SPREAD * (2.0 * std::f64::consts::PI).sqrt() * 90.0);
        let found = peak(17_000.0, 1.0, assumed);
        assert!((found - 1_360.0 * top).abs() < 0.01 && (found - 10.04).abs() < 0.01, "{found}");
        // Twice as fast and half as long is as many people.
        assert!((peak(34_000.0, 0.5, assumed) - found).abs() < 0.01);
    }

    #[test]
    fn a_long_stage_opens_all_of_its_share_and_no_time_at_all_nothing() {
        let assumed = audience::Opens::default();
        assert!((peak(2_000.0, 86_400.0, assumed) - 160.0).abs() < 0.01);
        near(peak(2_000.0, 0.0, assumed), 0.0);
    }

    #[test]
    fn no_second_has_more_opens_than_the_peak_and_one_has_as_many() {
        let (assumed, median) = (audience::Opens::default(), Duration::from_secs(90));
        for (seconds, steps) in [(0.1, 12_000), (1.0, 12_000), (7.3, 12_000), (90.0, 14_000), (600.0, 24_000)]
        {
            let found = peak(1_000.0, seconds, assumed);
            // A time each 50 ms, from the beginning until ten minutes behind the end.
            let most = (0..steps)
                .map(|step| f64::from(step) / 20.0)
                .map(|time| 80.0 * between((time - seconds).max(0.0), time, median))
                .fold(0.0, f64::max);
            assert!(most <= found + 1e-3 && found - most < 1e-2, "{seconds} s: {found}, not {most}");
        }
    }

    #[test]
    fn the_worst_stage_is_told() {
        let stage = |number, rate, sending_seconds| PreviewStage {
            stage: number,
            takes: String::new(),
            devices: 0,
            rate,
            sending_seconds,
            bake_seconds: 0.0,
            gate: "auto".to_owned(),
            peak_per_second: peak(rate, sending_seconds, audience::Opens::default()),
            rate_within: None,
        };
        let stages = [stage(1, 9_000.0, 0.1), stage(2, 2_000.0, 600.0), stage(3, 50.0, 9_000.0)];
        let told = opens(&stages, audience::Opens::default());
        assert_eq!(told.stage, 2);
        assert_eq!(told.assumed, "8 % of those who are rung open the app, half of them within 90 s");
        assert_eq!((told.capacity, told.accept_peak), (None, None), "nobody has declared what is too many");
        let most = told.peak_per_second;
        assert!(150.0 < most && most < 160.0, "{most}");
        assert_eq!(opens(&stages, taking(160)).accept_peak, None);
        let above = opens(&stages, taking(150));
        assert_eq!((above.capacity, above.accept_peak), (Some(150), Some(rounded_up(most))));
    }

    /// The defaults, of systems that take so many opens a second.
    fn taking(capacity: u32) -> audience::Opens {
        audience::Opens { capacity: audience::Rate::new(capacity), ..audience::Opens::default() }
    }

    #[test]
    fn the_rate_that_is_named_stays_within_the_capacity_and_one_more_does_not() {
        for (devices, rate) in [(4_000_000, 9_000.0), (400_000, 23_200.0), (60_000, 23_200.0), (50, 23_200.0)]
        {
            for capacity in [1, 10, 300, 700] {
                let assumed = taking(capacity);
                let opened = |rate| peak(rate, sending_seconds(devices, rate), assumed);
                let capacity = f64::from(capacity);
                match rate_within(devices, rate, assumed) {
                    None => assert!(opened(rate) <= capacity, "{devices} at {rate}"),
                    Some(within) => {
                        let within = f64::from(within);
                        assert!(opened(rate) > capacity, "{devices} at {rate}");
                        assert!(opened(within) <= capacity, "{devices} at {within} open {}", opened(within));
                        assert!(opened(within + 1.0) > capacity, "{devices} could be sent faster");
                    }
                }
            }
        }
        assert_eq!(rate_within(4_000_000, 9_000.0, audience::Opens::default()), None, "no capacity");
    }

    #[test]
    fn ten_short_stages_are_opened_like_the_one_that_they_are_together() {
        let assumed = audience::Opens::default();
        let stage = |number, devices: u64, bake_seconds| {
            let sending_seconds = sending_seconds(devices, 100.0);
            PreviewStage {
                stage: number,
                takes: String::new(),
                devices,
                rate: 100.0,
                sending_seconds,
                bake_seconds,
                gate: "time".to_owned(),
                peak_per_second: peak(100.0, sending_seconds, assumed),
                rate_within: None,
            }
        };
        let whole = opens(&[stage(1, 10_000, 0.0)], assumed);
        let tenths = |bake| (1..=10).map(|number| stage(number, 1_000, bake)).collect::<Vec<_>>();
        let parts = opens(&tenths(0.0), assumed);
        assert!((parts.peak_per_second / whole.peak_per_second - 1.0).abs() < 0.01, "{parts:?}");
        // Watched for long, each is alone.
        let apart = opens(&tenths(7_200.0), assumed);
        let alone = peak(100.0, 10.0, assumed);
        assert!((apart.peak_per_second / alone - 1.0).abs() < 0.02, "{apart:?}");
    }

    #[test]
    fn a_stage_that_cannot_be_sent_takes_no_time() {
        near(sending_seconds(10, 0.0), 0.0);
        near(sending_seconds(4_000, 2_000.0), 2.0);
    }
}
