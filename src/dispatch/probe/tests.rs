//! What is asked at the wire, and what becomes of each thing that may be answered.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a server says to each request.
#[derive(Clone)]
enum Says {
    /// This, and then nothing more.
    Text(String),
    /// This, and then nothing, and no end either.
    Endless(String),
}

/// Requests, as they arrived.
type Arrived = Arc<Mutex<Vec<String>>>;

/// Serves one answer to everybody, in the clear or by TLS. Gives the port.
async fn serve(says: Says, tls: Option<TlsAcceptor>) -> (u16, Arrived) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let arrived = Arrived::default();
    let requests = Arc::clone(&arrived);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (says, requests, tls) = (says.clone(), Arc::clone(&requests), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(socket, says, &requests).await,
                    Some(tls) => match tls.accept(socket).await {
                        Ok(socket) => answer(socket, says, &requests).await,
                        // A client that does not trust us says so itself.
                        Err(_) => None,
                    },
                }
            });
        }
    });
    (port, arrived)
}

async fn answer(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    says: Says,
    arrived: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut request = String::new();
    while !is_whole(&request) {
        let mut bytes = [0; 4_096];
        let read = socket.read(&mut bytes).await.ok().filter(|read| *read > 0)?;
        request.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    arrived.lock().expect("nobody panicked").push(request);
    let (Says::Text(text) | Says::Endless(text)) = &says;
    socket.write_all(text.as_bytes()).await.ok()?;
    socket.flush().await.ok()?;
    if matches!(says, Says::Endless(_)) {
        std::future::pending::<()>().await;
    }
    socket.shutdown().await.ok()
}

/// True if the head is there, and as much body as it promises.
fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("a length"))
}

fn whole(status: &str, body: &str) -> Says {
    let length = body.len();
    Says::Text(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"))
}

fn config(prometheus: Option<String>) -> Downstream {
    // The program does this when it starts.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let (timeout, every) = (Duration::from_secs(30), Duration::from_secs(5));
    Downstream {
        prometheus,
        bearer_file: None,
        ca_file: None,
        timeout,
        every,
        scrape: every,
        pace_every: every,
    }
}

fn query(text: &str) -> Probe {
    Probe::Prometheus(text.to_owned())
}

/// What comes of it when a document is answered so.
async fn document(says: Says) -> Result<f64, NoNumber> {
    let (port, _) = serve(says, None).await;
    let probes = Probes::open(&config(None)).expect("it is right");
    read_document(&probes, &format!("http://127.0.0.1:{port}/status")).await
}

async fn read_document(probes: &Probes, url: &str) -> Result<f64, NoNumber> {
    probes.read(&Probe::Http { url: url.to_owned(), pointer: "/headroom".to_owned() }).await
}

const SEVEN: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"7"]}]}}"#;

