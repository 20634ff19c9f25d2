//! Reads TOML so that every mistake of a file is found at once, each with its line and its key.
//!
//! Derived deserialisation stops at the first mistake and knows no line for what is missing. Here a
//! reader asks a [`Section`] for each key; what it did not ask for is, when the section is closed, an
//! unknown field.

use std::cell::RefCell;

use toml::de::{DeTable, DeValue};

use super::problem::{At, Place, Problems};
use crate::model::Scalar;

/// Why a value is refused, and what to write instead.
#[derive(Debug)]
pub(super) struct Wrong {
    problem: String,
    fix: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { problem: problem.into(), fix: fix.into() }
    }
}

impl From<crate::model::InvalidName> for Wrong {
    fn from(error: crate::model::InvalidName) -> Self {
        Self::new(error.to_string(), "choose a name that follows this rule")
    }
}

/// One file of the policy.
#[derive(Debug)]
pub(super) struct File<'a> {
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    pub(super) problems: &'a Problems,
}

impl File<'_> {
    /// Parses the file and hands its root to `read`; a syntax error is reported, and `read` not called.
    pub(super) fn read<T>(&self, read: impl FnOnce(Section<'_>) -> Option<T>) -> Option<T> {
        match DeTable::parse(self.text) {
            Ok(table) => read(Section::new(self, self.place(0, String::new()), table.get_ref())),
            Err(error) => {
                let place = self.place(error.span().map_or(0, |span| self.line(span.start)), String::new());
                let problem = format!("is not TOML: {}", error.message().replace('\n', ", "));
                self.problems.error(&place, problem, "mend the syntax");
                None
            }
        }
    }

    fn place(&self, line: usize, key: String) -> Place {
        Place { file: self.path.into(), line, key }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.get(..offset).unwrap_or(self.text).matches('\n').count()
    }
}

/// A table, and which of its keys were asked for.
pub(super) struct Section<'a> {
    file: &'a File<'a>,
    pub(super) place: Place,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    fn new(file: &'a File<'a>, place: Place, table: &'a DeTable<'a>) -> Self {
        Self { file, place, table, asked: RefCell::default() }
    }

    /// The value at `key`, if it is there.
    pub(super) fn get(&self, key: &'static str) -> Option<Item<'a>> {
        self.asked.borrow_mut().push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some(self.item(name.get_ref(), name.span().start, value.get_ref()))
    }

    /// The value at `key`; its absence is a mistake.
    pub(super) fn need(&self, key: &'static str, fix: &str) -> Option<Item<'a>> {
        let item = self.get(key);
        if item.is_none() {
            let place = Place { key: self.child(key), ..self.place.clone() };
            self.file.problems.error(&place, "is missing", fix);
        }
        item
    }

    /// Every entry of a table whose keys are names; nothing in it is an unknown field.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> {
        self.table.iter().map(|(name, value)| {
            let key: &str = name.get_ref();
            (key, self.item(key, name.span().start, value.get_ref()))
        })
    }

    /// Says which keys nobody asked for: a typo must not be ignored.
    pub(super) fn close(self) {
        let asked = self.asked.into_inner();
        for name in self.table.keys() {
            let key: &str = name.get_ref();
            if !asked.contains(&key) {
                let place = self.file.place(self.file.line(name.span().start), child(&self.place.key, key));
                let fix = format!("write one of {}", asked.join(", "));
                self.file.problems.error(&place, "is not a field that is known here", fix);
            }
        }
    }

    /// Reports a mistake of the section as a whole.
    pub(super) fn wrong(&self, problem: impl Into<String>, fix: impl Into<String>) {
        self.file.problems.error(&self.place, problem, fix);
    }

    /// Reports what can be used, but was probably not meant.
    pub(super) fn doubtful(&self, problem: &str, fix: &str) {
        self.file.problems.warning(&self.place, problem, fix);
    }

    fn item(&self, key: &str, offset: usize, value: &'a DeValue<'a>) -> Item<'a> {
        let place = self.file.place(self.file.line(offset), self.child(key));
        Item { file: self.file, place, value }
    }

    fn child(&self, key: &str) -> String {
        child(&self.place.key, key)
    }
}

