//! Reading registrations from a file: NDJSON, or CSV with a header. Good lines stay, bad ones are reported.
//!
//! A report names line, field and rule, and never quotes what stood there: it may be a token in the wrong
//! column (I12).

use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead},
};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::model::{AppId, Environment, Locale, NewDevice, Platform, Token, UserId};

/// How the file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated, with a header that names the fields.
    Csv,
}

/// Every field; the first four are required.
const FIELDS: [&str; 10] = [
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
];

/// Longest free text that is kept (a time zone, an app's version), in bytes.
const MAX_TEXT: usize = 64;

/// A line that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {field}: {reason}")]
pub struct RefusedLine {
    /// Counting from 1, the header included.
    pub line: u64,
    /// Which field; `line` for the whole.
    pub field: String,
    /// What is wrong, and what would mend it.
    pub reason: String,
}

/// Reads one registration after the other; memory does not grow with the file.
///
/// An I/O error ends the reading. So does a CSV header with an unknown field: a typo must not drop a column.
#[derive(Debug)]
pub struct DeviceReader<R> {
    lines: Lines<R>,
}

#[derive(Debug)]
enum Lines<R> {
    Ndjson { input: R, line: u64, buffer: Vec<u8> },
    Csv { reader: Box<csv::Reader<R>>, columns: Vec<usize>, record: csv::ByteRecord },
}

/// What stood on a line, by the order of [`FIELDS`].
type Fields = [Option<String>; FIELDS.len()];

impl<R: BufRead> DeviceReader<R> {
    /// Begins to read.
    pub fn new(input: R, format: DeviceFormat) -> io::Result<Self> {
        let lines = match format {
            DeviceFormat::Ndjson => Lines::Ndjson { input, line: 0, buffer: Vec::new() },
            DeviceFormat::Csv => {
                let mut reader = Box::new(csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input));
                let columns = header(reader.headers()?)?;
                Lines::Csv { reader, columns, record: csv::ByteRecord::new() }
            }
        };
        Ok(Self { lines })
    }
}

impl<R: BufRead> Iterator for DeviceReader<R> {
    type Item = io::Result<Result<NewDevice, RefusedLine>>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.lines {
            Lines::Ndjson { input, line, buffer } => loop {
                buffer.clear();
                *line += 1;
                match input.read_until(b'\n', buffer) {
                    Err(error) => return Some(Err(error)),
                    Ok(0) => return None,
                    Ok(_) if buffer.trim_ascii().is_empty() => {}
                    Ok(_) => return Some(Ok(ndjson(*line, buffer))),
                }
            },
            Lines::Csv { reader, columns, record } => match reader.read_byte_record(record) {
                Ok(false) => None,
                Ok(true) => Some(Ok(csv_record(columns, record))),
                Err(error) => match error.kind() {
                    csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
                        let line = pos.as_ref().map_or(0, csv::Position::line);
                        let reason = format!("has {len} fields, the header has {expected_len}");
                        Some(Ok(Err(refuse(line, "line", &reason))))
                    }
                    _ => Some(Err(error.into())),
                },
            },
        }
    }
}

fn refuse(line: u64, field: &str, reason: &str) -> RefusedLine {
    RefusedLine { line, field: field.to_owned(), reason: reason.to_owned() }
}

fn header(names: &csv::StringRecord) -> io::Result<Vec<usize>> {
    let column = |name: &str| {
        FIELDS.iter().position(|field| *field == name).ok_or_else(|| {
            let known = FIELDS.join(", ");
            io::Error::new(io::ErrorKind::InvalidData, format!("the header names {name:?}; known: {known}"))
        })
    };
    let columns: Vec<usize> = names.iter().map(column).collect::<io::Result<_>>()?;
    let twice = columns.iter().enumerate().find(|(place, column)| columns[..*place].contains(column));
    match twice {
        // Which of the two is meant is not for us to guess: a phone would be bound to the wrong person.
        Some((_, column)) => {
            let problem = format!("the header names {} twice", FIELDS[*column]);
            Err(io::Error::new(io::ErrorKind::InvalidData, problem))
        }
        None => Ok(columns),
    }
}

