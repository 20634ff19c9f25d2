//! Steering: what people and the coordinator let happen to a rollout, and what the ledger refuses them.

use std::time::Duration;

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, THREE, devices, end, told},
    fixtures::{accepted, gone, not_sent, throttled},
};
use crate::{
    ledger::{
        Asked, CampaignRecord, HaltScope, NewCampaign, NoIntent, OverBecause, RolloutRecord, Ruled, Ruling,
        Submitted, Verb, VerbRefused,
    },
    model::{Digest, OperatorName, OutcomeCode, Pause, Provider, Reason, RolloutState},
    rollout::{BreakerKind, Electorate, Tripped, VoidBecause, machine::Because},
};

const HOLDS: Duration = Duration::from_hours(24);

pub(super) fn name(name: &str) -> OperatorName {
    OperatorName::parse(name).expect("a name")
}

pub(super) fn two() -> Electorate {
    Electorate { people: 2, barred: [name("lead")].into() }
}

/// A campaign that two people must approve.
pub(super) async fn waiting(set: &Set<'_>) -> (CampaignRecord, Ruling, RolloutRecord) {
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let progress = set.ledger.freeze_step(&ruling, campaign.rollout, set.source(), 5_000, |_| two()).await;
    assert!(progress.expect("it rules").done);
    let seen = set.seen(campaign.id).await;
    assert_eq!(seen.state, RolloutState::PendingApproval);
    (campaign, ruling, seen)
}

/// An approval of what is frozen now, under this policy.
fn approval(campaign: &CampaignRecord, seen: &RolloutRecord, policy: Digest) -> Verb {
    let digest = seen.approval_digest(&campaign.policy, &policy).expect("it is frozen");
    Verb::Approve { digest, policy, holds: HOLDS, peak: None }
}

pub(super) async fn asks(
    set: &Set<'_>,
    campaign: &CampaignRecord,
    by: &str,
    verb: Verb,
) -> Result<RolloutRecord, VerbRefused> {
    let by = name(by);
    let asked = Asked { verb, by: &by, reason: None };
    set.ledger.verb(campaign.id, &asked).await.expect("the ledger answers")
}

fn because(refused: Result<RolloutRecord, VerbRefused>) -> Because {
    match refused {
        Err(VerbRefused::Machine(refused)) => refused.because,
        other => panic!("the machine refuses it: {other:?}"),
    }
}

pub(super) async fn i4_approvals_are_of_distinct_people_and_the_barred_are_refused(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (campaign, ruling, seen) = waiting(&set).await;
    let approve = || approval(&campaign, &seen, campaign.policy);
    assert_eq!(because(asks(&set, &campaign, "lead", approve()).await), Because::OwnRequest);
    assert_eq!(because(asks(&set, &campaign, "ada", Verb::Start).await), Because::NotApproved);
    let one = asks(&set, &campaign, "ada", approve()).await.expect("the first");
    assert_eq!(one.state, RolloutState::PendingApproval);
    assert_eq!(because(asks(&set, &campaign, "ada", approve()).await), Because::Twice);
    let both = asks(&set, &campaign, "bob", approve()).await.expect("the second");
    assert_eq!((both.state, &both), (RolloutState::Approved, &set.seen(campaign.id).await));
    assert!(!set.ruled(&ruling, &both, Ruled::Open(0)).await.expect("it rules"), "nobody has started it");
    let given = set.ledger.approvals(campaign.rollout).await.expect("an answer");
    let by: Vec<&str> = given.iter().map(|approval| approval.by.as_str()).collect();
    assert_eq!(by, ["ada", "bob"]);
    asks(&set, &campaign, "lead", Verb::Start).await.expect("starting is not approving");
    let started = set.seen(campaign.id).await;
    assert!(set.ruled(&ruling, &started, Ruled::Open(0)).await.expect("it rules"));
    let told = set.ledger.outbox_batch(100).await.expect("an answer");
    let waits = told.iter().filter_map(|event| serde_json::from_str::<serde_json::Value>(&event.event).ok());
    let counts: Vec<_> = waits
        .filter(|event| event["state"] == "pending_approval")
        .map(|event| (event["approvals_given"].as_u64(), event["approvals_needed"].as_u64()))
        .collect();
    assert_eq!(counts, [(Some(0), Some(2)), (Some(1), Some(2))], "whoever binds learns that it waits");
}

