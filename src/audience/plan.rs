//! `plans/*.toml`: how a campaign widens.

use std::time::Duration;

use super::{
    downstream::{self, Downstream},
    problem::At,
    read::{Item, Section, Wrong, absent_or_sound},
    words::{Percent, QuietHours, Rate, above_zero, duration, word},
};
use crate::model::{AudienceName, PlanName};

/// How a campaign widens, what is watched meanwhile, and how fast it goes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name: the stem of its file.
    pub name: PlanName,
    /// In order; never empty.
    pub stages: Vec<Stage>,
    /// What the providers' answers must look like.
    pub health: Health,
    /// What stops it at once, without statistics.
    pub breakers: Breakers,
    /// What our own systems must look like.
    pub downstream: Vec<Downstream>,
    /// How the rate follows a signal; without, each stage's own limit holds.
    pub pace: Option<PlanPace>,
    /// When phones are left alone.
    pub quiet_hours: Option<QuietHours>,
    /// Keep off the quarter hours, at which providers ask senders not to peak.
    pub avoid_quarter_hours: bool,
    /// Why it is all right that customers are the first to see what it sends.
    pub customers_first: Option<String>,
}

/// One widening.
#[derive(Debug, Clone)]
pub struct Stage {
    pub(super) take: Take,
    /// The watched wait after it.
    pub bake: Option<Duration>,
    /// What opens the next one.
    pub gate: Gate,
    /// Most notifications a second, over the whole fleet.
    pub max_rate: Option<Rate>,
}

/// Whom a stage takes, as it is written.
#[derive(Debug, Clone)]
pub(super) enum Take {
    Audience(At<AudienceName>),
    Devices(u64),
    Percent(Percent),
}

/// Whom a stage takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageTake<'a> {
    /// An internal audience, beside the campaign's own; only the first stage.
    Audience(&'a AudienceName),
    /// Exactly so many devices more.
    Devices(u64),
    /// Up to this share of the campaign's audience.
    Percent(Percent),
}

/// What opens the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Health that passes.
    Auto,
    /// A person, who is shown what health says.
    Manual,
    /// The watched wait, unless health fails: for stages that are too small to pass.
    Time,
}

/// The anytime-valid test of rejections: halt at `p0`'s rejection, pass at `p1`'s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// A share of rejections that is healthy.
    pub p0: f64,
    /// How likely a healthy rollout may be halted, at most.
    pub alpha: f64,
    /// A share of rejections that is not.
    pub p1: f64,
    /// How likely an unhealthy stage may pass, at most.
    pub beta: f64,
}

impl Default for Health {
    /// A true 15 % shows after a median of 19 outcomes, a true 3 % after 212; 330 clean outcomes pass.
    fn default() -> Self {
        Self { p0: 0.002, alpha: 0.001, p1: 0.01, beta: 0.05 }
    }
}

/// What stops a rollout at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breakers {
    /// So many rejections with the same reason, one after the other at one provider, and nothing accepted between them: it is
    /// the notification, and the rollout is halted.
    pub rejections_in_a_row: u32,
    /// A provider that has taken nothing for so long is down, and the rollout waits for it.
    pub provider_down_after: Duration,
}

impl Default for Breakers {
    /// A true 15 % of rejections comes to 20 in a row once in 10^16; ten seconds are longer than a provider's restart of a
    /// connection, and shorter than a watched wait.
    fn default() -> Self {
        Self { rejections_in_a_row: 20, provider_down_after: Duration::from_secs(10) }
    }
}

/// How the rate follows a signal of our own systems, between two bounds.
#[derive(Debug, Clone)]
pub struct PlanPace {
    pub(super) signal: Option<At<String>>,
    /// The rate when there is no signal, and never less.
    pub min: Rate,
    /// Never more.
    pub max: Rate,
}

impl Stage {
    /// Whom it takes.
    pub const fn take(&self) -> StageTake<'_> {
        match &self.take {
            Take::Audience(name) => StageTake::Audience(&name.value),
            Take::Devices(count) => StageTake::Devices(*count),
            Take::Percent(share) => StageTake::Percent(*share),
        }
    }
}

impl Plan {
    /// The audience of the first stage, if that is one of our own.
    pub fn first_audience(&self) -> Option<&AudienceName> {
        self.first_audience_at().map(|at| &at.value)
    }

    pub(super) fn first_audience_at(&self) -> Option<&At<AudienceName>> {
        match self.stages.first().map(|stage| &stage.take) {
            Some(Take::Audience(name)) => Some(name),
            _ => None,
        }
    }
}

impl PlanPace {
    /// The signal of `apps.toml` that it follows.
    pub fn signal(&self) -> Option<&str> {
        self.signal.as_ref().map(|signal| signal.value.as_str())
    }
}

