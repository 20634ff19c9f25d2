//! Operators, their tokens, what takes two of them, and idempotency keys.

use std::{collections::BTreeSet, time::Duration};

use secrecy::ExposeSecret as _;

use super::Store;
use crate::{
    api::wire::Scope,
    clock::Clock,
    ledger::{
        HaltScope, Issuer, KeyUse, Lift, MintedToken, NewOperatorToken, NotAuthentic, NotConfirmed,
        NotIssued, TokenRecord,
    },
    model::{Digest, OperatorName},
};

const DAY: Duration = Duration::from_hours(24);

fn name(text: &str) -> OperatorName {
    OperatorName::parse(text).expect("a name")
}

fn scopes(words: &[&str]) -> BTreeSet<Scope> {
    words.iter().map(|word| word.parse().expect("a scope")).collect()
}

async fn issue(
    store: &Store,
    owner: &str,
    words: &[&str],
    lasts: Duration,
    issuer: Issuer<'_>,
) -> (String, TokenRecord) {
    let (owner, scopes) = (name(owner), scopes(words));
    let new = NewOperatorToken { operator: &owner, scopes: &scopes, lasts };
    let minted = MintedToken::mint(&Clock::system());
    let made = store.ledger.issue_token(&new, &minted, issuer).await.expect("an answer").expect("issued");
    (minted.into_secret().expose_secret().to_owned(), made)
}

async fn opens(store: &Store, token: &str) -> Result<(String, BTreeSet<Scope>), NotAuthentic> {
    let answer = store.ledger.authenticate(token).await.expect("an answer");
    answer.map(|known| (known.operator.to_string(), known.scopes))
}

pub(super) async fn a_token_opens_what_it_names_until_it_is_over(store: &Store) {
    let admin = name("root");
    let (token, record) = issue(store, "ada", &["halt", "promote"], DAY, Issuer::Admin(&admin)).await;
    assert_eq!(opens(store, &token).await, Ok(("ada".to_owned(), scopes(&["halt", "promote"]))));
    let used = store.ledger.token(&record.id).await.expect("an answer").expect("it is there").used_at;
    assert!(used.is_some(), "its last use is noted");
    opens(store, &token).await.expect("it opens again");
    let again = store.ledger.token(&record.id).await.expect("an answer").expect("it is there").used_at;
    assert_eq!(again, used, "to the minute");

    let mut guessed = token.clone();
    let last = guessed.pop().expect("not empty");
    guessed.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [guessed.as_str(), "", "bw_", "bw_0123456789abcdef_x", "' or 1=1 --", "bw_\u{0}_x"] {
        assert_eq!(opens(store, wrong).await, Err(NotAuthentic::Unknown), "{wrong:?}");
    }
    let (old, _) = issue(store, "ada", &["halt"], Duration::ZERO, Issuer::Admin(&admin)).await;
    assert_eq!(opens(store, &old).await, Err(NotAuthentic::Expired));

    let revoked = store.ledger.revoke_token(&record.id, &admin).await.expect("an answer").expect("found");
    assert!(revoked.revoked_at.is_some());
    assert_eq!(opens(store, &token).await, Err(NotAuthentic::Revoked));
    let unknown = "0123456789abcdef".parse().expect("an id");
    assert_eq!(store.ledger.revoke_token(&unknown, &admin).await.expect("an answer"), None);

    let entries = store.ledger.audit_entries(1, 100).await.expect("an answer");
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["token.made", "token.made", "token.revoked"]);
    let secret = token.rsplit('_').next().expect("it has parts");
    assert!(entries.iter().all(|entry| !entry.body.contains(secret)), "i12: the audit has no token");
}

pub(super) async fn i4_what_approves_needs_a_second_admin_who_is_neither_maker_nor_owner(store: &Store) {
    let (root, second) = (name("root"), name("grace"));
    for words in [&["approve:customers-pl"][..], &["admin"], &["halt", "approve:staff"]] {
        let (token, record) = issue(store, "ada", words, DAY, Issuer::Admin(&root)).await;
        assert_eq!(opens(store, &token).await, Err(NotAuthentic::Unconfirmed));
        // The maker and the owner by whatever spelling: the last `о` is Cyrillic.
        for (by, refused) in [
            ("root", NotConfirmed::Maker),
            ("ROOT", NotConfirmed::Maker),
            ("r\u{43e}ot", NotConfirmed::Maker),
            ("Ada", NotConfirmed::Owner),
        ] {
            let answer = store.ledger.confirm_token(&record.id, &name(by)).await.expect("an answer");
            assert_eq!(answer.expect_err("refused"), refused, "{by}");
        }
        assert_eq!(opens(store, &token).await, Err(NotAuthentic::Unconfirmed), "still");
        let confirmed = store.ledger.confirm_token(&record.id, &second).await.expect("an answer");
        assert_eq!(confirmed.expect("confirmed").confirmed_by.as_deref(), Some("grace"));
        assert!(opens(store, &token).await.is_ok());
        let twice = store.ledger.confirm_token(&record.id, &second).await.expect("an answer");
        assert_eq!(twice.expect_err("refused"), NotConfirmed::NotWaiting);
    }
    let (token, record) = issue(store, "ada", &["approve:staff"], DAY, Issuer::Admin(&root)).await;
    store.ledger.revoke_token(&record.id, &root).await.expect("an answer");
    let late = store.ledger.confirm_token(&record.id, &second).await.expect("an answer");
    assert_eq!(late.expect_err("refused"), NotConfirmed::Over);
    assert_eq!(opens(store, &token).await, Err(NotAuthentic::Revoked));
}