pub(super) async fn i8_approvals_that_count_together_are_of_one_digest(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (campaign, ruling, seen) = waiting(&set).await;
    let (first, later) = (campaign.policy, Digest::of(b"the next policy"));
    let of = |policy| approval(&campaign, &seen, policy);
    let stale =
        Verb::Approve { digest: Digest::of(b"something else"), policy: first, holds: HOLDS, peak: None };
    assert_eq!(asks(&set, &campaign, "ada", stale).await, Err(VerbRefused::OtherDigest));
    let crossed = match of(later) {
        Verb::Approve { digest, .. } => Verb::Approve { digest, policy: first, holds: HOLDS, peak: None },
        other => other,
    };
    assert_eq!(asks(&set, &campaign, "ada", crossed).await, Err(VerbRefused::OtherDigest));
    asks(&set, &campaign, "ada", of(first)).await.expect("the first");
    // The policy drifts, and nobody has voided that one yet.
    assert_eq!(asks(&set, &campaign, "bob", of(later)).await, Err(VerbRefused::OtherDigest));
    let half = set.seen(campaign.id).await;
    let voided = Ruled::Void(VoidBecause::Policy, two());
    assert!(set.ruled(&ruling, &half, voided.clone()).await.expect("it rules"));
    assert!(!set.ruled(&ruling, &half, voided).await.expect("it rules"), "on what it was decided on, once");
    let given = set.ledger.approvals(campaign.rollout).await.expect("an answer");
    assert!(given.iter().all(|approval| approval.voided.is_some()));
    for by in ["bob", "ada"] {
        asks(&set, &campaign, by, of(later)).await.expect("anew, under the next policy");
    }
    let after = set.seen(campaign.id).await;
    assert_eq!((after.state, after.policy), (RolloutState::Approved, Some(later)));
}

pub(super) async fn i8_approvals_that_waited_too_long_start_nothing(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let (campaign, ruling, seen) = waiting(&set).await;
    let age = "update rollout set approvals_until = approvals_until - 90000000000";
    asks(&set, &campaign, "ada", approval(&campaign, &seen, campaign.policy)).await.expect("the first");
    store.tamper(age, age).await;
    // Nobody has voided anything yet: an old approval is not added to, and not started on.
    let second = asks(&set, &campaign, "bob", approval(&campaign, &seen, campaign.policy)).await;
    assert_eq!(second, Err(VerbRefused::ApprovalsExpired));
    let voided = Ruled::Void(VoidBecause::Age, two());
    assert!(set.ruled(&ruling, &set.seen(campaign.id).await, voided).await.expect("it rules"));
    for by in ["ada", "bob"] {
        asks(&set, &campaign, by, approval(&campaign, &seen, campaign.policy)).await.expect("anew");
    }
    store.tamper(age, age).await;
    assert_eq!(asks(&set, &campaign, "ada", Verb::Start).await, Err(VerbRefused::ApprovalsExpired));
    assert_eq!(set.seen(campaign.id).await.state, RolloutState::Approved);
}

pub(super) async fn i5_nothing_starts_under_a_halt(store: &Store) {
    let set = Set::with(store, 5, ALL, "").await;
    let scope: HaltScope = "audience:everyone".parse().expect("a scope");
    assert_eq!(set.ledger.set_halt(&scope, "duty", "try").await.expect("set"), 0);
    let (campaign, ruling, seen) = waiting(&set).await;
    for by in ["ada", "bob"] {
        asks(&set, &campaign, by, approval(&campaign, &seen, campaign.policy)).await.expect("approved");
    }
    let refused = asks(&set, &campaign, "ada", Verb::Start).await;
    assert_eq!(refused, Err(VerbRefused::UnderHalt("audience:everyone".to_owned())));
    assert!(set.ledger.clear_halt(&scope, "duty").await.expect("cleared"));
    let started = asks(&set, &campaign, "ada", Verb::Start).await.expect("started");
    // The halt comes back and ends it; what was decided before that is not done.
    assert_eq!(set.ledger.set_halt(&scope, "duty", "again").await.expect("set"), 1);
    assert!(!set.ruled(&ruling, &started, Ruled::Open(0)).await.expect("it rules"));
    assert_eq!(because(asks(&set, &campaign, "ada", Verb::Pause).await), Because::Over);
}

