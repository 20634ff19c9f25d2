//! `[notify]`: who is told that something waits for people.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotifyTable {
    webhook: Option<SecretString>,
    secret_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// Where notices are posted.
#[derive(Debug, Clone, Default)]
pub struct Notify {
    /// The receiver's address. Many receivers take whoever knows it for somebody who may post, so that it is a secret too.
    pub webhook: Option<SecretString>,
    /// A file with the secret that posts are signed with.
    pub secret_file: Option<PathBuf>,
    /// A PEM file with the CA to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl NotifyTable {
    /// Relative paths count from the configuration's folder.
    pub(super) fn resolve(self, folder: &Path) -> Notify {
        Notify {
            webhook: self.webhook,
            secret_file: self.secret_file.map(|path| folder.join(path)),
            ca_file: self.ca_file.map(|path| folder.join(path)),
        }
    }
}
