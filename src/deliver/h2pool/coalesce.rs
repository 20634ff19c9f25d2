//! One flush per poll of the connection.
//!
//! `h2` flushes after every DATA frame, and each flush is a system call: the largest single cost of a
//! notification. While the driver polls the connection this wrapper only collects; the driver then flushes
//! once. It also keeps the [`Marks`]: what has really left, and what the peer said it will not take.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    frames::{Frames, Seen},
    stall::Stall,
};
use crate::{clock::Clock, model::Reason};

/// How much is collected before the socket is asked: three TLS records (RFC 8446: 16 KiB each), below
/// rustls' own buffer limit of 64 KiB.
const COLLECT_BYTES: usize = 48 * 1_024;

/// What is known of a connection's streams, whatever becomes of the connection.
#[derive(Debug)]
pub(super) struct Marks {
    /// The highest stream whose request (or the beginning of it) was handed to TLS; 0 if none.
    written: AtomicU32,
    /// The highest stream that the peer may take; everything, until a GOAWAY says otherwise.
    last_taken: AtomicU32,
    /// The peer has sent its SETTINGS.
    settled: AtomicBool,
    /// How many bytes came in: a connection on which nothing moves is quiet.
    received: AtomicU64,
    /// Why the peer went away, if it said so.
    farewell: Mutex<Option<Reason>>,
}

impl Marks {
    fn new() -> Self {
        Self {
            written: AtomicU32::new(0),
            last_taken: AtomicU32::new(u32::MAX),
            settled: AtomicBool::new(false),
            received: AtomicU64::new(0),
            farewell: Mutex::new(None),
        }
    }

    pub(super) fn written(&self) -> u32 {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn last_taken(&self) -> u32 {
        self.last_taken.load(Ordering::Acquire)
    }

    pub(super) fn gone_away(&self) -> bool {
        self.last_taken() != u32::MAX
    }

    pub(super) fn settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn farewell(&self) -> Option<Reason> {
        self.farewell.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, seen: &Seen<'_>) {
        match seen {
            Seen::Settings => self.settled.store(true, Ordering::Release),
            Seen::GoAway { last, debug } => {
                self.last_taken.fetch_min(*last, Ordering::AcqRel);
                if let Some(reason) = farewell_reason(debug) {
                    *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
                }
            }
            Seen::Headers(_) | Seen::Data => {}
        }
    }
}

/// Apple puts `{"reason": "…"}` into the debug data.
fn farewell_reason(debug: &[u8]) -> Option<Reason> {
    #[derive(serde::Deserialize)]
    struct Farewell {
        reason: String,
    }
    serde_json::from_slice::<Farewell>(debug).ok().map(|farewell| Reason::new(&farewell.reason))
}

/// The I/O under `h2`, shared with the driver that flushes it.
#[derive(Debug)]
pub(super) struct Coalesced<T> {
    pipe: Arc<Mutex<Pipe<T>>>,
    marks: Arc<Marks>,
    stall: Arc<Stall>,
}

#[derive(Debug)]
struct Pipe<T> {
    io: T,
    /// Collected and not yet handed on, from `handed` on.
    out: Vec<u8>,
    handed: usize,
    /// The driver is polling: flushes are owed, not done.
    collecting: bool,
    owed: bool,
    /// The peer has closed, or we were away for too long: nothing may leave any more, so that what is not written stays so.
    sealed: bool,
    stall: Arc<Stall>,
    outgoing: Frames,
    incoming: Frames,
    /// The highest stream in `out`.
    collected: u32,
}

impl<T> Coalesced<T> {
    /// Wraps `io`; the second handle is the driver's.
    pub(super) fn new(io: T, clock: Clock) -> (Self, Self) {
        let stall = Arc::new(Stall::new(clock));
        let pipe = Pipe {
            io,
            out: Vec::new(),
            handed: 0,
            collecting: false,
            owed: false,
            sealed: false,
            stall: Arc::clone(&stall),
            outgoing: Frames::sent(),
            incoming: Frames::received(),
            collected: 0,
        };
        let (pipe, marks) = (Arc::new(Mutex::new(pipe)), Arc::new(Marks::new()));
        let driver = Self { pipe: Arc::clone(&pipe), marks: Arc::clone(&marks), stall: Arc::clone(&stall) };
        (Self { pipe, marks, stall }, driver)
    }

    pub(super) const fn marks(&self) -> &Arc<Marks> {
        &self.marks
    }

    pub(super) const fn stall(&self) -> &Arc<Stall> {
        &self.stall
    }

    /// Notes that the driver runs. False if it was away for too long: then nothing leaves any more.
    pub(super) fn goes_on(&self) -> bool {
        self.pipe().goes_on()
    }

