//! Quiet hours: when phones are left alone.

use jiff::{Timestamp, ToSpan, civil::Time, tz::TimeZone};

/// Until when it is quiet at `now` in `zone`, from and to being hours as `HH:MM`; `None` if it is not. Over midnight if
/// `from` is the later. Hours that make no sense are never over: unknown is no.
#[must_use]
pub fn quiet_until(hours: &(String, String), zone: &TimeZone, now: Timestamp) -> Option<Timestamp> {
    let hour = |text: &str| Time::strptime("%H:%M", text).ok();
    let (Some(from), Some(to)) = (hour(&hours.0), hour(&hours.1)) else { return Some(Timestamp::MAX) };
    let local = zone.to_datetime(now);
    let (date, time) = (local.date(), local.time());
    let is_quiet = if from <= to { from <= time && time < to } else { from <= time || time < to };
    if !is_quiet {
        return None;
    }
    // After midnight, or in hours that do not pass it, the end is still today.
    let end = if time < to { date } else { date.saturating_add(1.day()) };
    Some(zone.to_timestamp(end.to_datetime(to)).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
