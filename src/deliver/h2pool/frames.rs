//! Watches the frames that pass, without touching them.
//!
//! The `h2` crate does not tell which request was written when a connection is lost, nor which stream a
//! GOAWAY spares. Both decide whether a notification may be sent again, so both are read off the wire.

/// RFC 9113, section 3.4: what a client sends before its first frame.
const PREFACE_BYTES: usize = 24;
/// RFC 9113, section 4.1.
const HEADER_BYTES: usize = 9;
/// RFC 9113, section 6.8: last stream id and error code, before the debug data.
const GOAWAY_FIXED_BYTES: usize = 8;
/// How much of a GOAWAY is kept; APNs' reasons are short JSON.
const GOAWAY_KEPT_BYTES: usize = 1_024;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;
const FLAG_ACK: u8 = 0x1;

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A HEADERS frame begins a request (or an answer) on this stream.
    Headers(u32),
    /// A DATA frame.
    Data,
    /// The peer's settings, not an acknowledgement.
    Settings,
    /// The peer takes no stream above `last`.
    GoAway { last: u32, debug: &'a [u8] },
}

/// Reads frame headers out of bytes that come in pieces.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the current payload (or of the preface) still to pass.
    skip: usize,
    header: [u8; HEADER_BYTES],
    have: usize,
    /// A GOAWAY's payload so far, and how much of it is wanted.
    goaway: Vec<u8>,
    wanted: usize,
}

impl Frames {
    /// What a client sends.
    pub(super) fn sent() -> Self {
        Self { skip: PREFACE_BYTES, ..Self::received() }
    }

    /// What a client receives.
    pub(super) const fn received() -> Self {
        Self { skip: 0, header: [0; HEADER_BYTES], have: 0, goaway: Vec::new(), wanted: 0 }
    }

    /// Looks at the next `bytes` and reports each frame of interest.
    pub(super) fn watch(&mut self, mut bytes: &[u8], mut report: impl FnMut(Seen<'_>)) {
        while !bytes.is_empty() {
            if self.wanted > 0 {
                let take = self.wanted.min(bytes.len());
                self.goaway.extend_from_slice(&bytes[..take]);
                self.wanted -= take;
                bytes = &bytes[take..];
                if self.wanted == 0 {
                    report(go_away(&self.goaway));
                    self.goaway.clear();
                }
            } else if self.skip > 0 {
                let take = self.skip.min(bytes.len());
                self.skip -= take;
                bytes = &bytes[take..];
            } else {
                let take = (HEADER_BYTES - self.have).min(bytes.len());
                self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
                self.have += take;
                bytes = &bytes[take..];
                if self.have == HEADER_BYTES {
                    self.have = 0;
                    self.begin(&mut report);
                }
            }
        }
    }

    fn begin(&mut self, report: &mut impl FnMut(Seen<'_>)) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        self.skip = length;
        match kind {
            HEADERS => report(Seen::Headers(stream)),
            DATA => report(Seen::Data),
            SETTINGS if flags & FLAG_ACK == 0 => report(Seen::Settings),
            GOAWAY if length >= GOAWAY_FIXED_BYTES => {
                self.wanted = length.min(GOAWAY_FIXED_BYTES + GOAWAY_KEPT_BYTES);
                self.skip = length - self.wanted;
            }
            _ => {}
        }
    }
}

fn go_away(payload: &[u8]) -> Seen<'_> {
    let mut last = [0; 4];
    last.copy_from_slice(&payload[..4]);
    Seen::GoAway { last: u32::from_be_bytes(last) & 0x7fff_ffff, debug: &payload[GOAWAY_FIXED_BYTES..] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn seen(frames: &mut Frames, bytes: &[u8], piece: usize) -> Vec<String> {
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            frames.watch(piece, |seen| all.push(format!("{seen:?}")));
        }
        all
    }

    #[test]
    fn frames_are_seen_however_the_bytes_are_cut() {
        let mut goaway = 5_u32.to_be_bytes().to_vec();
        goaway.extend_from_slice(&[0, 0, 0, 0]);
        goaway.extend_from_slice(b"{}");
        let bytes = [
            frame(SETTINGS, 0, 0, &[0; 6]),
            frame(SETTINGS, FLAG_ACK, 0, &[]),
            frame(HEADERS, 4, 7, b"abc"),
            frame(GOAWAY, 0, 0, &goaway),
            frame(DATA, 1, 7, &[0; 300]),
            frame(HEADERS, 5, 9, b""),
        ]
        .concat();
        let expected =
            ["Settings", "Headers(7)", "GoAway { last: 5, debug: [123, 125] }", "Data", "Headers(9)"];
        for piece in [1, 2, 7, 9, 10, 64, bytes.len()] {
            assert_eq!(seen(&mut Frames::received(), &bytes, piece), expected, "pieces of {piece}");
        }
    }

    #[test]
    fn the_preface_is_no_frame_and_a_long_goaway_is_cut() {
        let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(HEADERS, 5, 1, b"x")].concat();
        assert_eq!(seen(&mut Frames::sent(), &bytes, 5), ["Headers(1)"]);

        let long = [frame(GOAWAY, 0, 0, &[0; 9_000]), frame(HEADERS, 5, 3, b"")].concat();
        let all = seen(&mut Frames::received(), &long, 100);
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], "Headers(3)");
    }
}