pub(super) fn read(section: Section<'_>, name: PlanName) -> Option<Plan> {
    let stages = section.need("stage", "write at least one [[stage]]").and_then(|item| stages(&item));
    let health = section.get("health").map_or(Some(Health::default()), |item| health(item.section()?));
    let breakers =
        section.get("breakers").map_or(Some(Breakers::default()), |item| breakers(item.section()?));
    let downstream = section.get("downstream").map_or(Some(Vec::new()), |item| downstream::read(&item));
    let pace = section.get("pace").map(|item| pace(item.section()?));
    let quiet_hours = section.get("quiet_hours").map(|item| QuietHours::read(item.section()?));
    let avoid = section.get("avoid_quarter_hours").map_or(Some(false), |item| item.flag());
    let customers_first = section.get("customers_first").map(|item| item.text());
    section.close();
    Some(Plan {
        name,
        stages: stages?,
        health: health?,
        breakers: breakers?,
        downstream: downstream?,
        pace: absent_or_sound(pace)?,
        quiet_hours: absent_or_sound(quiet_hours)?,
        avoid_quarter_hours: avoid?,
        customers_first: absent_or_sound(customers_first)?,
    })
}

fn stages(item: &Item<'_>) -> Option<Vec<Stage>> {
    let (mut first, mut reached) = (true, None::<Percent>);
    let stages = item.sections(|section| {
        let take = take(&section);
        match &take {
            Some(Take::Audience(audience)) if !first => section.wrong(
                format!("takes the audience {}, and it is not the first stage", audience.value),
                "let our own people go first; later stages take percent or devices",
            ),
            Some(Take::Percent(share)) if reached.is_some_and(|before| *share <= before) => section.wrong(
                format!("takes {share}, which is no more than the stage before it"),
                "let each stage take more of the audience than the last",
            ),
            Some(Take::Devices(_)) if reached.is_some() => section.wrong(
                "takes a count of devices after a stage that takes a percentage",
                "put counted stages first",
            ),
            _ => {}
        }
        if let Some(Take::Percent(share)) = &take {
            reached = Some(*share);
        }
        first = false;
        let bake = section.get("bake").map(|item| item.parse(duration));
        let gate = section.get("gate").map_or(Some(Gate::Auto), |item| {
            item.parse(|text| {
                word(text, &[("auto", Gate::Auto), ("manual", Gate::Manual), ("time", Gate::Time)])
            })
        });
        let max_rate = section.get("max_rate").map(|item| item.count(Rate::read));
        section.close();
        Some(Stage {
            take: take?,
            bake: absent_or_sound(bake)?,
            gate: gate?,
            max_rate: absent_or_sound(max_rate)?,
        })
    })?;
    if stages.is_empty() {
        item.wrong("is empty", "write at least one [[stage]]");
    }
    Some(stages)
}

fn take(section: &Section<'_>) -> Option<Take> {
    match (section.get("audience"), section.get("percent"), section.get("devices")) {
        (Some(name), None, None) => name.parse_at(AudienceName::parse).map(Take::Audience),
        (None, Some(share), None) => share.number(Percent::read).map(Take::Percent),
        (None, None, Some(count)) => count.count(above_zero).map(Take::Devices),
        _ => {
            section.wrong("must say in one way whom it takes", "write one of audience, percent, devices");
            None
        }
    }
}

fn health(section: Section<'_>) -> Option<Health> {
    let rejected = section
        .need("rejected", "write { p0 = 0.002, alpha = 0.001, p1 = 0.01, beta = 0.05 }")
        .and_then(|item| {
            let section = item.section()?;
            let share = |key| {
                section.need(key, "write a share between 0 and 1").and_then(|item| item.number(open_share))
            };
            let (p0, alpha, p1, beta) = (share("p0"), share("alpha"), share("p1"), share("beta"));
            if let (Some(p0), Some(p1)) = (p0, p1)
                && p0 >= p1
            {
                section.wrong("calls p1 healthier than p0", "let p0 (healthy) be less than p1 (not healthy)");
            }
            section.close();
            Some(Health { p0: p0?, alpha: alpha?, p1: p1?, beta: beta? })
        });
    section.close();
    rejected
}

fn breakers(section: Section<'_>) -> Option<Breakers> {
    let default = Breakers::default();
    let in_a_row = section
        .get("rejections_in_a_row")
        .map_or(Some(u64::from(default.rejections_in_a_row)), |item| item.count(above_zero));
    let down_after = section
        .get("provider_down_after")
        .map_or(Some(default.provider_down_after), |item| item.parse(duration));
    section.close();
    let rejections_in_a_row = u32::try_from(in_a_row?).unwrap_or(u32::MAX);
    Some(Breakers { rejections_in_a_row, provider_down_after: down_after? })
}

fn open_share(number: f64) -> Result<f64, Wrong> {
    if number > 0.0 && number < 1.0 {
        return Ok(number);
    }
    Err(Wrong::new(format!("is {number}"), "write a share between 0 and 1, such as 0.002"))
}

fn pace(section: Section<'_>) -> Option<PlanPace> {
    let signal = section.get("signal").map(|item| {
        item.parse_at(|text| if text.is_empty() { Err(no_signal()) } else { Ok(text.to_owned()) })
    });
    let rate =
        |key| section.need(key, "write notifications a second").and_then(|item| item.count(Rate::read));
    let (min, max) = (rate("min"), rate("max"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        section.wrong("has a min above its max", "let min be the smaller");
    }
    section.close();
    Some(PlanPace { signal: absent_or_sound(signal)?, min: min?, max: max? })
}

fn no_signal() -> Wrong {
    Wrong::new("is empty", "name a signal of apps.toml, or leave it out")
}