    fn pipe(&self) -> MutexGuard<'_, Pipe<T>> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on flushes are only owed.
    pub(super) fn collect(&self) {
        self.pipe().collecting = true;
    }
}

impl<T: AsyncWrite + Unpin> Coalesced<T> {
    /// Flushes what was collected, once. Pending means that the socket is full and will wake the task.
    pub(super) fn release(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe();
        pipe.collecting = false;
        if !pipe.owed {
            return Poll::Ready(Ok(()));
        }
        ready!(pipe.flush(cx, &self.marks))?;
        pipe.owed = false;
        Poll::Ready(Ok(()))
    }
}

impl<T> Pipe<T> {
    fn goes_on(&mut self) -> bool {
        self.sealed |= !self.stall.goes_on();
        !self.sealed
    }
}

impl<T: AsyncWrite + Unpin> Pipe<T> {
    fn hand_on(&mut self, cx: &mut Context<'_>, marks: &Marks) -> Poll<io::Result<()>> {
        while self.sealed || self.handed < self.out.len() {
            // Right before the write, and in between: the one place that bytes leave from.
            if self.sealed || !self.goes_on() {
                self.out.clear();
                self.handed = 0;
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            // Before the attempt: a byte that may have left has left.
            marks.written.fetch_max(self.collected, Ordering::AcqRel);
            let taken = ready!(Pin::new(&mut self.io).poll_write(cx, &self.out[self.handed..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.handed += taken;
        }
        self.out.clear();
        self.handed = 0;
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, cx: &mut Context<'_>, marks: &Marks) -> Poll<io::Result<()>> {
        let hands_on = self.handed < self.out.len();
        ready!(self.hand_on(cx, marks))?;
        // TLS may hold back what the socket did not take before.
        if !hands_on && !self.goes_on() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn collect(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        let collected = &mut self.collected;
        self.outgoing.watch(bytes, |seen| {
            if let Seen::Headers(stream) = seen {
                *collected = stream.max(*collected);
            }
        });
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Coalesced<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.pipe();
        let pipe = &mut *guard;
        let (before, room) = (buf.filled().len(), buf.remaining());
        let read = ready!(Pin::new(&mut pipe.io).poll_read(cx, buf));
        let fresh = &buf.filled()[before..];
        if read.is_err() || (fresh.is_empty() && room > 0) {
            pipe.sealed = true;
        }
        self.marks.received.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        pipe.incoming.watch(fresh, |seen| self.marks.note(&seen));
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Coalesced<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe();
        if pipe.sealed || pipe.out.len() >= COLLECT_BYTES {
            ready!(pipe.hand_on(cx, &self.marks))?;
        }
        pipe.collect(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe();
        if pipe.sealed || pipe.out.len() >= COLLECT_BYTES {
            ready!(pipe.hand_on(cx, &self.marks))?;
        }
        for slice in slices {
            pipe.collect(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe();
        if pipe.collecting && !pipe.sealed && pipe.out.len() < COLLECT_BYTES {
            pipe.owed = true;
            return Poll::Ready(Ok(()));
        }
        pipe.flush(cx, &self.marks)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe();
        ready!(pipe.hand_on(cx, &self.marks))?;
        Pin::new(&mut pipe.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use futures_util::task::noop_waker_ref;
    use tokio::io::{AsyncReadExt as _, duplex};

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const HEADERS_3: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 3, 0x82];

    #[tokio::test]
    async fn flushes_are_owed_while_collecting_and_done_once() {
        let (ours, mut theirs) = duplex(1_024);
        let (mut io, driver) = Coalesced::new(ours, Clock::system());
        let mut cx = Context::from_waker(noop_waker_ref());
        driver.collect();
        for bytes in [PREFACE, HEADERS_3] {
            assert!(matches!(Pin::new(&mut io).poll_write(&mut cx, bytes), Poll::Ready(Ok(_))));
            assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        }
        assert_eq!(driver.marks().written(), 0, "collected is not written");
        assert!(matches!(driver.release(&mut cx), Poll::Ready(Ok(()))));
        assert_eq!(driver.marks().written(), 3);
        let mut got = vec![0; PREFACE.len() + HEADERS_3.len()];
        theirs.read_exact(&mut got).await.expect("both pieces");
        assert!(got.ends_with(HEADERS_3));
    }

    #[tokio::test]
    async fn after_the_peer_closed_nothing_counts_as_written_and_nothing_leaves() {
        let (ours, theirs) = duplex(1_024);
        let (mut io, driver) = Coalesced::new(ours, Clock::system());
        let mut cx = Context::from_waker(noop_waker_ref());
        driver.collect();
        let both = [PREFACE, HEADERS_3].concat();
        assert!(matches!(Pin::new(&mut io).poll_write(&mut cx, &both), Poll::Ready(Ok(_))));
        assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        drop(theirs);
        assert_eq!(io.read(&mut [0; 8]).await.expect("an end"), 0);
        assert!(matches!(driver.release(&mut cx), Poll::Ready(Err(_))));
        assert_eq!(driver.marks().written(), 0);
    }

    #[tokio::test]
    async fn i5_what_waits_for_a_full_socket_does_not_leave_after_the_process_was_away() {
        const ROOM: usize = 40;
        for (away, rest) in [
            (Duration::from_millis(10), PREFACE.len() + HEADERS_3.len() * 9 - ROOM),
            (Duration::from_mins(1), 0),
        ] {
            let (clock, (ours, mut theirs)) = (Clock::manual(jiff::Timestamp::UNIX_EPOCH, 1), duplex(ROOM));
            let (mut io, driver) = Coalesced::new(ours, clock.clone());
            let mut cx = Context::from_waker(noop_waker_ref());
            driver.stall().enter(clock.monotonic() + Duration::from_secs(30));
            let bytes = [PREFACE.to_vec(), HEADERS_3.repeat(9)].concat();
            assert!(matches!(Pin::new(&mut io).poll_write(&mut cx, &bytes), Poll::Ready(Ok(_))));
            assert!(matches!(Pin::new(&mut io).poll_flush(&mut cx), Poll::Pending), "it is full");
            theirs.read_exact(&mut [0; ROOM]).await.expect("what the socket had");
            clock.advance(away);
            let flushed = Pin::new(&mut io).poll_flush(&mut cx);
            assert!(matches!(
                (&flushed, rest),
                (Poll::Ready(Err(_)), 0) | (Poll::Pending | Poll::Ready(Ok(())), 1..)
            ));
            // Neither does it when the connection is dropped.
            drop((io, driver));
            let mut late = Vec::new();
            theirs.read_to_end(&mut late).await.expect("an end");
            assert_eq!(late.len(), rest.min(ROOM), "after {away:?}");
        }
    }
}
