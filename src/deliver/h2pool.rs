//! The sole owner of provider sockets: connections to one endpoint, and whose stream is whose.
//!
//! No request may be lost, doubled or falsely failed. What decides that is what was really written and what the
//! peer really promised, so both are read off the wire (see `h2pool/frames.rs`), and a doubt is always told as
//! Unknown. Streams are counted here, not in `h2`, so that nothing waits in a queue that cannot be seen.

mod coalesce;
mod connection;
mod driver;
mod frames;
mod reconnect;
mod stall;

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

pub(crate) use self::connection::{ConnectError, NoReply, Reply};
use self::{connection::Connection, driver::Driver, reconnect::Reconnect, stall::Counted};
use super::config::{Endpoint, Transport};
use crate::clock::Clock;

/// Connections to one endpoint with one set of credentials.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

/// Whether a connection's streams may be used before the provider has accepted our credentials on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// At once.
    AtOnce,
    /// One until [`Lease::prove`]. Apple: one stream until the first provider token is accepted.
    OneUntilProven,
}

/// No stream is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStream {
    /// No connection could be made in time.
    NoConnection,
    /// The time that the caller gave is over.
    Late,
}

/// What the pool and its drivers share.
pub(super) struct Shared {
    endpoint: Endpoint,
    tls: TlsConnector,
    transport: Transport,
    streams: Streams,
    clock: Clock,
    state: Mutex<State>,
    /// A stream became free, a connection came or went.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    open: Vec<Arc<Connection>>,
    opening: bool,
    reconnect: Reconnect,
    last_error: Option<ConnectError>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// A stream on a connection, to be used once. It is given back when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    counted: Option<Counted>,
}

/// A request that is queued; dropped, its stream is reset.
pub(crate) type Asked = h2::client::ResponseFuture;

enum Found {
    Stream(Lease),
    /// Connections are there, and every stream is taken.
    Busy,
    /// No connection; the next attempt has to wait this long.
    Nothing(Duration),
}

