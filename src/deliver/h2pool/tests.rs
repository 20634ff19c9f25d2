//! The pool against servers that misbehave.

mod stalled;

use std::sync::OnceLock;

use h2::server::SendResponse;
use http::Response;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::*;

const SOON: Duration = Duration::from_secs(20);
/// RFC 9113, section 6.7: a header and eight bytes.
const PONG_BYTES: u64 = 17;

struct Identity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = CertificateDer::from(made.cert);
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let server = server.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let mut server = server.with_single_cert(vec![certificate.clone()], key).expect("a pair");
        server.alpn_protocols = vec![b"h2".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).expect("a certificate");
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_safe_default_protocol_versions().expect("versions");
        let mut client = client.with_root_certificates(roots).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        Identity { server: Arc::new(server), client: Arc::new(client) }
    })
}

/// Serves every connection with `serve`; answers with the address.
async fn server<F, W>(serve: F) -> Endpoint
where
    F: Fn(TlsStream<TcpStream>) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::clone(&identity().server));
        while let Ok((socket, _)) = listener.accept().await {
            if let Ok(socket) = acceptor.accept(socket).await {
                tokio::spawn(serve(socket));
            }
        }
    });
    Endpoint::parse(&format!("https://localhost:{port}")).expect("an endpoint")
}

fn pool(endpoint: Endpoint, transport: Transport) -> Pool {
    Pool::new(endpoint, Arc::clone(&identity().client), Streams::AtOnce, transport, Clock::system())
}

async fn lease(pool: &Pool) -> Lease {
    pool.lease(pool.shared.clock.monotonic() + SOON).await.expect("a stream")
}

fn request() -> Request<()> {
    let uri = "https://localhost/3/device/abc";
    Request::builder().method("POST").uri(uri).body(()).expect("a request")
}

/// Answers each request with `body`, never looking at it.
async fn answer_with(socket: TlsStream<TcpStream>, status: u16, body: Vec<u8>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else { return };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        let head = Response::builder().status(status).body(()).expect("a response");
        let mut stream = respond.send_response(head, false).expect("it is open");
        drop(stream.send_data(body.clone().into(), true));
    }
}

#[tokio::test]
async fn a_huge_answer_is_cut_and_garbage_is_passed_on() {
    let endpoint = server(|socket| answer_with(socket, 500, vec![b'x'; 1 << 20])).await;
    let pool = pool(endpoint, Transport::default());
    for _ in 0..3 {
        let reply =
            lease(&pool).await.exchange(request(), Bytes::from_static(b"{}")).await.expect("an answer");
        assert_eq!((reply.status.as_u16(), reply.body.len()), (500, 16 * 1_024));
    }
}

#[tokio::test]
async fn no_answer_in_time_is_unknown_and_the_stream_is_taken_back() {
    let (told, mut reset) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = server(move |socket| {
        let told = told.clone();
        async move {
            let Ok(mut connection) = h2::server::handshake(socket).await else { return };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let told = told.clone();
                tokio::spawn(async move { told.send(reset_of(&mut respond).await) });
            }
        }
    })
    .await;
    let pool = pool(endpoint, Transport::default());
    let mut lease = lease(&pool).await;
    let (within, until) = (Duration::from_millis(50), pool.shared.clock.monotonic() + SOON);
    let opened = lease.ask(request(), Bytes::from_static(b"{}"), until).expect("it is open");
    let reply = lease.connection.answer(opened, within).await;
    assert_eq!(reply.expect_err("nobody answers"), NoReply::Unknown("request_timeout".into_reason()));
    let reason = tokio::time::timeout(SOON, reset.recv()).await.expect("in time").expect("a reset");
    assert_eq!(reason, Some(h2::Reason::CANCEL));
}

async fn reset_of(respond: &mut SendResponse<Bytes>) -> Option<h2::Reason> {
    std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok()
}

trait IntoReason {
    fn into_reason(self) -> crate::model::Reason;
}

impl IntoReason for &str {
    fn into_reason(self) -> crate::model::Reason {
        crate::model::Reason::new(self)
    }
}