/// The pairs of an object, as they stand: a map would keep the last of two equal names and say nothing.
struct Pairs(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

fn csv_record(columns: &[usize], record: &csv::ByteRecord) -> Result<NewDevice, RefusedLine> {
    let line = record.position().map_or(0, csv::Position::line);
    let mut fields = Fields::default();
    for (column, value) in columns.iter().zip(record) {
        let text = std::str::from_utf8(value).map_err(|_| refuse(line, FIELDS[*column], "is not UTF-8"))?;
        fields[*column] = (!text.is_empty()).then(|| text.to_owned());
    }
    check(line, fields)
}

fn ndjson(line: u64, bytes: &[u8]) -> Result<NewDevice, RefusedLine> {
    let Pairs(pairs) =
        serde_json::from_slice(bytes).map_err(|_| refuse(line, "line", "is not a JSON object"))?;
    let mut fields = Fields::default();
    let mut seen = [false; FIELDS.len()];
    for (name, value) in pairs {
        let Some(column) = FIELDS.iter().position(|field| *field == name) else {
            // A name is told so that a typo is found; what does not look like one may be a token.
            let is_word = name.len() <= 32 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let told = if is_word { name.as_str() } else { "an unknown name" };
            return Err(refuse(
                line,
                told,
                &format!("is no field of a device; known: {}", FIELDS.join(", ")),
            ));
        };
        if std::mem::replace(&mut seen[column], true) {
            return Err(refuse(line, FIELDS[column], "stands there twice"));
        }
        fields[column] = match value {
            serde_json::Value::String(text) => Some(text),
            serde_json::Value::Null => None,
            _ => return Err(refuse(line, FIELDS[column], "is not a string")),
        };
    }
    check(line, fields)
}

fn check(line: u64, fields: Fields) -> Result<NewDevice, RefusedLine> {
    let [user, app, platform, token, environment, country, language, timezone, app_version, last_seen_at] =
        fields;
    let platform = required(line, "platform", platform, |text| text.parse().ok())?;
    Ok(NewDevice {
        user: required(line, "user_id", user, |text| UserId::parse(text).ok())?,
        app: required(line, "app", app, |text| AppId::parse(text).ok())?,
        platform,
        token: required(line, "token", token, |text| Token::parse(&one_case(platform, text)))?,
        environment: optional(line, "environment", environment, |text| text.parse().ok())?
            .unwrap_or(Environment::Production),
        country: optional(line, "country", country, country_code)?,
        language: optional(line, "language", language, |text| Locale::parse(text).ok())?,
        timezone: optional(line, "timezone", timezone, short_text)?,
        app_version: optional(line, "app_version", app_version, short_text)?,
        last_seen_at: optional(line, "last_seen_at", last_seen_at, |text| text.parse::<Timestamp>().ok())?,
    })
}

/// APNs tokens are hexadecimal, and the same phone in either case: two spellings must not be two owners.
fn one_case(platform: Platform, token: &str) -> Cow<'_, str> {
    match platform {
        Platform::Ios if token.chars().all(|c| c.is_ascii_hexdigit()) => token.to_ascii_lowercase().into(),
        Platform::Ios | Platform::Android => token.into(),
    }
}

