//! How many of a rollout's devices are on their way in this process, and when there is room for more.
//!
//! Counted by device, not by segment: a segment ends with its slowest answer, and streams that are free must not wait for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::model::CampaignId;

/// Nobody waits.
const NEVER: usize = usize::MAX;

/// Devices that were begun, and of those, whose outcome is in.
#[derive(Debug)]
pub(super) struct Flow {
    begun: AtomicUsize,
    finished: AtomicUsize,
    /// The count of finished ones that is waited for.
    wake_at: AtomicUsize,
    woken: Notify,
    /// A halt was heard.
    halted: AtomicBool,
    /// Requests that ended after that.
    after_halt: AtomicUsize,
}

impl Default for Flow {
    fn default() -> Self {
        let (begun, finished) = (AtomicUsize::default(), AtomicUsize::default());
        Self {
            begun,
            finished,
            wake_at: AtomicUsize::new(NEVER),
            woken: Notify::new(),
            halted: AtomicBool::new(false),
            after_halt: AtomicUsize::new(0),
        }
    }
}

impl Flow {
    /// So many more are on their way.
    pub(super) fn begin(&self, devices: usize) {
        self.begun.fetch_add(devices, Ordering::SeqCst);
    }

    /// So many have their outcome.
    pub(super) fn finish(&self, devices: usize) {
        let finished = self.finished.fetch_add(devices, Ordering::SeqCst) + devices;
        if finished >= self.wake_at.load(Ordering::SeqCst)
            && self.wake_at.swap(NEVER, Ordering::SeqCst) != NEVER
        {
            self.woken.notify_one();
        }
    }

    /// A halt that covers the rollout was heard: whatever is on the wire still arrives, and is counted (I5).
    pub(super) fn halt(&self, campaign: CampaignId) {
        if !self.halted.swap(true, Ordering::AcqRel) {
            tracing::info!(%campaign, "a halt was heard: nothing more of this campaign is begun here");
        }
    }

    /// True once [`Flow::halt`] was called.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }

    /// Counts a request that ended, if it ended after a halt. True if it did.
    pub(super) fn ends_after_halt(&self) -> bool {
        let halted = self.is_halted();
        if halted {
            self.after_halt.fetch_add(1, Ordering::AcqRel);
        }
        halted
    }

    /// How many requests ended after a halt was heard.
    pub(super) fn after_halt(&self) -> usize {
        self.after_halt.load(Ordering::Acquire)
    }

    /// How many have had their outcome so far.
    pub(super) fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }

    /// How many are on their way.
    pub(super) fn on_the_way(&self) -> usize {
        self.begun.load(Ordering::SeqCst).saturating_sub(self.finished())
    }

    /// Returns once no more than `most` are on their way. One waits at a time.
    pub(super) async fn falls_to(&self, most: usize) {
        let wanted = self.begun.load(Ordering::SeqCst).saturating_sub(most);
        loop {
            // Announced first, looked at second: whoever finishes in between is not missed.
            self.wake_at.store(wanted, Ordering::SeqCst);
            if self.finished() >= wanted {
                self.wake_at.store(NEVER, Ordering::SeqCst);
                return;
            }
            self.woken.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_room_is_woken_by_the_outcome_that_makes_it() {
        let flow = Flow::default();
        flow.begin(10);
        assert_eq!(flow.falls_to(10).now_or_never(), Some(()));
        let mut waiting = Box::pin(flow.falls_to(7));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        flow.finish(2);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(flow.on_the_way(), 8);
        flow.finish(1);
        assert_eq!(waiting.now_or_never(), Some(()));
        // What nobody waited for wakes nobody later.
        flow.finish(7);
        flow.begin(5);
        assert_eq!(flow.falls_to(4).now_or_never(), None);
        assert_eq!((flow.on_the_way(), flow.finished()), (5, 10));
    }
}
