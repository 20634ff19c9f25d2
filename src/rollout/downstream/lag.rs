//! How long a guard takes to see a harm: while it does, phones go on ringing.
//!
//! A harm is in a number once that is scraped, and moves a rate only when it fills most of the rate's window; the guard sees it at
//! its next look, and counts it when it has lasted. The window is read off the query, as what stands in its square brackets.
//! A document is answered at once: of it there is neither scrape nor window.

use std::time::Duration;

use super::FrozenDownstream;
use crate::audience::Probe;

/// How often the numbers of our own systems are made, and looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// How long between two scrapes of Prometheus.
    pub scrape: Duration,
    /// How long between two looks at a number.
    pub every: Duration,
}

/// Of what a guard's lag is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Until it is scraped.
    pub scrape: Duration,
    /// Until it fills the query's window.
    pub window: Duration,
    /// Until it is looked at.
    pub look: Duration,
    /// Until looks have seen it for as long as the guard asks.
    pub hold: Duration,
}

impl Lag {
    /// The whole of it.
    #[must_use]
    pub fn whole(&self) -> Duration {
        let Self { scrape, window, look, hold } = self;
        [scrape, window, look, hold].into_iter().fold(Duration::ZERO, |sum, part| sum.saturating_add(*part))
    }
}

impl FrozenDownstream {
    /// How long it takes at the most to see a harm that begins now, if the numbers are there.
    #[must_use]
    pub fn lag(&self, looks: Looks) -> Lag {
        let (scrape, window) = match &self.probe {
            Probe::Prometheus(query) => (looks.scrape, window(query)),
            Probe::Http { .. } => (Duration::ZERO, Duration::ZERO),
        };
        // What must last longer than a look is seen to have at the look after that.
        let hold = u128::from(self.hold_ms).div_ceil(looks.every.as_millis().max(1));
        let hold = looks.every.saturating_mul(u32::try_from(hold).unwrap_or(u32::MAX));
        Lag { scrape, window, look: looks.every, hold }
    }
}

/// The largest range of a query, `[5m]` or `[1h30m:10s]`; zero if it has none. What is quoted is no range, as in `{path=~"[0-9]+"}`.
fn window(query: &str) -> Duration {
    let (mut quote, mut range, mut largest) = (None, None::<String>, Duration::ZERO);
    let mut letters = query.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            // A raw string knows no escape.
            (Some('"' | '\''), '\\') => drop(letters.next()),
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(letter),
            (None, '[') => range = Some(String::new()),
            // What follows the colon is a subquery's resolution.
            (None, ']' | ':') => {
                largest = largest.max(range.take().map_or(Duration::ZERO, |text| duration(&text)));
            }
            (None, letter) => range.iter_mut().for_each(|text| text.push(letter)),
        }
    }
    largest
}

/// A duration of `PromQL`: `1h30m`, or a number of seconds. What is none is none.
fn duration(text: &str) -> Duration {
    const MILLISECONDS: [(&str, u64); 7] = [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("y", 31_536_000_000),
    ];
    let (mut sum, mut rest) = (0_u64, text.trim());
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters =
            after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let known = MILLISECONDS.iter().find(|(name, _)| *name == if unit.is_empty() { "s" } else { unit });
        let (Ok(number), Some((_, milliseconds))) = (number.parse::<u64>(), known) else {
            return Duration::ZERO;
        };
        sum = sum.saturating_add(number.saturating_mul(*milliseconds));
        rest = after;
    }
    Duration::from_millis(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audience::{Beyond, WhenBlind};

    #[test]
    fn the_largest_range_of_a_query_is_its_window() {
        for (query, seconds) in [
            ("login_p99_ms", 0),
            ("histogram_quantile(0.99, sum by (le) (rate(login_seconds_bucket[1m])))", 60),
            ("rate(a[30s]) / rate(b[5m])", 300),
            ("max_over_time(rate(a[1m])[1h30m:10s])", 5_400),
            ("rate(a{path=~\"/v[0-9]+[5d]\"}[ 90s ])", 90),
            ("rate(a{path=~'it\\'s [1d]'}[15s])", 15),
            ("rate(a{path=`\\`}[15s])", 15),
            ("rate(a[300])", 300),
            ("rate(a[soon])", 0),
            ("rate(a[5m", 0),
        ] {
            assert_eq!(window(query), Duration::from_secs(seconds), "{query}");
        }
        assert_eq!(duration("1s500ms"), Duration::from_millis(1_500));
        assert_eq!(duration("99999999999999999999y"), Duration::ZERO);
    }

    #[test]
    fn a_lag_is_scrape_window_look_and_whole_looks_of_its_hold() {
        let looks = Looks { scrape: Duration::from_secs(15), every: Duration::from_secs(5) };
        let lag = |probe, hold_ms| {
            let guard = FrozenDownstream {
                name: "login-p99".to_owned(),
                probe,
                beyond: Beyond::Above,
                pause: None,
                halt: None,
                hold_ms,
                no_data: WhenBlind::Pause,
            };
            guard.lag(looks).whole().as_secs()
        };
        let query = || Probe::Prometheus("rate(a[1m])".to_owned());
        assert_eq!(lag(query(), 30_000), 15 + 60 + 5 + 30);
        assert_eq!(lag(query(), 31_000), 15 + 60 + 5 + 35, "seen at the look after");
        let document = Probe::Http { url: "http://a/[1m]".to_owned(), pointer: "/x".to_owned() };
        assert_eq!(lag(document, 0), 5);
    }
}
