//! A chunk that is held: what of it is to be sent, what is under way.

use std::{collections::VecDeque, ops::Range};

use crate::{
    ledger::{Claim, SegmentAsk},
    model::SEGMENT_DEVICES,
};

/// A chunk, with what is left of it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    /// What an earlier claim began, or this one without an answer: it comes first, because it is under way already as far as a
    /// slow start is concerned, and nothing new begins before it has ended.
    begun: VecDeque<Piece>,
    /// What else is to be sent, in order.
    pieces: VecDeque<Piece>,
    /// Segments that are open.
    pub(super) open: usize,
}

/// A stretch of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) positions: Range<usize>,
    /// Its intent may be on record: an earlier claim's, or one whose answer was lost. To be asked for as it was.
    pub(super) again: bool,
}

impl Held {
    pub(super) fn new(claim: Claim) -> Self {
        let (mut pieces, mut begun, mut next) = (VecDeque::new(), VecDeque::new(), 0);
        let mut halfway: Vec<_> = claim.halfway.clone();
        halfway.sort_unstable_by_key(|halfway| halfway.first);
        for halfway in halfway {
            let positions = usize::from(halfway.first)..usize::from(halfway.first) + usize::from(halfway.n);
            if next < positions.start {
                pieces.push_back(Piece { positions: next..positions.start, again: false });
            }
            next = positions.end;
            if !halfway.recorded {
                begun.push_back(Piece { positions, again: true });
            }
        }
        if next < claim.devices.len() {
            pieces.push_back(Piece { positions: next..claim.devices.len(), again: false });
        }
        Self { claim, begun, pieces, open: 0 }
    }

    /// The next segment of at most `most` devices.
    pub(super) fn next(&mut self, most: usize) -> Option<Piece> {
        self.next_begun().or_else(|| self.next_new(most))
    }

    /// The next segment whose intent may be on record.
    pub(super) fn next_begun(&mut self) -> Option<Piece> {
        self.begun.pop_front()
    }

    fn next_new(&mut self, most: usize) -> Option<Piece> {
        let piece = self.pieces.front_mut()?;
        let size = most.clamp(1, SEGMENT_DEVICES);
        if piece.positions.len() <= size {
            return self.pieces.pop_front();
        }
        let positions = piece.positions.start..piece.positions.start + size;
        piece.positions.start = positions.end;
        Some(Piece { positions, again: false })
    }

    /// Takes back what was not granted.
    pub(super) fn put_back(&mut self, piece: Piece) {
        if piece.positions.is_empty() {
            return;
        }
        if piece.again {
            self.begun.push_front(piece);
            return;
        }
        match self.pieces.front_mut() {
            Some(front) if piece.positions.end == front.positions.start => {
                front.positions.start = piece.positions.start;
            }
            _ => self.pieces.push_front(piece),
        }
    }

    /// True if nothing is left to ask for.
    pub(super) fn is_asked(&self) -> bool {
        self.begun.is_empty() && self.pieces.is_empty()
    }

    pub(super) fn ask(&self, piece: &Piece) -> SegmentAsk<'_> {
        SegmentAsk {
            chunk: self.claim.chunk,
            stage: self.claim.stage,
            claim: self.claim.number,
            first: u16::try_from(piece.positions.start).expect("a chunk has at most 1,000 devices"),
            devices: &self.claim.devices[piece.positions.clone()],
            again: piece.again,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock::Clock,
        ledger::Halfway,
        model::{Bucket, FrozenDevice, RecordId, RolloutId},
    };

    fn claim(devices: i64, halfway: Vec<Halfway>) -> Claim {
        let bucket = Bucket::new(7).expect("in range");
        Claim {
            rollout: RolloutId::new(1),
            chunk: 0,
            stage: 0,
            number: 2,
            until: Clock::system().monotonic() + Duration::from_secs(1),
            devices: (0..devices)
                .map(|record| FrozenDevice { bucket, record: RecordId::new(record) })
                .collect(),
            halfway,
        }
    }

    fn pieces(mut held: Held, most: usize) -> Vec<(Range<usize>, bool)> {
        std::iter::from_fn(|| held.next(most)).map(|piece| (piece.positions, piece.again)).collect()
    }

    #[test]
    fn a_fresh_chunk_is_cut_into_segments() {
        let cut = pieces(Held::new(claim(250, Vec::new())), 1_000);
        assert_eq!(cut, [(0..100, false), (100..200, false), (200..250, false)]);
        assert_eq!(pieces(Held::new(claim(3, Vec::new())), 1).len(), 3);
    }

    #[test]
    fn i6_of_an_earlier_claim_only_what_was_not_recorded_is_sent_again() {
        let begun = vec![
            Halfway { first: 110, n: 40, recorded: false },
            Halfway { first: 0, n: 100, recorded: true },
            Halfway { first: 150, n: 50, recorded: true },
        ];
        let cut = pieces(Held::new(claim(220, begun)), 100);
        assert_eq!(cut, [(110..150, true), (100..110, false), (200..220, false)]);
    }

    #[test]
    fn what_was_not_granted_is_asked_for_again() {
        let mut held = Held::new(claim(150, Vec::new()));
        let piece = held.next(100).expect("a piece");
        held.put_back(Piece { positions: 10..piece.positions.end, again: false });
        assert_eq!(pieces(held, 100), [(10..110, false), (110..150, false)]);
    }
}
