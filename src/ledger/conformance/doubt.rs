//! What a worker does not know: whether the ledger did what it was asked.

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, devices, end},
    fixtures::accepted,
};
use crate::{ledger::NoIntent, model::OutcomeCode};

pub(super) async fn i6_an_ask_whose_answer_was_lost_meets_its_own_intent(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, _, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    // Nothing is on record: a slow start holds for whoever says "again", too.
    let lost = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 12, true)], false).await;
    assert_eq!(lost.segments[0].as_ref().expect("it is open").len(), 10);
    drop(lost);
    // The window is full with what was never sent, and nobody but its holder can bring it to an end.
    let waits = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 10, 2, false)], false).await;
    assert_eq!(waits.segments[0].as_ref().err(), Some(&NoIntent::Window));
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 12, true)], false).await;
    let found = devices(&mut answer, 0);
    assert_eq!(found.len(), 10, "as large as it is on record");
    let over = end(&claim, 0, found, &accepted());
    let mut answer = set.exchange(&seen, &claim, &[over], &[Set::ask(&claim, 10, 2, false)], false).await;
    assert_eq!(answer.recorded, [true]);
    let over = end(&claim, 10, devices(&mut answer, 0), &accepted());
    set.exchange(&seen, &claim, &[over], &[], true).await;
    let progress = set.ledger.stage_progress(campaign.rollout).await.expect("an answer");
    assert_eq!((progress[0].first_left, progress[0].to_follow), (0, 0));
    let tallies = set.ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::Accepted], 12);
}
