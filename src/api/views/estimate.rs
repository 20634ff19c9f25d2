//! What a stage comes to: how fast, how long, and how many people will open the app at once.
//!
//! Opens follow a send with a delay, so they peak when the sending ends: by then everybody was rung who will be, and nobody
//! has become a straggler. Of those who were rung at `rate` a second for `T` seconds, and of whom a `share` opens after a
//! delay with the distribution `F`, `rate × share × F(T)` open in the last of these seconds. `F` is log-normal: most open
//! soon, some much later. A short stage never reaches `rate × share`; a long one does.

use std::time::Duration;

use crate::{
    api::wire::{Opens, PreviewStage},
    audience,
    audience::App,
    pace::shared::RESERVED_PERCENT,
};

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

/// The highest peak of app opens among these stages.
pub(super) fn opens(stages: &[PreviewStage], app: Option<&App>) -> Opens {
    let assumed = app.map_or_else(audience::Opens::default, |app| app.opens);
    let peaks = stages.iter().map(|stage| (peak(stage.rate, stage.sending_seconds, assumed), stage.stage));
    let (peak_per_second, stage) = peaks.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 1));
    Opens { peak_per_second, stage, assumed: in_words(assumed) }
}

fn in_words(assumed: audience::Opens) -> String {
    format!(
        "{} % of those who are rung open the app, half of them within {} s",
        (assumed.share * 10_000.0).round() / 100.0,
        assumed.median_delay.as_secs()
    )
}

/// Opens a second at the end of the sending.
fn peak(rate: f64, sending_seconds: f64, assumed: audience::Opens) -> f64 {
    rate * assumed.share * opened_by(sending_seconds, assumed.median_delay)
}

/// Which share of the openers has opened after so many seconds.
fn opened_by(seconds: f64, median: Duration) -> f64 {
    if seconds <= 0.0 {
        return 0.0;
    }
    normal((seconds.ln() - median.as_secs_f64().ln()) / audience::Opens::SPREAD)
}

/// The standard normal distribution function, to seven digits: Abramowitz and Stegun, Handbook of Mathematical Functions,
/// 26.2.17.
fn normal(x: f64) -> f64 {
    const B: [f64; 5] = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let t = 1.0 / 0.231_641_9f64.mul_add(x.abs(), 1.0);
    let series = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let upper = density * series;
    if x >= 0.0 { 1.0 - upper } else { upper }
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
    fn a_stage_of_a_median_opens_half_of_its_share_and_a_long_one_all_of_it() {
        let assumed = audience::Opens::default();
        near(peak(2_000.0, 90.0, assumed), 80.0);
        assert!((peak(2_000.0, 86_400.0, assumed) - 160.0).abs() < 0.01);
        near(peak(2_000.0, 0.0, assumed), 0.0);
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
        };
        let opens = opens(&[stage(1, 9_000.0, 0.1), stage(2, 2_000.0, 600.0), stage(3, 50.0, 9_000.0)], None);
        assert_eq!(opens.stage, 2);
        assert_eq!(opens.assumed, "8 % of those who are rung open the app, half of them within 90 s");
    }

    #[test]
    fn a_stage_that_cannot_be_sent_takes_no_time() {
        near(sending_seconds(10, 0.0), 0.0);
        near(sending_seconds(4_000, 2_000.0), 2.0);
    }
}
