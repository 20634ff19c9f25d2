//! How far an import is: a bar where a terminal is, else a line every few seconds.

use std::{
    io::{self, IsTerminal, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{cli::output, clock::Clock, ledger::ImportCounts};

/// How often a bar moves: as often as an eye follows.
const BAR: Duration = Duration::from_millis(100);

/// How often a line is written where there is no terminal: a log of an hour's import stays readable.
const LINES: Duration = Duration::from_secs(5);

/// How much of the file has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadSoFar(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    lines: AtomicU64,
}

impl ReadSoFar {
    pub(super) fn count<R>(&self, input: R) -> Counted<R> {
        Counted { input, read: self.clone() }
    }

    /// One line more was understood or refused.
    pub(super) fn line(&self) {
        self.0.lines.fetch_add(1, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }
}

/// Counts what is read from it.
#[derive(Debug)]
pub(super) struct Counted<R> {
    input: R,
    read: ReadSoFar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read.0.bytes.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Devices a second, whole ones.
pub(super) fn rate(devices: u64, took: Duration) -> u64 {
    let nanos = took.as_nanos().max(1);
    u64::try_from(u128::from(devices) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

pub(super) struct Progress {
    clock: Clock,
    begun: Instant,
    /// The file's size, if it is known.
    bytes: Option<u64>,
    /// If a terminal is there.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn begin(bytes: Option<u64>, clock: Clock) -> Self {
        let bar = io::stderr().is_terminal().then(|| match bytes {
            Some(bytes) => ProgressBar::new(bytes).with_style(style("{wide_bar} {percent}% {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {msg}")),
        });
        Self { begun: clock.monotonic(), clock, bytes, bar }
    }

    /// How long to wait before the next [`Progress::show`].
    pub(super) fn every(&self) -> Duration {
        if self.bar.is_some() { BAR } else { LINES }
    }

    pub(super) fn took(&self) -> Duration {
        self.clock.monotonic().saturating_duration_since(self.begun)
    }

    pub(super) fn show(&self, counts: ImportCounts, read: &ReadSoFar) {
        let total = self.bytes.and_then(|bytes| lines_of(bytes, read.bytes(), read.lines()));
        let told = told(counts.all(), self.took(), total);
        match &self.bar {
            Some(bar) => {
                bar.set_position(read.bytes());
                bar.set_message(told);
            }
            None => output::remark(&told),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What says something beside the bar without tearing it.
    pub(super) fn remarks(&self) -> Remarks {
        Remarks(self.bar.clone())
    }
}

pub(super) struct Remarks(Option<ProgressBar>);

impl Remarks {
    pub(super) fn say(&self, line: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| output::remark(line)),
            None => output::remark(line),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// How many lines a file of `bytes` has, if the rest is like what was read.
fn lines_of(bytes: u64, read: u64, lines: u64) -> Option<u64> {
    u64::try_from(u128::from(lines) * u128::from(bytes.max(read)) / u128::from(read.max(1))).ok()
}

fn told(devices: u64, took: Duration, total: Option<u64>) -> String {
    let rate = rate(devices, took);
    let so_far = format!("{devices} devices in, {rate} a second");
    match total {
        // Before the first batch is in nothing is known of the pace.
        Some(total) if rate > 0 => {
            format!("{so_far}, about {} s left", total.saturating_sub(devices).div_ceil(rate))
        }
        _ => so_far,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_pace_and_rest() {
        let five = Duration::from_secs(5);
        assert_eq!(told(0, five, Some(100)), "0 devices in, 0 a second");
        assert_eq!(told(500, five, Some(1_950)), "500 devices in, 100 a second, about 15 s left");
        assert_eq!(told(500, five, Some(200)), "500 devices in, 100 a second, about 0 s left");
        assert_eq!(told(500, five, None), "500 devices in, 100 a second");
        assert_eq!(rate(1, Duration::ZERO), 1_000_000_000);
        assert_eq!((lines_of(1_000, 250, 10), lines_of(1_000, 0, 0)), (Some(40), Some(0)));
    }

    #[test]
    fn what_is_read_is_counted() {
        let read = ReadSoFar::default();
        let mut text = String::new();
        read.count(&b"0123456789"[..]).read_to_string(&mut text).expect("memory does not fail");
        read.line();
        assert_eq!((text.as_str(), read.bytes(), read.lines()), ("0123456789", 10, 1));
    }
}
