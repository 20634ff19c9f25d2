//! The policy: apps, producers, audiences and plans, as files that are reviewed like code.
//!
//! [`Policy::parse`] is pure and turns the files into checked types; [`Policy::load`] is the one function
//! of the core that reads from a disk. Whoever holds a [`Policy`] need not check it again: every name in
//! it exists, every limit makes sense.
//!
//! - A **test-class** audience lists its members and cannot select: a query could match customers, a list
//!   of names cannot grow by itself. Its members are the registered testers (**I1**).
//! - A **production** audience needs at least one approver from the first device on (**I4**).
//! - **I3 unknown-is-no**: a field that is not known is an error, never ignored. What a producer is not
//!   given it has not.

mod apps;
mod check;
mod cohort;
mod diff;
mod downstream;
mod guarding;
mod load;
mod plan;
mod problem;
mod producer;
mod read;
mod select;
mod text;
mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use guarding::rules_by_shadow;

pub use apps::{ApnsApp, App, FcmApp, Opens, Probe};
pub use cohort::{Audience, Class, MAX_APPROVERS, TEST_CLASS_CAP, Tier, Who};
pub use diff::diff;
pub use downstream::{Beyond, Downstream, WhenBlind};
pub use guarding::{GuardSettings, ShadowRule};
pub use load::{check, read_folder};
pub use plan::{Breakers, Gate, Health, Plan, PlanPace, Stage, StageTake};
pub use problem::{PolicyErrors, Problem};
pub use producer::{DeclaredText, Producer, ReachLimit};
pub use select::{Condition, Select, Served, Side, VersionBound};
pub use text::{DirectText, Part};
pub use words::{Country, Percent, QuietHours, Rate, Timezone};

use self::{
    problem::{Place, Problems},
    read::File,
};
use crate::model::{AppId, AudienceName, Digest, InvalidName, PlanName, ProducerId, UserId};

/// One file of the folder: its path within it (with `/`) and its text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Such as `cohorts/staff.toml`.
    pub path: String,
    /// The whole content.
    pub text: String,
}

/// The whole policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    apps: BTreeMap<AppId, App>,
    signals: BTreeMap<String, Probe>,
    producers: BTreeMap<ProducerId, Producer>,
    audiences: BTreeMap<AudienceName, Audience>,
    plans: BTreeMap<PlanName, Plan>,
    testers: BTreeMap<AppId, Arc<BTreeSet<UserId>>>,
    nobody: Arc<BTreeSet<UserId>>,
    hash: Digest,
    files: Arc<[PolicyFile]>,
    warnings: Vec<Problem>,
}

impl Policy {
    /// Reads the files of a policy folder and compares them with each other. Reports every mistake, not
    /// only the first.
    pub fn parse(files: &[PolicyFile]) -> Result<Self, PolicyErrors> {
        let problems = Problems::default();
        let texts: cohort::Texts<'_> =
            files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
        if texts.len() != files.len() {
            let place = Place::file("");
            return Err(PolicyErrors::one(&place, "has a file twice", "give each file once"));
        }
        let mut policy = Self {
            apps: BTreeMap::new(),
            signals: BTreeMap::new(),
            producers: BTreeMap::new(),
            audiences: BTreeMap::new(),
            plans: BTreeMap::new(),
            testers: BTreeMap::new(),
            nobody: Arc::default(),
            hash: hash(&texts),
            files: in_order(files),
            warnings: Vec::new(),
        };
        for required in ["apps.toml", "producers.toml"] {
            if !texts.contains_key(required) {
                problems.error(&Place::file(required), "is missing", "add the file");
            }
        }
        for (path, text) in &texts {
            policy.read(&File { path, text, problems: &problems }, &texts);
        }
        // A file that could not be read would make every mention of it look like another mistake.
        if !problems.any() {
            check::across(&policy, &problems);
        }
        policy.warnings = problems.settle()?;
        policy.gather_testers();
        Ok(policy)
    }

    fn read(&mut self, file: &File<'_>, texts: &cohort::Texts<'_>) {
        match file.path.split('/').collect::<Vec<_>>()[..] {
            ["apps.toml"] => {
                let read = file.read(apps::Apps::read).unwrap_or_default();
                (self.apps, self.signals) = (read.apps, read.signals);
            }
            ["producers.toml"] => self.producers = file.read(producer::read).unwrap_or_default(),
            ["cohorts", name] if extension(name) == Some("toml") => {
                let name = stem(file, name, AudienceName::parse);
                let read = |name| file.read(|root| cohort::read(root, name, texts, file.problems));
                if let Some(audience) = name.and_then(read) {
                    self.audiences.insert(audience.name.clone(), audience);
                }
            }
            ["plans", name] if extension(name) == Some("toml") => {
                let name = stem(file, name, PlanName::parse);
                if let Some(plan) = name.and_then(|name| file.read(|root| plan::read(root, name))) {
                    self.plans.insert(plan.name.clone(), plan);
                }
            }
            // Read with the cohort that names it.
            ["cohorts", name] if extension(name) == Some("txt") => {}
            _ => file.problems.error(
                &Place::file(file.path),
                "is no file of a policy, so it would be ignored",
                "keep apps.toml, producers.toml, cohorts/*.toml, cohorts/*.txt and plans/*.toml",
            ),
        }
    }

