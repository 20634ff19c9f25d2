//! The same campaign, to the same people, three times: as fast as the providers take it, at a fixed safe rate, and led by
//! the backend's headroom.

use std::time::Duration;

use super::{
    Bank, Campaign, Seen, Terms,
    terms::{TICK, TICKS, ticks},
};
use crate::pace::feedback::{Bounds, Feedback, INTERVAL};

/// Every run is watched for this long: an afternoon and its evening.
const AFTERNOON: usize = 4 * 60;

/// A run that is not over by then goes on until it is, but not beyond a day.
const LONGEST: usize = 24 * 60;

/// It is over when so many minutes in a row have kept what was promised.
const CALM: usize = 15;

/// Ticks in a minute.
const MINUTE: u64 = 600;

/// How fast the campaign is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// At the providers' quota.
    Unpaced,
    /// At a fixed rate, at which the openers and the ordinary logins of the busiest hour together stay within the declared
    /// capacity.
    Capped,
    /// By [`crate::pace::feedback`], on the headroom.
    Feedback,
}

impl Way {
    /// From the most harmful on.
    pub const ALL: [Self; 3] = [Self::Unpaced, Self::Capped, Self::Feedback];

    /// One word for tables and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaced => "unpaced",
            Self::Capped => "capped",
            Self::Feedback => "feedback",
        }
    }
}

/// One minute of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minute {
    /// Attempts to log in.
    pub attempts: u64,
    /// Attempts let in.
    pub let_in: u64,
    /// Phones rung.
    pub rung: u64,
    /// True if more than one in a hundred of the attempts that ended was late or failed.
    pub is_above_slo: bool,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Run {
    /// How it was sent.
    pub way: Way,
    /// The fixed rate, in notifications a second; of feedback the highest it came to.
    pub fastest: u32,
    /// Minute by minute.
    pub minutes: Vec<Minute>,
    /// The highest demand over 15 s, as a share of the capacity.
    pub peak_utilisation: f64,
    /// Until every phone was rung; none if that took more than a day.
    pub rung_after: Option<Duration>,
    /// What became of the logins.
    pub seen: Seen,
}

impl Run {
    /// Minutes in which the backend did not keep what was promised.
    pub fn minutes_above_slo(&self) -> usize {
        self.minutes.iter().filter(|minute| minute.is_above_slo).count()
    }
}

/// Sends the campaign in each of the three ways.
pub fn play(terms: Terms, campaign: Campaign, seed: u64) -> [Run; 3] {
    Way::ALL.map(|way| send(way, terms, campaign, seed))
}

/// The fixed rate that keeps the declared capacity also in the busiest hour, in notifications a second: at least one, and not
/// more than the providers take.
pub fn safe_rate(terms: Terms, campaign: Campaign) -> u32 {
    let free = f64::from(terms.declared.saturating_sub(terms.busiest));
    let fits = |rate: &u32| f64::from(*rate) * terms.opens.share <= free;
    // By trying, since no quotient of two floating-point numbers is sure to be on the right side of a whole number.
    (1..=campaign.quota.get()).take_while(fits).last().unwrap_or(1)
}

fn send(way: Way, terms: Terms, campaign: Campaign, seed: u64) -> Run {
    let mut sender = Sender::new(way, terms, campaign);
    let mut bank = Bank::new(terms, seed);
    let mut run = Run {
        way,
        fastest: sender.rate,
        minutes: Vec::new(),
        peak_utilisation: 0.0,
        rung_after: None,
        seen: Seen::default(),
    };
    let mut now = 0;
    while !is_over(&run) {
        let (before, mut rung) = (bank.seen(), 0);
        for _ in 0..MINUTE {
            if now % ticks(INTERVAL) == 0 && now > 0 {
                run.peak_utilisation = run.peak_utilisation.max(bank.utilisation());
                sender.read(bank.headroom());
            }
            let rings = sender.ring();
            bank.step(TICK, rings);
            rung += rings;
            now += 1;
            if sender.left == 0 && run.rung_after.is_none() {
                run.rung_after = Some(TICK * u32::try_from(now).expect("less than a day"));
            }
            run.fastest = run.fastest.max(sender.rate);
        }
        run.seen = bank.seen();
        run.minutes.push(minute(before, run.seen, rung));
    }
    run
}

fn is_over(run: &Run) -> bool {
    let minutes = run.minutes.len();
    let calm = run.minutes.iter().rev().take(CALM).all(|minute| !minute.is_above_slo);
    minutes >= LONGEST || minutes >= AFTERNOON && run.rung_after.is_some() && calm
}

fn minute(before: Seen, after: Seen, rung: u64) -> Minute {
    let let_in = after.let_in - before.let_in;
    let failed = after.failed - before.failed;
    let bad = after.late - before.late + failed;
    Minute {
        attempts: after.attempts - before.attempts,
        let_in,
        rung,
        is_above_slo: bad * 100 > let_in + failed,
    }
}

/// Who rings the phones.
struct Sender {
    left: u64,
    /// Notifications a second, now.
    rate: u32,
    /// What was not due yet, in tenths of a notification (a tick sends a tenth of the rate).
    due: u32,
    led: Option<Led>,
}

/// A reading is one interval old when it is heard: it has been scraped, stored, and asked for.
struct Led {
    feedback: Feedback,
    on_its_way: Option<f64>,
}

impl Sender {
    fn new(way: Way, terms: Terms, campaign: Campaign) -> Self {
        let bounds = Bounds::new(campaign.min, campaign.max.max(campaign.min)).expect("max is no less");
        let (rate, led) = match way {
            Way::Unpaced => (campaign.quota.get(), None),
            Way::Capped => (safe_rate(terms, campaign), None),
            Way::Feedback => {
                let feedback = Feedback::new(bounds);
                (feedback.rate().get(), Some(Led { feedback, on_its_way: None }))
            }
        };
        Self { left: campaign.phones, rate, due: 0, led }
    }

    fn read(&mut self, headroom: f64) {
        if let Some(led) = &mut self.led {
            self.rate = led.feedback.hear(led.on_its_way.replace(headroom)).get();
        }
    }

    /// How many phones ring in this tick.
    fn ring(&mut self) -> u64 {
        self.due += self.rate;
        let rings = u64::from(self.due / TICKS).min(self.left);
        self.due %= TICKS;
        self.left -= rings;
        rings
    }
}
