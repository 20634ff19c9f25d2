//! Quiet hours: when phones are left alone. A stage is opened by the app's clock ([`quiet_until`]); a phone is rung by its
//! own ([`Nights`]).

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Time, tz::TimeZone};

use super::FrozenPlan;

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
    let end = zone.to_ambiguous_timestamp(end.to_datetime(to));
    // Where the clocks go back, an hour comes twice: the first time may be over.
    let first = end.compatible().ok().filter(|end| *end > now);
    Some(first.or_else(|| end.later().ok()).unwrap_or(Timestamp::MAX))
}

/// Most names of time zones that are remembered. There are about 600; more are mistakes of whoever registers devices.
const MOST_ZONES: usize = 1_000;

/// For whom it is quiet, by the time zone of each: a stretch of the clock is looked at once, however many live by it.
#[derive(Debug)]
pub struct Nights {
    hours: (String, String),
    app: TimeZone,
    look_up: fn(&str) -> Option<TimeZone>,
    of_app: Option<Stretch>,
    known: HashMap<Box<str>, Stretch>,
}

/// A stretch of time in which a zone's answer is the same.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Timestamp,
    to: Timestamp,
    quiet_until: Option<Timestamp>,
}

impl Nights {
    /// The nights of a plan; `None` if it has no quiet hours. `app` is the time zone of the app, and `look_up` finds others
    /// by their names.
    #[must_use]
    pub fn of(plan: &FrozenPlan, app: TimeZone, look_up: fn(&str) -> Option<TimeZone>) -> Option<Self> {
        let hours = plan.quiet_hours.clone()?;
        Some(Self { hours, app, look_up, of_app: None, known: HashMap::new() })
    }

    /// Until when the owner of a device is left alone, who lives by this zone at `now`; `None`: may be rung. Whoever has no
    /// zone, or one that nobody knows, lives by the app's.
    pub fn quiet_until(&mut self, zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
        let known = zone.map_or(self.of_app, |zone| self.known.get(zone).copied());
        if let Some(stretch) = known.filter(|stretch| stretch.from <= now && now < stretch.to) {
            return stretch.quiet_until;
        }
        let own = zone.and_then(self.look_up);
        let stretch = Stretch::at(&self.hours, own.as_ref().unwrap_or(&self.app), now);
        if let Some(zone) = zone {
            if self.known.len() >= MOST_ZONES {
                self.known.clear();
            }
            self.known.insert(zone.into(), stretch);
        } else {
            self.of_app = Some(stretch);
        }
        stretch.quiet_until
    }
}

impl Stretch {
    fn at(hours: &(String, String), zone: &TimeZone, now: Timestamp) -> Self {
        let quiet_until = quiet_until(hours, zone, now);
        let change = quiet_until.unwrap_or_else(|| next_start(&hours.0, zone, now));
        // What is said of an hour on the clock holds until the clock is changed.
        let changed = zone.following(now).next().map_or(Timestamp::MAX, |transition| transition.timestamp());
        Self { from: now, to: change.min(changed), quiet_until }
    }
}

/// When the quiet hours begin next, as long as the clocks are not changed.
fn next_start(from: &str, zone: &TimeZone, now: Timestamp) -> Timestamp {
    let Ok(from) = Time::strptime("%H:%M", from) else { return now };
    let wait = zone.to_datetime(now).time().duration_until(from);
    let wait = if wait.is_positive() { wait } else { wait + SignedDuration::from_hours(24) };
    now.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
