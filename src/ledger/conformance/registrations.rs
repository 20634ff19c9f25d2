//! Registrations by queue: their order, and how many phones a person may have.

use std::num::NonZeroU32;

use serde_json::{Value, json};

use super::{Store, fixtures::*};
use crate::{
    ledger::{Applied, DeviceRecord, Ledger, LedgerOptions},
    model::{DeviceId, NewDevice, Registration},
};

/// A message of version `version` about the phone `token`.
fn say(operation: &str, version: i64, token: &str, more: &Value) -> Registration {
    let mut message = json!({"v": 1, "operation": operation, "version": version, "app": APP,
                             "platform": "ios", "token": token});
    let fields = message.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    Registration::parse(message.to_string().as_bytes()).expect("a registration")
}

pub(super) fn register(version: i64, token: &str, user: &str) -> Registration {
    say("register", version, token, &json!({"user_id": user, "country": "PL"}))
}

pub(super) fn remove(version: i64, token: &str) -> Registration {
    say("remove", version, token, &json!({}))
}

async fn apply(ledger: &Ledger, batch: &[Registration]) -> Vec<Applied> {
    ledger.apply_registrations(batch).await.expect("committed").applied
}

async fn live(ledger: &Ledger, name: &str) -> Vec<DeviceRecord> {
    ledger.devices_of(None, &user(name)).await.expect("an answer")
}

async fn tokens(ledger: &Ledger, name: &str) -> Vec<String> {
    let devices = live(ledger, name).await;
    let mut tokens: Vec<_> = devices.iter().map(|record| record.device.token.reveal().to_owned()).collect();
    tokens.sort();
    tokens
}

pub(super) async fn a_late_or_repeated_registration_changes_nothing(store: &Store) {
    let ledger = &store.ledger;
    assert_eq!(apply(ledger, &[register(5, "t", "anna")]).await, [Applied::Registered]);
    let before = live(ledger, "anna").await;
    for late in [register(5, "t", "anna"), register(5, "t", "bert"), register(4, "t", "bert"), remove(5, "t")]
    {
        assert_eq!(apply(ledger, &[late]).await, [Applied::Stale]);
    }
    assert_eq!(live(ledger, "anna").await, before, "not even its instant");
    // In one batch each counts in its turn, and other phones beside it.
    let batch = [
        register(6, "t", "bert"),
        register(1, "other", "anna"),
        register(6, "t", "anna"),
        register(9, "t", "carl"),
        register(8, "t", "dora"),
        register(2, "other", "anna"),
    ];
    let expected = [
        Applied::Moved,
        Applied::Registered,
        Applied::Stale,
        Applied::Moved,
        Applied::Stale,
        Applied::Updated,
    ];
    assert_eq!(apply(ledger, &batch).await, expected);
    assert_eq!(
        (tokens(ledger, "carl").await, tokens(ledger, "anna").await),
        (vec!["t".into()], vec!["other".into()])
    );
    assert_eq!(live(ledger, "bert").await, []);
}

pub(super) async fn an_old_registration_raises_no_phone_from_the_dead(store: &Store) {
    let ledger = &store.ledger;
    apply(ledger, &[register(1, "t", "anna")]).await;
    let device = live(ledger, "anna").await.remove(0).device;
    assert_eq!(apply(ledger, &[remove(3, "t"), remove(7, "never")]).await, [Applied::Removed; 2]);
    let record = ledger.device(device.id).await.expect("an answer").expect("the row is kept");
    assert!(record.gone_at.is_some());
    let late = [register(2, "t", "anna"), register(3, "t", "bert"), register(7, "never", "anna")];
    assert_eq!(apply(ledger, &late).await, [Applied::Stale; 3]);
    assert_eq!(live(ledger, "anna").await, []);

    // Nor after its provider has called it dead, nor after an import has given it to somebody else.
    assert_eq!(apply(ledger, &[register(4, "t", "anna")]).await, [Applied::Registered]);
    let now = ledger.now().await.expect("the clock");
    let mut finished = over(&job("j", &["anna"]), 1, &[(0, &device, gone(None))], now, None);
    finished.gone = vec![0];
    commit(ledger, finished).await;
    assert_eq!(apply(ledger, &[register(4, "t", "bert")]).await, [Applied::Stale]);
    ledger.import(vec![phone("carl", "t")]).await.expect("committed");
    assert_eq!(
        apply(ledger, &[register(4, "t", "anna"), register(5, "t", "anna")]).await,
        [Applied::Stale, Applied::Moved]
    );
    assert_eq!((live(ledger, "carl").await.len(), live(ledger, "anna").await.len()), (0, 1));
}