#[tokio::test]
async fn a_dead_peer_is_found_by_a_ping_and_what_it_may_have_taken_is_unknown() {
    // It sends its SETTINGS and then does nothing more, least of all answer a PING.
    let endpoint = server(|socket| async move {
        let connection = h2::server::handshake(socket).await;
        std::future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let quick = Duration::from_millis(30);
    let pool = pool(endpoint, Transport { ping_after: quick, ping_timeout: quick, ..Transport::default() });
    let mut lease = lease(&pool).await;
    let reply = lease.exchange(request(), Bytes::from_static(b"{}"));
    let reply = tokio::time::timeout(SOON, reply).await.expect("long before the request timeout");
    assert_eq!(reply.expect_err("it is dead"), NoReply::Unknown("connection_lost".into_reason()));
}

#[tokio::test]
async fn a_living_peer_survives_its_pings() {
    let endpoint = server(|socket| answer_with(socket, 200, Vec::new())).await;
    let quick = Duration::from_millis(5);
    let pool = pool(endpoint, Transport { ping_after: quick, ping_timeout: SOON, ..Transport::default() });
    let first = lease(&pool).await;
    let before = first.connection.marks().received();
    let pongs = async {
        while first.connection.marks().received() < before + 10 * PONG_BYTES {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, pongs).await.expect("ten pongs");
    assert!(!first.connection.ended().is_cancelled());
}

#[tokio::test]
async fn what_was_queued_on_a_connection_that_goes_is_not_taken() {
    let endpoint = server(|socket| answer_with(socket, 200, Vec::new())).await;
    let pool = pool(endpoint, Transport::default());
    let (first, mut second) = (lease(&pool).await, lease(&pool).await);
    assert!(Arc::ptr_eq(&first.connection, &second.connection));
    first.retire();
    let reply = second.exchange(request(), Bytes::from_static(b"{}")).await;
    assert_eq!(reply.expect_err("its connection takes no more"), NoReply::NotTaken(None));
    let mut third = lease(&pool).await;
    assert!(!Arc::ptr_eq(&first.connection, &third.connection), "a new one takes over");
    assert!(third.exchange(request(), Bytes::from_static(b"{}")).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_does_not_listen_is_told_within_the_connect_timeout() {
    let gone = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let port = gone.local_addr().expect("an address").port();
    drop(gone);
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).expect("an endpoint");
    let connect_timeout = Duration::from_millis(300);
    let pool = pool(endpoint, Transport { connect_timeout, ..Transport::default() });
    let until = pool.shared.clock.monotonic() + SOON;
    let refused = tokio::time::timeout(SOON, pool.lease(until)).await.expect("it does not hang");
    assert_eq!(refused.expect_err("nobody listens"), NoStream::NoConnection);
    assert!(matches!(pool.shared.state().last_error, Some(ConnectError::Connect { .. })));
    let late = pool.lease(pool.shared.clock.monotonic()).await;
    assert!(late.is_err(), "and what is late is not sent");
}

#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_refused() {
    let endpoint = server(|socket| async move { drop(socket) }).await;
    let pool =
        pool(endpoint, Transport { connect_timeout: Duration::from_millis(500), ..Transport::default() });
    let error = tokio::time::timeout(SOON, pool.connect()).await.expect("in time").expect_err("no HTTP/2");
    assert!(matches!(error, ConnectError::Http2 { .. } | ConnectError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn one_stream_only_until_the_credentials_are_proven_whatever_the_peer_allows() {
    let endpoint = server(|socket| answer_with(socket, 200, Vec::new())).await;
    let tls = Arc::clone(&identity().client);
    let pool = Pool::new(endpoint, tls, Streams::OneUntilProven, Transport::default(), Clock::system());
    let mut first = lease(&pool).await;
    // The peer's SETTINGS, which allow many, have been applied once it has answered.
    assert!(first.exchange(request(), Bytes::from_static(b"{}")).await.is_ok());
    let soon = pool.shared.clock.monotonic() + Duration::from_millis(20);
    assert_eq!(pool.lease(soon).await.expect_err("the only stream is taken"), NoStream::Late);
    first.prove();
    let second = lease(&pool).await;
    assert!(Arc::ptr_eq(&first.connection, &second.connection));
}
