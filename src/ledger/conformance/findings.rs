//! What the guard has to say of a campaign: who accepts it, and what waits for that.

use super::{
    Store,
    campaign_set::{ALL, Set},
    steering::{asks, name, two},
};
use crate::{
    ledger::{NotAccepted, Submitted, Verb, VerbRefused},
    model::FindingNote,
};

fn note(verdict: &str) -> FindingNote {
    FindingNote {
        rule: "unfilled-template".to_owned(),
        verdict: verdict.to_owned(),
        field: "notification.body".to_owned(),
        span: Some((0, 4)),
        reason: "a placeholder".to_owned(),
        fix: "fill it in".to_owned(),
    }
}

pub(super) async fn i3_nobody_approves_what_the_guard_holds_before_each_finding_is_accepted(store: &Store) {
    let set = Set::with(store, 6, ALL, "").await;
    let found = set.submit_found(&set.job, &[note("hold"), note("clear"), note("hold")]).await;
    let Submitted::Stored(id) = found else { panic!("it is new") };
    let campaign = set.ledger.campaign(id).await.expect("an answer").expect("it is there");
    assert!(campaign.held);
    let (ada, eve, lead) = (name("ada"), name("eve"), name("lead"));
    let accept = async |number, by| {
        set.ledger.accept_finding(campaign.id, number, (by, "it is meant")).await.expect("an answer")
    };
    assert_eq!(accept(1, &ada).await, Err(NotAccepted::NotWaiting), "it is not frozen yet");
    let ruling = set.rule().await;
    let step = set.ledger.freeze_step(&ruling, campaign.rollout, set.source(), 5_000, |_| two()).await;
    assert!(step.expect("it rules").done);
    let approve = async || {
        let seen = set.ledger.rollout(campaign.id).await.expect("an answer").expect("it is there");
        let policy = set.policy.hash();
        let digest = seen.approval_digest(&campaign.policy, &policy).expect("it is frozen");
        let holds = std::time::Duration::from_hours(1);
        asks(&set, &campaign, "ada", Verb::Approve { digest, policy, holds, peak: None }).await
    };
    assert_eq!(approve().await.err(), Some(VerbRefused::Findings(vec![1, 3])));
    assert_eq!(accept(2, &ada).await, Err(NotAccepted::Note));
    assert_eq!(accept(4, &ada).await, Err(NotAccepted::NoFinding));
    assert_eq!(accept(1, &lead).await, Err(NotAccepted::Barred));
    assert_eq!(accept(1, &ada).await, Ok(()));
    assert_eq!(accept(1, &eve).await, Err(NotAccepted::Already));
    assert_eq!(approve().await.err(), Some(VerbRefused::Findings(vec![3])));
    assert_eq!(accept(3, &eve).await, Ok(()));
    approve().await.expect("nothing holds it any more");
    let findings = set.ledger.findings(campaign.rollout).await.expect("an answer");
    let by = |number: usize| findings[number].accepted.as_ref().map(|(by, _, why)| (by.clone(), why.clone()));
    assert_eq!(by(0), Some((ada, "it is meant".to_owned())));
    assert_eq!((by(1), findings[1].note.span), (None, Some((0, 4))));
    assert_eq!(set.submit_found(&set.job, &[]).await, Submitted::Known(id));
    assert_eq!(set.ledger.findings(campaign.rollout).await.expect("an answer").len(), 3);
}
