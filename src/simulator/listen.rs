//! Listening sockets: TLS handshakes, and one task for each connection.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Form, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
    routing::post,
};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FaultAction, Provider, RecordDetail, RecordedRequest, connection,
    oauth::TokenRequest,
    reply::Reply,
    world::{World, headers_of},
};

/// When the process has no file handles left, accepting fails at once and would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections whose handshake is done and that the token endpoint has not taken yet.
const HANDSHAKEN: usize = 64;

/// What each listener is given.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) world: Arc<World>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Ground {
    /// Runs until the simulator stops.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled(work).await });
    }
}

/// Serves pushes to one provider.
pub(super) async fn pushes(
    ground: Ground,
    provider: Provider,
    listener: TcpListener,
    tls: Arc<ServerConfig>,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let socket = accept(&listener).await;
        let (acceptor, world) = (acceptor.clone(), Arc::clone(&ground.world));
        ground.spawn(async move {
            // A client that does not trust the certificate sees that by itself.
            if let Ok(socket) = acceptor.accept(socket).await {
                connection::serve(world, provider, socket).await;
            }
        });
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        // Answers are small and are waited for: Nagle's algorithm would hold them back 40 ms.
        if let Ok((socket, _)) = listener.accept().await
            && socket.set_nodelay(true).is_ok()
        {
            return socket;
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Serves the token endpoint, HTTP/1.1 over TLS.
pub(super) async fn tokens(ground: Ground, listener: TcpListener, tls: Arc<ServerConfig>) {
    let Ok(address) = listener.local_addr() else { return };
    let (sender, handshaken) = mpsc::channel(HANDSHAKEN);
    let router = Router::new()
        .route("/token", post(grant))
        .with_state((Arc::clone(&ground.world), ground.stop.clone()));
    let accepting = ground.clone();
    ground.spawn(async move {
        let acceptor = TlsAcceptor::from(tls);
        loop {
            let socket = accept(&listener).await;
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            accepting.spawn(async move {
                if let Ok(socket) = acceptor.accept(socket).await {
                    // An error says that the endpoint stopped; the socket closes with it.
                    drop(sender.send(socket).await);
                }
            });
        }
    });
    let stopped = ground.stop.clone().cancelled_owned();
    let served = axum::serve(Handshaken { handshaken, address }, router);
    // It ends only when it is told to.
    drop(served.with_graceful_shutdown(stopped).await);
}

/// TLS connections for axum, their handshakes done elsewhere so that a slow one holds up nobody.
struct Handshaken {
    handshaken: mpsc::Receiver<TlsStream<TcpStream>>,
    address: SocketAddr,
}

impl axum::serve::Listener for Handshaken {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.handshaken.recv().await {
            Some(socket) => (socket, self.address),
            // The accepting task stops with the simulator, and so does this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

type Stopping = (Arc<World>, CancellationToken);

async fn grant(
    State((world, stop)): State<Stopping>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, axum::extract::rejection::FormRejection>,
) -> Response<Body> {
    let now = world.clock.now();
    let checked = match &form {
        Ok(Form(request)) => world.access_tokens.check(request, now),
        Err(_) => Err(Reply::oauth(400, "invalid_request", "grant_type and assertion expected")),
    };
    let strike = checked.is_ok().then(|| world.faults.strike(Provider::OAuth, "")).flatten();
    let delay = strike.as_ref().and_then(|strike| strike.delay).unwrap_or_default();
    let reply = match (checked, strike.map(|strike| strike.action)) {
        (Err(reply), _) => Some(reply),
        (Ok(()), None | Some(FaultAction::Proceed)) => Some(world.access_tokens.grant(now)),
        (Ok(()), Some(FaultAction::Answer(answer))) => {
            Some(Reply::scripted(Provider::OAuth, answer, "", now.as_millisecond()))
        }
        // HTTP/1.1 has no streams to refuse or reset: whatever is no answer is silence.
        (Ok(()), Some(_)) => None,
    };
    note(&world, &method, &uri, &headers, reply.as_ref());
    tokio::time::sleep(delay).await;
    let Some(reply) = reply else {
        stop.cancelled().await;
        return Response::new(Body::empty());
    };
    reply.head().map(|()| Body::from(reply.body))
}

fn note(world: &World, method: &Method, uri: &Uri, headers: &HeaderMap, reply: Option<&Reply>) {
    let status = reply.map(|reply| reply.status);
    let reason = reply.map_or("silence".into(), |reply| reply.reason.clone());
    let mut record = world.record();
    let number = record.count(Provider::OAuth, status, reason.clone());
    if world.detail == RecordDetail::Full {
        record.requests.push(Arc::new(RecordedRequest {
            number,
            at_micros: world.clock.now().as_microsecond(),
            elapsed_micros: world.elapsed_micros(),
            provider: Provider::OAuth,
            connection: 0,
            stream: 0,
            method: method.to_string(),
            path: uri.path().to_owned(),
            headers: headers_of(headers, false),
            body: String::new(),
            token: None,
            status,
            reason,
            taken: false,
        }));
    }
    drop(record);
    world.arrived.notify_waiters();
}
