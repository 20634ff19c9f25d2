//! The listener of the operators' API: plain on loopback, TLS elsewhere.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::config;

/// A handshake takes three round trips; whoever is slower holds a place for nothing.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at once: nobody keeps others out by beginning many.
const HANDSHAKES: usize = 128;
/// After a failed `accept`, which is most often "no file descriptor left".
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, ApiListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Gives connections, after their handshake if there is one.
#[derive(Debug)]
pub(super) struct ApiListener {
    ready: mpsc::Receiver<(Stream, SocketAddr)>,
    address: SocketAddr,
}

impl ApiListener {
    /// Listens on `listener`, which speaks TLS if there is a configuration for it. Must be called within a runtime.
    pub(super) fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (give, ready) = mpsc::channel(1);
        tokio::spawn(accept(listener, tls.map(TlsAcceptor::from), give));
        Ok(Self { ready, address })
    }
}

impl Listener for ApiListener {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only with the process.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, give: mpsc::Sender<(Stream, SocketAddr)>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = give.closed() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the operators' API cannot accept a connection");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        // Answers are small and waited for.
        stream.set_nodelay(true).ok();
        let Some(tls) = &tls else {
            if give.send((Stream::Plain(stream), peer)).await.is_err() {
                return;
            }
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (handshake, give) = (tls.accept(stream), give.clone());
        tokio::spawn(async move {
            // Scanners and load balancers break off all the time: that is no news.
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_WITHIN, handshake).await {
                give.send((Stream::Tls(Box::new(stream)), peer)).await.ok();
            }
            drop(place);
        });
    }
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! on_stream {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain(inner) => {
                let $inner = std::pin::Pin::new(inner);
                $call
            }
            Stream::Tls(inner) => {
                let $inner = std::pin::Pin::new(inner.as_mut());
                $call
            }
        }
    };
}

type Poll<T> = std::task::Poll<io::Result<T>>;
type Pinned<'a> = std::pin::Pin<&'a mut Stream>;
type Context<'a, 'b> = &'a mut std::task::Context<'b>;

impl AsyncRead for Stream {
    fn poll_read(self: Pinned<'_>, context: Context<'_, '_>, buffer: &mut ReadBuf<'_>) -> Poll<()> {
        on_stream!(self, inner => inner.poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pinned<'_>, context: Context<'_, '_>, bytes: &[u8]) -> Poll<usize> {
        on_stream!(self, inner => inner.poll_write(context, bytes))
    }

    fn poll_flush(self: Pinned<'_>, context: Context<'_, '_>) -> Poll<()> {
        on_stream!(self, inner => inner.poll_flush(context))
    }

    fn poll_shutdown(self: Pinned<'_>, context: Context<'_, '_>) -> Poll<()> {
        on_stream!(self, inner => inner.poll_shutdown(context))
    }
}

/// The TLS that these settings ask for. Beyond loopback there is none only where somebody decided so.
pub(super) fn tls_of(settings: &config::Api) -> anyhow::Result<Option<Arc<ServerConfig>>> {
    match &settings.tls {
        Some(tls) => Ok(Some(server_tls(&tls.certificate_file, &tls.key_file)?)),
        None if settings.listen.ip().is_loopback() || settings.insecure => Ok(None),
        None => anyhow::bail!(
            "api.listen is {}, which is not loopback, and there is no TLS: tokens would cross the network in the clear; \
             set api.tls.certificate_file and api.tls.key_file, or api.insecure = true behind a proxy that speaks TLS",
            settings.listen
        ),
    }
}

/// TLS with this certificate and key.
fn server_tls(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let named = |path: &Path| format!("api.tls: {}", path.display());
    let certificates: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| named(certificate))?;
    anyhow::ensure!(!certificates.is_empty(), "{}: no CERTIFICATE block in it", named(certificate));
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| named(key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .with_context(|| format!("{} and {}", named(certificate), named(key)))?;
    Ok(Arc::new(config))
}
