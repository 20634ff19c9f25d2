//! `cohorts/*.toml`: the audiences.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::{
    problem::{At, Place, Problems},
    read::{Item, Section, Wrong, absent_or_sound},
    select::{Select, selection},
    words::{above_zero, word},
};
use crate::model::{AppId, AudienceName, PlanName, UserId};

/// Most devices of a test-class audience: enough for every phone on the desks of a large department, and a
/// small harm if it is filled with the wrong people.
pub const TEST_CLASS_CAP: u64 = 500;

/// Most people that one tier may ask for; more could hardly be found in an hour.
pub const MAX_APPROVERS: u64 = 10;

/// What an audience is, which decides what may be sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Registered testers, listed by name: the only people whom a test job may reach (I1).
    Test,
    /// Our own people.
    Internal,
    /// The people that the app serves.
    Production,
}

impl Class {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Internal => "internal",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A named cohort of an app's devices.
#[derive(Debug, Clone)]
pub struct Audience {
    /// Its name: the stem of its file.
    pub name: AudienceName,
    /// What it is.
    pub class: Class,
    pub(super) app: At<AppId>,
    /// For people.
    pub description: Option<String>,
    /// Who is in it.
    pub who: Who,
    /// Most devices that it may come to. Above this a campaign is refused.
    pub max_devices: u64,
    /// How many people must approve a campaign, by its count of devices; rising.
    pub approvals: Vec<Tier>,
    /// A campaign must have been seen by a test audience before.
    pub proof_required: bool,
    pub(super) default_plan: Option<At<PlanName>>,
}

/// Who is in an audience.
#[derive(Debug, Clone)]
pub enum Who {
    /// These people.
    Members(Arc<BTreeSet<UserId>>),
    /// Whoever the registry finds.
    Select(Box<Select>),
}

/// Above so many devices, so many people must approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// The tier begins above this count.
    pub above: u64,
    /// Distinct people, never the requester.
    pub people: u64,
}

impl Audience {
    /// The app that it belongs to.
    pub const fn app(&self) -> &AppId {
        &self.app.value
    }

    /// The plan that its campaigns follow if they name none.
    pub fn default_plan(&self) -> Option<&PlanName> {
        self.default_plan.as_ref().map(|plan| &plan.value)
    }

    /// How many distinct people must approve a campaign to so many devices (I4): at least one for the people whom the app
    /// serves, nobody for testers and our own people.
    pub fn people_for(&self, devices: u64) -> u32 {
        let asked = self.approvals.iter().filter(|tier| devices > tier.above).map(|tier| tier.people).max();
        let asked = u32::try_from(asked.unwrap_or(0)).unwrap_or(u32::MAX);
        match self.class {
            Class::Production => asked.max(1),
            Class::Test | Class::Internal => asked,
        }
    }

    /// Its members, if it lists them.
    pub const fn members(&self) -> Option<&Arc<BTreeSet<UserId>>> {
        match &self.who {
            Who::Members(members) => Some(members),
            Who::Select(_) => None,
        }
    }
}

/// The text files of the folder, by path: members are looked up here.
pub(super) type Texts<'a> = BTreeMap<&'a str, &'a str>;

pub(super) fn read(
    section: Section<'_>,
    name: AudienceName,
    texts: &Texts<'_>,
    problems: &Problems,
) -> Option<Audience> {
    let class = section
        .need("class", "write \"test\", \"internal\" or \"production\"")
        .and_then(|item| item.parse(class));
    let app = section.need("app", "name the app").and_then(|item| item.parse_at(AppId::parse));
    let description = section.get("description").map(|item| item.text());
    let members_file = section.get("members_file");
    let select = section.get("select");
    let who = class.and_then(|class| who(&section, class, members_file, select, texts, problems));
    let limits = section
        .need("limits", "write [limits] with max_devices")
        .and_then(|item| limits(item.section()?, class));
    let proof = section.get("proof").map_or(Some(false), |item| {
        item.parse(|text| word(text, &[("required", true), ("optional", false)]))
    });
    let default_plan = section.get("default_plan").map(|item| item.parse_at(PlanName::parse));
    section.close();
    let (At { value: max_devices, place }, approvals) = limits?;
    if let Some(Who::Members(members)) = &who
        && members.len() as u64 > max_devices
    {
        let problem = format!("is {max_devices}, but {} people are listed", members.len());
        problems.error(&place, problem, "raise the limit, or list fewer people");
    }
    Some(Audience {
        name,
        class: class?,
        app: app?,
        description: absent_or_sound(description)?,
        who: who?,
        max_devices,
        approvals,
        proof_required: proof?,
        default_plan: absent_or_sound(default_plan)?,
    })
}

fn class(text: &str) -> Result<Class, Wrong> {
    word(text, &[Class::Test, Class::Internal, Class::Production].map(|known| (known.as_str(), known)))
}

