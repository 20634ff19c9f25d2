//! `bellwether afternoon`: what a campaign does to a bank's login, as fast as it can be sent, capped, and led by feedback.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use super::{Exit, Output, output};
use crate::simulator::bank::{
    Campaign, Terms,
    afternoon::{Run, play},
    plot,
};

/// What `afternoon` understands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many phones the campaign rings
    #[arg(long, default_value_t = PHONES, value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    phones: u64,
    /// The chance that is played with: the same seed is the same afternoon
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Draw the three runs into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// The afternoon that is drawn in the README.
const PHONES: u64 = 1_000_000;
const SEED: u64 = 1;

/// The result for programs.
#[derive(Debug, Serialize)]
struct Report {
    phones: u64,
    seed: u64,
    /// Logins a second that the backend can do.
    capacity_per_second: u32,
    runs: Vec<Figures>,
}

#[derive(Debug, Serialize)]
struct Figures {
    way: &'static str,
    /// Notifications a second, at most.
    fastest_per_second: u32,
    /// Until every phone was rung; null if it took more than a day.
    rung_after_seconds: Option<f64>,
    /// Demand ÷ capacity, over 15 s.
    peak_utilisation: f64,
    minutes_above_slo: usize,
    /// Attempts; a person makes up to five.
    logins_failed: u64,
    /// People who were not let in at all.
    people_gave_up: u64,
}

impl From<&Run> for Figures {
    fn from(run: &Run) -> Self {
        Self {
            way: run.way.as_str(),
            fastest_per_second: run.fastest,
            rung_after_seconds: run.rung_after.map(|after| after.as_secs_f64()),
            peak_utilisation: (run.peak_utilisation * 1_000.0).round() / 1_000.0,
            minutes_above_slo: run.minutes_above_slo(),
            logins_failed: run.seen.failed,
            people_gave_up: run.seen.gave_up,
        }
    }
}

/// Plays the afternoon three times, prints the figures, and draws them.
pub(super) fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let (terms, campaign) = (Terms::default(), Campaign::to(args.phones));
    let runs = play(terms, campaign, args.seed);
    if let Some(file) = &args.plot {
        let picture = plot::svg(&terms, &campaign, &runs);
        std::fs::write(file, picture).with_context(|| format!("cannot write {}", file.display()))?;
    }
    match output {
        Output::Table => output::line(&table(&runs))?,
        Output::Json | Output::Yaml => output.print(&Report {
            phones: args.phones,
            seed: args.seed,
            capacity_per_second: terms.capacity,
            runs: runs.iter().map(Figures::from).collect(),
        })?,
    }
    Ok(Exit::Ok)
}

/// The figures for people.
fn table(runs: &[Run]) -> String {
    let row = |run: &Run| {
        vec![
            run.way.as_str().to_owned(),
            format!("{}/s", run.fastest),
            run.rung_after.map_or("more than a day".to_owned(), in_minutes),
            format!("{:.0} %", run.peak_utilisation * 100.0),
            format!("{} min", run.minutes_above_slo()),
            run.seen.failed.to_string(),
            run.seen.gave_up.to_string(),
        ]
    };
    let rows: Vec<_> = runs.iter().map(row).collect();
    output::table(
        &["sent", "at most", "all rung", "peak load", "above SLO", "logins failed", "gave up"],
        &rows,
    )
}

/// Rounded to seconds.
fn in_minutes(span: Duration) -> String {
    let seconds = (span + Duration::from_millis(500)).as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_says_what_the_default_afternoon_comes_to() {
        let told = table(&play(Terms::default(), Campaign::to(PHONES), SEED));
        let readme = include_str!("../../README.md");
        assert!(readme.contains(&told), "the README should say:\n{told}");
    }

    #[test]
    fn a_span_is_told_in_minutes() {
        assert_eq!(in_minutes(Duration::from_millis(250_499)), "4 min 10 s");
        assert_eq!(in_minutes(Duration::from_millis(59_500)), "1 min 00 s");
    }
}
