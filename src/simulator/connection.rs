//! One HTTP/2 connection: accepts streams, answers them, and breaks off where a fault says so.
//!
//! All streams of a connection live in one task, so that reading a batch of requests, deciding about
//! them and writing their answers costs one wake-up and one flush.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{
    Reason, RecvStream,
    server::{Connection, SendResponse},
};
use http::Request;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    Provider,
    reply::Reply,
    wire::{Injector, StreamLimit, Wire},
    world::{Act, Decision, Seat, World},
};

/// APNs offers one stream until the first valid provider token; afterwards this many, which is an assumption. Google offers
/// 100, but a sender that obeys one number obeys another.
const STREAMS: u32 = 1000;
const APNS_LIMIT: StreamLimit = StreamLimit { first: 1, later: STREAMS };
/// All bodies of a full connection: nobody waits for a window here.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// RFC 9113's default; announcing it again carries the new stream limit.
const STREAM_WINDOW: u32 = 65_535;
/// Bodies are counted beyond this, but not kept: more than any provider allows.
const MAX_BODY: usize = 64 * 1024;
/// How long a connection that said GOAWAY waits for its client to close it: closing first would reset
/// the socket, and the client could lose answers that it has not read.
const LINGER: Duration = Duration::from_secs(2);

/// What the streams of a connection share.
struct Line {
    world: Arc<World>,
    provider: Provider,
    connection: u64,
    injector: Injector,
    /// A provider token was accepted.
    trusted: AtomicBool,
    /// The highest stream received, and the highest that was decided about.
    received: AtomicU32,
    decided: AtomicU32,
    /// The last stream that will be looked at, once GOAWAY was said.
    last: AtomicU32,
}

/// What is left to do when a request has been dealt with.
enum After {
    Nothing,
    /// Keeps the stream without an answer; dropping it would reset it.
    Hold {
        _stream: SendResponse<Bytes>,
    },
    Close,
}

