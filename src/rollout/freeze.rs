//! The order in which devices are taken, and which stage takes them.
//!
//! The registry is a ring of 10,000 buckets. A rollout begins at an offset of its own, so that the same people are not
//! always first, and goes round once. A stage of a percentage ends at a position of the ring, a stage of a count after so
//! many devices; the next one goes on from there.

use serde::{Deserialize, Serialize};

use super::{FrozenPlan, FrozenTake};
use crate::model::{Bucket, CampaignId, Digest, FrozenDevice, StageNumber};

const RING: u16 = Bucket::COUNT;

/// Where a freezing stands. Stored as JSON between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The stage that is being filled.
    pub stage: StageNumber,
    /// How many devices it has.
    pub in_stage: u64,
    /// How many chunks it has.
    pub chunks: u32,
    /// The position on the ring, 0 to 10,000, counted from the rollout's offset.
    pub position: u16,
    /// The last row number that was taken from the bucket at `position`.
    pub after: i64,
    /// Devices and chunks of the stages that are full.
    pub full: Vec<(u64, u32)>,
    /// A running hash over every chunk, in hex.
    pub hash: String,
    /// Of a retry: the chunk of the other campaign that is read next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<u32>,
}

/// What is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The internal audience of the stage, whole.
    First,
    /// Devices of the campaign's audience: from this bucket on, behind this row number in it, up to and with that bucket, at
    /// most so many.
    Range {
        /// The first bucket.
        from: u16,
        /// Only row numbers above this one, in the first bucket.
        after: i64,
        /// The last bucket.
        to: u16,
        /// At most so many; `None` is as many as a step takes.
        most: Option<u64>,
    },
    /// Every stage is full.
    Done,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            stage: 0,
            in_stage: 0,
            chunks: 0,
            position: 0,
            after: i64::MIN,
            full: Vec::new(),
            hash: Digest::ZERO.to_string(),
            source: None,
        }
    }
}

/// Where on the ring a rollout begins.
#[must_use]
pub fn offset(campaign: CampaignId) -> u16 {
    let digest = Digest::of_parts(&[b"offset", campaign.as_uuid().as_bytes()]);
    let [a, b, c, d, ..] = *digest.as_bytes();
    u16::try_from(u32::from_be_bytes([a, b, c, d]) % u32::from(RING)).expect("a remainder below 10,000 fits")
}

impl Cursor {
    /// What to read, given where the rollout begins.
    #[must_use]
    pub fn next(&self, plan: &FrozenPlan, offset: u16) -> Next {
        let Some(stage) = plan.stages.get(usize::from(self.stage)) else { return Next::Done };
        let (end, most) = match &stage.take {
            FrozenTake::Audience(_) => return Next::First,
            FrozenTake::Buckets(share) => (*share, None),
            FrozenTake::Devices(count) => (RING, Some(count.saturating_sub(self.in_stage))),
        };
        // The ring is cut where its numbers begin anew: a range never wraps.
        let from = (offset + self.position) % RING;
        let to_end_of_stage = end.saturating_sub(self.position);
        let to = from + to_end_of_stage.min(RING - from).max(1) - 1;
        Next::Range { from, after: self.after, to, most }
    }

    /// Notes what a range gave: its last device, and whether there was nothing behind it up to `to`.
    pub fn took(
        &mut self,
        plan: &FrozenPlan,
        range: (u16, u16),
        last: Option<FrozenDevice>,
        exhausted: bool,
    ) {
        let (from, to) = range;
        if exhausted {
            self.position += to - from + 1;
            self.after = i64::MIN;
        } else if let Some(last) = last {
            self.position += last.bucket.get() - from;
            self.after = last.record.get();
        }
        self.close_full(plan);
    }

    /// Goes on to the next stage as long as the present one can take nobody.
    pub fn close_full(&mut self, plan: &FrozenPlan) {
        while let Some(stage) = plan.stages.get(usize::from(self.stage)) {
            let is_full = match &stage.take {
                FrozenTake::Audience(_) => false,
                FrozenTake::Buckets(share) => self.position >= *share,
                FrozenTake::Devices(count) => self.in_stage >= *count || self.position >= RING,
            };
            if !is_full {
                return;
            }
            self.close_stage();
        }
    }

    /// Goes on to the next stage.
    pub fn close_stage(&mut self) {
        self.full.push((self.in_stage, self.chunks));
        (self.stage, self.in_stage, self.chunks) = (self.stage + 1, 0, 0);
    }

    /// Notes a chunk: its devices count, and its bytes are in the hash.
    pub fn put(&mut self, devices: usize, bytes: &[u8]) {
        self.in_stage += devices as u64;
        self.chunks += 1;
        self.hash = Digest::of_parts(&[self.hash.as_bytes(), &self.stage.to_be_bytes(), bytes]).to_string();
    }
}

/// How far round the ring a frozen plan went: what it would have taken, had it been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    offset: u16,
    /// The last position, and the last row number there.
    end: (u16, i64),
}

