//! `[select]` of a cohort: conditions on a device, and how the registry can serve them.

use std::time::Duration;

use super::{
    read::{Item, Section, Wrong, absent_or_sound},
    words::{Country, Timezone, duration, word},
};
use crate::model::{AppVersion, Attributes, Locale, Platform, Scalar, Tags};

/// An app that was opened within this time is a phone in use, and providers tell of those that are not: so most of a
/// registry was seen since. Reading all of it to find these wastes little.
const IN_USE: Duration = Duration::from_hours(30 * 24);

/// Conditions on a device; all must hold. An empty list is no condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    /// One of these countries.
    pub country: Vec<Country>,
    /// One of these platforms.
    pub platform: Vec<Platform>,
    /// One of these languages, or a variety of one.
    pub language: Vec<Locale>,
    /// One of these time zones.
    pub timezone: Vec<Timezone>,
    /// A version of the app within every one of these bounds. What is no version is within none.
    pub app_version: Vec<VersionBound>,
    /// One of these tags.
    pub tags: Vec<String>,
    /// Every one of these tags.
    pub tags_all: Vec<String>,
    /// Every one of these attributes has this value.
    pub attributes: Vec<(String, Scalar)>,
    /// The app was opened within this time.
    pub last_seen_within: Option<Duration>,
    /// The app was opened once, and not within this time.
    pub not_seen_within: Option<Duration>,
    /// The token was registered within this time, for the first time or again.
    pub registered_within: Option<Duration>,
    /// Why reading every device of the app to find these is all right.
    pub scan: Option<String>,
}

/// A bound on an app's version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionBound {
    /// On which side of the version.
    pub side: Side,
    /// Which version.
    pub version: AppVersion,
    /// Both, as written.
    pub text: String,
}

/// On which side of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `=`
    Exactly,
}

impl Side {
    /// Each, longer signs first: `>=` begins with `>`.
    const ALL: [Self; 5] = [Self::AtLeast, Self::AtMost, Self::Above, Self::Below, Self::Exactly];

    /// As written, in a cohort's file and in SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AtLeast => ">=",
            Self::Above => ">",
            Self::AtMost => "<=",
            Self::Below => "<",
            Self::Exactly => "=",
        }
    }
}

/// What is asked of a device, by its name in `[select]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `country`
    Country,
    /// `platform`
    Platform,
    /// `language`
    Language,
    /// `timezone`
    Timezone,
    /// `app_version`
    AppVersion,
    /// `tags`
    Tags,
    /// `tags_all`
    TagsAll,
    /// `attributes`
    Attributes,
    /// `last_seen_within`, 30 days or more
    InUse,
    /// `last_seen_within`, less than that
    LastSeenWithin,
    /// `not_seen_within`
    NotSeenWithin,
    /// `registered_within`
    RegisteredWithin,
}

/// How the registry serves a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// By this index of the registry: only what it finds is read.
    By(&'static str),
    /// By none, and none is missed: it keeps a large part of an app's devices.
    Broadly,
    /// By none: every device that the other conditions leave is read, and most are thrown away.
    ByNone,
}

impl Condition {
    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Platform => "platform",
            Self::Language => "language",
            Self::Timezone => "timezone",
            Self::AppVersion => "app_version",
            Self::Tags => "tags",
            Self::TagsAll => "tags_all",
            Self::Attributes => "attributes",
            Self::InUse | Self::LastSeenWithin => "last_seen_within",
            Self::NotSeenWithin => "not_seen_within",
            Self::RegisteredWithin => "registered_within",
        }
    }

    /// Which conditions have an index is said here and in the migrations, and nowhere else. An index is
    /// (app, column, bucket, id), so that it also serves a freeze, which goes through the buckets in order. There are few,
    /// because each costs every registration 2 to 7 µs: of a million devices, one in twenty is found at 500,000 to
    /// 1,000,000 a second by one, and at 75,000 a second without.
    #[must_use]
    pub const fn served(self) -> Served {
        match self {
            Self::Country => Served::By("device_country"),
            Self::AppVersion => Served::By("device_app_version"),
            Self::Platform | Self::InUse => Served::Broadly,
            Self::Language
            | Self::Timezone
            | Self::Tags
            | Self::TagsAll
            | Self::Attributes
            | Self::LastSeenWithin
            | Self::NotSeenWithin
            | Self::RegisteredWithin => Served::ByNone,
        }
    }
}

impl Select {
    /// The conditions that it has.
    pub fn conditions(&self) -> impl Iterator<Item = Condition> {
        let seen = match self.last_seen_within {
            Some(within) if within >= IN_USE => Condition::InUse,
            _ => Condition::LastSeenWithin,
        };
        let all = [
            (Condition::Country, !self.country.is_empty()),
            (Condition::Platform, !self.platform.is_empty()),
            (Condition::Language, !self.language.is_empty()),
            (Condition::Timezone, !self.timezone.is_empty()),
            (Condition::AppVersion, !self.app_version.is_empty()),
            (Condition::Tags, !self.tags.is_empty()),
            (Condition::TagsAll, !self.tags_all.is_empty()),
            (Condition::Attributes, !self.attributes.is_empty()),
            (seen, self.last_seen_within.is_some()),
            (Condition::NotSeenWithin, self.not_seen_within.is_some()),
            (Condition::RegisteredWithin, self.registered_within.is_some()),
        ];
        all.into_iter().filter_map(|(condition, is_there)| is_there.then_some(condition))
    }

