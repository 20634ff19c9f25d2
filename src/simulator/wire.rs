//! The simulated provider's end of a socket: lets through what `h2` writes, frame by frame, and says
//! two things that `h2` has no words for.
//!
//! - **The stream limit grows.** APNs offers one stream until the first valid provider token, then
//!   more. `h2` fixes `SETTINGS_MAX_CONCURRENT_STREAMS` at the handshake, so it is told the final number,
//!   and its SETTINGS frames are rewritten on their way out: the first says 1, later ones the rest.
//!   (A frame of our own would be acknowledged by the client, and `h2` treats an acknowledgement that
//!   it did not ask for as an error.)
//! - **GOAWAY with a chosen last stream.** `h2` names the last stream it has received, so a client
//!   under test could never lose one. Here a GOAWAY is put between two frames, and the connection
//!   then leaves the streams above it unanswered.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// RFC 9113, section 4.1: length (24 bits), type, flags, stream.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
/// One TLS record holds 16 KiB; four of them bound what a slow reader makes us keep.
const HIGH_WATER: usize = 64 * 1024;

/// The stream limit announced first, and with every later SETTINGS frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamLimit {
    pub(super) first: u32,
    pub(super) later: u32,
}

/// Puts a frame on the wire between two of `h2`'s.
#[derive(Clone, Debug, Default)]
pub(super) struct Injector(Arc<Mutex<Vec<u8>>>);

impl Injector {
    /// Announces that streams above `last` were not and will not be looked at.
    pub(super) fn go_away(&self, last: u32, debug: &str) {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = u32::try_from(8 + debug.len()).unwrap_or(8);
        frame.extend_from_slice(&length.to_be_bytes()[1..]);
        frame.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(&last.to_be_bytes());
        frame.extend_from_slice(&[0; 4]); // NO_ERROR
        frame.extend_from_slice(debug.as_bytes());
    }

    fn take_into(&self, out: &mut BytesMut) {
        let mut frame = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !frame.is_empty() {
            out.extend_from_slice(&frame);
            frame.clear();
        }
    }
}

/// A socket whose outgoing frames can be amended.
#[derive(Debug)]
pub(super) struct Wire<T> {
    inner: T,
    out: BytesMut,
    left_in_frame: usize,
    limit: Option<StreamLimit>,
    settings_written: bool,
    injector: Injector,
}

impl<T> Wire<T> {
    /// Wraps a socket; without a limit SETTINGS pass unchanged.
    pub(super) fn new(inner: T, limit: Option<StreamLimit>) -> (Self, Injector) {
        let injector = Injector::default();
        let wire = Self {
            inner,
            out: BytesMut::with_capacity(HIGH_WATER),
            left_in_frame: 0,
            limit,
            settings_written: false,
            injector: injector.clone(),
        };
        (wire, injector)
    }

    /// Takes all of `bytes`. `h2` writes the head of a frame in one piece, and since everything is
    /// always taken, no write begins inside a head.
    fn absorb(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.left_in_frame == 0 {
                let head = bytes.get(..FRAME_HEAD).ok_or(io::ErrorKind::InvalidData)?;
                let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8;
                let length = length | usize::from(head[2]);
                let frame = bytes.get(FRAME_HEAD..FRAME_HEAD + length);
                if let (SETTINGS, 0, Some(limit), Some(payload)) = (head[3], head[4] & ACK, self.limit, frame)
                {
                    let streams = if self.settings_written { limit.later } else { limit.first };
                    self.settings_written = true;
                    put_settings(&mut self.out, payload, streams);
                    bytes = &bytes[FRAME_HEAD + length..];
                    continue;
                }
                self.left_in_frame = FRAME_HEAD + length;
            }
            let taken = self.left_in_frame.min(bytes.len());
            self.out.extend_from_slice(&bytes[..taken]);
            self.left_in_frame -= taken;
            bytes = &bytes[taken..];
        }
        Ok(())
    }
}

fn put_settings(out: &mut BytesMut, payload: &[u8], streams: u32) {
    let kept = || payload.chunks_exact(6).filter(|entry| entry[..2] != MAX_CONCURRENT_STREAMS.to_be_bytes());
    let length = u32::try_from((kept().count() + 1) * 6).unwrap_or(6);
    out.put_slice(&length.to_be_bytes()[1..]);
    out.put_slice(&[SETTINGS, 0, 0, 0, 0, 0]);
    kept().for_each(|entry| out.put_slice(entry));
    out.put_u16(MAX_CONCURRENT_STREAMS);
    out.put_u32(streams);
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.out.len() >= HIGH_WATER {
            ready!(self.drain(cx))?;
        }
        self.absorb(bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left_in_frame == 0 {
            this.injector.take_into(&mut this.out);
        }
        ready!(this.drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{StreamLimit, Wire};

    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const LIMIT: StreamLimit = StreamLimit { first: 1, later: 1000 };

    #[test]
    fn the_first_settings_offer_one_stream_and_the_next_the_rest() {
        let (mut wire, _) = Wire::new((), Some(LIMIT));
        let first = [0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 3, 232, 0, 4, 0, 1, 0, 0];
        let second = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0];
        wire.absorb(&[&first[..], PING, &second[..]].concat()).expect("whole frames");
        let expected = [
            &[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1],
            PING,
            &[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 3, 232],
        ];
        assert_eq!(wire.out, expected.concat());
    }

    #[test]
    fn acknowledgements_and_payloads_written_apart_pass_unchanged() {
        let (mut wire, _) = Wire::new((), Some(LIMIT));
        let ack = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        wire.absorb(&[&ack[..], &PING[..9]].concat()).expect("a head in one piece");
        assert_eq!(wire.left_in_frame, 8);
        wire.absorb(&PING[9..]).expect("the rest of the frame");
        assert_eq!((wire.left_in_frame, &wire.out[..]), (0, &[&ack, PING].concat()[..]));
    }

    #[test]
    fn a_goaway_names_its_last_stream_and_reason() {
        let (mut wire, injector) = Wire::new((), None);
        injector.go_away(7, "why");
        injector.take_into(&mut wire.out);
        let frame = [0, 0, 11, 7, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, b'w', b'h', b'y'];
        assert_eq!(wire.out, frame[..]);
    }
}
