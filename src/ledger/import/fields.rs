//! The fields of a device and their rules.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{RefusedLine, json::Value, refuse};
use crate::model::{
    AppId, Attributes, Environment, Locale, NewDevice, OutOfBounds, Scalar, Tags, Token, UserId,
    fields::{country_code, one_case, rule, short_text},
};

/// Every field; the first four are required.
pub(super) const FIELDS: [&str; 12] = [
    "user_id",
    "app",
    "platform",
    "token",
    "environment",
    "country",
    "language",
    "timezone",
    "app_version",
    "last_seen_at",
    "tags",
    "attributes",
];

/// What stood on a line, by the order of [`FIELDS`].
pub(super) type Fields<'a> = [Value<'a>; FIELDS.len()];

/// A field's text in a file without types. Tags stand there one after the other, attributes as JSON.
pub(super) fn from_text<'a>(line: u64, field: &str, text: &'a str) -> Result<Value<'a>, RefusedLine> {
    match field {
        _ if text.is_empty() => Ok(Value::Null),
        "tags" => {
            Ok(Value::List(text.split(';').map(|tag| Value::Text(Cow::Borrowed(tag.trim()))).collect()))
        }
        "attributes" => serde_json::from_str(text).map_err(|_| refuse(line, field, "is not JSON")),
        _ => Ok(Value::Text(Cow::Borrowed(text))),
    }
}

pub(super) fn check(line: u64, fields: Fields<'_>) -> Result<NewDevice, RefusedLine> {
    let [
        user,
        app,
        platform,
        token,
        environment,
        country,
        language,
        timezone,
        app_version,
        last_seen_at,
        tags,
        attributes,
    ] = fields;
    let platform = required(line, "platform", &platform, |text| text.parse().ok())?;
    Ok(NewDevice {
        user: required(line, "user_id", &user, |text| UserId::parse(text).ok())?,
        app: required(line, "app", &app, |text| AppId::parse(text).ok())?,
        platform,
        token: required(line, "token", &token, |text| Token::parse(&one_case(platform, text)))?,
        environment: optional(line, "environment", &environment, |text| text.parse().ok())?
            .unwrap_or(Environment::Production),
        country: optional(line, "country", &country, country_code)?,
        language: optional(line, "language", &language, |text| Locale::parse(text).ok())?,
        timezone: optional(line, "timezone", &timezone, short_text)?,
        app_version: optional(line, "app_version", &app_version, short_text)?,
        last_seen_at: optional(line, "last_seen_at", &last_seen_at, |text| text.parse::<Timestamp>().ok())?,
        tags: listed(line, tags)?,
        attributes: named(line, attributes)?,
    })
}

fn required<T>(
    line: u64,
    field: &'static str,
    value: &Value<'_>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, RefusedLine> {
    optional(line, field, value, parse)?.ok_or_else(|| refuse(line, field, "is missing"))
}

fn optional<T>(
    line: u64,
    field: &'static str,
    value: &Value<'_>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, RefusedLine> {
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => parse(text).map(Some).ok_or_else(|| refuse(line, field, rule(field))),
        _ => Err(refuse(line, field, "is not a string")),
    }
}

fn listed(line: u64, value: Value<'_>) -> Result<Tags, RefusedLine> {
    const FIELD: &str = "tags";
    let values = match value {
        Value::Null => return Ok(Tags::default()),
        Value::List(values) => values,
        _ => return Err(refuse(line, FIELD, "is not a list")),
    };
    let text = |value| match value {
        Value::Text(text) => Ok(text),
        _ => Err(refuse(line, FIELD, "has a tag that is not a string")),
    };
    let tags = values.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Tags::new(tags).map_err(|why| out_of_bounds(line, FIELD, why))
}

fn named(line: u64, value: Value<'_>) -> Result<Attributes, RefusedLine> {
    const FIELD: &str = "attributes";
    let pairs = match value {
        Value::Null => return Ok(Attributes::default()),
        Value::Object(pairs) => pairs,
        _ => return Err(refuse(line, FIELD, "is not an object")),
    };
    let mut known = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        match value {
            // As for a field: the same as if it were absent.
            Value::Null => {}
            Value::Text(text) => known.push((name, Scalar::Text(text.into()))),
            Value::Scalar(scalar) => known.push((name, scalar)),
            Value::List(_) | Value::Object(_) => {
                return Err(refuse(line, FIELD, "has a value that is not a string, a number or a boolean"));
            }
        }
    }
    Attributes::new(known).map_err(|why| out_of_bounds(line, FIELD, why))
}

fn out_of_bounds(line: u64, field: &str, why: OutOfBounds) -> RefusedLine {
    refuse(line, field, &why.to_string())
}
