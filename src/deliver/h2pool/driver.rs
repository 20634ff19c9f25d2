//! The task that owns a connection's socket and moves its frames.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Ping, PingPong};
use tokio::time::{Sleep, sleep};

use super::{
    Shared,
    connection::{Connection, Io},
    stall::TICK,
};

/// Polls the connection, flushes once, and asks now and then whether the peer still lives.
pub(super) struct Driver {
    h2: h2::client::Connection<Io, Bytes>,
    io: Io,
    connection: Arc<Connection>,
    pool: Weak<Shared>,
    opened: Instant,
    ping: Option<PingPong>,
    alarm: Pin<Box<Sleep>>,
    /// While requests are in flight.
    tick: Option<Pin<Box<Sleep>>>,
    /// How many bytes had come in when the alarm was set.
    received: u64,
    awaiting_pong: bool,
    ping_after: Duration,
    ping_timeout: Duration,
    max_streams: usize,
    settled: bool,
    retired: bool,
}

impl Driver {
    pub(super) fn new(
        mut h2: h2::client::Connection<Io, Bytes>,
        io: Io,
        connection: Arc<Connection>,
        pool: &Arc<Shared>,
    ) -> Self {
        let transport = pool.transport;
        Self {
            ping: h2.ping_pong(),
            h2,
            io,
            connection,
            pool: Arc::downgrade(pool),
            opened: pool.clock.monotonic(),
            alarm: Box::pin(sleep(transport.ping_after)),
            tick: None,
            received: 0,
            awaiting_pong: false,
            ping_after: transport.ping_after,
            ping_timeout: transport.ping_timeout,
            max_streams: transport.max_streams.get(),
            settled: false,
            retired: false,
        }
    }

    /// Tells the pool what the frames of this poll have changed.
    fn follow(&mut self) {
        if self.connection.marks().gone_away() {
            self.retire();
        }
        if !self.connection.marks().settled() {
            return;
        }
        let settles = !std::mem::replace(&mut self.settled, true);
        let streams = self.connection.peer_allows().map(|streams| streams.min(self.max_streams));
        let changes = streams.is_some_and(|streams| self.connection.allow(streams));
        if (settles || changes)
            && let Some(pool) = self.pool.upgrade()
        {
            pool.changed.notify_waiters();
        }
    }

    fn retire(&mut self) {
        if std::mem::replace(&mut self.retired, true) {
            return;
        }
        self.connection.retire();
        if let Some(pool) = self.pool.upgrade() {
            pool.lost(&self.connection, self.opened);
        }
    }

    /// Notes, while requests are in flight, that this task runs. False if it was away for too long.
    fn goes_on(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            if let Some(tick) = &mut self.tick {
                if tick.as_mut().poll(cx).is_pending() {
                    return true;
                }
                if !self.io.goes_on() {
                    return false;
                }
            }
            let in_flight = self.connection.in_flight() > 0;
            self.tick = in_flight.then(|| Box::pin(sleep(TICK)));
            if !in_flight {
                return true;
            }
            self.connection.tick();
        }
    }

    /// False once the peer counts as dead.
    fn keep_alive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(ping) = self.ping.as_mut() else { return true };
        if self.awaiting_pong && ping.poll_pong(cx).is_ready() {
            self.awaiting_pong = false;
            self.received = self.connection.marks().received();
            self.alarm = Box::pin(sleep(self.ping_after));
        }
        if self.connection.take_doubt() && !self.awaiting_pong {
            self.alarm = Box::pin(sleep(Duration::ZERO));
            self.received = self.connection.marks().received();
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            let received = self.connection.marks().received();
            let moved = std::mem::replace(&mut self.received, received) != received;
            if self.awaiting_pong {
                return false;
            }
            let next = if moved {
                self.ping_after
            } else {
                if ping.send_ping(Ping::opaque()).is_err() {
                    return false;
                }
                self.awaiting_pong = true;
                // It is answered through this task only once its waker is known there.
                drop(ping.poll_pong(cx));
                self.ping_timeout
            };
            self.alarm = Box::pin(sleep(next));
        }
        true
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let me = self.get_mut();
        me.io.collect();
        let ended = Pin::new(&mut me.h2).poll(cx).is_ready();
        let flushed = me.io.release(cx);
        me.follow();
        if ended || matches!(flushed, Poll::Ready(Err(_))) || !me.goes_on(cx) || !me.keep_alive(cx) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    /// However it ends: whoever waits for an answer learns that none will come.
    fn drop(&mut self) {
        self.retire();
        self.connection.ended().cancel();
    }
}
