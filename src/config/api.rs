//! `[api]`: where the operators' API listens.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiTable {
    listen: Option<SocketAddr>,
    insecure: bool,
    requests_per_second: Option<NonZeroU32>,
    failed_logins_per_minute: Option<NonZeroU32>,
    tls: Option<ApiTls>,
}

/// The operators' API's settings.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Without TLS also where others can reach it: a proxy in front speaks it.
    pub insecure: bool,
    /// Requests of one token a second, over time.
    pub requests_per_second: NonZeroU32,
    /// Requests without a right token from one address in a minute.
    pub failed_logins_per_minute: NonZeroU32,
    /// How it speaks TLS.
    pub tls: Option<ApiTls>,
}

/// The API's certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiTls {
    /// PEM, the leaf first.
    pub certificate_file: PathBuf,
    /// PEM.
    pub key_file: PathBuf,
}

/// Loopback only: tokens must not cross a network in the clear unless somebody decides otherwise.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470);

/// A person who watches asks once or twice a second; a script has reason to wait.
const DEFAULT_REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("not zero");

/// A person mistypes twice; 256 bits cannot be guessed at any rate, so this keeps the log and the ledger quiet.
const DEFAULT_FAILED_LOGINS: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

impl ApiTable {
    /// Relative paths count from the configuration's folder.
    pub(super) fn resolve(self, folder: &Path) -> Api {
        let tls = self.tls.map(|tls| ApiTls {
            certificate_file: folder.join(tls.certificate_file),
            key_file: folder.join(tls.key_file),
        });
        Api {
            listen: self.listen.unwrap_or(DEFAULT_LISTEN),
            insecure: self.insecure,
            requests_per_second: self.requests_per_second.unwrap_or(DEFAULT_REQUESTS_PER_SECOND),
            failed_logins_per_minute: self.failed_logins_per_minute.unwrap_or(DEFAULT_FAILED_LOGINS),
            tls,
        }
    }
}
