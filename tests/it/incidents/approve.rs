//! People let go what is as it was meant: as many as it needs, none of whom asked for it.

use std::time::Duration;

use bellwether::{
    audience::Policy,
    ledger::{Asked, Verb},
    model::{CampaignId, OperatorName},
};
use tokio::sync::watch;

use super::told::{self, Ending, Endings};
use crate::harness::service::Stage;

/// Approves and starts a campaign if it waits for that, and waits until it is completed.
pub(super) async fn let_go(
    stage: &Stage,
    campaign: CampaignId,
    follow: &mut watch::Receiver<Endings>,
    job: usize,
) {
    let people = match &follow.borrow()[&job] {
        Ending::Stands { state, approvals, .. } if state == "pending_approval" => *approvals,
        Ending::Stands { state, .. } if state == "completed" => return,
        other => panic!("as it was meant it is neither refused nor held: {other:?}"),
    };
    let ledger = stage.ledger().await;
    let policy = Policy::load(&stage.folder().join("audiences")).expect("a policy").hash();
    let ask = async |by: &str, verb: Verb| {
        let by = OperatorName::parse(by).expect("a name");
        let said = ledger.verb(campaign, &Asked { verb, by: &by, reason: None }).await;
        said.expect("the ledger answers").expect("they may");
    };
    let stands = ledger.rollout(campaign).await.expect("the ledger answers").expect("it is on record");
    let digest = stands.frozen_digest.expect("it is frozen");
    for approver in ["ada", "bob", "cyd"].into_iter().take(usize::try_from(people).unwrap_or(usize::MAX)) {
        ask(approver, Verb::Approve { digest, policy, holds: Duration::from_hours(1), peak: None }).await;
    }
    ask("ada", Verb::Start).await;
    let completed =
        |endings: &Endings| matches!(&endings[&job], Ending::Stands { state, .. } if state == "completed");
    told::until(follow, completed).await;
}
