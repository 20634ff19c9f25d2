//! The end of the work at a rollout: what was begun is finished and recorded, every claim is given back.

use std::sync::Arc;

use super::Work;

impl Work {
    /// I5: what a halt came too late for is counted and shown.
    async fn tell_after_halt(&self) {
        let (requests, campaign) = (self.flow.after_halt(), self.campaign.id);
        if requests == 0 {
            return;
        }
        tracing::warn!(%campaign, requests, "were on the wire when the halt was heard");
        let noted = self.shared.ledger.note_after_halt(self.campaign.rollout, requests);
        if let Err(error) = self.shared.patience.answer(noted).await {
            tracing::warn!(%campaign, %error, "that is not on record");
        }
    }

    /// Finishes what was begun, records it, and gives every claim back.
    pub(super) async fn wind_up(mut self) {
        while let Some(ended) = self.segments.join_next().await {
            self.note(ended);
            while let Some(ended) = self.segments.try_join_next() {
                self.note(ended);
            }
            self.exchange(false).await;
        }
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = self.record_rest() => {}
            () = shared.patience.over() => {}
        }
        self.gone.mark_all(&self.shared).await;
        self.tell_after_halt().await;
        for held in &self.held {
            if let Err(error) =
                self.shared.patience.answer(self.shared.ledger.release_claim(&held.claim)).await
            {
                tracing::debug!(%error, "claims are not given back; they lapse");
                return;
            }
        }
    }

    async fn record_rest(&mut self) {
        let mut tries = 0;
        while !self.ends.is_empty() && tries < 10 {
            self.exchange(false).await;
            tries += 1;
        }
    }
}