pub(super) async fn i5_a_pause_ends_what_was_begun_before_it(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 1, false)], false).await;
    let begun = devices(&mut answer, 0);
    let paused = asks(&set, &campaign, "ada", Verb::Pause).await.expect("paused");
    assert_eq!((paused.state, paused.epoch), (RolloutState::Paused, seen.epoch + 1));
    let ask = || [Set::ask(&claim, 1, 1, false)];
    let refused = set.exchange(&seen, &claim, &[], &ask(), false).await;
    assert_eq!(refused.segments[0].as_ref().err(), Some(&NoIntent::Stopped));
    assert!(set.claim(&campaign, "other", LEASE).await.is_empty());
    assert!(!set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"), "decided before the pause");
    let resumed = asks(&set, &campaign, "bob", Verb::Resume).await.expect("resumed");
    assert_eq!((resumed.state, resumed.epoch), (RolloutState::Running, paused.epoch));
    // It runs again, and still not for whoever began before the pause.
    let refused = set.exchange(&seen, &claim, &[], &ask(), false).await;
    assert_eq!(refused.segments[0].as_ref().err(), Some(&NoIntent::Stopped));
    let over = [end(&claim, 0, begun, &accepted())];
    let goes_on = set.exchange(&resumed, &claim, &over, &ask(), false).await;
    assert_eq!((goes_on.recorded.as_slice(), goes_on.segments[0].is_ok()), (&[true][..], true));
}

const GATED: &str = "[[stage]]\ndevices = 5\ngate = \"manual\"\n[[stage]]\npercent = 100\n";

pub(super) async fn at_a_gate_the_late_tail_goes_on_and_nothing_widens(store: &Store) {
    let set = Set::with(store, 9, GATED, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let n = claim.devices.len();
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, n, false)], false).await;
    let mut over = end(&claim, 0, devices(&mut answer, 0), &accepted());
    over.outcomes[0].as_mut().expect("it is there").1 = throttled();
    set.exchange(&seen, &claim, &[over], &[], true).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"));
    let baking = set.seen(campaign.id).await;
    assert!(!set.ruled(&ruling, &baking, Ruled::Open(1)).await.expect("it rules"), "the gate is closed");
    assert!(set.ruled(&ruling, &baking, Ruled::Gate).await.expect("it rules"));
    let gate = set.seen(campaign.id).await;
    assert_eq!((gate.state, gate.epoch), (RolloutState::Paused, seen.epoch));
    let made = set.ledger.follow_retries(&ruling, &gate, |_| Duration::ZERO).await.expect("it rules");
    assert_eq!(made, 1);
    let retry = set.claim(&campaign, "w", LEASE).await;
    assert_eq!(retry.iter().map(|claim| (claim.stage, claim.devices.len())).collect::<Vec<_>>(), [(0, 1)]);
    let answer = set.exchange(&gate, &retry[0], &[], &[Set::ask(&retry[0], 0, 1, false)], false).await;
    assert!(answer.segments[0].is_ok(), "the tail goes on");
    assert_eq!(because(asks(&set, &campaign, "ada", Verb::Resume).await), Because::AtGate);
    asks(&set, &campaign, "ada", Verb::Promote).await.expect("the watching has run its course");
    let promoted = set.seen(campaign.id).await;
    assert!(set.ruled(&ruling, &promoted, Ruled::Open(1)).await.expect("it rules"));
}

