//! What opens the providers' doors: Apple's provider tokens and Google's access tokens.
//!
//! Secrets never appear in an error, a log or a debug print. An error names the file and what to do about it.

mod access_token;
mod provider_token;

use std::{io, path::PathBuf};

pub(super) use self::{
    access_token::{AccessToken, NoAccess},
    provider_token::{CannotSign, ProviderToken, Renewal},
};
use super::tls::TrustError;

/// A credential that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("key file {}: {error}; check the path and its permissions", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is read, and is no usable key.
    #[error("key file {}: {problem}; {remedy}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without its content.
        problem: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A setting beside the key cannot stand in a request.
    #[error("{setting} cannot be sent in a request: it must be visible ASCII without spaces or '/'")]
    Setting {
        /// Which setting.
        setting: &'static str,
    },
    /// The roots to trust cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The HTTP client for the token endpoint cannot be made.
    #[error("the client for the token endpoint cannot be made")]
    Client,
}
