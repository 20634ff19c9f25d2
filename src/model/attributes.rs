//! What is said about a device for audiences to select by: tags, and attributes with a value.
//!
//! Both are bounded. They stand in the device's row, and a selection may have to read every row: at their most they add
//! less than 3 kB to one, so that an 8 kB page still holds two devices.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

/// Why tags or attributes are refused. Says the rule, never what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OutOfBounds(&'static str);

/// A device's tags: distinct, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>")]
#[schemars(with = "Vec<String>", extend("maxItems" = 16))]
pub struct Tags(Vec<Box<str>>);

impl Tags {
    /// Most tags of a device: interests and tests that it takes part in, not a history.
    pub const MAX: usize = 16;

    /// Longest tag, in bytes: a name, as long as a time zone's may be.
    pub const MAX_BYTES: usize = 64;

    /// Checks the rule of each tag. One that stands there twice counts once.
    pub fn new<T: Into<Box<str>>>(tags: impl IntoIterator<Item = T>) -> Result<Self, OutOfBounds> {
        let mut tags: Vec<Box<str>> = tags.into_iter().map(Into::into).collect();
        if !tags.iter().all(|tag| is_tag(tag)) {
            let rule =
                "has a tag that is not 1 to 64 bytes without control characters, ';' or space around it";
            return Err(OutOfBounds(rule));
        }
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > Self::MAX {
            return Err(OutOfBounds("has more than 16 tags"));
        }
        Ok(Self(tags))
    }

    /// Each tag.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(Box::as_ref)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Without ';' and outer space, so that a CSV field says the same as a list.
fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= Tags::MAX_BYTES
        && tag.trim() == tag
        && !tag.chars().any(|c| c == ';' || c.is_control())
}

impl TryFrom<Vec<String>> for Tags {
    type Error = OutOfBounds;

    fn try_from(tags: Vec<String>) -> Result<Self, OutOfBounds> {
        Self::new(tags)
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    /// A text.
    Text(#[schemars(extend("maxLength" = 64))] Box<str>),
    /// A number, as JSON has them.
    Number(serde_json::Number),
    /// Yes or no.
    Flag(bool),
}

/// A device's attributes: names with a value each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(extend("maxProperties" = 16))]
pub struct Attributes(BTreeMap<Box<str>, Scalar>);

impl Attributes {
    /// Most attributes of a device. What an audience selects by often is a column; these are for the rest.
    pub const MAX: usize = 16;

    /// Longest name, in bytes: an identifier.
    pub const MAX_NAME: usize = 32;

    /// Longest text of a value, in bytes: a code or a name, not prose.
    pub const MAX_BYTES: usize = 64;

    /// Checks the rule of each name and value.
    pub fn new<N: Into<Box<str>>>(
        attributes: impl IntoIterator<Item = (N, Scalar)>,
    ) -> Result<Self, OutOfBounds> {
        let mut known = BTreeMap::new();
        for (name, value) in attributes {
            let name = name.into();
            if !is_name(&name) {
                let rule = "has a name that is not a letter and up to 31 letters, digits, '_' or '-'";
                return Err(OutOfBounds(rule));
            }
            if matches!(&value, Scalar::Text(text) if !is_value(text)) {
                return Err(OutOfBounds("has a text that is longer than 64 bytes or has control characters"));
            }
            // Which of the two is meant is not for us to guess.
            if known.insert(name, value).is_some() {
                return Err(OutOfBounds("has a name twice"));
            }
        }
        if known.len() > Self::MAX {
            return Err(OutOfBounds("has more than 16 attributes"));
        }
        Ok(Self(known))
    }

    /// Each name and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Scalar)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= Attributes::MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn is_value(text: &str) -> bool {
    text.len() <= Attributes::MAX_BYTES && !text.chars().any(char::is_control)
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Attributes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a text, a number or a boolean for each name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut pairs: Vec<(String, Scalar)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Attributes::new(pairs).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(json: &str) -> Result<Attributes, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn tags_are_a_set() {
        let tags = Tags::new(["b", "a", "b"]).expect("tags");
        assert_eq!(tags.iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(serde_json::to_string(&tags).expect("JSON"), r#"["a","b"]"#);
        assert!(Tags::new(std::iter::repeat_n("a", 100)).is_ok());
    }

    #[test]
    fn tags_beyond_their_bounds_are_refused() {
        for bad in ["", " a", "a ", "a;b", "a\tb", "a\u{85}", &"x".repeat(65)] {
            assert!(Tags::new([bad]).is_err(), "{bad:?}");
        }
        assert!(Tags::new(["\"quoted\\\" {brace} żółw", &"x".repeat(64)]).is_ok());
        let many = |count: u8| Tags::new((0..count).map(|n| n.to_string()));
        assert!(many(16).is_ok() && many(17).is_err());
        assert!(serde_json::from_str::<Tags>(r#"["a", ""]"#).is_err());
    }

    #[test]
    fn attributes_are_short_scalars_under_distinct_names() {
        let known =
            attributes(r#"{"tier":"gold","balance":-12.5,"since":2019,"staff":false}"#).expect("read");
        let json = serde_json::to_string(&known).expect("JSON");
        assert_eq!(json, r#"{"balance":-12.5,"since":2019,"staff":false,"tier":"gold"}"#);
        for bad in [
            r#"{"a":null}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"":1}"#,
            r#"{"1a":1}"#,
            r#"{"a.b":1}"#,
            r#"{"a":"\u0000"}"#,
            r#"["a"]"#,
        ] {
            assert!(attributes(bad).is_err(), "{bad}");
        }
        let named = |length: usize| attributes(&format!(r#"{{"{}":1}}"#, "n".repeat(length)));
        assert!(named(32).is_ok() && named(33).is_err());
        let long = |length: usize| attributes(&format!(r#"{{"a":"{}"}}"#, "x".repeat(length)));
        assert!(long(64).is_ok() && long(65).is_err());
        let many = |count: u8| Attributes::new((0..count).map(|n| (format!("a{n}"), Scalar::Flag(true))));
        assert!(many(16).is_ok() && many(17).is_err());
    }
}