fn child(parent: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let key = if key.chars().all(bare) { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// A value with its place.
pub(super) struct Item<'a> {
    file: &'a File<'a>,
    pub(super) place: Place,
    value: &'a DeValue<'a>,
}

impl<'a> Item<'a> {
    /// A string, read by `parse`.
    pub(super) fn parse<T, E: Into<Wrong>>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let Some(text) = self.value.as_str() else { return self.expected("a string") };
        self.settle(parse(text))
    }

    /// The same, with its place, to be compared with other files later.
    pub(super) fn parse_at<T, E: Into<Wrong>>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        Some(At { value: self.parse(parse)?, place: self.place.clone() })
    }

    /// A string that is not empty.
    pub(super) fn text(&self) -> Option<String> {
        self.parse(|text| match text.trim() {
            "" => Err(Wrong::new("is empty", "write a text")),
            _ => Ok(text.to_owned()),
        })
    }

    /// A whole number from 0, read by `check`.
    pub(super) fn count<T>(&self, check: impl FnOnce(u64) -> Result<T, Wrong>) -> Option<T> {
        let number = self.value.as_integer().and_then(|n| u64::from_str_radix(n.as_str(), n.radix()).ok());
        let Some(number) = number else { return self.expected("a whole number that is not negative") };
        self.settle(check(number))
    }

    /// Any number, read by `check`.
    pub(super) fn number<T>(&self, check: impl FnOnce(f64) -> Result<T, Wrong>) -> Option<T> {
        let whole = || self.value.as_integer().map(toml::de::DeInteger::as_str);
        let text = self.value.as_float().map(toml::de::DeFloat::as_str).or_else(whole);
        let number = text.and_then(|text| text.parse::<f64>().ok()).filter(|number| number.is_finite());
        let Some(number) = number else { return self.expected("a number") };
        self.settle(check(number))
    }

    /// `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.expected("true or false"))
    }

    /// A text, a number or a flag. Not a number beyond what a double holds exactly, whose equality would depend on who
    /// compares.
    pub(super) fn scalar(&self) -> Option<Scalar> {
        const EXACT: u64 = 1 << 53;
        let number = match self.value {
            DeValue::String(text) => return Some(Scalar::Text(text.as_ref().into())),
            DeValue::Boolean(flag) => return Some(Scalar::Flag(*flag)),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                number.filter(|number| number.unsigned_abs() <= EXACT).map(serde_json::Number::from)
            }
            DeValue::Float(number) => {
                let number = number.as_str().parse::<f64>().ok();
                #[expect(clippy::cast_precision_loss, reason = "a power of two")]
                let number = number.filter(|number| number.abs() <= EXACT as f64);
                number.and_then(serde_json::Number::from_f64)
            }
            _ => return self.expected("a text, a number, or true or false"),
        };
        number.map(Scalar::Number).or_else(|| self.expected("a number up to 2^53"))
    }

    /// A list of strings, each read by `parse`.
    pub(super) fn each<T, E: Into<Wrong>>(
        &self,
        mut parse: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<At<T>>> {
        let items = self.items()?;
        let read: Vec<_> = items.iter().map(|item| item.parse_at(&mut parse)).collect();
        read.into_iter().collect()
    }

    /// A list of tables, each read by `read`.
    pub(super) fn sections<T>(&self, mut read: impl FnMut(Section<'a>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.items()?;
        let read: Vec<_> = items.iter().map(|item| read(item.section()?)).collect();
        read.into_iter().collect()
    }

    /// A table.
    pub(super) fn section(&self) -> Option<Section<'a>> {
        match self.value.as_table() {
            Some(table) => Some(Section::new(self.file, self.place.clone(), table)),
            None => self.expected("a table"),
        }
    }

    /// Reports a mistake of this value.
    pub(super) fn wrong(&self, problem: impl Into<String>, fix: impl Into<String>) {
        self.file.problems.error(&self.place, problem, fix);
    }

    fn items(&self) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else { return self.expected("a list") };
        let item = |(n, value): (usize, &'a toml::Spanned<DeValue<'a>>)| {
            // A table of an array begins at its `[[header]]`, an inline value where it stands.
            let place =
                self.file.place(self.file.line(value.span().start), format!("{}[{n}]", self.place.key));
            Self { file: self.file, place, value: value.get_ref() }
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    fn settle<T, E: Into<Wrong>>(&self, read: Result<T, E>) -> Option<T> {
        read.map_err(|error| {
            let Wrong { problem, fix } = error.into();
            self.file.problems.error(&self.place, problem, fix);
        })
        .ok()
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.wrong(format!("is not {what}"), format!("write {what}"));
        None
    }
}

/// Absent is fine; present and unreadable is not.
#[expect(clippy::option_option, reason = "outer: is it there; inner: could it be read")]
pub(super) fn absent_or_sound<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    read.map_or(Some(None), |read| read.map(Some))
}