impl Reach {
    /// Of a plan whose last stage has so many devices, and whose last device is `last`.
    #[must_use]
    pub fn of(plan: &FrozenPlan, offset: u16, in_last_stage: u64, last: Option<FrozenDevice>) -> Self {
        let all = (RING, i64::MIN);
        let by_plan = match plan.stages.last().map(|stage| &stage.take) {
            Some(FrozenTake::Buckets(share)) => (*share, i64::MIN),
            Some(FrozenTake::Devices(count)) if in_last_stage < *count => all,
            Some(FrozenTake::Devices(_) | FrozenTake::Audience(_)) | None => (0, i64::MIN),
        };
        let by_last = last.map_or((0, i64::MIN), |last| (position(offset, last.bucket), last.record.get()));
        Self { offset, end: by_plan.max(by_last) }
    }

    /// Whether it came by this place.
    #[must_use]
    pub fn covers(&self, device: FrozenDevice) -> bool {
        (position(self.offset, device.bucket), device.record.get()) <= self.end
    }
}

fn position(offset: u16, bucket: Bucket) -> u16 {
    (bucket.get() + RING - offset) % RING
}

/// The digest of I8: the canonical job, the plan, the policy (which covers the audience's files with their members), and
/// every frozen chunk.
#[must_use]
pub fn frozen_digest(job: &Digest, plan: &FrozenPlan, policy: &Digest, cursor: &Cursor) -> Digest {
    let plan = plan.to_json();
    Digest::of_parts(&[b"frozen", job.as_bytes(), plan.as_bytes(), policy.as_bytes(), cursor.hash.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::RecordId,
        rollout::{FrozenBreakers, FrozenStage},
    };

    fn plan(takes: Vec<FrozenTake>) -> FrozenPlan {
        let stage =
            |take| FrozenStage { take, bake_ms: 0, manual_gate: false, must_pass: false, max_rate: None };
        FrozenPlan {
            name: "p".to_owned(),
            stages: takes.into_iter().map(stage).collect(),
            quiet_hours: None,
            avoid_quarter_hours: false,
            breakers: FrozenBreakers::default(),
            health: crate::rollout::FrozenHealth::default(),
            downstream: Vec::new(),
            pace: None,
        }
    }

    /// Freezes a registry in steps of `step` devices.
    fn freeze(
        plan: &FrozenPlan,
        offset: u16,
        registry: &[FrozenDevice],
        step: usize,
    ) -> BTreeMap<FrozenDevice, StageNumber> {
        let (mut cursor, mut taken) = (Cursor::default(), BTreeMap::new());
        cursor.close_full(plan);
        while let Next::Range { from, after, to, most } = cursor.next(plan, offset) {
            let limit = most.map_or(step, |most| step.min(usize::try_from(most).expect("small")));
            let is_in = |device: &&FrozenDevice| {
                let bucket = device.bucket.get();
                (bucket > from || bucket == from && device.record.get() > after) && bucket <= to
            };
            let page: Vec<FrozenDevice> = registry.iter().filter(is_in).take(limit).copied().collect();
            for device in &page {
                assert_eq!(taken.insert(*device, cursor.stage), None, "taken twice");
            }
            if !page.is_empty() {
                cursor.put(page.len(), b"");
            }
            cursor.took(plan, (from, to), page.last().copied(), page.len() < limit);
        }
        taken
    }

    proptest! {
        #[test]
        fn i6_whoever_is_there_is_taken_once_whatever_the_steps(
            keys in prop::collection::btree_set((0..10_000_u16, 0..1_000_i64), 0..200),
            offset in 0..10_000_u16,
            count in 0..50_u64,
            share in 1..10_000_u16,
            (step, other) in (1..40_usize, 1..40_usize),
        ) {
            let device = |(bucket, record): (u16, i64)| FrozenDevice {
                bucket: Bucket::new(bucket).expect("in range"),
                record: RecordId::new(record),
            };
            let registry: Vec<_> = keys.into_iter().map(device).collect();
            let plan = plan(vec![FrozenTake::Devices(count), FrozenTake::Buckets(share), FrozenTake::Buckets(10_000)]);
            let taken = freeze(&plan, offset, &registry, step);
            prop_assert_eq!(taken.len(), registry.len());
            prop_assert_eq!(&taken, &freeze(&plan, offset, &registry, other));
            let in_first = taken.values().filter(|stage| **stage == 0).count();
            prop_assert_eq!(in_first, registry.len().min(usize::try_from(count).expect("small")));
            // The second stage ends at its share of the ring, unless the first went further already.
            for (device, stage) in &taken {
                let position = (device.bucket.get() + RING - offset) % RING;
                prop_assert!(*stage == 0 || (*stage == 1) == (position < share));
            }
        }
    }

    #[test]
    fn the_digest_follows_every_part() {
        let plan = plan(vec![FrozenTake::Buckets(10_000)]);
        let (job, policy) = (Digest::of(b"job"), Digest::of(b"policy"));
        let mut cursor = Cursor::default();
        let before = frozen_digest(&job, &plan, &policy, &cursor);
        cursor.put(1, b"chunk");
        let after = frozen_digest(&job, &plan, &policy, &cursor);
        assert_ne!(before, after);
        assert_ne!(after, frozen_digest(&policy, &plan, &policy, &cursor));
    }
}