pub(super) async fn a_breaker_is_a_fact_of_the_run_in_which_it_tripped(store: &Store) {
    let set = Set::with(store, 9, ALL, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let (ledger, rollout, epoch) = (set.ledger, campaign.rollout, seen.epoch);
    let tripped = |kind, provider, word: &str| Tripped { kind, provider, reason: Reason::new(word) };
    let down = tripped(BreakerKind::ProviderDown, Provider::Apns, "ServiceUnavailable");
    let refused = tripped(BreakerKind::Credentials, Provider::Fcm, "UNAUTHENTICATED");
    assert_eq!(ledger.breaker(rollout, epoch).await.expect("an answer"), None);
    ledger.trip_breaker(rollout, epoch, "w", &down).await.expect("written");
    ledger.trip_breaker(rollout, epoch, "v", &refused).await.expect("written");
    let again = tripped(BreakerKind::Rejections, Provider::Apns, "BadTopic");
    ledger.trip_breaker(rollout, epoch, "x", &again).await.expect("the first of a run stays");
    let gravest = ledger.breaker(rollout, epoch).await.expect("an answer");
    assert_eq!(gravest.as_ref(), Some(&refused));
    assert!(ledger.on_probation(rollout, epoch).await.expect("an answer").is_empty());
    let pause = Ruled::Pause(Pause::Credentials, refused.to_string());
    assert!(set.ruled(&ruling, &seen, pause).await.expect("it rules"));
    let paused = set.seen(campaign.id).await;
    assert!(paused.cause.expect("a cause").starts_with("credentials-refused: "));
    assert_eq!(ledger.breaker(rollout, paused.epoch).await.expect("an answer"), None, "it is acted on once");
    let on_probation = ledger.on_probation(rollout, paused.epoch).await.expect("an answer");
    assert_eq!(on_probation, [Provider::Apns, Provider::Fcm]);
    ledger.mend_breaker(rollout, paused.epoch, Provider::Apns).await.expect("written");
    ledger.trip_breaker(rollout, epoch, "late", &down).await.expect("written");
    let on_probation = ledger.on_probation(rollout, paused.epoch).await.expect("an answer");
    assert!(on_probation.contains(&Provider::Fcm));
    ledger.trip_breaker(rollout, paused.epoch, "w", &refused).await.expect("written");
    assert_eq!(ledger.breaker(rollout, paused.epoch).await.expect("an answer"), Some(refused));
}

pub(super) async fn i6_a_retry_is_of_exactly_those_who_were_not_sent(store: &Store) {
    let set = Set::with(store, 20, THREE, "").await;
    let (campaign, ruling, seen) = set.open().await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    assert_eq!(claim.devices.len(), 2, "our own people");
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, 2, false)], false).await;
    let mut over = end(&claim, 0, devices(&mut answer, 0), &accepted());
    over.outcomes[1].as_mut().expect("it is there").1 = not_sent();
    set.exchange(&seen, &claim, &[over], &[], true).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Sent(0)).await.expect("it rules"));
    assert!(set.ruled(&ruling, &set.seen(campaign.id).await, Ruled::Open(1)).await.expect("it rules"));
    let widened = set.seen(campaign.id).await;
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let asks_for = [Set::ask(&claim, 0, 2, false), Set::ask(&claim, 2, 1, false)];
    let mut answer = set.exchange(&widened, &claim, &[], &asks_for, false).await;
    let dead = end(&claim, 0, devices(&mut answer, 0), &gone(None));
    set.exchange(&widened, &claim, &[dead], &[], false).await;
    asks(&set, &campaign, "ada", Verb::Abort).await.expect("aborted");

    let before = told(&set, &campaign).await;
    let reached =
        |code| matches!(code, OutcomeCode::Accepted | OutcomeCode::TokenGone | OutcomeCode::Unknown);
    assert_eq!(
        before.values().filter(|(_, code, _)| reached(*code)).count(),
        4,
        "one, two dead, one in doubt"
    );
    let job = set.job.renamed("c-1-retry-1".parse().expect("an id"));
    let (key, ada, now) =
        (job.key(&set.key.producer), name("ada"), set.ledger.now().await.expect("the clock"));
    let new = NewCampaign {
        key: &key,
        job: &job,
        app: &campaign.app,
        intent: campaign.intent,
        audience: &campaign.audience,
        class: campaign.class,
        at_most: campaign.at_most,
        policy: campaign.policy,
        plan: &campaign.plan,
        findings: &[],
        traceparent: None,
        requester: Some(&ada),
        retry_of: Some(campaign.rollout),
        mends: None,
        judged_by: None,
        received_at: now,
        expires_at: campaign.expires_at,
    };
    let Submitted::Stored(id) = set.ledger.submit_campaign(&new).await.expect("an answer") else {
        panic!("it is new")
    };
    let retry = set.ledger.campaign(id).await.expect("an answer").expect("it is there");
    assert_eq!((retry.retry_of, &retry.requester), (Some(campaign.rollout), &Some(name("ada"))));
    // Whoever comes second is told which one stands.
    let second = set.job.renamed("c-1-retry-2".parse().expect("an id"));
    let key = second.key(&set.key.producer);
    let again = NewCampaign { key: &key, job: &second, ..new };
    assert_eq!(set.ledger.submit_campaign(&again).await.expect("an answer"), Submitted::Conflict);
    assert_eq!(set.ledger.standing_retry(campaign.rollout).await.expect("an answer"), Some(id));

    let ledger = set.ledger;
    let progress = ledger.freeze_step(&ruling, retry.rollout, set.source(), 1_000, |_| two()).await;
    let mut progress = progress.expect("it rules");
    while !progress.done {
        let step = ledger.freeze_step(&ruling, retry.rollout, set.source(), 1_000, |_| two()).await;
        progress = step.expect("it rules");
    }
    let frozen = set.seen(id).await;
    assert_eq!(frozen.state, RolloutState::PendingApproval, "it needs approvals of its own");
    assert_ne!(frozen.frozen_digest, set.seen(campaign.id).await.frozen_digest);
    let page = ledger.deliveries(&retry, frozen.state, 0, 1_000).await.expect("an answer");
    let after: Vec<_> = page.deliveries.iter().map(|delivery| (delivery.key, delivery.stage)).collect();
    let mut expected: Vec<_> =
        before.iter().filter(|(_, told)| !reached(told.1)).map(|(key, told)| (*key, told.0)).collect();
    let mut frozen = after.clone();
    expected.sort_unstable();
    frozen.sort_unstable();
    assert_eq!(frozen, expected, "those, each in its stage, and nobody else");
    let over = Ruled::Over(OverBecause::Expired);
    assert!(set.ruled(&ruling, &set.seen(id).await, over).await.expect("it rules"));
    assert_eq!(ledger.standing_retry(campaign.rollout).await.expect("an answer"), None, "it never began");
}

