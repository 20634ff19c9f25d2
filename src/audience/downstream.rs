//! `[[downstream]]` of a plan: the numbers about our own systems that stop a rollout.

use std::{collections::BTreeSet, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    apps::Probe,
    read::{Item, Section, absent_or_sound},
    words::{duration_or_none, word},
};

/// A number about our own systems, and what it must not be for a rollout to go on.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// For people. No two of a plan have the same: what was seen of each is kept by it.
    pub name: String,
    /// Where it is read.
    pub probe: Probe,
    /// On which side of its bounds it does harm.
    pub beyond: Beyond,
    /// Beyond this the rollout waits. This or `halt` is there.
    pub pause: Option<f64>,
    /// Beyond this it ends; with `pause`, it is further out than that.
    pub halt: Option<f64>,
    /// For how long it must be beyond a bound, from the first reading that was to the last, and none between that was not.
    /// Zero (`"0s"`): one reading is enough, for numbers that are an average over time themselves.
    pub hold: Duration,
    /// What happens when there is no number. Going on is no choice (I3).
    pub no_data: WhenBlind,
}

/// The side of a bound on which a number does harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// A number above it.
    Above,
    /// A number below it.
    Below,
}

impl Beyond {
    /// True if `number` is on this side of `bound`; on the bound is not beyond it.
    #[must_use]
    pub fn is_breached(self, bound: f64, number: f64) -> bool {
        match self {
            Self::Above => number > bound,
            Self::Below => number < bound,
        }
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Above => "above",
            Self::Below => "below",
        })
    }
}

/// What happens when a number cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenBlind {
    /// The rollout waits.
    Pause,
    /// The rollout ends.
    Halt,
}

/// Every `[[downstream]]` of a plan.
pub(super) fn read(item: &Item<'_>) -> Option<Vec<Downstream>> {
    let mut names = BTreeSet::new();
    item.sections(|section| one(section, &mut names))
}

fn one(section: Section<'_>, names: &mut BTreeSet<String>) -> Option<Downstream> {
    let name = section.need("name", "name it, for people").and_then(|item| {
        let name = item.text()?;
        if names.insert(name.clone()) {
            return Some(name);
        }
        item.wrong(format!("is {name:?}, as another of this plan is"), "give each a name of its own");
        None
    });
    let probe = Probe::read(&section);
    let bounds = bounds(&section);
    let hold = section
        .need("for", "write a duration, such as \"30s\"")
        .and_then(|item| item.parse(duration_or_none));
    let no_data = section.get("no_data").map_or(Some(WhenBlind::Pause), |item| {
        item.parse(|text| word(text, &[("pause", WhenBlind::Pause), ("halt", WhenBlind::Halt)]))
    });
    section.close();
    let (beyond, pause, halt) = bounds?;
    Some(Downstream { name: name?, probe: probe?, beyond, pause, halt, hold: hold?, no_data: no_data? })
}

/// The side, where it pauses and where it halts.
fn bounds(section: &Section<'_>) -> Option<(Beyond, Option<f64>, Option<f64>)> {
    let bound = |key| section.get(key).map(|item| item.number(Ok));
    let (above, below) =
        ((bound("pause_above"), bound("halt_above")), (bound("pause_below"), bound("halt_below")));
    let (beyond, (pause, halt)) = match (above, below) {
        ((None, None), (None, None)) => {
            let fix = "write halt_above, halt_below, pause_above or pause_below";
            section.wrong("never stops anything", fix);
            return None;
        }
        (above, (None, None)) => (Beyond::Above, above),
        ((None, None), below) => (Beyond::Below, below),
        _ => {
            let fix = "write a [[downstream]] for each side";
            section.wrong("stops on both sides of its number", fix);
            return None;
        }
    };
    let bounds = (absent_or_sound(pause)?, absent_or_sound(halt)?);
    if let (Some(pause), Some(halt)) = bounds
        && !beyond.is_breached(pause, halt)
    {
        let problem = format!("pauses {beyond} {pause}, where it has halted already ({beyond} {halt})");
        section.wrong(problem, "let it pause before it halts, or leave one of the two out");
        return None;
    }
    Some((beyond, bounds.0, bounds.1))
}