#[tokio::test]
async fn prometheus_is_asked_for_now_and_told_when_nobody_waits_any_more() {
    let (port, arrived) = serve(whole("200 OK", SEVEN), None).await;
    let folder = tempfile::tempdir().expect("a folder");
    let bearer_file = folder.path().join("token");
    std::fs::write(&bearer_file, "first\n").expect("a file");
    let config = Downstream {
        bearer_file: Some(bearer_file.clone()),
        ..config(Some(format!("http://127.0.0.1:{port}/prom/")))
    };
    let probes = Probes::open(&config).expect("it is right");
    assert_eq!(probes.read(&query("login_capacity - login_inflight")).await, Ok(7.0));
    std::fs::write(&bearer_file, "second").expect("a file");
    let long = format!("sum({})", "x".repeat(LONGEST_IN_A_URL));
    assert_eq!(probes.read(&query(&long)).await, Ok(7.0));
    std::fs::write(&bearer_file, "\n").expect("a file");
    assert_eq!(probes.read(&query("up")).await, Err(NoNumber::NoToken));
    let arrived = arrived.lock().expect("nobody panicked");
    let [short, posted] = arrived.as_slice() else { panic!("two requests: {arrived:?}") };
    let line = "GET /prom/api/v1/query?query=login_capacity+-+login_inflight&timeout=30000ms HTTP/1.1\r\n";
    assert!(short.starts_with(line), "{short}");
    assert!(short.contains("\r\nauthorization: Bearer first\r\n"), "{short}");
    assert!(short.contains("\r\naccept: application/json\r\n"), "{short}");
    assert!(posted.starts_with("POST /prom/api/v1/query HTTP/1.1\r\n"), "{posted}");
    assert!(posted.contains("\r\nauthorization: Bearer second\r\n"), "the token is read anew: {posted}");
    assert!(posted.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{posted}");
    assert!(posted.ends_with("xxx%29&timeout=30000ms"), "{posted}");
}

#[tokio::test]
async fn a_documents_number_is_read_without_the_token() {
    let (port, arrived) = serve(whole("200 OK", r#"{"headroom": 250}"#), None).await;
    let folder = tempfile::tempdir().expect("a folder");
    let bearer_file = folder.path().join("token");
    std::fs::write(&bearer_file, "secret").expect("a file");
    let prometheus = Some("https://prometheus.example".to_owned());
    let config = Downstream { bearer_file: Some(bearer_file), ..config(prometheus) };
    let probes = Probes::open(&config).expect("it is right");
    let url = format!("http://127.0.0.1:{port}/status?of=login");
    assert_eq!(read_document(&probes, &url).await, Ok(250.0));
    let arrived = arrived.lock().expect("nobody panicked").join("\n");
    assert!(arrived.starts_with("GET /status?of=login HTTP/1.1\r\n"), "{arrived}");
    assert!(!arrived.to_lowercase().contains("authorization"), "{arrived}");
}

#[tokio::test]
async fn no_status_but_200_is_a_number_and_nobody_is_followed() {
    let body = r#"{"headroom": 7}"#;
    assert_eq!(document(whole("200 OK", body)).await, Ok(7.0));
    for code in [201, 204, 400, 404, 422, 500, 503] {
        let status = StatusCode::from_u16(code).expect("a status");
        let body = if code == 204 { "" } else { body };
        assert_eq!(document(whole(&format!("{code} x"), body)).await, Err(NoNumber::Status(status)));
    }
    let (elsewhere, arrived) = serve(whole("200 OK", body), None).await;
    for code in [301, 302, 303, 307, 308] {
        let status = StatusCode::from_u16(code).expect("a status");
        let head = format!("{code} x\r\nlocation: http://127.0.0.1:{elsewhere}/");
        assert_eq!(document(whole(&head, "")).await, Err(NoNumber::Redirected(status)));
    }
    assert!(arrived.lock().expect("nobody panicked").is_empty());
}

#[tokio::test]
async fn what_is_not_whole_is_no_number() {
    let promised = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"headroom\": 7}";
    assert_eq!(document(Says::Text(promised.to_owned())).await, Err(NoNumber::Broken));
    assert_eq!(document(Says::Text("no HTTP at all\r\n\r\n".to_owned())).await, Err(NoNumber::Broken));
    assert_eq!(document(Says::Text(String::new())).await, Err(NoNumber::Broken));
    assert_eq!(document(whole("200 OK", "<p>7</p>")).await, Err(NoNumber::NotJson));
    let missing = NoNumber::NoField("/headroom".to_owned());
    assert_eq!(document(whole("200 OK", r#"{"Headroom": 7}"#)).await, Err(missing));
    assert_eq!(document(whole("200 OK", r#"{"headroom": "7"}"#)).await, Err(NoNumber::NotANumber));
}

#[tokio::test]
async fn an_answer_without_a_bound_is_not_read() {
    let json = |length: usize| {
        let document = r#"{"headroom": 7}"#;
        format!("{document}{}", " ".repeat(length - document.len()))
    };
    assert_eq!(document(whole("200 OK", &json(ANSWER_BYTES))).await, Ok(7.0));
    assert_eq!(document(whole("200 OK", &json(ANSWER_BYTES + 1))).await, Err(NoNumber::TooLong));
    // It is given up before its end, which never comes.
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", json(2 * ANSWER_BYTES));
    assert_eq!(document(Says::Endless(endless)).await, Err(NoNumber::TooLong));
}

#[tokio::test]
async fn whoever_does_not_answer_in_time_has_not_answered() {
    let hurried = Downstream { timeout: Duration::from_millis(200), ..config(None) };
    let probes = Probes::open(&hurried).expect("it is right");
    for beginning in
        ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"headroom\": "]
    {
        let (port, arrived) = serve(Says::Endless(beginning.to_owned()), None).await;
        let url = format!("http://127.0.0.1:{port}/");
        assert_eq!(read_document(&probes, &url).await, Err(NoNumber::TimedOut), "{beginning}");
        assert_eq!(arrived.lock().expect("nobody panicked").len(), 1, "and is not asked again");
    }
}

#[tokio::test]
async fn nobody_there_is_no_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let address = format!("http://127.0.0.1:{port}");
    let probes = Probes::open(&config(Some(address.clone()))).expect("it is right");
    assert_eq!(probes.read(&query("up")).await, Err(NoNumber::NoConnection));
    assert_eq!(read_document(&probes, &address).await, Err(NoNumber::NoConnection));
    assert_eq!(read_document(&probes, "http://[").await, Err(NoNumber::NoUrl));
    let without = Probes::open(&config(None)).expect("it is right");
    assert_eq!(without.read(&query("up")).await, Err(NoNumber::NotConfigured));
}

#[tokio::test]
async fn what_prometheus_cannot_say_is_no_number() {
    let read = async |body: &str| {
        let (port, _) = serve(whole("200 OK", body), None).await;
        let probes = Probes::open(&config(Some(format!("http://127.0.0.1:{port}")))).expect("it is right");
        probes.read(&query("up")).await
    };
    assert_eq!(read(SEVEN).await, Ok(7.0));
    assert_eq!(read(&SEVEN.replace("\"7\"", "\"NaN\"")).await, Err(NoNumber::NotFinite));
    let two = SEVEN.replace("[{", "[{\"metric\":{},\"value\":[1,\"7\"]},{");
    assert_eq!(read(&two).await, Err(NoNumber::ManySeries(2)));
    let none = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    assert_eq!(read(none).await, Err(NoNumber::NoSeries));
    assert_eq!(read("{}").await, Err(NoNumber::NotPrometheus));
}

#[tokio::test]
async fn https_trusts_the_configured_authority_and_nobody_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let identity = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let path = folder.path().join(name);
        std::fs::write(&path, made.cert.pem()).expect("a file");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        (path, made.cert.der().clone(), key)
    };
    let (theirs, certificate, key) = identity("theirs.pem");
    let (others, ..) = identity("others.pem");
    let trusting = |ca_file: &Path| Downstream { ca_file: Some(ca_file.to_owned()), ..config(None) };
    let theirs = Probes::open(&trusting(&theirs)).expect("it is right");
    let others = Probes::open(&trusting(&others)).expect("it is right");
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let tls = TlsAcceptor::from(Arc::new(tls.expect("a certificate and its key")));
    let (port, arrived) = serve(whole("200 OK", r#"{"headroom": 7}"#), Some(tls)).await;
    let url = format!("https://localhost:{port}/");
    assert_eq!(read_document(&others, &url).await, Err(NoNumber::NoConnection));
    assert!(arrived.lock().expect("nobody panicked").is_empty());
    assert_eq!(read_document(&theirs, &url).await, Ok(7.0));
}

#[test]
fn what_cannot_be_used_is_said_before_anybody_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let (token, empty) = (file("token", "t\n"), file("empty", "\n"));
    let open = |prometheus: Option<&str>, bearer: Option<&Path>, ca: Option<&Path>| {
        let (bearer_file, ca_file) = (bearer.map(Path::to_owned), ca.map(Path::to_owned));
        Probes::open(&Downstream { bearer_file, ca_file, ..config(prometheus.map(str::to_owned)) }).map(drop)
    };
    for url in ["prometheus.example", "ftp://prometheus.example", "unix:///prometheus", "http://"] {
        assert!(matches!(open(Some(url), None, None), Err(ProbesUnusable::NoUrl)), "{url}");
    }
    let secret = open(Some("https://u:secret@p.example"), None, None).expect_err("a password");
    assert!(matches!(secret, ProbesUnusable::Password) && !secret.to_string().contains("secret"));
    let clear = open(Some("http://p.example"), Some(&token), None);
    assert!(matches!(clear, Err(ProbesUnusable::InTheClear)));
    for ours in ["http://127.0.0.1:9090", "http://[::1]:9090", "http://localhost", "https://p.example"] {
        assert!(open(Some(ours), Some(&token), None).is_ok(), "{ours}");
    }
    assert!(matches!(open(None, Some(&token), None), Err(ProbesUnusable::NobodyToSendItTo)));
    for no_token in [&empty, &folder.path().join("absent")] {
        let unusable = open(Some("https://p.example"), Some(no_token), None);
        assert!(matches!(unusable, Err(ProbesUnusable::BearerFile { .. })), "{}", no_token.display());
    }
    assert!(matches!(open(None, None, Some(&token)), Err(ProbesUnusable::CaFile { .. })));
}
