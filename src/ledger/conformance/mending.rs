//! After a mistake: a campaign that is frozen from whom another one reached, or may have reached.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, THREE, devices, end, told},
    fixtures::{accepted, gone, not_sent, throttled},
    steering::{asks, name, two},
};
use crate::{
    ledger::{CampaignRecord, NewCampaign, Reached, RolloutRecord, Ruled, Ruling, Submitted, Verb},
    model::{
        CampaignId, FrozenDevice, Job, Mend, Mends, Notification, Outcome, OutcomeCode, Reason, RolloutState,
    },
};

fn lost() -> Outcome {
    Outcome::Unknown { retry_after: None, reason: Reason::new("timeout") }
}

/// A campaign that was given up with a device in every kind of end; and whoever rules.
async fn mistaken(set: &Set<'_>) -> (CampaignRecord, Ruling) {
    let (campaign, ruling, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    assert_eq!(claim.devices.len(), 2, "our own people");
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 2, false)], false).await;
    let mut over = end(&claim, 0, devices(&mut answer, 0), &accepted());
    over.outcomes[1].as_mut().expect("it is there").1 = lost();
    set.exchange(&seen, &claim, &[over], &[], true).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"));
    assert!(set.ruled(&ruling, &set.seen(campaign.id).await, Ruled::Open(1)).await.expect("it rules"));
    let seen = set.seen(campaign.id).await;
    let made = set.ledger.follow_retries(&ruling, &seen, |_| Duration::ZERO).await.expect("it rules");
    assert_eq!(made, 1, "the one that was lost is tried again");
    tried_again(set, &campaign, &seen).await;
    half_sent(set, &campaign, &seen).await;
    asks(set, &campaign, "ada", Verb::Abort).await.expect("aborted");
    (campaign, ruling)
}

/// What was lost, and then refused for now: the first try may have arrived.
async fn tried_again(set: &Set<'_>, campaign: &CampaignRecord, seen: &RolloutRecord) {
    let claims = set.claim(campaign, "w", LEASE).await;
    let again = claims.iter().find(|claim| claim.stage == 0).expect("the retry chunk");
    let mut answer = set.exchange(seen, again, &[], &[Set::ask(again, 0, 1, false)], false).await;
    let over = end(again, 0, devices(&mut answer, 0), &throttled());
    set.exchange(seen, again, &[over], &[], true).await;
    for claim in &claims {
        set.ledger.release_claim(claim).await.expect("an answer");
    }
}

/// Of six devices two are gone, one is open, two were begun twice and not sent the second time, one is refused for now.
async fn half_sent(set: &Set<'_>, campaign: &CampaignRecord, seen: &RolloutRecord) {
    let first = set.claim(campaign, "first", LEASE).await.remove(0);
    assert!(first.stage == 1 && first.devices.len() > 5, "{first:?}");
    let asks = [Set::ask(&first, 0, 2, false), Set::ask(&first, 2, 1, false), Set::ask(&first, 3, 2, false)];
    let mut answer = set.exchange(seen, &first, &[], &asks, false).await;
    let dead = end(&first, 0, devices(&mut answer, 0), &gone(None));
    let refused = Set::ask(&first, 5, 1, false);
    let mut answer = set.exchange(seen, &first, &[dead], &[refused], false).await;
    let refused = end(&first, 5, devices(&mut answer, 0), &throttled());
    set.exchange(seen, &first, &[refused], &[], false).await;
    assert!(
        set.ledger.is_on_the_wire(campaign.rollout).await.expect("an answer"),
        "its holder may still say"
    );
    set.ledger.release_claim(&first).await.expect("an answer");
    assert!(!set.ledger.is_on_the_wire(campaign.rollout).await.expect("an answer"), "nobody ever will");
    let second = set.claim(campaign, "second", LEASE).await.remove(0);
    let mut answer = set.exchange(seen, &second, &[], &[Set::ask(&second, 3, 2, true)], false).await;
    let begun_twice = end(&second, 3, devices(&mut answer, 0), &not_sent());
    set.exchange(seen, &second, &[begun_twice], &[], false).await;
    set.ledger.release_claim(&second).await.expect("an answer");
}

