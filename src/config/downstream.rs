//! `[downstream]`: where the numbers of our own systems are read. Which numbers, and what they must not be, is policy.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, de::Error};

use crate::pace::feedback;
use crate::rollout::downstream::Looks;

/// How the numbers of our own systems are read.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// The Prometheus that is asked, if there is one.
    pub prometheus: Option<String>,
    /// A file with the token that it wants, read anew for each question.
    pub bearer_file: Option<PathBuf>,
    /// A PEM file with the CA to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long between two looks at a number.
    pub every: Duration,
    /// How long between two scrapes of that Prometheus. Nothing is done by it: a preview says how late a guard is.
    pub scrape: Duration,
    /// How long between two steps of a rate that follows a signal.
    pub pace_every: Duration,
}

impl Downstream {
    /// How often the numbers are made, and looked at.
    #[must_use]
    pub const fn looks(&self) -> Looks {
        Looks { scrape: self.scrape, every: self.every }
    }
}

/// Prometheus answers in milliseconds. What takes longer is a system in trouble, which is what is being asked about.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// The shortest time between scrapes that is in use; more looks would see the same number again.
const DEFAULT_EVERY: Duration = Duration::from_secs(5);

/// What Prometheus's own example configuration has.
const DEFAULT_SCRAPE: Duration = Duration::from_secs(15);

/// Longer, and a rollout would go on for as long on a number that is not there.
const LONGEST: u64 = 60;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DownstreamTable {
    prometheus: Option<String>,
    bearer_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "timeout")]
    timeout_seconds: Option<Duration>,
    #[serde(deserialize_with = "every")]
    every_seconds: Option<Duration>,
    #[serde(deserialize_with = "scrape")]
    scrape_seconds: Option<Duration>,
    #[serde(deserialize_with = "pace_every")]
    pace_every_seconds: Option<Duration>,
}

impl DownstreamTable {
    /// Relative paths count from the configuration's folder.
    pub(super) fn resolve(self, folder: &Path) -> Downstream {
        Downstream {
            prometheus: self.prometheus,
            bearer_file: self.bearer_file.map(|path| folder.join(path)),
            ca_file: self.ca_file.map(|path| folder.join(path)),
            timeout: self.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT),
            every: self.every_seconds.unwrap_or(DEFAULT_EVERY),
            scrape: self.scrape_seconds.unwrap_or(DEFAULT_SCRAPE),
            pace_every: self.pace_every_seconds.unwrap_or(feedback::INTERVAL),
        }
    }
}

fn timeout<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer, "timeout_seconds", LONGEST)
}

fn every<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer, "every_seconds", LONGEST)
}

fn pace_every<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    seconds(deserializer, "pace_every_seconds", LONGEST)
}

fn scrape<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    // Prometheus itself takes a series for gone that was not scraped for five minutes.
    seconds(deserializer, "scrape_seconds", 300)
}

fn seconds<'d, D: Deserializer<'d>>(
    deserializer: D,
    key: &str,
    longest: u64,
) -> Result<Option<Duration>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let seconds = u64::try_from(number).ok().filter(|seconds| (1..=longest).contains(seconds));
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(|| {
        D::Error::custom(format!("downstream.{key} is {number}; write 1 to {longest} seconds"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_count_from_the_configuration_and_times_have_bounds_that_are_told() {
        let read = |text: &str| toml::from_str::<DownstreamTable>(text);
        let table =
            read("bearer_file = \"token\"\nca_file = \"/ca.pem\"\nevery_seconds = 1").expect("a table");
        let config = table.resolve(Path::new("/etc/bellwether"));
        assert_eq!(config.bearer_file.as_deref(), Some(Path::new("/etc/bellwether/token")));
        assert_eq!(config.ca_file.as_deref(), Some(Path::new("/ca.pem")));
        assert_eq!((config.timeout, config.every), (DEFAULT_TIMEOUT, Duration::from_secs(1)));
        assert_eq!(config.pace_every, feedback::INTERVAL);
        assert_eq!(config.looks().scrape, DEFAULT_SCRAPE);
        for (wrong, told) in [
            ("timeout_seconds = 0", "downstream.timeout_seconds is 0; write 1 to 60 seconds"),
            ("every_seconds = 61", "downstream.every_seconds is 61; write 1 to 60 seconds"),
            ("scrape_seconds = 301", "downstream.scrape_seconds is 301; write 1 to 300 seconds"),
            ("pace_every_seconds = 61", "downstream.pace_every_seconds is 61; write 1 to 60 seconds"),
            ("prometheus_url = \"x\"", "unknown field `prometheus_url`"),
        ] {
            let error = read(wrong).err().expect(wrong).to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
