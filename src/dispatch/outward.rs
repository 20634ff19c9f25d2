//! HTTP to what is neither a provider nor our own: bounded, followed nowhere, and trusting whom it is told to trust.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Certificate, Client, Url, redirect};

/// There is no client.
#[derive(Debug)]
pub(super) enum ClientUnusable {
    /// This file holds no certificate.
    CaFile(PathBuf),
    /// There is no system trust store.
    NoTrust,
}

/// A client whose answers are there, whole, within `answer_within`.
pub(super) fn client(answer_within: Duration, ca_file: Option<&Path>) -> Result<Client, ClientUnusable> {
    let mut client = Client::builder()
        .timeout(answer_within)
        // A redirect could lead inside our own network, or to somebody whom nobody configured.
        .redirect(redirect::Policy::none())
        // What an operator's environment says about browsers is no setting of this service.
        .no_proxy()
        .user_agent(concat!("bellwether/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca_file {
        let unusable = || ClientUnusable::CaFile(path.to_owned());
        let pem = std::fs::read(path).map_err(|_| unusable())?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|_| unusable())?;
        if certificates.is_empty() {
            return Err(unusable());
        }
        client = client.tls_certs_only(certificates);
    }
    client.build().map_err(|_| ClientUnusable::NoTrust)
}

/// True if what is sent there does not leave this machine.
pub(super) fn is_ours(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

/// True if the address names a user or a password.
pub(super) fn holds_a_password(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}
