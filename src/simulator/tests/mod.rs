//! The simulator at the wire, asked by a plain `h2` client over TLS.

mod apns;
mod faults;
mod fcm;
mod inspection;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{NewPhone, Platform, Simulator, SimulatorConfig};
use crate::clock::Clock;

const TOPIC: &str = "pl.example.bank";
const SEND: &str = "/v1/projects/bank-prod/messages:send";
/// Long enough for a machine that is busy with other things.
const DEADLINE: Duration = Duration::from_secs(20);

async fn start() -> Simulator {
    start_with(|_| {}).await
}

/// A quiet simulator with the phones `ios` and `android`.
async fn start_with(change: impl FnOnce(&mut SimulatorConfig)) -> Simulator {
    let mut config = SimulatorConfig::quiet(Clock::system());
    change(&mut config);
    let simulator = Simulator::start(config).await.expect("loopback has free ports");
    simulator.register([NewPhone::new(Platform::Ios, "ios"), NewPhone::new(Platform::Android, "android")]);
    simulator
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    /// Status and APNs reason.
    fn told(&self) -> (u16, String) {
        (self.status, self.json()["reason"].as_str().unwrap_or_default().to_owned())
    }
}

struct Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(simulator: &Simulator, endpoint: &str) -> Self {
        let socket = tls(simulator, endpoint).await;
        let (sender, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
        Self { sender, connection: tokio::spawn(connection) }
    }

    async fn apns(simulator: &Simulator) -> Self {
        Self::connect(simulator, &simulator.apns_endpoint()).await
    }

    async fn fcm(simulator: &Simulator) -> Self {
        Self::connect(simulator, &simulator.fcm_endpoint()).await
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, h2::Error> {
        let (parts, body) = request.into_parts();
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(Request::from_parts(parts, ()), false)?;
        stream.send_data(body.into(), true)?;
        read(response).await
    }

    /// Waits until the server allows so many streams: its SETTINGS may be under way.
    async fn until_streams(&self, wanted: usize) {
        let allowed = async {
            while self.sender.current_max_send_streams() != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, allowed).await.expect("the stream limit in time");
    }
}

async fn tls(simulator: &Simulator, endpoint: &str) -> TlsStream<TcpStream> {
    let (_, port) = endpoint.rsplit_once(':').expect("a port");
    let ca = simulator.credentials().ca_pem.as_bytes();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).expect("PEM")).expect("a certificate");
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().expect("versions");
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let port: u16 = port.parse().expect("a number");
    let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(tls)).connect(name, socket).await.expect("TLS")
}

async fn read(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let exchange = async {
        let (parts, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = stream.data().await {
            body.extend_from_slice(&piece?);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

/// A provider token that was issued some seconds ago.
fn provider_token(simulator: &Simulator, age: i64) -> String {
    let credentials = simulator.credentials();
    signed_by(&credentials.apns_key_pem, &credentials.apns_key_id, &credentials.team, age)
}

fn signed_by(key: &str, kid: &str, team: &str, age: i64) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    let iat = Clock::system().now().as_second() - age;
    let key = EncodingKey::from_ec_pem(key.as_bytes()).expect("a key");
    let token = encode(&header, &json!({ "iss": team, "iat": iat }), &key).expect("a JWT");
    format!("bearer {token}")
}

/// A correct push to a phone.
fn push(simulator: &Simulator, token: &str) -> Request<Vec<u8>> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://localhost/3/device/{token}"))
        .header("authorization", provider_token(simulator, 0))
        .header("apns-topic", TOPIC)
        .header("apns-push-type", "alert");
    request.body(alert("Hello")).expect("a request")
}

fn alert(body: &str) -> Vec<u8> {
    json!({ "aps": { "alert": { "title": "Bank", "body": body } } }).to_string().into()
}

fn with(mut request: Request<Vec<u8>>, name: &'static str, value: &str) -> Request<Vec<u8>> {
    request.headers_mut().insert(name, value.parse().expect("a header"));
    request
}

/// A client of the token endpoint and of the inspection endpoint.
fn http(simulator: &Simulator) -> reqwest::Client {
    // Another test may have been first; either provider is the same.
    drop(aws_lc_rs::default_provider().install_default());
    let ca = reqwest::Certificate::from_pem(simulator.credentials().ca_pem.as_bytes());
    let client = reqwest::Client::builder().timeout(DEADLINE);
    client.tls_certs_only([ca.expect("PEM")]).build().expect("a client")
}
