//! The small words of the policy: durations, rates, shares, countries, hours.

use std::{fmt, num::NonZeroU32, time::Duration};

use jiff::civil::Time;

use super::read::{Section, Wrong};

/// A rate in notifications a second, over the whole fleet. Never zero: what must not go out is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU32);

impl Rate {
    /// Above any rate that was ever published for a fleet; a larger number is a typing mistake.
    const MAX: u64 = 10_000_000;

    /// `None` of zero, and of more than any fleet sends.
    #[must_use]
    pub fn new(per_second: u32) -> Option<Self> {
        NonZeroU32::new(per_second).filter(|rate| u64::from(rate.get()) <= Self::MAX).map(Self)
    }

    /// Notifications a second.
    #[must_use]
    pub const fn per_second(self) -> u32 {
        self.0.get()
    }

    pub(super) fn read(number: u64) -> Result<Self, Wrong> {
        u32::try_from(number).ok().and_then(Self::new).ok_or_else(|| {
            let fix = format!("write notifications a second, 1 to {}", Self::MAX);
            Wrong::new(format!("is {number}, which is no rate"), fix)
        })
    }
}

/// A share of an audience in hundredths of a percent: as fine as the registry's 10,000 buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    /// Everyone.
    pub const ALL: Self = Self(10_000);

    /// Hundredths of a percent, which are buckets: 1 to 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    pub(super) fn read(number: f64) -> Result<Self, Wrong> {
        let hundredths = (number * 100.0).round();
        if !(1.0..=10_000.0).contains(&hundredths) || (number * 100.0 - hundredths).abs() > 1e-6 {
            let problem = format!("is {number}, which is no share of an audience");
            return Err(Wrong::new(problem, "write 0.01 to 100, in steps of 0.01"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 to 10,000, as checked above"
        )]
        Ok(Self(hundredths as u16))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 100.0)
    }
}

/// A country by its two letters (ISO 3166-1 alpha-2), as devices are registered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Two upper-case letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("two ASCII letters, as read")
    }

    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        match *text.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err(Wrong::new(
                format!("{text:?} is no country code"),
                "write two upper-case letters (ISO 3166-1), such as \"PL\"",
            )),
        }
    }
}

/// The name of a time zone (IANA), such as `Europe/Warsaw`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timezone(String);

impl Timezone {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Asks the machine's time zone database. Without one (a bare container) only the form can be checked.
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let form = !text.is_empty()
            && text.len() <= 64
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
        let database = jiff::tz::db();
        if form && (database.is_definitively_empty() || database.get(text).is_ok()) {
            return Ok(Self(text.to_owned()));
        }
        let problem = format!("{text:?} is no time zone");
        Err(Wrong::new(problem, "write an IANA name, such as \"Europe/Warsaw\""))
    }
}

/// Hours in which a phone is not rung: from `from` to `to`, over midnight if `from` is the later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuietHours {
    /// The first quiet minute.
    pub from: Time,
    /// The first minute that is not quiet any more.
    pub to: Time,
}

impl QuietHours {
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        const HOUR: &str = "write an hour, such as \"22:00\"";
        let from = section.need("from", HOUR).and_then(|item| item.parse(hour));
        let to = section.need("to", HOUR).and_then(|item| item.parse(hour));
        if from.is_some() && from == to {
            section.wrong("begin and end at the same hour", "leave quiet_hours out, or choose two hours");
        }
        section.close();
        Some(Self { from: from?, to: to? })
    }
}

fn hour(text: &str) -> Result<Time, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is no hour"), "write hours and minutes, such as \"22:00\"");
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return Err(wrong());
    }
    let number = |digits: &str| digits.parse().map_err(|_| wrong());
    Time::new(number(hours)?, number(minutes)?, 0, 0).map_err(|_| wrong())
}

/// `30s`, `5m`, `2h`, `90d`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    match duration_or_none(text)? {
        Duration::ZERO => Err(Wrong::new(format!("{text:?} is no duration"), "write more than zero")),
        duration => Ok(duration),
    }
}

/// The same, and `0s`.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, Wrong> {
    const FORM: &str = "write a number and s, m, h or d, such as \"5m\"";
    let wrong = |fix| Wrong::new(format!("{text:?} is no duration"), fix);
    let unit = text.chars().last().ok_or_else(|| wrong(FORM))?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong(FORM)),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong(FORM));
    }
    let number: u32 = digits.parse().map_err(|_| wrong("write a smaller number"))?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// A limit: zero would be none at all, and must be said in another way.
pub(super) fn above_zero(number: u64) -> Result<u64, Wrong> {
    if number == 0 { Err(Wrong::new("is 0", "write at least 1")) } else { Ok(number) }
}

/// A word from a closed list.
pub(super) fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, Wrong> {
    known.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = known.iter().map(|(word, _)| format!("{word:?}")).collect();
        Wrong::new(format!("{text:?} is not known here"), format!("write {}", words.join(" or ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_one_unit_and_are_not_zero() {
        assert_eq!(duration("90d").expect("90 days"), Duration::from_hours(90 * 24));
        assert_eq!(duration("5m").expect("5 minutes"), Duration::from_mins(5));
        for bad in ["", "5", "m", "5 m", "-5m", "5m30s", "0s", "5ż", "99999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(duration_or_none("0s").expect("none"), Duration::ZERO);
        assert!(duration_or_none("0").is_err());
    }

    #[test]
    fn shares_are_as_fine_as_a_bucket() {
        assert_eq!(Percent::read(0.01).expect("a bucket").hundredths(), 1);
        assert_eq!(Percent::read(100.0).expect("everyone"), Percent::ALL);
        for bad in [0.0, 0.001, 0.015, 100.01, -1.0, f64::NAN] {
            assert!(Percent::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hours_are_hours() {
        assert_eq!(hour("22:00").expect("an hour").hour(), 22);
        for bad in ["24:00", "7:00", "22", "22:60", "+1:00", "ab:cd"] {
            assert!(hour(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_zone_is_known_or_at_least_has_the_form() {
        assert!(Timezone::read("Europe/Warsaw").is_ok());
        assert!(Timezone::read("../../etc/passwd").is_err());
        assert!(Timezone::read("").is_err());
    }
}