fn who(
    section: &Section<'_>,
    class: Class,
    members_file: Option<Item<'_>>,
    select: Option<Item<'_>>,
    texts: &Texts<'_>,
    problems: &Problems,
) -> Option<Who> {
    match (class, members_file, select) {
        (Class::Test, _, Some(select)) => {
            let problem = "cannot stand in a test-class audience: a query could match customers";
            select.wrong(problem, "list the testers in members_file");
            None
        }
        (Class::Production, Some(members), _) => {
            let problem = "cannot stand in a production audience: it is whoever [select] finds";
            members.wrong(problem, "write [select], or class = \"internal\" for a list of people");
            None
        }
        (Class::Internal, Some(members), Some(_)) => {
            members.wrong("stands beside [select]", "keep one of the two");
            None
        }
        (_, Some(members), None) => members_of(&members, texts, problems).map(Who::Members),
        (_, None, Some(select)) => selection(select.section()?).map(Box::new).map(Who::Select),
        (Class::Test, None, None) => {
            section.wrong("lists no members", "write members_file = \"….txt\", one user id a line");
            None
        }
        (Class::Internal, None, None) => {
            section.wrong("says nowhere who is in it", "write members_file or [select]");
            None
        }
        (Class::Production, None, None) => {
            section.wrong("says nowhere who is in it", "write [select] with at least one condition");
            None
        }
    }
}

fn limits(section: Section<'_>, class: Option<Class>) -> Option<(At<u64>, Vec<Tier>)> {
    let max_devices =
        section.need("max_devices", "write the most devices that it may come to").and_then(|item| {
            let value = item.count(|number| match class {
                Some(Class::Test) if number > TEST_CLASS_CAP => Err(Wrong::new(
                    format!("is {number}, and a test-class audience has at most {TEST_CLASS_CAP} devices"),
                    format!("write at most {TEST_CLASS_CAP}"),
                )),
                _ => above_zero(number),
            })?;
            Some(At { value, place: item.place })
        });
    let approvals = section.get("approvals");
    let approvals = match (&approvals, class) {
        (Some(item), _) => tiers(item, class),
        (None, Some(Class::Production)) => {
            let problem = "has no approvals, and a production audience needs at least one person";
            section.wrong(problem, "write approvals = [ { above = 0, people = 1 } ]");
            None
        }
        (None, _) => Some(Vec::new()),
    };
    section.close();
    Some((max_devices?, approvals?))
}

fn tiers(item: &Item<'_>, class: Option<Class>) -> Option<Vec<Tier>> {
    let tiers = item.sections(|section| {
        let above = section.need("above", "write a count of devices").and_then(|item| item.count(Ok));
        let people = section.need("people", "write how many must approve").and_then(|item| {
            item.count(|number| match number {
                0..=MAX_APPROVERS => Ok(number),
                _ => Err(Wrong::new(format!("is {number}"), format!("write at most {MAX_APPROVERS}"))),
            })
        });
        section.close();
        Some(Tier { above: above?, people: people? })
    })?;
    for pair in tiers.windows(2) {
        if pair[1].above <= pair[0].above || pair[1].people < pair[0].people {
            let problem = format!("do not rise: above {} after above {}", pair[1].above, pair[0].above);
            item.wrong(problem, "order them by count; more devices never need fewer people");
        }
    }
    let from_zero = tiers.first().is_some_and(|tier| tier.above == 0 && tier.people >= 1);
    if class == Some(Class::Production) && !from_zero {
        let problem = "leave small campaigns of a production audience without an approver";
        item.wrong(problem, "begin with { above = 0, people = 1 }");
    }
    Some(tiers)
}

/// Reads the people of `members_file`: one user id a line; a line that begins with `#` is a comment.
fn members_of(item: &Item<'_>, texts: &Texts<'_>, problems: &Problems) -> Option<Arc<BTreeSet<UserId>>> {
    let path = item.parse(|name| {
        let plain = !name.contains(['/', '\\']) && !name.starts_with('.');
        if !plain || super::extension(name) != Some("txt") {
            let problem = format!("{name:?} is no text file beside this one");
            return Err(Wrong::new(problem, "write the name of a .txt file in cohorts/, without a path"));
        }
        Ok(format!("cohorts/{name}"))
    })?;
    let Some(text) = texts.get(path.as_str()) else {
        item.wrong(format!("names {path}, which is not there"), "add the file, one user id a line");
        return None;
    };
    let (mut members, mut sound) = (BTreeSet::new(), true);
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = Place { line: n + 1, ..Place::file(&path) };
        let Ok(user) = UserId::parse(line) else {
            problems.error(&place, "is no user id", "write 1 to 128 characters, one id a line");
            sound = false;
            continue;
        };
        if !members.insert(user) {
            problems.warning(&place, "names a person who is listed already", "leave one out");
        }
    }
    if sound && members.is_empty() {
        problems.error(&Place::file(&path), "lists nobody", "write one user id a line");
        sound = false;
    }
    sound.then(|| Arc::new(members))
}