    /// Its files, by path.
    #[must_use]
    pub fn files(&self) -> &[PolicyFile] {
        &self.files
    }

    fn gather_testers(&mut self) {
        let mut testers: BTreeMap<AppId, BTreeSet<UserId>> = BTreeMap::new();
        for audience in self.audiences.values().filter(|audience| audience.class == Class::Test) {
            let members = audience.members().into_iter().flat_map(|members| members.iter().cloned());
            testers.entry(audience.app().clone()).or_default().extend(members);
        }
        self.testers = testers.into_iter().map(|(app, members)| (app, Arc::new(members))).collect();
    }

    /// An app by its id.
    pub fn app(&self, id: &AppId) -> Option<&App> {
        self.apps.get(id)
    }

    /// Every app.
    pub fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    /// A producer by its id.
    pub fn producer(&self, id: &ProducerId) -> Option<&Producer> {
        self.producers.get(id)
    }

    /// Every producer.
    pub fn producers(&self) -> impl Iterator<Item = &Producer> {
        self.producers.values()
    }

    /// An audience by its name.
    pub fn audience(&self, name: &AudienceName) -> Option<&Audience> {
        self.audiences.get(name)
    }

    /// Every audience.
    pub fn audiences(&self) -> impl Iterator<Item = &Audience> {
        self.audiences.values()
    }

    /// A plan by its name.
    pub fn plan(&self, name: &PlanName) -> Option<&Plan> {
        self.plans.get(name)
    }

    /// The plan of a campaign to `audience`: the one that it names, else the audience's default. `None` if there is no
    /// such plan: none is made up.
    pub fn plan_for(&self, audience: &Audience, named: Option<&PlanName>) -> Option<&Plan> {
        self.plan(named.or_else(|| audience.default_plan())?)
    }

    /// Every plan.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values()
    }

    /// Every signal of our own systems, by its name.
    pub fn signals(&self) -> impl Iterator<Item = (&str, &Probe)> {
        self.signals.iter().map(|(name, probe)| (name.as_str(), probe))
    }

    /// A signal of our own systems by its name.
    pub fn signal(&self, name: &str) -> Option<&Probe> {
        self.signals.get(name)
    }

    /// The registered testers of an app: the members of its test-class audiences. Nobody for an app that
    /// is not known.
    pub fn testers(&self, app: &AppId) -> Arc<BTreeSet<UserId>> {
        Arc::clone(self.testers.get(app).unwrap_or(&self.nobody))
    }

    /// Most devices that the testers of an app may come to: what its test-class audiences allow together,
    /// and never more than one of them may have.
    pub fn tester_devices(&self, app: &AppId) -> u64 {
        let of_app = |audience: &&Audience| audience.class == Class::Test && audience.app() == app;
        let allowed: u64 = self.audiences.values().filter(of_app).map(|audience| audience.max_devices).sum();
        allowed.min(TEST_CLASS_CAP)
    }

    /// Names the policy: the digest of every file with its path, the lists of members included.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// What can be used, but was probably not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

/// Exactly as written: `X.TOML` is no file of a policy.
fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension)
}

/// The hash that a policy of these files has, sound or not: see [`Policy::hash`].
#[must_use]
pub fn hash_of(files: &[PolicyFile]) -> Digest {
    hash(&files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect())
}

fn in_order(files: &[PolicyFile]) -> Arc<[PolicyFile]> {
    let mut files = files.to_vec();
    files.sort();
    files.into()
}

fn hash(texts: &cohort::Texts<'_>) -> Digest {
    let parts: Vec<&[u8]> =
        texts.iter().flat_map(|(path, text)| [path.as_bytes(), text.as_bytes()]).collect();
    Digest::of_parts(&parts)
}

fn stem<T>(file: &File<'_>, name: &str, parse: fn(&str) -> Result<T, InvalidName>) -> Option<T> {
    let name = name.strip_suffix(".toml")?;
    parse(name)
        .map_err(|error| file.problems.error(&Place::file(file.path), error.to_string(), "rename the file"))
        .ok()
}