pub(super) async fn a_removal_that_names_a_person_takes_nobody_elses_phone(store: &Store) {
    let ledger = &store.ledger;
    apply(ledger, &[register(1, "t", "anna"), register(2, "t", "bert")]).await;
    let of = |version, name: &str| say("remove", version, "t", &json!({"user_id": name}));
    assert_eq!(apply(ledger, &[of(3, "anna")]).await, [Applied::Stale]);
    assert_eq!(live(ledger, "bert").await.len(), 1);
    assert_eq!(apply(ledger, &[of(4, "bert")]).await, [Applied::Removed]);
    assert_eq!(live(ledger, "bert").await, []);
}

pub(super) async fn an_update_changes_what_it_names_and_the_rest_stays(store: &Store) {
    let ledger = &store.ledger;
    let full = json!({"user_id": "anna", "country": "PL", "language": "pl", "app_version": "1",
                      "last_seen_at": "2026-11-01T00:00:00Z"});
    apply(ledger, &[say("register", 1, "t", &full)]).await;
    let before = live(ledger, "anna").await.remove(0);
    let update = |version, more: Value| say("update", version, "t", &more);
    let changed = json!({"app_version": "2", "language": null});
    assert_eq!(apply(ledger, &[update(2, changed)]).await, [Applied::Updated]);
    let after = live(ledger, "anna").await.remove(0);
    assert_eq!((after.app_version.as_deref(), after.device.language.clone()), (Some("2"), None));
    assert_eq!((&after.country, after.last_seen_at), (&before.country, before.last_seen_at));
    // It moves with what is known of it.
    assert_eq!(apply(ledger, &[update(3, json!({"user_id": "bert"}))]).await, [Applied::Moved]);
    let moved = live(ledger, "bert").await.remove(0);
    assert_eq!((moved.country, moved.app_version), (after.country, after.app_version));
    assert_eq!(live(ledger, "anna").await, []);

    // Of a phone that nobody has there is nothing to change; the registration may still come.
    let early = say("update", 4, "new", &json!({"country": "DE"}));
    assert_eq!(apply(ledger, &[early, remove(4, "t")]).await, [Applied::Unknown, Applied::Removed]);
    assert_eq!(apply(ledger, &[update(5, json!({"user_id": "anna"}))]).await, [Applied::Unknown]);
    assert_eq!(apply(ledger, &[register(3, "new", "anna")]).await, [Applied::Registered]);
}

/// A phone that was last seen in that year.
fn seen(owner: &str, token: &str, year: i16) -> NewDevice {
    let at = format!("{year}-01-01T00:00:00Z").parse().expect("an instant");
    NewDevice { last_seen_at: Some(at), ..phone(owner, token) }
}

pub(super) async fn one_phone_too_many_displaces_the_one_that_was_not_seen_for_longest(store: &Store) {
    let options = LedgerOptions {
        max_devices_per_user: NonZeroU32::new(3).expect("not zero"),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::connect(&store.url, options).await.expect("the ledger answers");
    let mut shop = seen("anna", "shop", 2001);
    shop.app = crate::model::AppId::parse("pl.example.shop").expect("an app");
    let batch = vec![seen("anna", "a", 2003), seen("anna", "b", 2001), seen("anna", "c", 2002), shop];
    assert_eq!(ledger.import(batch.clone()).await.expect("committed").displaced, 0);
    assert_eq!(
        ledger.import(batch).await.expect("committed").displaced,
        0,
        "the same phones again are no more"
    );
    let oldest = DeviceId::derive(
        crate::model::Bucket::of(&user("anna")),
        &user("anna"),
        &phone("anna", "b").owner_key(),
    );

    // By import, and by queue; one that has not said when it was seen was seen when it was registered.
    let counts = ledger.import(vec![phone("anna", "d"), phone("bert", "e")]).await.expect("committed");
    assert_eq!((counts.new, counts.displaced), (2, 1));
    assert_eq!(tokens(&ledger, "anna").await, ["a", "c", "d", "shop"]);
    let record = ledger.device(oldest).await.expect("an answer").expect("the row is kept");
    assert!(record.gone_at.is_some());
    let batch = [register(1, "f", "anna"), register(1, "e", "anna")];
    let answer = ledger.apply_registrations(&batch).await.expect("committed");
    assert_eq!((answer.applied, answer.displaced), (vec![Applied::Registered, Applied::Moved], 2));
    assert_eq!(tokens(&ledger, "anna").await, ["d", "e", "f", "shop"]);
    assert_eq!(live(&ledger, "bert").await, []);

    // Its token is free: it comes back as new, and displaces another.
    let counts = ledger.import(vec![seen("anna", "b", 2100)]).await.expect("committed");
    assert_eq!((counts.new, counts.displaced), (1, 1));
    assert_eq!(tokens(&ledger, "anna").await.len(), 4);
    ledger.close().await;
}