fn required<T>(
    line: u64,
    field: &'static str,
    text: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, RefusedLine> {
    optional(line, field, text, parse)?.ok_or_else(|| refuse(line, field, "is missing"))
}

fn optional<T>(
    line: u64,
    field: &'static str,
    text: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, RefusedLine> {
    let Some(text) = text else { return Ok(None) };
    parse(&text).map(Some).ok_or_else(|| refuse(line, field, rule(field)))
}

fn rule(field: &str) -> &'static str {
    match field {
        "user_id" => "is not 1 to 128 characters without control characters",
        "app" => "is not 1 to 155 letters, digits, '.', '-' or '_'",
        "platform" => "is not ios or android",
        "token" => "is not 1 to 4000 letters, digits, '-', '_', ':', '.' or '~'",
        "environment" => "is not production or sandbox",
        "country" => "is not two upper-case letters (ISO 3166-1)",
        "language" => "is not a language tag such as de or de-AT (BCP 47)",
        "last_seen_at" => "is not an instant such as 2026-11-21T20:00:00Z (RFC 3339)",
        _ => "is not 1 to 64 bytes without control characters",
    }
}

fn country_code(text: &str) -> Option<String> {
    (text.len() == 2 && text.chars().all(|c| c.is_ascii_uppercase())).then(|| text.to_owned())
}

fn short_text(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, format: DeviceFormat) -> (Vec<NewDevice>, Vec<RefusedLine>) {
        let reader = DeviceReader::new(text.as_bytes(), format).expect("a header");
        let (mut good, mut refused) = (Vec::new(), Vec::new());
        for line in reader {
            match line.expect("memory does not fail") {
                Ok(device) => good.push(device),
                Err(line) => refused.push(line),
            }
        }
        (good, refused)
    }

    #[test]
    fn both_formats_read_the_same_device() {
        let json = r#"{"user_id":"u-1","app":"pl.example.bank","platform":"ios","token":"abc","country":"PL",
            "language":"pl","last_seen_at":"2026-11-01T00:00:00Z"}"#
            .replace('\n', " ");
        let csv = "user_id,app,platform,token,country,language,last_seen_at,timezone\n\
                   u-1,pl.example.bank,ios,abc,PL,pl,2026-11-01T00:00:00Z,\n";
        let (from_json, from_csv) = (read(&json, DeviceFormat::Ndjson), read(csv, DeviceFormat::Csv));
        assert_eq!(from_json, from_csv);
        assert_eq!((from_json.0.len(), from_json.1.len()), (1, 0));
        assert_eq!(from_json.0[0].environment, Environment::Production);
    }

    #[test]
    fn good_lines_stay_and_bad_ones_are_named_without_being_quoted() {
        let good = r#"{"user_id":"u-1","app":"a","platform":"ios","token":"abc"}"#;
        let lines = [
            good,
            r#"{"user_id":"u-1","app":"a","platform":"ios"}"#,
            "",
            r#"{"user_id":"u-1","app":"a","platform":"ios","token":"secret/secret"}"#,
            r#"{"user_id":"u-1","app":"a","platform":"secret","token":"abc"}"#,
            r#"{"user_id":"u-1","app":"a","platform":"ios","token":"abc","colour":"red"}"#,
            r#"{"user_id":7,"app":"a","platform":"ios","token":"abc"}"#,
            "[secret",
            good,
        ];
        let (devices, refused) = read(&lines.join("\n"), DeviceFormat::Ndjson);
        assert_eq!(devices.len(), 2);
        let named: Vec<_> = refused.iter().map(|line| (line.line, line.field.as_str())).collect();
        let expected =
            [(2, "token"), (4, "token"), (5, "platform"), (6, "colour"), (7, "user_id"), (8, "line")];
        assert_eq!(named, expected);
        assert!(refused.iter().all(|line| !line.to_string().contains("secret")), "{refused:?}");
    }

    #[test]
    fn a_csv_line_of_another_length_is_refused_and_an_unknown_column_ends_the_import() {
        let (devices, refused) =
            read("user_id,app,platform,token\nu,a,ios\nu,a,android,t\n", DeviceFormat::Csv);
        assert_eq!((devices.len(), refused.len()), (1, 1));
        assert_eq!(refused[0].line, 2);
        let error = DeviceReader::new("user_id,tokn\n".as_bytes(), DeviceFormat::Csv).expect_err("unknown");
        assert!(error.to_string().contains("tokn"), "{error}");
    }

    #[test]
    fn whoever_stands_there_twice_is_not_guessed_at() {
        let twice = r#"{"user_id":"u-1","user_id":"u-2","app":"a","platform":"ios","token":"abc"}"#;
        let (devices, refused) = read(twice, DeviceFormat::Ndjson);
        assert_eq!((devices.len(), refused[0].field.as_str()), (0, "user_id"));
        let header = "user_id,user_id,app,platform,token\n";
        let error = DeviceReader::new(header.as_bytes(), DeviceFormat::Csv).expect_err("ambiguous");
        assert!(error.to_string().contains("user_id twice"), "{error}");
    }

    #[test]
    fn one_phone_is_one_token_in_either_case() {
        let line = |token: &str| format!(r#"{{"user_id":"u","app":"a","platform":"ios","token":"{token}"}}"#);
        let (devices, _) = read(&format!("{}\n{}", line("ABCDEF01"), line("abcdef01")), DeviceFormat::Ndjson);
        assert_eq!(devices[0].owner_key(), devices[1].owner_key());
    }
}