    /// The conditions for which it **scans unindexed**: it has one that no index serves and that keeps few devices, and none
    /// that an index serves. Then every device of the app is read and most are thrown away. Empty: it does not. A
    /// selection of everyone, or of one platform, reads everyone too, and keeps them.
    #[must_use]
    pub fn unserved(&self) -> Vec<Condition> {
        if self.conditions().any(|condition| matches!(condition.served(), Served::By(_))) {
            return Vec::new();
        }
        self.conditions().filter(|condition| condition.served() == Served::ByNone).collect()
    }
}

/// Reads `[select]`.
pub(super) fn selection(section: Section<'_>) -> Option<Select> {
    let country = list(&section, "country", Country::read);
    let platform = list(&section, "platform", |text| {
        word(text, &Platform::ALL.map(|platform| (platform.as_str(), platform)))
    });
    let language = list(&section, "language", |text| Ok(Locale::parse(text)?));
    let timezone = list(&section, "timezone", Timezone::read);
    let app_version = section.get("app_version").map_or(Some(Vec::new()), |item| item.parse(version_bounds));
    let tags = list(&section, "tags", tag);
    let tags_all = list(&section, "tags_all", tag);
    let attributes = section.get("attributes").map_or(Some(Vec::new()), |item| attributes(&item));
    let within = |key| section.get(key).map(|item| item.parse(duration));
    let (last_seen, not_seen) = (within("last_seen_within"), within("not_seen_within"));
    let registered = within("registered_within");
    let scan = section.get("scan").map(|item| item.text());
    let select = Select {
        country: country?,
        platform: platform?,
        language: language?,
        timezone: timezone?,
        app_version: app_version?,
        tags: tags?,
        tags_all: tags_all?,
        attributes: attributes?,
        last_seen_within: absent_or_sound(last_seen)?,
        not_seen_within: absent_or_sound(not_seen)?,
        registered_within: absent_or_sound(registered)?,
        scan: absent_or_sound(scan)?,
    };
    judge(&section, &select);
    section.close();
    Some(select)
}

/// What no condition shows alone.
fn judge(section: &Section<'_>, select: &Select) {
    if select.conditions().next().is_none() {
        let fix = "write at least one; platform = [\"ios\", \"android\"] is everyone";
        section.wrong("has no condition", fix);
    }
    if let (Some(seen), Some(not_seen)) = (select.last_seen_within, select.not_seen_within)
        && not_seen >= seen
    {
        let problem = "finds nobody: who was seen within last_seen_within was seen within not_seen_within";
        section.wrong(problem, "let not_seen_within be the shorter");
    }
    let unserved = select.unserved();
    if !unserved.is_empty() && select.scan.is_none() {
        let names: Vec<_> = unserved.iter().map(|condition| condition.as_str()).collect();
        let problem = format!(
            "reads every device of the app and throws most away, because no index serves {}",
            names.join(" or ")
        );
        let fix = "add a condition on country or app_version, or argue: scan = \"why it is all right\"";
        section.wrong(problem, fix);
    }
    if unserved.is_empty() && select.scan.is_some() {
        section.doubtful("argues for a scan, and none is made", "leave scan out");
    }
}

fn list<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl FnMut(&str) -> Result<T, Wrong>,
) -> Option<Vec<T>> {
    let Some(item) = section.get(key) else { return Some(Vec::new()) };
    let values = item.each(read)?;
    if values.is_empty() {
        item.wrong("is empty, so nobody is found", "list a value, or leave the condition out");
    }
    Some(values.into_iter().map(|value| value.value).collect())
}

fn tag(text: &str) -> Result<String, Wrong> {
    match Tags::new([text]) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Wrong::new(error.to_string(), "write a tag as devices are registered with")),
    }
}

/// `>=5.2`, or several that must all hold: `>=5.2, <6`.
fn version_bounds(text: &str) -> Result<Vec<VersionBound>, Wrong> {
    const FORM: &str = "write a bound, such as \">=5.2\" or \">=5.2, <6\"";
    let bound = |part: &str| {
        let part = part.trim();
        let side = Side::ALL.into_iter().find(|side| part.starts_with(side.as_str()));
        let read = side.and_then(|side| {
            let version = AppVersion::read(part[side.as_str().len()..].trim_start())?;
            Some(VersionBound { side, version, text: part.to_owned() })
        });
        read.ok_or_else(|| Wrong::new(format!("{part:?} is no bound on a version"), FORM))
    };
    let bounds: Vec<VersionBound> = text.split(',').map(bound).collect::<Result<_, _>>()?;
    let lower = |side| matches!(side, Side::AtLeast | Side::Above | Side::Exactly);
    let upper = |side| matches!(side, Side::AtMost | Side::Below | Side::Exactly);
    for low in bounds.iter().filter(|bound| lower(bound.side)) {
        for high in bounds.iter().filter(|bound| upper(bound.side)) {
            let is_open = low.side == Side::Above || high.side == Side::Below;
            if low.version > high.version || low.version == high.version && is_open {
                return Err(Wrong::new(format!("{text:?} is within no version"), FORM));
            }
        }
    }
    Ok(bounds)
}

fn attributes(item: &Item<'_>) -> Option<Vec<(String, Scalar)>> {
    let values: Vec<_> =
        item.section()?.entries().map(|(name, item)| Some((name.to_owned(), item.scalar()?))).collect();
    let values: Vec<(String, Scalar)> = values.into_iter().collect::<Option<_>>()?;
    if values.is_empty() {
        item.wrong("is empty", "write a name and its value, or leave the condition out");
        return None;
    }
    if let Err(error) = Attributes::new(values.clone()) {
        item.wrong(error.to_string(), "write names and values as devices are registered with");
        return None;
    }
    Some(values)
}
