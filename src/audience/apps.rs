//! `apps.toml`: the apps, how each provider knows them, and the signals of our own systems.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    guarding::GuardSettings,
    read::{Item, Section, Wrong, absent_or_sound},
    words::{Rate, Timezone, duration, word},
};
use crate::model::{AppId, Environment, Locale};

/// An app that may be sent to.
#[derive(Debug, Clone)]
pub struct App {
    /// Its id, as devices are registered with.
    pub id: AppId,
    /// The language of a notification's default text.
    pub default_locale: Locale,
    /// The time zone of recipients who have none of their own.
    pub timezone: Timezone,
    /// Hosts that a notification of this app may link to.
    pub link_hosts: Vec<String>,
    /// How APNs knows it; without, its iOS devices cannot be reached.
    pub apns: Option<ApnsApp>,
    /// How FCM knows it; without, its Android devices cannot be reached.
    pub fcm: Option<FcmApp>,
    /// How people open it when they are rung; a preview's estimate stands on it.
    pub opens: Opens,
    /// What it has set of the guard.
    pub guard: GuardSettings,
}

/// How people open an app when they are rung: a share of them, each after a delay whose logarithm is normally distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opens {
    /// Which share of those who are rung open it, between 0 and 1.
    pub share: f64,
    /// Half of them have by then.
    pub median_delay: Duration,
    /// How many opens, which are logins, our own systems take a second; `None` if nobody has declared it.
    pub capacity: Option<Rate>,
}

impl Opens {
    /// The spread of the delay's logarithm: two thirds of those who open do so between a third of the median delay and three
    /// times it. An assumption, as the median is.
    pub const SPREAD: f64 = 1.1;
}

impl Default for Opens {
    /// Assumptions, for whoever has not measured their own app yet: rather too many people at once than too few.
    fn default() -> Self {
        Self { share: 0.08, median_delay: Duration::from_secs(90), capacity: None }
    }
}

/// An app as APNs knows it.
#[derive(Debug, Clone)]
pub struct ApnsApp {
    /// The `apns-topic`: the bundle id.
    pub topic: String,
    /// The developer team: 10 upper-case letters and digits.
    pub team: String,
    /// Where the released build has its tokens.
    pub environment: Environment,
    /// Most notifications a second, over the whole fleet.
    pub max_rate: Rate,
}

/// An app as FCM knows it.
#[derive(Debug, Clone)]
pub struct FcmApp {
    /// The Firebase project id.
    pub project: String,
    /// Most notifications a second, over the whole fleet. The default quota is 600,000 a minute.
    pub max_rate: Rate,
}

/// Where a number about our own systems is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// A `PromQL` expression with one value.
    Prometheus(String),
    /// A JSON document, and the pointer (RFC 6901) to the number in it.
    Http {
        /// The document's URL.
        url: String,
        /// Where in it.
        pointer: String,
    },
}

impl Probe {
    /// Reads `prometheus = "…"`, or `http = "…"` with `json = "/…"`.
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        const FIX: &str = "write prometheus = \"…\", or http = \"…\" with json = \"/…\"";
        let (prometheus, http, json) = (section.get("prometheus"), section.get("http"), section.get("json"));
        match (prometheus, http, json) {
            (Some(query), None, None) => Some(Self::Prometheus(query.text()?)),
            (None, Some(url), Some(pointer)) => {
                let url = url.parse(http_url);
                let pointer = pointer.parse(json_pointer);
                Some(Self::Http { url: url?, pointer: pointer? })
            }
            _ => {
                section.wrong("needs one source for its number", FIX);
                None
            }
        }
    }
}

/// What `apps.toml` says.
#[derive(Debug, Default)]
pub(super) struct Apps {
    pub(super) apps: BTreeMap<AppId, App>,
    pub(super) signals: BTreeMap<String, Probe>,
}

impl Apps {
    pub(super) fn read(root: Section<'_>) -> Option<Self> {
        let mut read = Self::default();
        if let Some(apps) = root.need("apps", "describe each app under [apps.\"its.id\"]")?.section() {
            for (name, item) in apps.entries() {
                if let Some(app) = app(name, &item) {
                    read.apps.insert(app.id.clone(), app);
                }
            }
        }
        if let Some(signals) = root.get("signals").and_then(|item| item.section()) {
            for (name, item) in signals.entries() {
                let Some(section) = item.section() else { continue };
                let probe = Probe::read(&section);
                section.close();
                read.signals.extend(probe.map(|probe| (name.to_owned(), probe)));
            }
        }
        root.close();
        Some(read)
    }
}

