//! Keys and certificates, made anew at every start: nothing of value is ever on disk.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;

use super::SimulatorError;

/// What a sender needs to talk to the simulator as it would to the vendors.
#[derive(Clone)]
pub struct Credentials {
    /// The certificate authority to trust, PEM.
    pub ca_pem: String,
    /// The APNs signing key, PKCS#8 PEM: what Apple hands out as a `.p8` file.
    pub apns_key_pem: String,
    /// The `kid` of that key.
    pub apns_key_id: String,
    /// The `iss` of provider tokens.
    pub team: String,
    /// Bundle ids that the key may send to.
    pub topics: Vec<String>,
    /// The FCM project.
    pub project: String,
    /// A service-account key file as Google hands it out.
    pub service_account_json: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { apns_key_id, team, topics, project, .. } = self;
        let mut shown = f.debug_struct("Credentials");
        shown.field("apns_key_id", apns_key_id).field("team", team).field("topics", topics);
        shown.field("project", project).finish_non_exhaustive()
    }
}

/// Where [`Credentials::write`] put what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// See [`Credentials::ca_pem`].
    pub ca: PathBuf,
    /// See [`Credentials::apns_key_pem`].
    pub apns_key: PathBuf,
    /// See [`Credentials::service_account_json`].
    pub service_account: PathBuf,
}

impl Credentials {
    /// Writes `ca.pem`, `apns-key.p8` and `service-account.json`; the keys are for their owner only.
    pub fn write(&self, folder: &Path) -> io::Result<CredentialFiles> {
        fs::create_dir_all(folder)?;
        let files = CredentialFiles {
            ca: folder.join("ca.pem"),
            apns_key: folder.join("apns-key.p8"),
            service_account: folder.join("service-account.json"),
        };
        fs::write(&files.ca, &self.ca_pem)?;
        write_secret(&files.apns_key, &self.apns_key_pem)?;
        write_secret(&files.service_account, &self.service_account_json)?;
        Ok(files)
    }
}

fn write_secret(path: &Path, content: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

/// The keys of one simulator.
pub(super) struct Keys {
    pub(super) apns: KeyPair,
    pub(super) service_account: KeyPair,
}

impl Keys {
    pub(super) fn generate() -> Result<Self, SimulatorError> {
        Ok(Self {
            apns: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            service_account: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        })
    }

    /// The key file of a service account.
    pub(super) fn service_account_json(&self, project: &str, token_uri: &str) -> String {
        let file = json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": self.service_account.serialize_pem(),
            "client_email": client_email(project),
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        });
        format!("{file:#}\n")
    }
}

/// The name that the simulator's service account signs with.
pub(super) fn client_email(project: &str) -> String {
    format!("bellwether@{project}.iam.gserviceaccount.com")
}

/// A certificate authority of this simulator, and a certificate for loopback under it.
pub(super) struct Identity {
    pub(super) ca_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    pub(super) fn generate() -> Result<Self, SimulatorError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "Bellwether simulator CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
        server.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = server.signed_by(&key, &issuer)?;
        let chain = vec![certificate.der().clone()];
        Ok(Self { ca_pem, chain, key: key.serialize_der().into() })
    }

    /// TLS 1.2 and 1.3 for one protocol: a client that offers another is refused in the handshake.
    pub(super) fn tls(&self, protocol: &[u8]) -> Result<Arc<ServerConfig>, SimulatorError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let mut config = builder
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::Pkcs8(self.key.clone_key()))?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(Arc::new(config))
    }
}
