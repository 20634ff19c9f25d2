//! A line of JSON as it stands: a map would keep the last of two equal names and say nothing.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    RefusedLine,
    fields::{self, FIELDS, Fields},
    refuse,
};
use crate::model::{NewDevice, Scalar};

/// A value, without a copy of its texts where they have no escapes.
#[derive(Debug, Default)]
pub(super) enum Value<'a> {
    #[default]
    Null,
    Text(Cow<'a, str>),
    /// A number or a boolean.
    Scalar(Scalar),
    List(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadValue)
    }
}

struct ReadValue;

impl<'de> Visitor<'de> for ReadValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Flag(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Number(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Scalar(Scalar::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value<'de>, E> {
        let number =
            serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number is not finite"))?;
        Ok(Value::Scalar(Scalar::Number(number)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            pairs.push((name, value));
        }
        Ok(Value::Object(pairs))
    }
}

/// A name in an object.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadName;
        impl<'de> Visitor<'de> for ReadName {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(ReadName)
    }
}

/// An object's values by the order of [`FIELDS`], and what is wrong with its names, if anything is.
struct Line<'a> {
    fields: Fields<'a>,
    wrong: Option<(String, String)>,
}

impl<'de> Deserialize<'de> for Line<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReadLine;
        impl<'de> Visitor<'de> for ReadLine {
            type Value = Line<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
                let (mut fields, mut seen, mut wrong) = (Fields::default(), [false; FIELDS.len()], None);
                while let Some(Name(name)) = map.next_key()? {
                    match FIELDS.iter().position(|field| *field == name) {
                        Some(column) if !seen[column] => {
                            seen[column] = true;
                            fields[column] = map.next_value()?;
                        }
                        known => {
                            map.next_value::<IgnoredAny>()?;
                            wrong.get_or_insert_with(|| match known {
                                Some(column) => (FIELDS[column].to_owned(), "stands there twice".to_owned()),
                                None => unknown(&name),
                            });
                        }
                    }
                }
                Ok(Line { fields, wrong })
            }
        }
        deserializer.deserialize_map(ReadLine)
    }
}

fn unknown(name: &str) -> (String, String) {
    // A name is told so that a typo is found; what does not look like one may be a token.
    let is_word = name.len() <= 32 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let told = if is_word { name } else { "an unknown name" };
    (told.to_owned(), format!("is no field of a device; known: {}", FIELDS.join(", ")))
}

pub(super) fn read_line(line: u64, bytes: &[u8]) -> Result<NewDevice, RefusedLine> {
    match serde_json::from_slice(bytes) {
        Err(_) => Err(refuse(line, "line", "is not a JSON object")),
        Ok(Line { wrong: Some((field, reason)), .. }) => Err(RefusedLine { line, field, reason }),
        Ok(Line { fields, wrong: None }) => fields::check(line, fields),
    }
}
