//! One connection to a provider: how it is opened, how it carries an exchange, how a lost one is judged.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, StatusCode};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    coalesce::{Coalesced, Marks},
    stall::{Counted, Stall},
};
use crate::{clock::Clock, deliver::config::Endpoint, model::Reason};

/// What a connection is made of, below `h2`.
pub(super) type Io = Coalesced<TlsStream<TcpStream>>;

/// Providers answer in well under 1 KiB. What is longer is cut, and read as far as it goes.
const MAX_ANSWER_BYTES: usize = 16 * 1_024;
/// Answers are short and many: the connection's window must not be what they wait for.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// No connection could be made.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("looking up {host}: {problem}")]
    Lookup { host: String, problem: String },
    #[error("connecting to {endpoint}: {problem}")]
    Connect { endpoint: Endpoint, problem: String },
    #[error("TLS with {endpoint}: {problem}")]
    Tls { endpoint: Endpoint, problem: String },
    #[error("{endpoint} does not speak HTTP/2: {problem}")]
    Http2 { endpoint: Endpoint, problem: String },
}

/// A provider's answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Cut at [`MAX_ANSWER_BYTES`], and where the connection was lost.
    pub(crate) body: Bytes,
}

/// There was no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoReply {
    /// The provider has not taken the request and will not: it may be sent again. The word is the
    /// provider's for going away, if it gave one.
    NotTaken(Option<Reason>),
    /// It may have been taken.
    Unknown(Reason),
}

/// A connection that can carry requests; shared by those who send and the driver.
#[derive(Debug)]
pub(crate) struct Connection {
    /// None once no new stream may be opened; `h2` ends when the last one is done.
    requests: Mutex<Option<SendRequest<Bytes>>>,
    marks: Arc<Marks>,
    stall: Arc<Stall>,
    in_flight: AtomicUsize,
    /// Streams that may be open at once: one until [`Connection::prove`], then what the peer allows.
    limit: AtomicUsize,
    /// The peer's SETTINGS and our own ceiling, whichever is lower.
    allowed: AtomicUsize,
    proven: AtomicBool,
    answers: AtomicU64,
    /// A request went unanswered: ask whether the connection lives.
    doubted: AtomicBool,
    /// The driver is done; nothing can leave any more.
    ended: CancellationToken,
}

/// Makes the TCP and TLS connection and speaks the HTTP/2 preface. The name is looked up anew each time.
pub(super) async fn dial(
    endpoint: &Endpoint,
    tls: &TlsConnector,
    clock: Clock,
) -> Result<(SendRequest<Bytes>, h2::client::Connection<Io, Bytes>, Io), ConnectError> {
    let host = endpoint.host();
    let lookup = |problem: String| ConnectError::Lookup { host: host.to_owned(), problem };
    let addresses =
        tokio::net::lookup_host((host, endpoint.port())).await.map_err(|error| lookup(error.to_string()))?;
    let mut socket = Err(lookup("no address".into()));
    for address in addresses {
        socket = TcpStream::connect(address).await.map_err(|error| ConnectError::Connect {
            endpoint: endpoint.clone(),
            problem: format!("{address}: {error}"),
        });
        if socket.is_ok() {
            break;
        }
    }
    let socket = socket?;
    let problem_with_tls = |problem: String| ConnectError::Tls { endpoint: endpoint.clone(), problem };
    // Nagle's algorithm holds a small request back for 40 ms.
    socket.set_nodelay(true).map_err(|error| problem_with_tls(error.to_string()))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| problem_with_tls(error.to_string()))?;
    let socket = tls.connect(name, socket).await.map_err(|error| problem_with_tls(error.to_string()))?;
    let problem_with_h2 = |problem: String| ConnectError::Http2 { endpoint: endpoint.clone(), problem };
    if socket.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(problem_with_h2("ALPN did not choose h2".into()));
    }
    let (io, pipe) = Coalesced::new(socket, clock);
    let (requests, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // The pool counts streams itself; h2 must never hold one back unseen.
        .initial_max_send_streams(usize::MAX >> 1)
        // Requests that timed out are reset; their late answers must be passed over for a while.
        .max_concurrent_reset_streams(1_024)
        .handshake(io)
        .await
        .map_err(|error| problem_with_h2(error.to_string()))?;
    Ok((requests, connection, pipe))
}

impl Connection {
    pub(super) fn new(requests: SendRequest<Bytes>, io: &Io, proven: bool) -> Self {
        Self {
            requests: Mutex::new(Some(requests)),
            marks: Arc::clone(io.marks()),
            stall: Arc::clone(io.stall()),
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            allowed: AtomicUsize::new(1),
            proven: AtomicBool::new(proven),
            answers: AtomicU64::new(0),
            doubted: AtomicBool::new(false),
            ended: CancellationToken::new(),
        }
    }

