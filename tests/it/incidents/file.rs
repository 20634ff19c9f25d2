//! `tests/incidents/*.toml`: what happened elsewhere, one file an incident. The file's stem is the incident's id.

use std::{fmt, path::Path};

use serde::Deserialize;

/// An incident, as its file tells it. A key that is not listed here is an error: a misspelt one must not be ignored.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incident {
    /// The file's stem.
    #[serde(skip)]
    pub(super) id: String,
    /// Whose phones rang.
    pub(super) organisation: String,
    /// When.
    pub(super) year: u16,
    /// Set if the year is not known for certain.
    #[serde(default)]
    pub(super) about: bool,
    /// A few words for the table.
    pub(super) short: String,
    /// What happened, in one to three sentences. For whoever reads the file.
    pub(super) happened: String,
    /// Who sent it, and how. For whoever reads the file.
    pub(super) sender: String,
    /// The language of the texts, and of the phones.
    pub(super) language: String,
    /// The way in which it happened; of the table's row.
    pub(super) variant: Variant,
    /// The ways in which it could have happened, and is tried; without, all of them.
    #[serde(default)]
    variants: Option<Vec<Variant>>,
    /// Whom it was meant for.
    pub(super) meant: Meant,
    /// Whom it reached.
    pub(super) hit: Hit,
    /// What was sent, in order; texts of the same kind, not those that were sent.
    #[serde(rename = "message")]
    pub(super) messages: Vec<Message>,
}

/// Whom a message was meant for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    pub(super) class: MeantClass,
    /// For whoever reads the file.
    pub(super) whom: String,
}

/// Whom a message reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hit {
    pub(super) class: HitClass,
    /// For whoever reads the file.
    pub(super) whom: String,
}

/// What the audience is that a message was meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MeantClass {
    /// Registered testers.
    Test,
    /// Our own people.
    Internal,
    /// Some of the people whom the app serves.
    Production,
    /// Nobody should have had it.
    Nobody,
}

/// What the audience is that a message reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HitClass {
    /// Our own people.
    Internal,
    /// The people whom the app serves.
    Production,
}

/// A message's text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) title: Option<String>,
    pub(super) body: String,
    /// As it is sent when nothing is filled in; without, a placeholder stands before the body.
    #[serde(default)]
    pub(super) unfilled: Option<Unfilled>,
}

/// A message's text in which a program has forgotten something.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unfilled {
    #[serde(default)]
    pub(super) title: Option<String>,
    pub(super) body: String,
}

impl Message {
    /// The same with nothing filled in.
    pub(super) fn unfilled(&self) -> Self {
        match &self.unfilled {
            Some(Unfilled { title, body }) => {
                Self { title: title.clone(), body: body.clone(), unfilled: None }
            }
            None => Self { body: format!("{{{{name}}}}, {}", self.body), ..self.clone() },
        }
    }
}

/// A way in which such a message comes to the wrong phones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// Says that it is a test, and goes to everyone.
    Labelled,
    /// Does not say what it is.
    Unlabelled,
    /// A test that claims to be none, of a producer that may only test.
    MislabelledScoped,
    /// A test that claims to be none, of a producer that may send to everyone.
    MislabelledUnscoped,
    /// A sound message to a larger audience than it is for.
    WrongAudience,
    /// The audience's own file has lost the condition that made it small.
    ForgottenFilter,
    /// Old messages come again.
    Replayed,
    /// What should have been filled in was not.
    EmptyTemplate,
    /// A producer's credential is in strange hands.
    LeakedCredential,
    /// A relay sends it on, and leaves out what said that it is a test.
    LabelLostInRelay,
}

impl Variant {
    /// Each, in the order of the table.
    pub(super) const ALL: [Self; 10] = [
        Self::Labelled,
        Self::Unlabelled,
        Self::MislabelledScoped,
        Self::MislabelledUnscoped,
        Self::WrongAudience,
        Self::ForgottenFilter,
        Self::Replayed,
        Self::EmptyTemplate,
        Self::LeakedCredential,
        Self::LabelLostInRelay,
    ];

    /// As written in a file.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Labelled => "labelled",
            Self::Unlabelled => "unlabelled",
            Self::MislabelledScoped => "mislabelled-scoped",
            Self::MislabelledUnscoped => "mislabelled-unscoped",
            Self::WrongAudience => "wrong-audience",
            Self::ForgottenFilter => "forgotten-filter",
            Self::Replayed => "replayed",
            Self::EmptyTemplate => "empty-template",
            Self::LeakedCredential => "leaked-credential",
            Self::LabelLostInRelay => "label-lost-in-relay",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Longest id: the names of audiences are made of it.
const LONGEST_ID: usize = 24;

impl Incident {
    /// Reads one file; the error says which, and where in it.
    pub(super) fn read(id: &str, text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("tests/incidents/{id}.toml: {what}"));
        let mut incident: Self = match toml::from_str(text) {
            Ok(incident) => incident,
            Err(error) => return wrong(&error.to_string()),
        };
        id.clone_into(&mut incident.id);
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let told = [
            &incident.organisation,
            &incident.short,
            &incident.happened,
            &incident.sender,
            &incident.meant.whom,
            &incident.hit.whom,
        ];
        if id.len() > LONGEST_ID || !id.chars().all(is_plain) {
            return wrong("name the file with at most 24 lower-case letters, digits and hyphens");
        }
        if told.iter().any(|text| text.trim().is_empty()) {
            return wrong("organisation, short, happened, sender and both whom say something");
        }
        if [&incident.short, &incident.organisation].iter().any(|text| text.contains(['|', '\n'])) {
            return wrong("organisation and short are cells of a table: one line each, without |");
        }
        if incident.messages.is_empty() {
            return wrong("write at least one [[message]]");
        }
        if !incident.variants().contains(&incident.variant) {
            return wrong("variants leaves out the variant in which it happened");
        }
        Ok(incident)
    }

    /// The ways in which it is tried.
    pub(super) fn variants(&self) -> Vec<Variant> {
        let named = self.variants.as_deref().unwrap_or(&Variant::ALL);
        Variant::ALL.into_iter().filter(|variant| named.contains(variant)).collect()
    }

    /// The year, as it is told.
    pub(super) fn when(&self) -> String {
        if self.about { format!("about {}", self.year) } else { self.year.to_string() }
    }
}

/// Every incident, by year and id.
pub(super) fn all() -> Vec<Incident> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/incidents");
    let entries = std::fs::read_dir(&folder).expect("a folder of incidents");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut incidents: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .map(|path| {
            let id = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let text = std::fs::read_to_string(&path).expect("a file of UTF-8");
            Incident::read(&id, &text).unwrap_or_else(|wrong| panic!("{wrong}"))
        })
        .collect();
    incidents.sort_by(|a, b| (a.year, &a.id).cmp(&(b.year, &b.id)));
    incidents
}
