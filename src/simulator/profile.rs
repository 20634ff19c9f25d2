//! How unwell the simulated providers are by themselves, without any scripted fault.

use std::time::Duration;

use super::dice::Dice;

/// The median and the 99th percentile of a provider's answers, lognormal between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of the answers come sooner.
    pub median: Duration,
    /// One answer in a hundred comes later.
    pub p99: Duration,
}

impl Latency {
    /// A median with the tail of the usual profile: p99 is 40/7 of it (70 ms and 400 ms).
    pub fn around(median: Duration) -> Self {
        Self { median, p99: median * 40 / 7 }
    }

    fn draw(self, dice: &mut Dice) -> Duration {
        // The 99th percentile of the standard normal distribution.
        const Z99: f64 = 2.326_347_9;
        if self.median.is_zero() {
            return Duration::ZERO;
        }
        let sigma = (self.p99.as_secs_f64() / self.median.as_secs_f64()).ln() / Z99;
        self.median.mul_f64((sigma * dice.normal()).exp())
    }
}

/// What happens to requests that are correct, as shares of 1.
///
/// Whether a token is dead or bad depends on the token and the seed alone, so that it is dead again
/// when it is tried again. Everything else is drawn for each request.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// How long an answer takes; `None` answers at once.
    pub latency: Option<Latency>,
    /// Tokens whose app was removed: APNs 410, FCM 404.
    pub dead: f64,
    /// Tokens that the provider does not know: 400.
    pub bad: f64,
    /// Requests answered with 429 for the device.
    pub throttled: f64,
    /// Requests answered with 500 or 503.
    pub unavailable: f64,
    /// Requests whose stream is reset after they were read.
    pub reset: f64,
    /// A GOAWAY once a connection has carried this many streams.
    pub goaway_every: Option<u32>,
}

impl Profile {
    /// Answers at once and without faults: for tests and for measuring.
    pub fn quiet() -> Self {
        Self {
            latency: None,
            dead: 0.0,
            bad: 0.0,
            throttled: 0.0,
            unavailable: 0.0,
            reset: 0.0,
            goaway_every: None,
        }
    }

    /// An ordinary day: 94 % accepted, 70 ms at the median and 400 ms at the 99th percentile.
    ///
    /// This is judgement; no public data set was found.
    pub fn ordinary() -> Self {
        Self {
            latency: Some(Latency::around(Duration::from_millis(70))),
            dead: 0.04,
            bad: 0.01,
            throttled: 0.005,
            unavailable: 0.003,
            reset: 0.002,
            goaway_every: Some(50_000),
        }
    }

    /// The same latency without any fault.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self { latency: self.latency, ..Self::quiet() }
    }

    /// The same faults with another latency.
    #[must_use]
    pub fn with_latency(self, latency: Option<Latency>) -> Self {
        Self { latency, ..self }
    }

    /// What is wrong with a token for good.
    pub(super) fn fate(&self, seed: u64, token: &str) -> Fate {
        if self.dead + self.bad <= 0.0 {
            return Fate::Alive;
        }
        let share = Dice::for_text(seed, token).share();
        if share < self.dead {
            Fate::Dead
        } else if share < self.dead + self.bad {
            Fate::Bad
        } else {
            Fate::Alive
        }
    }

    /// What goes wrong with one request.
    pub(super) fn incident(&self, dice: &mut Dice) -> Incident {
        let share = dice.share();
        // Half of what fails on the way back had arrived: a sender cannot know.
        let taken = dice.share() < 0.5;
        if share < self.throttled {
            Incident::Throttled
        } else if share < self.throttled + self.unavailable / 2.0 {
            Incident::InternalError { taken }
        } else if share < self.throttled + self.unavailable {
            Incident::Unavailable { taken }
        } else if share < self.throttled + self.unavailable + self.reset {
            Incident::Reset { taken }
        } else {
            Incident::Nothing
        }
    }

    /// How long this answer takes.
    pub(super) fn delay(&self, dice: &mut Dice) -> Duration {
        self.latency.map_or(Duration::ZERO, |latency| latency.draw(dice))
    }
}

/// The lasting state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Alive,
    Dead,
    Bad,
}

/// What befalls one correct request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    Nothing,
    Throttled,
    InternalError { taken: bool },
    Unavailable { taken: bool },
    Reset { taken: bool },
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Dice, Fate, Incident, Latency, Profile};

    #[test]
    fn latency_has_the_median_and_the_tail_it_was_asked_for() {
        let latency = Latency::around(Duration::from_millis(70));
        let mut dice = Dice::new(3, &[]);
        let mut drawn: Vec<_> = (0..20_000).map(|_| latency.draw(&mut dice)).collect();
        drawn.sort();
        let (median, p99) = (drawn[10_000].as_millis(), drawn[19_800].as_millis());
        assert!((66..=74).contains(&median), "median {median} ms");
        assert!((360..=440).contains(&p99), "p99 {p99} ms");
    }

    #[test]
    fn an_ordinary_day_accepts_94_of_100() {
        let profile = Profile::ordinary();
        let mut dice = Dice::new(5, &[]);
        let fates: Vec<_> = (0..50_000).map(|n| profile.fate(9, &format!("token {n}"))).collect();
        let count = |fate| fates.iter().filter(|drawn| **drawn == fate).count();
        assert!((1_900..=2_100).contains(&count(Fate::Dead)), "{} dead", count(Fate::Dead));
        assert!((430..=570).contains(&count(Fate::Bad)), "{} bad", count(Fate::Bad));
        let calm = (0..50_000).filter(|_| profile.incident(&mut dice) == Incident::Nothing);
        let calm = calm.count();
        assert!((49_400..=49_600).contains(&calm), "{calm} of 50,000 without an incident");
    }

    #[test]
    fn a_token_keeps_its_fate() {
        let profile = Profile { dead: 0.5, bad: 0.5, ..Profile::quiet() };
        for n in 0..100 {
            let token = format!("token {n}");
            assert_eq!(profile.fate(1, &token), profile.fate(1, &token));
            assert_ne!(profile.fate(1, &token), Fate::Alive);
        }
    }
}
