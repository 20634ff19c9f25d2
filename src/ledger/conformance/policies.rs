//! The policy in force.

use super::{Store, fixtures};
use crate::{
    audience::{Policy, PolicyFile},
    ledger::Activation,
    model::OperatorName,
};

fn policy(producer: &str) -> Policy {
    let file = |path: &str, text: String| PolicyFile { path: path.to_owned(), text };
    let apps = format!(
        "[apps.\"{}\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
         apns = {{ topic = \"a.b\", team = \"TEAM123456\", environment = \"production\", max_rate = 10 }}\n",
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
