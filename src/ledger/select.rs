//! An audience's conditions as SQL. Values are bound, never spliced; a list is one JSON text.

use jiff::Timestamp;
use sqlx::{Database, Encode, QueryBuilder, Type};

use super::rows::micros;
use crate::{
    audience::{Country, Select, Timezone},
    model::AppId,
};

/// Which engine's words are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    Sqlite,
}

impl Engine {
    /// What stands around a bound JSON list, so that a column can be compared with its elements.
    const fn list(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => (" = any(array(select json_array_elements_text(", "::json)))"),
            Self::Sqlite => (" in (select value from json_each(", "))"),
        }
    }
}

/// The app's live devices of its production builds, as far as `select` goes. To follow a `where`.
pub(super) fn push_condition<'q, DB>(
    query: &mut QueryBuilder<'q, DB>,
    engine: Engine,
    select: &Select,
    app: &AppId,
    now: Timestamp,
) where
    DB: Database,
    String: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
{
    query
        .push("gone_at is null and environment = 'production' and app = ")
        .push_bind(app.as_str().to_owned());
    let lists: [(&str, Vec<&str>); 3] = [
        ("country", select.country.iter().map(Country::as_str).collect()),
        ("platform", select.platform.iter().map(|platform| platform.as_str()).collect()),
        ("timezone", select.timezone.iter().map(Timezone::as_str).collect()),
    ];
    for (column, values) in lists {
        if !values.is_empty() {
            push_list(query, engine, column, &values);
        }
    }
    if !select.language.is_empty() {
        // A tag matches its varieties: `de` is also `de-AT`.
        query.push(" and (");
        for (place, language) in select.language.iter().enumerate() {
            let language = language.as_str().to_owned();
            query
                .push(if place == 0 { "language = " } else { " or language = " })
                .push_bind(language.clone());
            let variety = i64::try_from(language.len() + 1).unwrap_or(i64::MAX);
            query.push(" or substr(language, 1, ").push_bind(variety);
            query.push(if engine == Engine::Postgres { "::integer) = " } else { ") = " });
            query.push_bind(format!("{language}-"));
        }
        query.push(")");
    }
    if let Some(within) = select.last_seen_within {
        let since = now.checked_sub(within).unwrap_or(Timestamp::MIN);
        query.push(" and last_seen_at >= ").push_bind(micros(since));
    }
}

fn push_list<'q, DB>(query: &mut QueryBuilder<'q, DB>, engine: Engine, column: &str, values: &[&str])
where
    DB: Database,
    String: Encode<'q, DB> + Type<DB>,
{
    let (before, after) = engine.list();
    let list = serde_json::to_string(values).expect("texts have a JSON form");
    query.push(" and ").push(column).push(before).push_bind(list).push(after);
}