fn app(name: &str, item: &Item<'_>) -> Option<App> {
    let id = AppId::parse(name).map_err(|error| item.wrong(error.to_string(), "write the app's own id")).ok();
    let section = item.section()?;
    let default_locale = section
        .need("default_locale", "write the language of the default text, such as \"pl\"")
        .and_then(|item| item.parse(Locale::parse));
    let timezone = section
        .need("timezone", "write an IANA name, such as \"Europe/Warsaw\"")
        .and_then(|item| item.parse(Timezone::read));
    let link_hosts = section
        .need("link_hosts", "list the hosts that a notification may link to; [] for none")
        .and_then(|item| item.each(host));
    let apns = section.get("apns").map(|item| item.section().and_then(apns));
    let fcm = section.get("fcm").map(|item| item.section().and_then(fcm));
    let opens = section.get("opens").map_or(Some(Opens::default()), |item| item.section().and_then(opens));
    let guard = section
        .get("guard")
        .map_or(Some(GuardSettings::default()), |item| item.section().and_then(GuardSettings::read));
    if apns.is_none() && fcm.is_none() {
        section.wrong("has neither apns nor fcm", "say how a provider knows it, or no device can be reached");
    }
    section.close();
    Some(App {
        id: id?,
        default_locale: default_locale?,
        timezone: timezone?,
        link_hosts: link_hosts?.into_iter().map(|host| host.value).collect(),
        apns: absent_or_sound(apns)?,
        fcm: absent_or_sound(fcm)?,
        opens: opens?,
        guard: guard?,
    })
}

fn opens(section: Section<'_>) -> Option<Opens> {
    const SHARE: &str = "write the share of those who are rung that open the app, such as 0.08";
    const DELAY: &str = "write the delay by which half of them have opened it, such as \"90s\"";
    let share = section.need("share", SHARE).and_then(|item| {
        item.number(|number| {
            let is_share = number > 0.0 && number <= 1.0;
            if is_share {
                Ok(number)
            } else {
                Err(Wrong::new(format!("is {number}, which is no share"), SHARE))
            }
        })
    });
    let median_delay = section.need("median_delay", DELAY).and_then(|item| item.parse(duration));
    let capacity = section.get("capacity").map(|item| item.count(opens_a_second));
    section.close();
    Some(Opens { share: share?, median_delay: median_delay?, capacity: absent_or_sound(capacity)? })
}

/// The same bounds as a rate of notifications has, in words of their own.
fn opens_a_second(number: u64) -> Result<Rate, Wrong> {
    Rate::read(number).map_err(|_| {
        let fix = "write how many opens, which are logins, our own systems take a second, at least 1";
        Wrong::new(format!("is {number}, which is no capacity"), fix)
    })
}

fn apns(section: Section<'_>) -> Option<ApnsApp> {
    let topic = section.need("topic", "write the app's bundle id").and_then(|item| item.parse(topic));
    let team = section.need("team", "write the team's 10 characters").and_then(|item| item.parse(team));
    let environment = section
        .need("environment", "write \"production\" or \"sandbox\"")
        .and_then(|item| item.parse(environment));
    let max_rate = section.need("max_rate", RATE).and_then(|item| item.count(Rate::read));
    section.close();
    Some(ApnsApp { topic: topic?, team: team?, environment: environment?, max_rate: max_rate? })
}

fn fcm(section: Section<'_>) -> Option<FcmApp> {
    let project = section.need("project", "write the Firebase project id").and_then(|item| item.parse(slug));
    let max_rate = section.need("max_rate", RATE).and_then(|item| item.count(Rate::read));
    section.close();
    Some(FcmApp { project: project?, max_rate: max_rate? })
}

const RATE: &str = "write the most notifications a second that the provider may get";

fn environment(text: &str) -> Result<Environment, Wrong> {
    let known = [Environment::Production, Environment::Sandbox].map(|known| (known.as_str(), known));
    word(text, &known)
}

/// Goes into a header.
fn topic(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(Wrong::new(
            format!("{text:?} is no topic"),
            "write the bundle id, such as \"pl.example.bank\"",
        ));
    }
    Ok(text.to_owned())
}

fn team(text: &str) -> Result<String, Wrong> {
    if text.len() != 10 || !text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return Err(Wrong::new(
            format!("{text:?} is no team id"),
            "write the 10 upper-case letters and digits of the developer account",
        ));
    }
    Ok(text.to_owned())
}

/// Goes into a URL path.
fn slug(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || text.len() > 64 || !text.chars().all(allowed) {
        return Err(Wrong::new(
            format!("{text:?} is no project id"),
            "write its lower-case letters, digits and '-'",
        ));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, Wrong> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if !text.contains('.') || text.starts_with('.') || text.ends_with('.') || !text.chars().all(allowed) {
        return Err(Wrong::new(
            format!("{text:?} is no host"),
            "write a host in lower case, without scheme, port or path",
        ));
    }
    Ok(text.to_owned())
}

fn http_url(text: &str) -> Result<String, Wrong> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if host.split('/').next().is_some_and(|host| host.contains('@')) => {
            let fix = "leave them out: everybody may read a policy";
            Err(Wrong::new("holds a user or a password", fix))
        }
        Some(host) if !host.is_empty() && !text.contains(char::is_whitespace) => Ok(text.to_owned()),
        _ => Err(Wrong::new(format!("{text:?} is no URL"), "write http://… or https://…")),
    }
}

fn json_pointer(text: &str) -> Result<String, Wrong> {
    if text.starts_with('/') {
        return Ok(text.to_owned());
    }
    let problem = format!("{text:?} is no JSON pointer");
    Err(Wrong::new(problem, "begin with '/', such as \"/headroom\" (RFC 6901)"))
}
