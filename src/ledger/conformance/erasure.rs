//! Erasure: nobody is found any more, and everything still adds up.

use super::{
    Store,
    campaign_set::{ALL, LEASE, Set, devices as found_devices, end, told},
    fixtures::*,
    registrations::register,
};
use crate::{
    ledger::{Applied, Erasure, Ledger},
    model::{AppId, Bucket, DeviceId, OutcomeCode},
};

async fn count(store: &Store, sql: &str) -> i64 {
    match &store.ledger {
        Ledger::Postgres(ledger) => sqlx::query_scalar(sql).fetch_one(&ledger.pool).await,
        Ledger::Sqlite(ledger) => sqlx::query_scalar(sql).fetch_one(&ledger.readers).await,
    }
    .expect("a count")
}

pub(super) async fn a_forgotten_person_is_left_out_of_a_campaign_and_still_counted(store: &Store) {
    let set = Set::with(store, 4, ALL, "").await;
    let ledger = set.ledger;
    let (campaign, _, seen) = set.open().await;
    let id = phone("person-1", "first-1").id();
    let claim = set.claim(&campaign, "w", LEASE).await.remove(0);
    let erasure = Erasure::User(user("person-1"), None);
    assert_eq!(ledger.count_to_forget(&erasure).await.expect("an answer"), 1);
    assert_eq!(ledger.forget_devices(&erasure, "anna").await.expect("committed"), 1);
    assert_eq!(ledger.forget_devices(&erasure, "anna").await.expect("an answer"), 0, "nobody is left");
    assert_eq!(ledger.forget_devices(&Erasure::Device(id), "anna").await.expect("an answer"), 0);

    let n = claim.devices.len();
    let mut answer = set.exchange(&seen, &claim, &[], &[Set::ask(&claim, 0, n, false)], false).await;
    let found = found_devices(&mut answer, 0);
    let left = found.iter().position(Option::is_none).expect("one is left out");
    assert_eq!(claim.devices[left].bucket, Bucket::of(&user("person-1")));
    assert_eq!(found.iter().flatten().count(), n - 1);
    set.exchange(&seen, &claim, &[end(&claim, 0, found, &accepted())], &[], true).await;
    let tallies = ledger.tallies(campaign.rollout).await.expect("an answer");
    assert_eq!(tallies[0].counts[&OutcomeCode::LeftOut], 1);
    let told = told(&set, &campaign).await;
    assert_eq!((told.len(), told[&claim.devices[left]].1), (n, OutcomeCode::LeftOut));

    // The history still answers for the id, and names nobody.
    assert_eq!(ledger.device(id).await.expect("an answer"), None);
    let (app, key) = ledger.frozen_device(id).await.expect("an answer").expect("the row is kept");
    assert_eq!(key, claim.devices[left]);
    let history = ledger.deliveries_to(&app, key, 10).await.expect("an answer");
    let whose = history[0].whose.clone().expect("its row is there");
    assert_eq!((whose.device, whose.user, history[0].outcome), (id, None, OutcomeCode::LeftOut));
}

pub(super) async fn i12_of_a_forgotten_person_nothing_is_left_that_leads_there(store: &Store) {
    let ledger = &store.ledger;
    let mut shop = phone("anna", "shop-token");
    shop.app = AppId::parse("pl.example.shop").expect("an app");
    ledger.import(vec![phone("anna", "gone-token"), phone("anna", "token"), shop]).await.expect("committed");
    ledger.import(vec![phone("bert", "gone-token")]).await.expect("it moves");
    // Of one app, gone ones as well; then one device; nobody else's.
    let bank = Erasure::User(user("anna"), Some(app()));
    assert_eq!(ledger.forget_devices(&bank, "lead").await.expect("committed"), 2);
    let left = ledger.devices_of(None, &user("anna")).await.expect("an answer").remove(0);
    assert_eq!(left.device.app.as_str(), "pl.example.shop");
    let device = Erasure::Device(left.device.id);
    assert_eq!(ledger.count_to_forget(&device).await.expect("an answer"), 1);
    assert_eq!(ledger.forget_devices(&device, "lead").await.expect("committed"), 1);
    let stranger = Erasure::Device(DeviceId::from_uuid(uuid::Uuid::from_u128(7)));
    assert_eq!(ledger.forget_devices(&stranger, "lead").await.expect("an answer"), 0);

    assert_eq!(count(store, "select count(*) from device").await, 4, "every row is kept");
    let leads = "select count(*) from device where user_id = 'anna' or token in ('token', 'shop-token') \
                 or (user_id = '' and (country is not null or last_seen_at is not null or gone_at is null))";
    assert_eq!(count(store, leads).await, 0);
    assert_eq!(count(store, "select count(*) from token_owner").await, 1, "only bert's");
    assert_eq!(ledger.devices_of(None, &user("bert")).await.expect("an answer").len(), 1);
    let entries = ledger.audit_entries(1, 100).await.expect("an answer");
    let said: Vec<_> = entries.iter().filter(|entry| entry.kind == "device.forgotten").collect();
    assert_eq!(said.iter().map(|entry| entry.actor.as_str()).collect::<Vec<_>>(), ["lead"; 2]);
    assert!(said[0].body.contains(r#""devices":2"#), "{}", said[0].body);
    assert!(said.iter().all(|entry| !entry.body.contains("anna") && !entry.body.contains("token")));
    assert!(ledger.audit_verify(None).await.expect("an answer").is_ok());
}

pub(super) async fn whoever_comes_back_is_registered_anew_and_no_straggler_brings_them_back(store: &Store) {
    let ledger = &store.ledger;
    let apply = async |version| {
        ledger.apply_registrations(&[register(version, "t", "anna")]).await.expect("committed").applied[0]
    };
    assert_eq!(apply(5).await, Applied::Registered);
    ledger.forget_devices(&Erasure::User(user("anna"), None), "lead").await.expect("committed");
    assert_eq!(apply(4).await, Applied::Stale);
    assert_eq!(ledger.devices_of(None, &user("anna")).await.expect("an answer"), []);
    assert_eq!(apply(6).await, Applied::Registered);
    let back = ledger.devices_of(None, &user("anna")).await.expect("an answer").remove(0);
    assert_eq!((back.device.token.reveal(), back.device.user.as_str()), ("t", "anna"));
    // By import as well.
    ledger.forget_devices(&Erasure::Device(back.device.id), "lead").await.expect("committed");
    assert_eq!(ledger.import(vec![phone("anna", "t")]).await.expect("committed").new, 1);
    let back = ledger.devices_of(None, &user("anna")).await.expect("an answer").remove(0);
    assert_eq!(back.device.token.reveal(), "t");
}