    /// Takes a stream, if one is free.
    pub(super) fn begin(&self) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let free = |taken: usize| (taken < limit).then_some(taken + 1);
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).is_ok()
    }

    /// Gives a stream back, and with it what [`Connection::open`] counted.
    pub(super) fn finish(&self, counted: Option<Counted>) {
        if let Some(counted) = counted {
            self.stall.leave(counted);
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn proven(&self) -> bool {
        self.proven.load(Ordering::Acquire)
    }

    pub(super) const fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    pub(super) const fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn take_doubt(&self) -> bool {
        self.doubted.load(Ordering::Relaxed) && self.doubted.swap(false, Ordering::AcqRel)
    }

    /// The provider accepted our credentials on this connection: all its streams may be used. True if
    /// that is news.
    pub(super) fn prove(&self) -> bool {
        let news = !self.proven.swap(true, Ordering::AcqRel);
        self.limit.store(self.allowed.load(Ordering::Acquire), Ordering::Release);
        news
    }

    /// The peer allows so many streams. True if that changes anything.
    pub(super) fn allow(&self, streams: usize) -> bool {
        if self.allowed.swap(streams, Ordering::AcqRel) == streams {
            return false;
        }
        if self.proven() {
            self.limit.store(streams, Ordering::Release);
        }
        true
    }

    /// What the peer allows at the moment; `None` once no stream may be opened.
    pub(super) fn peer_allows(&self) -> Option<usize> {
        self.requests().as_ref().map(SendRequest::current_max_send_streams)
    }

    /// Opens no more streams; those that are open may finish.
    pub(super) fn retire(&self) {
        self.limit.store(0, Ordering::Release);
        self.allowed.store(0, Ordering::Release);
        let requests = self.requests().take();
        drop(requests);
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<Bytes>>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver has noted that it runs.
    pub(super) fn tick(&self) {
        let _unshared = self.requests();
        self.stall.turn();
    }

    /// Queues a request with its whole body; the driver writes it with whatever else is queued, unless it comes to
    /// that only after a pause that `until` went by in. The caller holds a stream, and gives back what is counted.
    pub(super) fn open(
        &self,
        request: Request<()>,
        body: Bytes,
        until: Instant,
        counted: &mut Option<Counted>,
    ) -> Result<ResponseFuture, NoReply> {
        let opened = {
            let mut requests = self.requests();
            let Some(requests) = requests.as_mut() else {
                return Err(NoReply::NotTaken(self.marks.farewell()));
            };
            if let Some(before) = counted.replace(self.stall.enter(until)) {
                self.stall.leave(before);
            }
            if self.stall.is_past(until) {
                return Err(NoReply::NotTaken(None));
            }
            requests.send_request(request, false)
        };
        // `h2` refuses here only what it has not queued: the connection is going or gone.
        let Ok((response, mut stream)) = opened else { return Err(NoReply::NotTaken(self.marks.farewell())) };
        // An error here means that the stream was reset meanwhile; the response knows how.
        drop(stream.send_data(body, true));
        Ok(response)
    }

    /// Waits for the answer, at most `within`. What is rare is boxed, so that the future stays small. A response that is dropped resets its stream.
    pub(super) async fn answer(&self, response: ResponseFuture, within: Duration) -> Result<Reply, NoReply> {
        let id = response.stream_id().as_u32();
        match timeout(within, response).await {
            Ok(Ok(response)) => {
                self.answers.fetch_add(1, Ordering::Relaxed);
                if response.body().is_end_stream() {
                    let (parts, _) = response.into_parts();
                    return Ok(Reply { status: parts.status, headers: parts.headers, body: Bytes::new() });
                }
                Ok(Box::pin(read(response, within)).await)
            }
            // Bounded too: the driver may hang on a socket that takes nothing.
            Ok(Err(error)) => match Box::pin(timeout(within, self.judge(id, &error))).await {
                Ok(verdict) => Err(verdict),
                Err(_) => Err(NoReply::Unknown(Reason::new("connection_lost"))),
            },
            Err(_) => {
                self.doubted.store(true, Ordering::Release);
                Err(NoReply::Unknown(Reason::new("request_timeout")))
            }
        }
    }

    /// What an error of stream `id` means for its notification.
    async fn judge(&self, id: u32, error: &h2::Error) -> NoReply {
        let refused = error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if id > self.marks.last_taken() || (refused && error.is_reset()) {
            return NoReply::NotTaken(self.marks.farewell());
        }
        if error.is_reset() {
            let code = error.reason().map_or(0, u32::from);
            return NoReply::Unknown(Reason::new(&format!("stream_reset_{code}")));
        }
        // The connection is lost. Once its driver is done, what has not been written never will be.
        self.ended.cancelled().await;
        if id > self.marks.written() || id > self.marks.last_taken() {
            return NoReply::NotTaken(self.marks.farewell());
        }
        NoReply::Unknown(Reason::new("connection_lost"))
    }
}

async fn read(response: http::Response<h2::RecvStream>, within: Duration) -> Reply {
    let (parts, stream) = response.into_parts();
    let mut body = Bytes::new();
    // The status is known: what is lost of the body is only words.
    drop(timeout(within, read_body(stream, &mut body)).await);
    body.truncate(MAX_ANSWER_BYTES);
    Reply { status: parts.status, headers: parts.headers, body }
}

async fn read_body(mut stream: h2::RecvStream, body: &mut Bytes) {
    while body.len() < MAX_ANSWER_BYTES
        && let Some(Ok(piece)) = stream.data().await
        && stream.flow_control().release_capacity(piece.len()).is_ok()
    {
        *body = if body.is_empty() { piece } else { joined(body, &piece) };
    }
}

fn joined(head: &Bytes, tail: &Bytes) -> Bytes {
    let mut both = BytesMut::with_capacity(head.len() + tail.len());
    both.extend_from_slice(head);
    both.extend_from_slice(tail);
    both.freeze()
}
