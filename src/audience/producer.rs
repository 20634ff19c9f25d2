//! `producers.toml`: what each backend may do.

use std::{collections::BTreeMap, time::Duration};

use super::{
    problem::At,
    read::{Item, Section, Wrong, absent_or_sound},
    text::DirectText,
    words::{above_zero, duration, word},
};
use crate::model::{AppId, AudienceName, Intent, OperatorName, ProducerId};

/// A backend that may enqueue. What is not named here it may not do.
#[derive(Debug, Clone)]
pub struct Producer {
    /// The user name that the broker authenticates.
    pub id: ProducerId,
    /// The people who answer for it. They may not approve what it asks for.
    pub owners: Vec<OperatorName>,
    pub(super) apps: Vec<At<AppId>>,
    /// What its jobs may claim to be.
    pub intents: Vec<Intent>,
    pub(super) audiences: Vec<At<AudienceName>>,
    /// May register and remove devices.
    pub devices: bool,
    /// Most distinct devices that it may reach in a day; none is no such limit.
    pub devices_per_day: Option<u64>,
    /// Most recipients of one direct job; 0 is none at all.
    pub direct_limit: u64,
    /// The direct texts that it has declared.
    pub direct_texts: Vec<DeclaredText>,
    /// How many people any other direct text of it may reach.
    pub undeclared: ReachLimit,
}

/// How many people a text may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReachLimit {
    /// Most distinct users …
    pub max_users: u64,
    /// … within this time.
    pub within: Duration,
}

impl ReachLimit {
    /// For a text that nobody declared: what is wrong with it reaches 500 people before somebody is told, and few
    /// producers have a text that says the same to so many in ten minutes and is not worth declaring.
    pub const UNDECLARED: Self = Self { max_users: 500, within: Duration::from_mins(10) };

    fn read(section: Section<'_>) -> Option<Self> {
        let max_users = section
            .need("max_users", "write how many people it may reach within the time")
            .and_then(|item| item.count(above_zero));
        let within =
            section.need("within", "write a duration, such as \"10m\"").and_then(|i| i.parse(duration));
        section.close();
        Some(Self { max_users: max_users?, within: within? })
    }
}

/// A direct text that a producer has declared, and how many people it may reach.
#[derive(Debug, Clone)]
pub struct DeclaredText {
    /// The text.
    pub text: DirectText,
    /// Most distinct users …
    pub max_users: u64,
    /// … within this time.
    pub within: Duration,
}

impl Producer {
    /// May it send to this app?
    #[must_use]
    pub fn may_use_app(&self, app: &AppId) -> bool {
        self.apps.iter().any(|allowed| allowed.value == *app)
    }

    /// May its jobs claim this?
    #[must_use]
    pub fn may_claim(&self, intent: Intent) -> bool {
        self.intents.contains(&intent)
    }

    /// May it send to this audience?
    #[must_use]
    pub fn may_use_audience(&self, audience: &AudienceName) -> bool {
        self.audiences.iter().any(|allowed| allowed.value == *audience)
    }

    /// The apps that it may send to.
    pub fn apps(&self) -> impl Iterator<Item = &AppId> {
        self.apps.iter().map(|app| &app.value)
    }

    /// The audiences that it may send to.
    pub fn audiences(&self) -> impl Iterator<Item = &AudienceName> {
        self.audiences.iter().map(|audience| &audience.value)
    }
}

pub(super) fn read(root: Section<'_>) -> Option<BTreeMap<ProducerId, Producer>> {
    let mut producers = BTreeMap::new();
    if let Some(section) = root.need("producers", "describe each backend under [producers.name]")?.section() {
        for (name, item) in section.entries() {
            if let Some(producer) = producer(name, &item) {
                producers.insert(producer.id.clone(), producer);
            }
        }
    }
    root.close();
    Some(producers)
}

fn producer(name: &str, item: &Item<'_>) -> Option<Producer> {
    let id = ProducerId::parse(name)
        .map_err(|error| item.wrong(error.to_string(), "write the broker's user name"))
        .ok();
    let section = item.section()?;
    let owners = section
        .need("owners", "name the people who answer for it")
        .and_then(|item| some(&item, OperatorName::parse, "name at least one person who answers for it"));
    let apps = section
        .need("apps", "list the apps that it may send to")
        .and_then(|item| some(&item, AppId::parse, "list at least one app"));
    let intents = section
        .need("intents", "list \"test\", \"production\" or nothing")
        .and_then(|item| item.each(intent));
    let audiences =
        section.get("audiences").map_or(Some(Vec::new()), |item| once(&item, AudienceName::parse));
    let scopes = section.get("scopes").map_or(Some(Vec::new()), |item| item.each(scope));
    let devices_per_day = section.get("devices_per_day").map(|item| item.count(above_zero));
    let direct_limit = section.get("direct_limit").map_or(Some(0), |item| item.count(Ok));
    let direct_texts =
        section.get("direct_text").map_or(Some(Vec::new()), |item| item.sections(declared_text));
    let undeclared = section.get("undeclared").map(|item| item.section().and_then(ReachLimit::read));
    section.close();
    Some(Producer {
        id: id?,
        owners: owners?.into_iter().map(|owner| owner.value).collect(),
        apps: apps?,
        intents: intents?.into_iter().map(|intent| intent.value).collect(),
        audiences: audiences?,
        devices: !scopes?.is_empty(),
        devices_per_day: absent_or_sound(devices_per_day)?,
        direct_limit: direct_limit?,
        direct_texts: direct_texts?,
        undeclared: absent_or_sound(undeclared)?.unwrap_or(ReachLimit::UNDECLARED),
    })
}

fn declared_text(section: Section<'_>) -> Option<DeclaredText> {
    let text = section
        .need("text", "write the text, with {…} for what changes")
        .and_then(|item| item.parse(DirectText::read));
    let max_users = section
        .need("max_users", "write how many people it may reach within the time")
        .and_then(|item| item.count(above_zero));
    let within = section.need("within", "write a duration, such as \"10m\"").and_then(|i| i.parse(duration));
    section.close();
    Some(DeclaredText { text: text?, max_users: max_users?, within: within? })
}

fn intent(text: &str) -> Result<Intent, Wrong> {
    word(text, &[Intent::Test, Intent::Production].map(|known| (known.as_str(), known)))
}

fn scope(text: &str) -> Result<(), Wrong> {
    word(text, &[("devices", ())])
}

/// A list in which nothing stands twice.
fn once<T: PartialEq, E: Into<Wrong>>(
    item: &Item<'_>,
    parse: impl FnMut(&str) -> Result<T, E>,
) -> Option<Vec<At<T>>> {
    let values = item.each(parse)?;
    for (n, value) in values.iter().enumerate() {
        if values[..n].iter().any(|earlier| earlier.value == value.value) {
            item.wrong("names the same thing twice", "leave one of them out");
            return None;
        }
    }
    Some(values)
}

/// The same, not empty.
fn some<T: PartialEq, E: Into<Wrong>>(
    item: &Item<'_>,
    parse: impl FnMut(&str) -> Result<T, E>,
    fix: &str,
) -> Option<Vec<At<T>>> {
    let values = once(item, parse)?;
    if values.is_empty() {
        item.wrong("is empty", fix);
        return None;
    }
    Some(values)
}
