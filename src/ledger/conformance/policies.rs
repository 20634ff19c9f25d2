//! The policy in force.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{
    Store,
    campaign_set::{ALL, Set},
    fixtures,
};
use crate::{
    audience::{Policy, PolicyFile},
    ledger::{Activation, Asked, Shadow, Verb, VerbRefused},
    model::{OperatorName, RolloutState},
    rollout::Electorate,
};

fn policy(producer: &str) -> Policy {
    policy_with(producer, "")
}

fn policy_with(producer: &str, guard: &str) -> Policy {
    let file = |path: &str, text: String| PolicyFile { path: path.to_owned(), text };
    let apps = format!(
        "[apps.\"{}\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
         apns = {{ topic = \"a.b\", team = \"TEAM123456\", environment = \"production\", max_rate = 10 }}\n{guard}",
        fixtures::APP
    );
    let producers = format!(
        "[producers.{producer}]\nowners = [\"o\"]\napps = [\"{}\"]\nintents = [\"test\"]\n",
        fixtures::APP
    );
    Policy::parse(&[file("apps.toml", apps), file("producers.toml", producers)]).expect("a policy")
}

fn person(name: &str) -> OperatorName {
    OperatorName::parse(name).expect("a name")
}

pub(super) async fn i3_the_first_policy_comes_into_force_by_itself_and_no_later_one_without_two_people(
    store: &Store,
) {
    let ledger = &store.ledger;
    assert_eq!(ledger.policy_in_force().await.expect("an answer"), None);
    let (first, second, third) = (policy("cards"), policy("news"), policy("other"));
    let in_force = ledger.initialise_policy(&first).await.expect("an answer");
    assert_eq!(in_force.hash, first.hash());
    let others = ledger.initialise_policy(&second).await.expect("an answer");
    assert_eq!(others, in_force, "it is not the first any more");

    let wants = async |policy: &Policy, by: &str| {
        ledger.activate_policy(policy, &person(by)).await.expect("an answer")
    };
    assert_eq!(wants(&first, "ada").await, Activation::Already);
    assert_eq!(wants(&second, "ada").await, Activation::Proposed);
    assert_eq!(wants(&second, "ada").await, Activation::NeedsAnother);
    assert_eq!(
        wants(&second, "\u{410}da").await,
        Activation::NeedsAnother,
        "names that read alike are one person"
    );
    let told = ledger.notices_due(10).await.expect("an answer");
    assert_eq!(told.len(), 1, "people are told once that it waits");
    let told: Value = serde_json::from_str(&told[0].body).expect("JSON");
    assert_eq!((&told["type"], &told["by"]), (&json!("policy_proposed"), &json!("ada")));
    assert_eq!(told["policy"], json!(second.hash()));
    assert_eq!(wants(&third, "bob").await, Activation::Proposed, "another one takes its place");
    assert_eq!(wants(&second, "bob").await, Activation::Proposed);
    assert_eq!(ledger.policy_in_force().await.expect("an answer"), Some(in_force), "nobody agreed yet");
    assert_eq!(wants(&second, "ada").await, Activation::InForce);
    let now = ledger.policy_in_force().await.expect("an answer").expect("one is in force");
    assert_eq!((now.hash, now.actor.as_str()), (second.hash(), "ada"));
    assert_eq!(ledger.policy_proposal().await.expect("an answer"), None);

    let kept = ledger.policy_files(&first.hash()).await.expect("an answer").expect("it was in force");
    assert_eq!(kept, first.files());
    let kinds: Vec<String> = ledger
        .audit_entries(1, 100)
        .await
        .expect("an answer")
        .into_iter()
        .map(|entry| entry.kind)
        .filter(|kind| kind.starts_with("policy."))
        .collect();
    let proposed = "policy.proposed";
    assert_eq!(kinds, ["policy.initialised", proposed, proposed, proposed, "policy.activated"]);
}

pub(super) async fn i8_people_widen_under_the_policy_in_force_and_void_what_was_approved_under_another(
    store: &Store,
) {
    let ledger = &store.ledger;
    let set = Set::with(store, 10, ALL, "").await;
    ledger.initialise_policy(&set.policy).await.expect("an answer");
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let who = Electorate { people: 1, barred: BTreeSet::new() };
    let progress = ledger.freeze_step(&ruling, campaign.rollout, set.source(), 5_000, |_| who.clone()).await;
    assert!(progress.expect("it rules").done);
    let pending = set.seen(campaign.id).await;
    let digest =
        |in_force: &Policy| pending.approval_digest(&campaign.policy, &in_force.hash()).expect("frozen");
    let ada = person("ada");
    let says = async |verb: Verb| {
        ledger.verb(campaign.id, &Asked { verb, by: &ada, reason: None }).await.expect("an answer")
    };
    let approve = |under: &Policy| Verb::Approve {
        digest: digest(under),
        policy: under.hash(),
        holds: Duration::from_hours(1),
        peak: None,
    };
    let next = policy("next");
    assert_eq!(says(approve(&next)).await, Err(VerbRefused::OtherPolicy), "it is not in force");
    assert_eq!(says(approve(&set.policy)).await.expect("approved").state, RolloutState::Approved);
    for by in ["first", "second"] {
        ledger.activate_policy(&next, &person(by)).await.expect("an answer");
    }
    assert_eq!(says(Verb::Start).await, Err(VerbRefused::OtherPolicy), "it was approved under another");

    // By whoever asked, once, and not what was approved under something else.
    let differs = serde_json::json!([{ "what": "the policy in force" }]);
    let void = async |under: &Policy| {
        let under = under.hash();
        let answer = ledger
            .void_for_drift(&campaign, &under, who.clone(), (&ada, "policy-changed: a test", &differs))
            .await;
        answer.expect("an answer")
    };
    assert!(!void(&next).await);
    assert_eq!(set.seen(campaign.id).await.state, RolloutState::Approved);
    assert!(void(&set.policy).await && !void(&set.policy).await);
    let seen = set.seen(campaign.id).await;
    assert_eq!((seen.state, seen.holds_approvals()), (RolloutState::PendingApproval, false));
    let approvals = ledger.approvals(campaign.rollout).await.expect("an answer");
    assert!(approvals.iter().all(|approval| approval.voided.is_some()));
    let entries = ledger.audit_entries(1, 100).await.expect("an answer");
    let voided: Vec<_> = entries.iter().filter(|entry| entry.kind == "rollout.void").collect();
    assert!(voided.len() == 1 && voided[0].actor == "ada" && voided[0].body.contains("the policy in force"));

    assert_eq!(says(approve(&set.policy)).await, Err(VerbRefused::OtherPolicy));
    says(approve(&next)).await.expect("what was shown under the one in force");
    assert_eq!(says(Verb::Start).await.expect("it starts").policy, Some(next.hash()));
}

pub(super) async fn a_shadow_begins_with_the_policy_that_first_has_it_and_ends_with_the_first_that_has_not(
    store: &Store,
) {
    let ledger = &store.ledger;
    let shadow =
        |producer: &str, rules: &str| policy_with(producer, &format!("guard = {{ shadow = {rules} }}\n"));
    let activate = async |policy: &Policy| {
        for by in ["ada", "bob"] {
            ledger.activate_policy(policy, &person(by)).await.expect("an answer");
        }
        assert_eq!(ledger.policy_in_force().await.expect("an answer").expect("one").hash, policy.hash());
        ledger.shadows().await.expect("an answer")
    };
    let rules = |shadows: &[Shadow]| shadows.iter().map(|shadow| shadow.rule.clone()).collect::<Vec<_>>();
    ledger.initialise_policy(&shadow("first", "[\"staging-link\"]")).await.expect("an answer");
    let first = ledger.shadows().await.expect("an answer");
    assert_eq!(rules(&first), ["staging-link"]);
    let both = activate(&shadow("second", "[\"staging-link\", \"contagion\"]")).await;
    assert_eq!(rules(&both), ["contagion", "staging-link"]);
    assert_eq!(both[1].since, first[0].since, "without a break");
    assert!(both[0].since > both[1].since);
    assert_eq!(activate(&policy("third")).await, []);
    let again = activate(&shadow("fourth", "[\"staging-link\"]")).await;
    assert!(again[0].since > first[0].since, "it begins anew");
    let after = |seconds: i64| again[0].since + jiff::SignedDuration::from_secs(seconds);
    let fortnight = 14 * 24 * 3_600;
    assert_eq!((again[0].is_long(after(fortnight)), again[0].is_long(after(fortnight + 1))), (false, true));
}
