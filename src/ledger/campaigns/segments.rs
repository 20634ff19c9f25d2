//! The segment statement: outcomes in, next intents out.
//!
//! - **I5 halt-is-now**: an intent is committed only while holding a share lock on the rollout's row at the current epoch.
//! - **I9 nothing-late**: not after the expiry, on the database's clock.
//! - **I8**: a device is read with its intent, so whoever left since the freeze is left out, and nobody is added.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::found::Found;
use crate::{
    ledger::{Started, Validity},
    model::{ChunkNumber, Device, Digest, FrozenDevice, JobKey, Outcome, RolloutId, StageNumber},
};

/// An intent that is asked for: the next devices of a claimed chunk.
#[derive(Debug)]
pub struct SegmentAsk<'a> {
    /// Which chunk, as claimed.
    pub chunk: ChunkNumber,
    /// In which stage.
    pub stage: StageNumber,
    /// The claim's number.
    pub claim: u32,
    /// The position of its first device.
    pub first: u16,
    /// Its devices, at most [`crate::model::SEGMENT_DEVICES`].
    pub devices: &'a [FrozenDevice],
    /// An intent may be on record, without outcomes: an earlier claim's, or this one's if the answer to it was lost. The
    /// same devices again, beginning and ending where they did.
    pub again: bool,
}

/// A segment that is over: an outcome for each device, by position.
#[derive(Debug)]
pub struct SegmentEnd {
    /// Which chunk.
    pub chunk: ChunkNumber,
    /// In which stage.
    pub stage: StageNumber,
    /// The claim's number.
    pub claim: u32,
    /// The position of its first device.
    pub first: u16,
    /// The device and what became of it, in order; `None` where it was left out.
    pub outcomes: Vec<Option<(Device, Outcome)>>,
}

/// One round trip of a worker for one rollout.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Which rollout.
    pub rollout: RolloutId,
    /// The run that the worker believes valid.
    pub epoch: u32,
    /// Who asks.
    pub worker: &'a str,
    /// For how long claims are renewed.
    pub lease: Duration,
    /// The monotonic clock before the statement.
    pub asked: Instant,
    /// What is over.
    pub ends: &'a [SegmentEnd],
    /// What is next.
    pub asks: &'a [SegmentAsk<'a>],
    /// Chunks of which, with these ends, every segment is over, with the claim's number; they are held, too.
    pub done: &'a [(ChunkNumber, u32)],
    /// Every chunk that is held, with its claim's number: renewed.
    pub held: &'a [(ChunkNumber, u32)],
    /// The job, for the proofs.
    pub key: &'a JobKey,
    /// Its digest.
    pub digest: Digest,
    /// Set when a halt or a new epoch covers the rollout: every open segment looks at it before each request.
    pub stopped: &'a Arc<AtomicBool>,
    /// Read each device's time zone as well: the plan has quiet hours.
    pub zones: bool,
}

/// What the ledger answered.
#[derive(Debug)]
pub struct Exchanged {
    /// For each ask, in order: the open segment, or why not.
    pub segments: Vec<Result<OpenSegment, NoIntent>>,
    /// Until when each held chunk may be worked at, in the order of `held`; `None` if the claim is lost.
    pub until: Vec<Option<Instant>>,
    /// For each end, in order: false if the claim was lost before, and another worker answers for its devices.
    pub recorded: Vec<bool>,
}

/// Why an intent was not recorded. Each has another consequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoIntent {
    /// The rollout runs under another epoch, or does not run: drop everything of it.
    #[error("another epoch, or not running")]
    Stopped,
    /// A halt covers it.
    #[error("halted")]
    Halted,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Another worker has the chunk: drop the chunk.
    #[error("the claim is lost")]
    ClaimLost,
    /// Its outcomes came in meanwhile: nothing to do.
    #[error("recorded meanwhile")]
    Recorded,
    /// Slow start: so many are under way that their outcomes have to be awaited.
    #[error("slow start: outcomes are awaited")]
    Window,
    /// The chunk's stage is not open.
    #[error("the stage is not open")]
    StageClosed,
}

/// A segment whose intent is on record.
#[derive(Debug)]
pub struct OpenSegment {
    pub(in crate::ledger) first: u16,
    /// By position within the segment; `None` is left out.
    pub(in crate::ledger) devices: Vec<Option<Device>>,
    /// As far as they were asked for.
    pub(in crate::ledger) zones: Vec<Option<Box<str>>>,
    pub(in crate::ledger) at: Timestamp,
    pub(in crate::ledger) key: JobKey,
    pub(in crate::ledger) digest: Digest,
    pub(in crate::ledger) validity: Validity,
    pub(in crate::ledger) started: bool,
}

impl OpenSegment {
    /// Called by the exchange only, with what it granted.
    pub(super) fn new(
        of: &Exchange<'_>,
        first: u16,
        found: Vec<Found>,
        at: Timestamp,
        validity: Validity,
    ) -> Self {
        let (mut devices, mut zones) = (Vec::with_capacity(found.len()), Vec::new());
        for found in found {
            let (device, zone) = found.unzip();
            devices.push(device);
            if of.zones {
                zones.push(zone.flatten());
            }
        }
        let (key, digest) = (of.key.clone(), of.digest);
        Self { first, devices, zones, at, key, digest, validity, started: false }
    }

    /// The position of its first device in the chunk.
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// How many devices it has, those left out included.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// True if it has no device; never so for a segment of the ledger's.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// When its intent was recorded, on the database's clock.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The time zones that its devices are registered with, by position; `None` where none is, and where
    /// [`Exchange::zones`] did not ask.
    pub fn zones(&self) -> impl Iterator<Item = Option<&str>> {
        self.zones.iter().map(Option::as_deref)
    }

    /// One proof for each device that is there, once. [`Started::position`] is the place within the segment.
    pub fn start(&mut self) -> Vec<Started<'_>> {
        if std::mem::replace(&mut self.started, true) {
            return Vec::new();
        }
        let Self { key, digest, devices, validity, .. } = &*self;
        let present =
            devices.iter().enumerate().filter_map(|(position, device)| Some((position, device.as_ref()?)));
        present
            .map(|(position, device)| Started { key, digest, position, device, validity: Some(validity) })
            .collect()
    }
}
