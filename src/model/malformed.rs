//! A job or a registration whose form is wrong: which field, what is wrong with it, what would mend it.
//!
//! **I12 silent-logs**: serde quotes the value that it did not expect, and that may be the notification. Only
//! what was expected, and names of fields, are carried over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JobId;

/// What is wrong with a job's form, as a code that a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MalformedCode {
    /// Above [`super::MAX_JOB_BYTES`].
    TooLarge,
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    NotJson,
    /// Nested deeper than 128 levels.
    TooDeep,
    /// A version that this service does not read.
    UnknownVersion,
    /// A field that does not exist: a typo must not be ignored.
    UnknownField,
    /// The same field twice.
    DuplicateField,
    /// A required field is absent.
    MissingField,
    /// A field of the wrong type.
    WrongType,
    /// A field whose value breaks its rule.
    InvalidValue,
}

impl MalformedCode {
    /// As written in headers and events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NotUtf8 => "not-utf8",
            Self::NotJson => "not-json",
            Self::TooDeep => "too-deep",
            Self::UnknownVersion => "unknown-version",
            Self::UnknownField => "unknown-field",
            Self::DuplicateField => "duplicate-field",
            Self::MissingField => "missing-field",
            Self::WrongType => "wrong-type",
            Self::InvalidValue => "invalid-value",
        }
    }
}

/// A job whose form is wrong: which field, what is wrong with it, what would mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// The kind of mistake.
    pub code: MalformedCode,
    /// The path of the field, such as `to.users[3]`; `job` for the whole.
    pub field: String,
    /// What is wrong and what would mend it; never quotes the notification.
    pub problem: String,
    /// The job's id, if at least that could be read.
    pub id: Option<JobId>,
}

impl Malformed {
    pub(super) fn new(code: MalformedCode, field: &str, problem: impl Into<String>) -> Self {
        Self { code, field: field.to_owned(), problem: problem.into(), id: None }
    }

    pub(super) fn of_id(mut self, id: &JobId) -> Self {
        self.id = Some(id.clone());
        self
    }
}

/// `whole` is the path of the whole message.
pub(super) fn not_json(error: &serde_json::Error, whole: &str) -> Malformed {
    let (line, column) = (error.line(), error.column());
    if error.to_string().starts_with("recursion limit") {
        let problem = format!("nested too deeply at line {line}, column {column}; at most 128 levels");
        return Malformed::new(MalformedCode::TooDeep, whole, problem);
    }
    Malformed::new(MalformedCode::NotJson, whole, format!("not JSON at line {line}, column {column}"))
}

/// Turns serde's message into ours.
pub(super) fn explain(
    error: &serde_path_to_error::Error<serde_json::Error>,
    text: &str,
    whole: &str,
) -> Malformed {
    use MalformedCode as Code;
    let inner = error.inner();
    if !inner.is_data() {
        return not_json(inner, whole);
    }
    let message = inner.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(head, _)| head);
    let path = match error.path().to_string() {
        path if path == "." => None,
        path => Some(path),
    };
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let child = |field: &str| path.as_ref().map_or(field.to_owned(), |path| format!("{path}.{field}"));
    let here = || path.clone().unwrap_or_else(|| whole.to_owned());
    let malformed = if message.starts_with("unknown field") {
        // The path of an unknown field already ends with its name.
        let expected = message.split_once(", ").map_or("", |(_, expected)| expected);
        Malformed::new(Code::UnknownField, &here(), format!("is not a field of a {whole}; {expected}"))
    } else if message.starts_with("missing field") {
        Malformed::new(Code::MissingField, &child(quoted), "is required")
    } else if message.starts_with("duplicate field") {
        Malformed::new(Code::DuplicateField, &child(quoted), "stands there twice")
    } else if let Some((_, expected)) = message.rsplit_once(", expected ") {
        let wrong_type = message.starts_with("invalid type");
        let code = if wrong_type { Code::WrongType } else { Code::InvalidValue };
        Malformed::new(code, &here(), format!("expected {expected}"))
    } else {
        Malformed::new(Code::InvalidValue, &here(), safe_custom(message))
    };
    Malformed { id: id_of(text), ..malformed }
}

/// Our own parsers' messages are safe to show; they quote at most a name. Others are not repeated.
fn safe_custom(message: &str) -> String {
    if message.contains("is not allowed: ") {
        message.to_owned()
    } else {
        "has a value that cannot be read".into()
    }
}

fn id_of(text: &str) -> Option<JobId> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: JobId,
    }
    serde_json::from_str::<OnlyId>(text).ok().map(|only| only.id)
}
