//! An audience's conditions as SQL. Values are bound, never spliced.
//!
//! Which of them are served by an index is said in [`crate::audience::Condition`]. A list becomes `in (…)` with a value each,
//! which both engines can look up one by one, and of which PostgreSQL can tell how many it will find.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Database, Encode, QueryBuilder, Type};

use super::{rows::micros, selection::Range};
use crate::{
    audience::{Country, Select, Served, Side, Timezone},
    model::{AppId, AppVersion, Locale, Platform, Scalar},
};

/// Which engine's words are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    Sqlite,
}

/// Which builds of an app are rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Builds {
    /// The store's.
    Store,
    /// Development builds as well: testers' phones run them.
    All,
}

/// What is looked for among an app's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// Those that can be rung: live, of a store build.
    Taken,
    /// Those that are left out for what they are: gone, or development builds.
    LeftOut,
}

/// Conditions on their way into a statement. To follow a `where`.
pub(super) struct Conditions<'a, 'q, DB: Database> {
    pub(super) query: &'a mut QueryBuilder<'q, DB>,
    pub(super) engine: Engine,
    pub(super) now: Timestamp,
}

impl<'q, DB: Database> Conditions<'_, 'q, DB>
where
    String: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
    f64: Encode<'q, DB> + Type<DB>,
{
    /// The app's devices as far as `select` goes.
    pub(super) fn push(&mut self, app: &AppId, looked: Looked, select: &Select) {
        // SQLite would take any index that begins with the app, and read it whole: the sign keeps it from that.
        let is_served = select.conditions().any(|condition| matches!(condition.served(), Served::By(_)));
        self.query.push(if self.engine == Engine::Sqlite && !is_served { "+app = " } else { "app = " });
        self.query.push_bind(app.as_str().to_owned());
        self.query.push(match looked {
            Looked::Taken => " and gone_at is null and environment = 'production'",
            Looked::LeftOut => " and not (gone_at is null and environment = 'production')",
        });
        self.among("country", select.country.iter().map(Country::as_str));
        self.among("platform", select.platform.iter().copied().map(Platform::as_str));
        self.among("timezone", select.timezone.iter().map(Timezone::as_str));
        self.languages(&select.language);
        for bound in &select.app_version {
            let (side, key) = (bound.side.as_str(), bound.version.key().to_owned());
            self.query.push(" and version_key ").push(side).push(" ").push_bind(key);
            if matches!(bound.side, Side::AtMost | Side::Below) {
                // What is no version is before none.
                self.query.push(" and version_key > ").push_bind(AppVersion::UNREADABLE.to_owned());
            }
        }
        self.tags(&select.tags, &select.tags_all);
        for (name, value) in &select.attributes {
            self.attribute(name, value);
        }
        self.since("last_seen_at", " >= ", select.last_seen_within);
        self.since("last_seen_at", " < ", select.not_seen_within);
        self.since("registered_at", " >= ", select.registered_within);
    }

    /// Only in the buckets of this range.
    pub(super) fn push_part(&mut self, part: Range) {
        self.query.push(" and bucket >= ").push_bind(i64::from(part.from));
        self.query.push(" and bucket <= ").push_bind(i64::from(part.to));
    }

    /// No condition at all if there are no values.
    fn among<'v>(&mut self, column: &str, values: impl ExactSizeIterator<Item = &'v str>) {
        if values.len() > 0 {
            self.query.push(" and ").push(column).push(" in (");
            self.values(values);
            self.query.push(")");
        }
    }

    fn values<'v>(&mut self, values: impl Iterator<Item = &'v str>) {
        for (place, value) in values.enumerate() {
            self.query.push(if place == 0 { "" } else { ", " }).push_bind(value.to_owned());
        }
    }

    /// A tag matches its varieties: `de` is also `de-AT`.
    fn languages(&mut self, languages: &[Locale]) {
        for (place, language) in languages.iter().enumerate() {
            let language = language.as_str().to_owned();
            let variety = i64::try_from(language.len() + 1).unwrap_or(i64::MAX);
            let start = format!("{language}-");
            self.query.push(if place == 0 { " and (language = " } else { " or language = " });
            self.query.push_bind(language).push(" or substr(language, 1, ").push_bind(variety);
            self.query.push(if self.engine == Engine::Postgres { "::integer) = " } else { ") = " });
            self.query.push_bind(start);
        }
        self.query.push(if languages.is_empty() { "" } else { ")" });
    }

    fn tags(&mut self, any: &[String], all: &[String]) {
        let any = any.iter().map(String::as_str);
        match self.engine {
            Engine::Postgres => {
                for (sign, tags) in [
                    (" and tags && array[", any.collect::<Vec<_>>()),
                    (" and tags @> array[", all.iter().map(String::as_str).collect()),
                ] {
                    if !tags.is_empty() {
                        self.query.push(sign);
                        self.values(tags.into_iter());
                        self.query.push("]");
                    }
                }
            }
            Engine::Sqlite => {
                // One of the first list; then each of the second.
                let each = all.iter().map(|tag| vec![tag.as_str()]);
                for tags in
                    std::iter::once(any.collect::<Vec<_>>()).chain(each).filter(|tags| !tags.is_empty())
                {
                    self.query.push(" and exists (select 1 from json_each(tags) t where t.value in (");
                    self.values(tags.into_iter());
                    self.query.push("))");
                }
            }
        }
    }

    /// Equality of the value and of its kind: the number 1 is neither the text "1" nor true.
    fn attribute(&mut self, name: &str, value: &Scalar) {
        if self.engine == Engine::Postgres {
            let value = serde_json::to_string(value).expect("a text, a number or a flag has a JSON form");
            self.query.push(" and attributes -> ").push_bind(name.to_owned());
            self.query.push("::text = ").push_bind(value).push("::jsonb");
            return;
        }
        // Names have no quotes.
        let path = format!("$.\"{name}\"");
        let kinds = match value {
            Scalar::Text(_) => "('text')",
            Scalar::Number(_) => "('integer', 'real')",
            Scalar::Flag(true) => "('true')",
            Scalar::Flag(false) => "('false')",
        };
        self.query.push(" and json_type(attributes, ").push_bind(path.clone()).push(") in ").push(kinds);
        if !matches!(value, Scalar::Flag(_)) {
            self.query.push(" and json_extract(attributes, ").push_bind(path).push(") = ");
        }
        match value {
            Scalar::Text(text) => self.query.push_bind(text.to_string()),
            Scalar::Number(number) => match number.as_i64() {
                Some(number) => self.query.push_bind(number),
                None => self.query.push_bind(number.as_f64().unwrap_or(f64::NAN)),
            },
            Scalar::Flag(_) => self.query,
        };
    }

    fn since(&mut self, column: &str, sign: &str, within: Option<Duration>) {
        if let Some(within) = within {
            let since = self.now.checked_sub(within).unwrap_or(Timestamp::MIN);
            self.query.push(" and ").push(column).push(sign).push_bind(micros(since));
        }
    }
}