pub(super) async fn the_ledger_gives_out_what_stops_and_what_looks_and_admins(store: &Store) {
    let anna = name("anna");
    let words = ["admin", "audit", "halt"];
    let (token, _) = issue(store, "anna", &words, DAY, Issuer::BreakGlass(&anna)).await;
    assert_eq!(opens(store, &token).await, Ok(("anna".to_owned(), scopes(&words))));
    for word in ["approve:staff", "promote", "policy", "enqueue:production"] {
        let minted = MintedToken::mint(&Clock::system());
        let one = scopes(&["halt", word]);
        let new = NewOperatorToken { operator: &anna, scopes: &one, lasts: DAY };
        let answer = store.ledger.issue_token(&new, &minted, Issuer::BreakGlass(&anna)).await;
        let refused = answer.expect("an answer").expect_err("refused");
        assert_eq!(refused, NotIssued::NotBreakGlass(word.parse().expect("a scope")));
    }
    let entries = store.ledger.audit_entries(1, 100).await.expect("an answer");
    assert_eq!(entries.len(), 1);
    assert!(entries[0].body.contains("\"break_glass\":true"), "{}", entries[0].body);
}

pub(super) async fn names_that_read_alike_are_one_operator(store: &Store) {
    let root = name("root");
    let (first, _) = issue(store, "ada", &["halt"], DAY, Issuer::Admin(&root)).await;
    let (second, record) = issue(store, "\u{430}DA", &["promote"], DAY, Issuer::Admin(&root)).await;
    assert_eq!(record.operator, name("ada"));
    for token in [&first, &second] {
        assert_eq!(opens(store, token).await.map(|(owner, _)| owner), Ok("ada".to_owned()));
    }
    let gone = store.ledger.revoke_operator(&name("ADA"), &root).await.expect("an answer").expect("known");
    assert_eq!(gone.len(), 2);
    for token in [&first, &second] {
        assert_eq!(opens(store, token).await, Err(NotAuthentic::Revoked));
    }
    assert_eq!(store.ledger.revoke_operator(&name("eve"), &root).await.expect("an answer"), None);
    let invisible = name("\u{200b}");
    let one = scopes(&["halt"]);
    let new = NewOperatorToken { operator: &invisible, scopes: &one, lasts: DAY };
    let minted = MintedToken::mint(&Clock::system());
    let answer = store.ledger.issue_token(&new, &minted, Issuer::Admin(&root));
    assert_eq!(answer.await.expect("an answer").expect_err("refused"), NotIssued::NoName);
}

pub(super) async fn i5_a_halt_of_everything_is_lifted_by_two(store: &Store) {
    let (ledger, ada, grace) = (&store.ledger, name("ada"), name("grace"));
    let lift = async |by: &OperatorName| ledger.lift_halt(&HaltScope::All, by).await.expect("an answer");
    assert_eq!(lift(&ada).await, Lift::NotHalted);
    ledger.set_halt(&HaltScope::All, "eve", "a storm").await.expect("set");
    assert_eq!(lift(&ada).await, Lift::Asked);
    assert_eq!(lift(&name("ADA")).await, Lift::Asked, "one person");
    let asked = ledger.halts().await.expect("an answer").remove(0).lift_asked_by;
    assert!(asked.is_some());
    ledger.set_halt(&HaltScope::All, "eve", "another").await.expect("set");
    assert_eq!(lift(&grace).await, Lift::Asked, "a new halt, a new question");
    assert_eq!(lift(&ada).await, Lift::Lifted);
    assert_eq!(ledger.halts().await.expect("an answer"), []);
    let app = HaltScope::App(super::fixtures::app());
    ledger.set_halt(&app, "eve", "a storm").await.expect("set");
    assert_eq!(ledger.lift_halt(&app, &ada).await.expect("an answer"), Lift::Lifted, "less takes one");
}

pub(super) async fn a_key_is_answered_once_and_stands_for_one_request(store: &Store) {
    let root = name("root");
    for owner in ["ada", "grace"] {
        issue(store, owner, &["halt"], DAY, Issuer::Admin(&root)).await;
    }
    let (ledger, ada, grace) = (&store.ledger, name("ada"), name("grace"));
    let (this, that) = (Digest::of(b"this"), Digest::of(b"that"));
    let take = async |by: &OperatorName, request: &Digest| {
        ledger.take_key(by, "k", request).await.expect("an answer")
    };
    assert_eq!(take(&ada, &this).await, KeyUse::Fresh);
    assert_eq!(take(&ada, &this).await, KeyUse::UnderWay);
    assert_eq!(take(&ada, &that).await, KeyUse::Other);
    assert_eq!(take(&grace, &that).await, KeyUse::Fresh, "each has keys of their own");
    ledger.release_key(&ada, "k").await.expect("released");
    assert_eq!(take(&ada, &this).await, KeyUse::Fresh, "nothing had happened");
    ledger.answer_key(&ada, "k", 200, "{}").await.expect("kept");
    let answered = KeyUse::Answered { status: 200, answer: "{}".to_owned() };
    assert_eq!(take(&ada, &this).await, answered);
    ledger.release_key(&ada, "k").await.expect("an answer");
    assert_eq!(take(&ada, &this).await, answered, "what is answered stays");
    assert_eq!(take(&ada, &that).await, KeyUse::Other);
    // Its process died, and took no answer with it.
    let older = "update idempotency set at = at - 121000000 where operator = 'grace'";
    store.tamper(older, older).await;
    assert_eq!(take(&grace, &that).await, KeyUse::Fresh);
    assert_eq!(take(&grace, &that).await, KeyUse::UnderWay);
    let older = "update idempotency set at = at - 86400000000";
    store.tamper(older, older).await;
    assert_eq!(take(&ada, &that).await, KeyUse::Fresh, "kept a day");
}
