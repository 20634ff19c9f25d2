//! What can be corrected or superseded, by whom, and in which place on the screen. On the embedded ledger.

use std::time::Duration;

use super::*;
use crate::{
    audience::{Audience, Class},
    clock::Clock,
    dispatch::{
        outlook::{at_most, electorate},
        submit::{
            retry,
            tests::{campaign, job, ledger, name, policy, policy_that_asks_for_a_proof, submitted, watched},
        },
    },
    ledger::{Asked, FreezeSource, Verb},
    model::{AudienceName, Intent},
    rollout::{Electorate, FrozenTake},
};

fn words(json: &str) -> Words {
    Words { notification: serde_json::from_str(json).expect("a notification"), expires_at: None }
}

fn sorry() -> Words {
    words(r#"{"title": "Bank", "body": "Sorry"}"#)
}

/// A campaign of ada's that was frozen and given up.
async fn given_up(ledger: &Ledger) -> CampaignRecord {
    let view = submitted(ledger, &job("n-1", "production"), "ada").await.expect("stored");
    let old = campaign(ledger, &view).await;
    let (policy, now) = (policy(), Clock::system().monotonic());
    let lease = Duration::from_secs(30);
    let ruling = ledger.rule("a", None, lease, now).await.expect("an answer").expect("nobody rules");
    let audience: &Audience =
        policy.audience(&AudienceName::parse("staff").expect("a name")).expect("it is there");
    let source = FreezeSource { audience, first: None };
    let nobody = |_| Electorate::default();
    let frozen = ledger.freeze_step(&ruling, old.rollout, source, 1_000, nobody).await.expect("it rules");
    assert!(frozen.done);
    abort(ledger, old.id).await;
    old
}

async fn abort(ledger: &Ledger, id: CampaignId) {
    let eve = name("eve");
    let asked = Asked { verb: Verb::Abort, by: &eve, reason: Some("wrong text") };
    ledger.verb(id, &asked).await.expect("an answer").expect("aborted");
}

async fn mended(
    ledger: &Ledger,
    of: CampaignId,
    how: Mend,
    words: Words,
    by: &str,
) -> Result<SubmittedView, MendRefused> {
    mend(ledger, &watched(policy()), of, how, words, &name(by)).await.expect("the ledger answers")
}

#[tokio::test]
async fn only_what_is_over_and_was_frozen_is_mended_and_one_at_a_time() {
    let ledger = ledger().await;
    let refused = async |id| mended(&ledger, id, Mend::Correct, sorry(), "ada").await.expect_err("refused");
    let nobody = CampaignId::from_uuid(uuid::Uuid::nil());
    assert!(matches!(refused(nobody).await, MendRefused::NotFound));
    let view = submitted(&ledger, &job("n-0", "production"), "ada").await.expect("stored");
    let live = campaign(&ledger, &view).await.id;
    assert!(matches!(refused(live).await, MendRefused::NotOver));
    abort(&ledger, live).await;
    assert!(matches!(refused(live).await, MendRefused::NeverFrozen));
    let old = given_up(&ledger).await;
    let first = mended(&ledger, old.id, Mend::Correct, sorry(), "ada").await.expect("it is over");
    let first = campaign(&ledger, &first).await;
    assert_eq!(first.key.id.as_str(), "n-1-correct-1");
    assert!(matches!(refused(old.id).await, MendRefused::Mended(id) if id == first.id));
    abort(&ledger, first.id).await;
    let next = mended(&ledger, old.id, Mend::Supersede, sorry(), "ada").await.expect("the first is over");
    assert_eq!(campaign(&ledger, &next).await.key.id.as_str(), "n-1-supersede-2");
}

#[tokio::test]
async fn i1_what_mends_is_what_the_other_was_and_the_guard_judges_it_anew() {
    let ledger = ledger().await;
    let old = given_up(&ledger).await;
    let mut late = sorry();
    late.expires_at = Some("2001-01-01T00:00:00Z".parse().expect("an instant"));
    let refused = mended(&ledger, old.id, Mend::Correct, late, "ada").await.expect_err("its time is over");
    assert!(matches!(refused, MendRefused::Guard(findings) if findings[0].rule == "expired"));
    let empty = mended(&ledger, old.id, Mend::Correct, words(r#"{"body": " "}"#), "ada").await;
    assert!(matches!(empty, Err(MendRefused::Malformed(_))), "{empty:?}");
    let made = mended(&ledger, old.id, Mend::Correct, sorry(), "ada").await.expect("it is over");
    let made = campaign(&ledger, &made).await;
    assert_eq!(
        (made.intent, made.class, &made.audience),
        (Intent::Production, Class::Internal, &old.audience)
    );
    assert_eq!((&made.key.producer, made.requester.clone()), (&old.key.producer, Some(name("ada"))));
    let lasts = made.expires_at.duration_since(made.received_at);
    assert_eq!(
        lasts.as_secs(),
        old.expires_at.duration_since(old.received_at).as_secs(),
        "as long as the other"
    );
    let [stage] = &made.plan.stages[..] else { panic!("one stage") };
    assert_eq!((&stage.take, stage.bake_ms, stage.manual_gate), (&FrozenTake::Buckets(10_000), 0, false));
}

#[tokio::test]
async fn what_mends_asks_for_a_proof_of_its_own_words_and_a_retry_of_the_old_ones_does_not() {
    let ledger = ledger().await;
    let old = given_up(&ledger).await;
    let asks = watched(policy_that_asks_for_a_proof());
    let ada = name("ada");
    let made = mend(&ledger, &asks, old.id, Mend::Correct, sorry(), &ada).await.expect("an answer");
    let made = campaign(&ledger, &made.expect("it is over")).await;
    let findings = ledger.findings(made.rollout).await.expect("an answer");
    let rules: Vec<_> = findings.iter().map(|finding| finding.note.rule.as_str()).collect();
    assert_eq!((rules, made.held), (vec!["proof-missing"], true));
    let again = retry(&ledger, &asks, old.id, &ada).await.expect("an answer").expect("it is over");
    assert!(!campaign(&ledger, &again).await.held, "its words were proven, or accepted");
}

#[tokio::test]
async fn i4_an_owner_asks_and_two_others_approve_whatever_the_audience_says() {
    let ledger = ledger().await;
    let old = given_up(&ledger).await;
    let stranger = mended(&ledger, old.id, Mend::Correct, sorry(), "eve").await.expect_err("no owner");
    let MendRefused::Guard(findings) = stranger else { panic!("the guard refuses: {stranger}") };
    assert_eq!((findings[0].rule.as_str(), findings[0].field.as_str()), ("producer-scope", "producer"));
    let made = mended(&ledger, old.id, Mend::Supersede, sorry(), "ada").await.expect("she owns it");
    let made = campaign(&ledger, &made).await;
    let policy = policy();
    assert_eq!(electorate(&policy, &old, 1).people, 0, "our own people need nobody");
    let of_mend = electorate(&policy, &made, 1);
    assert_eq!((of_mend.people, of_mend.barred), (2, [name("ada"), name("bob")].into()));
    let retry = CampaignRecord { retry_of: Some(made.rollout), ..made };
    assert_eq!(electorate(&policy, &retry, 1).people, 2, "its retry is no way round");
    assert_eq!(at_most(&policy, &retry), u64::MAX, "whoever was reached has it");
}

#[tokio::test]
async fn what_supersedes_takes_the_place_of_the_first_and_a_correction_has_its_own() {
    let ledger = ledger().await;
    let old = given_up(&ledger).await;
    let place = |record: &CampaignRecord| {
        let own = record.job.as_ref().and_then(|job| job.notification().collapse_id.clone());
        own.unwrap_or_else(|| record.key.collapse_tag())
    };
    let other = words(r#"{"body": "Sorry", "collapse_id": "elsewhere"}"#);
    let refused = mended(&ledger, old.id, Mend::Supersede, other, "ada").await.expect_err("another place");
    assert!(matches!(refused, MendRefused::OtherCollapseId));
    let made = mended(&ledger, old.id, Mend::Supersede, sorry(), "ada").await.expect("it is over");
    let second = campaign(&ledger, &made).await;
    assert_eq!(place(&second), place(&old));
    assert_ne!(second.key, old.key, "its messages have ids of their own");
    let said = second.job.clone().expect("its text is there");
    let third = reworded(&second, &said, Mend::Supersede, sorry(), 1, second.received_at).expect("a job");
    assert_eq!(third.notification().collapse_id, Some(place(&old)), "the first one's, however often");
    abort(&ledger, second.id).await;
    let made = mended(&ledger, old.id, Mend::Correct, sorry(), "ada").await.expect("it is over");
    assert_ne!(place(&campaign(&ledger, &made).await), place(&old), "it stands beside the other");
}