impl Line {
    fn go_away(&self, graceful: bool, reason: Option<&str>) {
        let of = if graceful { &self.received } else { &self.decided };
        let last = of.load(Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        let debug = reason.map_or_else(String::new, |why| json!({ "reason": why }).to_string());
        self.injector.go_away(last, &debug);
    }

    async fn await_body(&self, body: &mut RecvStream) -> Option<Bytes> {
        let bodies = &self.world.bodies;
        if !bodies.are_withheld() {
            return read(body).await;
        }
        bodies.awaited.fetch_add(1, Ordering::AcqRel);
        self.world.arrived.notify_waiters();
        let read = read(body).await;
        bodies.awaited.fetch_sub(1, Ordering::AcqRel);
        read
    }

    fn is_leaving(&self) -> bool {
        self.last.load(Ordering::Relaxed) != u32::MAX
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve<T>(world: Arc<World>, provider: Provider, socket: T)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let limit = (provider == Provider::Apns).then_some(APNS_LIMIT);
    let (wire, injector) = Wire::new(socket, limit);
    let withheld = world.bodies.are_withheld();
    let handshake = h2::server::Builder::new()
        .initial_window_size(window(withheld))
        .max_concurrent_streams(STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(wire);
    let Ok(connection) = handshake.await else { return };
    let line = Line {
        connection: world.next_connection(),
        world,
        provider,
        injector,
        trusted: AtomicBool::new(limit.is_none()),
        received: AtomicU32::new(0),
        decided: AtomicU32::new(0),
        last: AtomicU32::new(u32::MAX),
    };
    drive(connection, Arc::new(line), withheld).await;
}

/// A stream's window.
const fn window(withheld: bool) -> u32 {
    if withheld { 0 } else { STREAM_WINDOW }
}

async fn drive<T>(mut connection: Connection<Wire<T>, Bytes>, line: Arc<Line>, mut withheld: bool)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut raised = line.trusted.load(Ordering::Relaxed);
    let mut leaving = false;
    let mut streams = 0;
    let mut in_flight = FuturesUnordered::new();
    let mut held = Vec::new();
    let mut linger = pin!(None);
    let bodies = &line.world.bodies;
    let mut turned = pin!(bodies.turned.notified());
    poll_fn(|cx| {
        loop {
            let mut idle = true;
            // Everything that has come in first: answering in between would flush one by one.
            while let Poll::Ready(accepted) = connection.poll_accept(cx) {
                let Some(Ok((request, mut respond))) = accepted else { return Poll::Ready(()) };
                idle = false;
                streams += 1;
                line.received.fetch_max(respond.stream_id().into(), Ordering::Relaxed);
                if !line.trusted.load(Ordering::Relaxed) && !in_flight.is_empty() {
                    respond.send_reset(Reason::REFUSED_STREAM);
                    line.world.note_refused(line.provider);
                    continue;
                }
                if line.world.profile.goaway_every == Some(streams) && !line.is_leaving() {
                    line.go_away(true, None);
                }
                in_flight.push(exchange(Arc::clone(&line), request, respond));
            }
            while let Poll::Ready(Some(after)) = in_flight.poll_next_unpin(cx) {
                idle = false;
                match after {
                    After::Nothing => {}
                    After::Hold { .. } => held.push(after),
                    After::Close => return Poll::Ready(()),
                }
            }
            while turned.as_mut().poll(cx).is_ready() {
                turned.set(bodies.turned.notified());
            }
            let (trusted, shut) = (line.trusted.load(Ordering::Relaxed), bodies.are_withheld());
            // Refused while the client has not acknowledged the SETTINGS before; its acknowledgement wakes this task.
            if (raised != trusted || withheld != shut)
                && connection.set_initial_window_size(window(shut)).is_ok()
            {
                (raised, withheld, idle) = (trusted, shut, false);
            }
            if line.is_leaving() && !leaving {
                // Once more around, so that the GOAWAY is flushed.
                (leaving, idle) = (true, false);
            }
            if leaving && in_flight.is_empty() {
                if linger.is_none() {
                    linger.set(Some(tokio::time::sleep(LINGER)));
                }
                if let Some(linger) = linger.as_mut().as_pin_mut()
                    && linger.poll(cx).is_ready()
                {
                    return Poll::Ready(());
                }
            }
            if idle {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Reads a request, has it decided, and carries the decision out.
async fn exchange(line: Arc<Line>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> After {
    let stream = u32::from(respond.stream_id());
    let (parts, mut body) = request.into_parts();
    let Some(body) = line.await_body(&mut body).await else { return After::Nothing };
    if stream > line.last.load(Ordering::Relaxed) {
        return After::Hold { _stream: respond };
    }
    let seat = Seat { connection: line.connection, stream };
    let Decision { act, delay, trusted } = line.world.decide(line.provider, seat, &parts, &body);
    if trusted {
        line.trusted.store(true, Ordering::Relaxed);
    }
    // No await between the decision and this, so that no stream is decided about above the last.
    if let Act::GoAway { graceful, reason, .. } = &act {
        line.go_away(*graceful, reason.as_deref());
    }
    if !matches!(act, Act::GoAway { graceful: false, .. }) {
        line.decided.fetch_max(stream, Ordering::Relaxed);
    }
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    line.world.may_answer().await;
    match act {
        Act::Answer(reply) | Act::GoAway { answer: Some(reply), .. } => answer(&mut respond, reply),
        Act::RefuseStream => respond.send_reset(Reason::REFUSED_STREAM),
        Act::ResetStream => respond.send_reset(Reason::INTERNAL_ERROR),
        Act::CloseConnection => return After::Close,
        Act::GoAway { answer: None, .. } | Act::Silence => return After::Hold { _stream: respond },
    }
    After::Nothing
}

/// Sends an answer; a client that is gone does not get it.
fn answer(respond: &mut SendResponse<Bytes>, reply: Reply) {
    let empty = reply.body.is_empty();
    if let Ok(mut body) = respond.send_response(reply.head(), empty)
        && !empty
    {
        // An error is the same as above: the client is gone.
        drop(body.send_data(reply.body, true));
    }
}

/// The whole body, or nothing if the client took the request back. Almost always one frame, and then
/// it is not copied.
async fn read(body: &mut RecvStream) -> Option<Bytes> {
    let mut whole = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        if whole.is_empty() {
            whole = piece;
        } else if whole.len() < MAX_BODY {
            let mut joined = BytesMut::from(whole);
            joined.extend_from_slice(&piece);
            whole = joined.freeze();
        }
    }
    Some(whole)
}