fn reworded(set: &Set<'_>, id: &str) -> Job {
    let words: Notification = serde_json::from_str(r#"{"body": "Sorry"}"#).expect("a notification");
    let expires = set.job.stated_expiry().expect("it has one");
    set.job.reworded(id.parse().expect("an id"), words, expires).expect("a job")
}

/// Submits what mends another campaign.
async fn submits(set: &Set<'_>, of: &CampaignRecord, how: Mend, id: &str) -> Submitted {
    let (job, ada) = (reworded(set, id), name("ada"));
    let (key, plan) = (job.key(&set.key.producer), of.plan.at_once());
    let now = set.ledger.now().await.expect("the clock");
    let new = NewCampaign {
        key: &key,
        job: &job,
        app: &of.app,
        intent: of.intent,
        audience: &of.audience,
        class: of.class,
        // Fewer than it reached: it is not asked for.
        at_most: 1,
        policy: of.policy,
        plan: &plan,
        findings: &[],
        traceparent: None,
        requester: Some(&ada),
        retry_of: None,
        mends: Some(Mends { how, of: of.rollout }),
        judged_by: None,
        received_at: now,
        expires_at: of.expires_at,
    };
    set.ledger.submit_campaign(&new).await.expect("an answer")
}

async fn frozen(set: &Set<'_>, ruling: &Ruling, id: CampaignId, step: usize) -> RolloutRecord {
    let rollout = set.seen(id).await.rollout;
    loop {
        let progress = set.ledger.freeze_step(ruling, rollout, set.source(), step, |_| two()).await;
        if progress.expect("it rules").done {
            return set.seen(id).await;
        }
    }
}

pub(super) async fn i6_a_correction_is_of_exactly_those_who_were_or_may_have_been_reached(store: &Store) {
    let set = Set::with(store, 20, THREE, "").await;
    let (campaign, ruling) = mistaken(&set).await;
    let before: BTreeMap<FrozenDevice, _> = told(&set, &campaign).await;
    let of = |code| before.values().filter(|told| told.1 == code).count();
    assert_eq!((of(OutcomeCode::Accepted), of(OutcomeCode::Unknown)), (1, 4), "lost, open, begun twice");
    assert_eq!((of(OutcomeCode::TokenGone), of(OutcomeCode::Throttled)), (2, 1));
    let reached = set.ledger.reached(&campaign, RolloutState::Aborted).await.expect("an answer");
    assert_eq!(reached, Reached { accepted: 1, unknown: 4 });
    let expected: Vec<FrozenDevice> = before
        .iter()
        .filter(|(_, told)| matches!(told.1, OutcomeCode::Accepted | OutcomeCode::Unknown))
        .map(|(device, _)| *device)
        .collect();

    for (count, (step, how)) in
        [(1, Mend::Correct), (2_000, Mend::Supersede), (5_000, Mend::Correct)].into_iter().enumerate()
    {
        let id = format!("c-1-again-{count}");
        let Submitted::Stored(id) = submits(&set, &campaign, how, &id).await else { panic!("it is new") };
        let second = submits(&set, &campaign, Mend::Correct, &format!("c-1-other-{count}")).await;
        assert_eq!(second, Submitted::Conflict, "one at a time");
        assert_eq!(set.ledger.standing_mending(campaign.rollout).await.expect("an answer"), Some(id));
        let mending = set.ledger.campaign(id).await.expect("an answer").expect("it is there");
        assert_eq!(mending.mends, Some(Mends { how, of: campaign.rollout }));
        let stands = frozen(&set, &ruling, id, step).await;
        assert_eq!((stands.state, stands.frozen), (RolloutState::PendingApproval, 5));
        assert_eq!(stands.electorate, two(), "it needs approvals of its own");
        assert_ne!(stands.frozen_digest, set.seen(campaign.id).await.frozen_digest);
        let page = set.ledger.deliveries(&mending, stands.state, 0, 1_000).await.expect("an answer");
        let mut taken: Vec<_> = page.deliveries.iter().map(|delivery| delivery.key).collect();
        assert!(page.deliveries.iter().all(|delivery| delivery.stage == 0), "one stage");
        taken.sort_unstable();
        assert_eq!(taken, expected, "those, each once, and nobody else, in steps of {step}");
        asks(&set, &mending, "bob", Verb::Abort).await.expect("aborted");
    }
    assert_eq!(set.ledger.standing_mending(campaign.rollout).await.expect("an answer"), None);
    assert_eq!(set.ledger.mendings(campaign.rollout).await.expect("an answer"), 3);
    let related = set.ledger.related(&campaign).await.expect("an answer");
    assert_eq!(related.len(), 3, "it knows what came of it");
}

pub(super) async fn nobody_is_mended_of_a_campaign_that_reached_nobody(store: &Store) {
    let set = Set::with(store, 4, ALL, "").await;
    let (campaign, ruling, _) = set.open().await;
    asks(&set, &campaign, "ada", Verb::Abort).await.expect("aborted");
    let Submitted::Stored(id) = submits(&set, &campaign, Mend::Correct, "c-1-correct-1").await else {
        panic!("it is new")
    };
    let stands = frozen(&set, &ruling, id, 5_000).await;
    assert_eq!(stands.state, RolloutState::Rejected);
    assert!(stands.cause.expect("a cause").starts_with("nobody was reached"));
}