/// Real concurrency: of an approval and an abort at the same instant one is first, and nothing is half done.
#[tokio::test(flavor = "multi_thread")]
async fn approve_and_abort_at_the_same_instant_leave_one_answer() {
    let store = Store::postgres().await;
    let (mut approved_first, mut aborted_first) = (0, 0);
    let mut set = Set::with(&store, 2, ALL, "").await;
    let original = set.job.clone();
    for round in 0..100 {
        set.job = original.renamed(format!("c-{round}").parse().expect("an id"));
        set.key = set.job.key(&set.key.producer);
        let (campaign, ruling, seen) = waiting(&set).await;
        let of = || approval(&campaign, &seen, campaign.policy);
        asks(&set, &campaign, "ada", of()).await.expect("the first");
        let (approved, aborted) =
            tokio::join!(asks(&set, &campaign, "bob", of()), asks(&set, &campaign, "eve", Verb::Abort));
        let after = set.seen(campaign.id).await;
        assert_eq!(after.state, RolloutState::Aborted, "an abort is for good, whoever is first");
        assert_eq!(aborted.expect("it may always be").state, RolloutState::Aborted);
        let given = set.ledger.approvals(campaign.rollout).await.expect("an answer").len();
        match approved {
            Ok(record) => {
                assert_eq!((record.state, given), (RolloutState::Approved, 2));
                approved_first += 1;
            }
            Err(VerbRefused::Machine(refused)) => {
                assert_eq!((refused.because, given), (Because::Over, 1), "nothing is half done");
                aborted_first += 1;
            }
            Err(other) => panic!("round {round}: {other}"),
        }
        set.ledger.abdicate(&ruling).await.expect("it rules");
    }
    assert_eq!(approved_first + aborted_first, 100);
}
