//! What is wrong with a policy, in lines that an editor can jump to.

use std::{cell::RefCell, fmt, sync::Arc};

/// Where something stands in the folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Relative to the folder, with `/`.
    pub(super) file: Arc<str>,
    /// Counted from 1; 0 is the file as a whole.
    pub(super) line: usize,
    /// The dotted path of the key; empty is the file as a whole.
    pub(super) key: String,
}

impl Place {
    /// The file as a whole.
    pub(super) fn file(file: &str) -> Self {
        Self { file: file.into(), line: 0, key: String::new() }
    }
}

/// A value that is compared with other files later, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// One mistake, or one warning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    place: Place,
    what: String,
    fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, key } = &self.place;
        f.write_str(file)?;
        if *line > 0 {
            write!(f, ":{line}")?;
        }
        if !key.is_empty() {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}; {}", self.what, self.fix)
    }
}

/// What the readers find, gathered, so that a person sees every mistake at once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl Problems {
    /// The policy cannot be used.
    pub(super) fn error(&self, place: &Place, problem: impl Into<String>, fix: impl Into<String>) {
        let problem = Problem { place: place.clone(), what: problem.into(), fix: fix.into() };
        self.errors.borrow_mut().push(problem);
    }

    /// The policy can be used, but somebody probably meant something else.
    pub(super) fn warning(&self, place: &Place, problem: impl Into<String>, fix: impl Into<String>) {
        let problem = Problem { place: place.clone(), what: problem.into(), fix: fix.into() };
        self.warnings.borrow_mut().push(problem);
    }

    /// Was there an error so far?
    pub(super) fn any(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// The warnings, if there was no error.
    pub(super) fn settle(self) -> Result<Vec<Problem>, PolicyErrors> {
        let (mut errors, mut warnings) = (self.errors.into_inner(), self.warnings.into_inner());
        errors.sort();
        warnings.sort();
        if errors.is_empty() { Ok(warnings) } else { Err(PolicyErrors { folder: String::new(), errors }) }
    }
}

/// Every mistake that was found in a policy folder; shown one a line:
/// `audiences/cohorts/x.toml:12: limits.max_devices: is 900 …; write at most 500`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors {
    folder: String,
    errors: Vec<Problem>,
}

impl PolicyErrors {
    /// A mistake before any file was read.
    pub(super) fn one(place: &Place, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        let error = Problem { place: place.clone(), what: problem.into(), fix: fix.into() };
        Self { folder: String::new(), errors: vec![error] }
    }

    /// The same, with the folder's own path before each file.
    pub(super) fn within(self, folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..self }
    }

    /// Each mistake, by file and line.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.errors
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", In(&self.folder, error))?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// A problem behind the path of its folder.
pub(super) struct In<'a>(pub(super) &'a str, pub(super) &'a Problem);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(folder, problem) = self;
        if !folder.is_empty() {
            write!(f, "{}/", folder.trim_end_matches('/'))?;
        }
        write!(f, "{problem}")
    }
}