impl Pool {
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Arc<ClientConfig>,
        streams: Streams,
        transport: Transport,
        clock: Clock,
    ) -> Self {
        let reconnect = Reconnect::new(clock.seed());
        let state = State { open: Vec::new(), opening: false, reconnect, last_error: None };
        let (tls, state) = (TlsConnector::from(tls), Mutex::new(state));
        let changed = Notify::new();
        Self { shared: Arc::new(Shared { endpoint, tls, transport, streams, clock, state, changed }) }
    }

    /// A stream: at once if one is free, else as soon as one is, but not after `until`. A connection is waited
    /// for at most the connect timeout.
    pub(crate) async fn lease(&self, until: Instant) -> Result<Lease, NoStream> {
        if let Found::Stream(lease) = Shared::find(&self.shared) {
            return Ok(lease);
        }
        // Boxed: rare, and large. Every send's future would carry the room for it.
        Box::pin(self.wait_for_stream(until)).await
    }

    async fn wait_for_stream(&self, until: Instant) -> Result<Lease, NoStream> {
        let shared = &self.shared;
        let give_up = shared.clock.monotonic() + shared.transport.connect_timeout;
        loop {
            // Listen first, look second: nothing that happens in between is missed.
            let mut changed = pin!(shared.changed.notified());
            changed.as_mut().enable();
            let (limit, refusal) = match Shared::find(shared) {
                Found::Stream(lease) => return Ok(lease),
                Found::Busy => (until, NoStream::Late),
                Found::Nothing(wait) => {
                    if shared.clock.monotonic() + wait >= give_up {
                        return Err(NoStream::NoConnection);
                    }
                    if give_up < until { (give_up, NoStream::NoConnection) } else { (until, NoStream::Late) }
                }
            };
            let left = limit.saturating_duration_since(shared.clock.monotonic());
            if left.is_zero() || tokio::time::timeout(left, changed).await.is_err() {
                return Err(refusal);
            }
        }
    }

    /// Opens no more streams on any connection; what is in flight may finish.
    pub(crate) fn retire_all(&self) {
        let open = std::mem::take(&mut self.shared.state().open);
        for connection in open {
            connection.retire();
        }
        self.shared.changed.notify_waiters();
    }

    /// Makes sure that there is a connection; says why if there is none.
    pub(crate) async fn connect(&self) -> Result<(), ConnectError> {
        let shared = &self.shared;
        match self.lease(shared.clock.monotonic() + shared.transport.connect_timeout * 2).await {
            Ok(_) => Ok(()),
            Err(_) => Err(shared.state().last_error.clone().unwrap_or_else(|| shared.too_slow())),
        }
    }

    /// Where it connects to.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(self: &Arc<Self>) -> Found {
        let mut state = self.state();
        // The first one that has room: a full connection flushes more at once than two half-full ones.
        if let Some(connection) = state.open.iter().find(|connection| connection.begin()) {
            let connection = Arc::clone(connection);
            return Found::Stream(Lease { connection, shared: Arc::clone(self), counted: None });
        }
        let untried = state.open.iter().any(|connection| !connection.proven());
        if !untried && state.open.len() < self.transport.connections.get() {
            self.open_another(&mut state);
        }
        if state.open.is_empty() {
            Found::Nothing(state.reconnect.wait(self.clock.monotonic()))
        } else {
            Found::Busy
        }
    }

    /// Opens a connection in the background, unless that is under way.
    fn open_another(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.opening, true) {
            return;
        }
        let wait = state.reconnect.wait(self.clock.monotonic());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let limit = shared.transport.connect_timeout;
            let opened = tokio::time::timeout(limit, shared.open()).await;
            let opened = opened.unwrap_or_else(|_| Err(shared.too_slow()));
            let mut state = shared.state();
            state.opening = false;
            match opened {
                Ok(connection) => {
                    state.last_error = None;
                    // It may have gone again meanwhile.
                    if !connection.ended().is_cancelled() && !connection.marks().gone_away() {
                        state.open.push(connection);
                    }
                }
                Err(error) => {
                    tracing::warn!(endpoint = %shared.endpoint, %error, "no connection to the provider");
                    state.last_error = Some(error);
                    state.reconnect.failed(shared.clock.monotonic());
                }
            }
            drop(state);
            shared.changed.notify_waiters();
        });
    }

    fn too_slow(&self) -> ConnectError {
        let problem = format!("no connection within {} s", self.transport.connect_timeout.as_secs());
        ConnectError::Connect { endpoint: self.endpoint.clone(), problem }
    }

    /// A connection whose peer has sent its SETTINGS.
    async fn open(self: &Arc<Self>) -> Result<Arc<Connection>, ConnectError> {
        let (requests, h2, io) = connection::dial(&self.endpoint, &self.tls, self.clock.clone()).await?;
        let proven = self.streams == Streams::AtOnce;
        let connection = Arc::new(Connection::new(requests, &io, proven));
        // The task ends with its connection; the pool only ever asks it to.
        tokio::spawn(Driver::new(h2, io, Arc::clone(&connection), self));
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if connection.marks().settled() {
                return Ok(connection);
            }
            tokio::select! {
                () = changed => {}
                () = connection.ended().cancelled() => {
                    let problem = "closed before its SETTINGS came".to_owned();
                    return Err(ConnectError::Http2 { endpoint: self.endpoint.clone(), problem });
                }
            }
        }
    }

    /// A connection takes no more streams.
    fn lost(self: &Arc<Self>, connection: &Arc<Connection>, opened: Instant) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let before = state.open.len();
        state.open.retain(|other| !Arc::ptr_eq(other, connection));
        if state.open.len() < before {
            state.reconnect.ended(now, connection.answers(), now.saturating_duration_since(opened));
            // Somebody is sending: the next connection takes over while this one drains.
            if connection.in_flight() > 0 {
                self.open_another(&mut state);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl Lease {
    /// Queues a request with its whole body. After a pause of this process that `until` went by in it is not written any
    /// more.
    pub(crate) fn ask(
        &mut self,
        request: Request<()>,
        body: Bytes,
        until: Instant,
    ) -> Result<Asked, NoReply> {
        self.connection.open(request, body, until, &mut self.counted)
    }

    /// Waits for the answer, at most the request timeout.
    pub(crate) async fn answer(&self, asked: Asked) -> Result<Reply, NoReply> {
        self.connection.answer(asked, self.shared.transport.request_timeout()).await
    }

    /// Both.
    #[cfg(test)]
    pub(crate) async fn exchange(&mut self, request: Request<()>, body: Bytes) -> Result<Reply, NoReply> {
        let until = self.shared.clock.monotonic() + Duration::from_mins(1);
        let asked = self.ask(request, body, until)?;
        self.answer(asked).await
    }

    /// The provider accepted our credentials on this connection.
    pub(crate) fn prove(&self) {
        if !self.connection.proven() && self.connection.prove() {
            self.shared.changed.notify_waiters();
        }
    }

    /// Uses this connection no more for new requests.
    pub(crate) fn retire(&self) {
        self.shared.state().open.retain(|other| !Arc::ptr_eq(other, &self.connection));
        self.connection.retire();
        self.shared.changed.notify_waiters();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.finish(self.counted.take());
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
