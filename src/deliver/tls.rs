//! Whom the sender trusts, and how it speaks TLS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read or is no PEM.
    #[error("CA file {}: {problem}; expected PEM with at least one CERTIFICATE block", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system has no roots.
    #[error("the operating system has no trusted roots (install ca-certificates, or set ca_file)")]
    NoNativeRoots,
    /// rustls refuses the set-up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS 1.3 with ALPN `h2`, for provider connections.
pub(super) fn provider_tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut config = client(ca_file)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// TLS 1.3 without ALPN, for the token endpoint: it is asked over HTTP/1.1 once in an hour.
pub(super) fn exchange_tls(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    client(ca_file)
}

fn client(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_file)?);
    Ok(builder.with_no_client_auth())
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        // Some entries of a system's store are always malformed; what is left is enough, or nothing is.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(TrustError::NoNativeRoots) } else { Ok(roots) };
    };
    let file = |problem: String| TrustError::File { path: path.to_owned(), problem };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error: rustls::pki_types::pem::Error| file(error.to_string()))?;
    if certificates.is_empty() {
        return Err(file("no certificate in it".into()));
    }
    for certificate in certificates {
        roots.add(certificate).map_err(|error| file(error.to_string()))?;
    }
    Ok(roots)
}
