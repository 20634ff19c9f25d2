//! Schema and devices.

use super::{Store, fixtures::*};
use crate::{
    guard::FoundRecipient,
    ledger::{DirectAsk, ImportCounts, LedgerError},
    model::{Attributes, Environment, Recipients, Tags},
};

pub(super) async fn migrating_twice_changes_nothing(store: &Store) {
    assert!(store.ledger.schema_is_current().await.expect("an answer"));
    devices(store, vec![phone("u", "t")]).await;
    store.ledger.migrate().await.expect("there is nothing to do");
    assert_eq!(ask(&store.ledger, &job("j", &["u"])).await.recipients[0].devices().len(), 1);
    let forget = "delete from _sqlx_migrations";
    store.tamper(forget, forget).await;
    assert!(!store.ledger.schema_is_current().await.expect("an answer"), "serve must refuse an old schema");
}

pub(super) async fn a_read_finds_the_live_devices_of_those_who_are_named(store: &Store) {
    // Enough people for many partitions; each has two phones, and one of another app.
    let names: Vec<String> = (0..40).map(|n| format!("u-{n}")).collect();
    let mut phones = Vec::new();
    for name in &names {
        let mut other = phone(name, &format!("other-{name}"));
        other.app = crate::model::AppId::parse("pl.example.shop").expect("an app");
        phones.extend([phone(name, &format!("one-{name}")), phone(name, &format!("two-{name}")), other]);
    }
    store.ledger.import(phones).await.expect("committed");

    let asked: Vec<&str> = names.iter().map(String::as_str).chain(["nobody"]).collect();
    let by_user = job("by-user", &asked);
    let answer = ask(&store.ledger, &by_user).await;
    let counts: Vec<usize> = answer.recipients.iter().map(|found| found.devices().len()).collect();
    assert_eq!(counts, [vec![2; 40], vec![0]].concat());
    for (found, name) in answer.recipients.iter().zip(&asked) {
        assert!(
            matches!(found, FoundRecipient::User(user, _) if user.as_str() == *name),
            "in the job's order"
        );
        assert!(found.devices().iter().all(|device| device.user.as_str() == *name && device.app == app()));
    }

    // The same devices by their ids, a stranger's id among them; two asks in one read do not mix.
    let known = answer.recipients[7].devices()[1].clone();
    let stranger = crate::model::DeviceId::from_uuid(uuid::Uuid::from_u128(7));
    let ids = Recipients::Devices(vec![stranger, known.id]);
    let (key_a, key_b) = (key(&by_user), key(&job("by-id", &["x"])));
    let asks = [
        DirectAsk { key: &key_b, app: by_user.app(), to: Some(&ids) },
        DirectAsk { key: &key_a, app: None, to: by_user.to() },
    ];
    let read = store.ledger.read_direct(&asks).await.expect("an answer");
    let expected = [FoundRecipient::Device(stranger, None), FoundRecipient::Device(known.id, Some(known))];
    assert_eq!(read.answers[0].recipients, expected);
    assert!(read.answers[1].recipients.is_empty(), "without an app nobody is looked up");
}

pub(super) async fn a_token_moves_to_its_new_owner_and_the_old_one_has_none(store: &Store) {
    let ledger = &store.ledger;
    let before = devices(store, vec![phone("old", "shared")]).await;
    let counts = ledger.import(vec![phone("new", "shared")]).await.expect("committed");
    assert_eq!(counts, ImportCounts { moved: 1, ..ImportCounts::default() });
    let answer = ask(ledger, &job("j", &["old", "new"])).await;
    assert_eq!(answer.recipients[0].devices(), [], "a code never goes to the previous owner");
    assert_eq!(answer.recipients[1].devices().len(), 1);
    let old = ledger.device(before[0].id).await.expect("an answer").expect("the row is kept");
    assert!(old.gone_at.is_some());
    assert_eq!(ledger.devices_of(None, &user("old")).await.expect("an answer"), []);

    // The same token in another world is another address.
    let mut sandbox = phone("old", "shared");
    sandbox.environment = Environment::Sandbox;
    assert_eq!(ledger.import(vec![sandbox]).await.expect("committed").new, 1);
    // Within one batch the last one has it.
    let batch = vec![phone("x", "twice"), phone("y", "twice")];
    let counts = ledger.import(batch).await.expect("committed");
    assert_eq!((counts.new, counts.repeated), (1, 1));
    let answer = ask(ledger, &job("j", &["x", "y"])).await;
    assert_eq!(answer.recipients.iter().map(|found| found.devices().len()).collect::<Vec<_>>(), [0, 1]);
}

pub(super) async fn registering_again_updates_and_revives(store: &Store) {
    let ledger = &store.ledger;
    let device = devices(store, vec![phone("u", "t")]).await.remove(0);
    let mut again = phone("u", "t");
    again.language = Some(crate::model::Locale::parse("pl").expect("a language"));
    assert_eq!(ledger.import(vec![again.clone()]).await.expect("committed").updated, 1);
    let record = ledger.device(device.id).await.expect("an answer").expect("it is there");
    assert_eq!((record.device.record, record.device.language), (device.record, again.language.clone()));

    let now = ledger.now().await.expect("the clock");
    let mut finished = over(&job("j", &["u"]), 1, &[(0, &device, gone(None))], now, None);
    finished.gone = vec![0];
    commit(ledger, finished).await;
    assert_eq!(ask(ledger, &job("k", &["u"])).await.recipients[0].devices(), []);
    assert_eq!(ledger.import(vec![again]).await.expect("committed").new, 1, "the token was free");
    assert_eq!(ask(ledger, &job("k", &["u"])).await.recipients[0].devices().len(), 1);
    let counts = ledger.device_counts().await.expect("an answer");
    assert_eq!(counts.iter().map(|count| count.devices).collect::<Vec<_>>(), [1]);
}

pub(super) async fn a_later_registration_beats_the_providers_word(store: &Store) {
    let ledger = &store.ledger;
    let device = devices(store, vec![phone("u", "t")]).await.remove(0);
    let (before, after) = (hours(device.registered_at, -1), hours(device.registered_at, 1));
    for (id, since, is_live) in [("early", before, true), ("late", after, false)] {
        let mut finished =
            over(&job(id, &["u"]), 1, &[(0, &device, gone(Some(since)))], device.registered_at, None);
        finished.gone = vec![0];
        commit(ledger, finished).await;
        let answer = ask(ledger, &job("k", &["u"])).await;
        assert_eq!(!answer.recipients[0].devices().is_empty(), is_live, "{id}");
    }
    // A device that the burst breaker holds back is not marked.
    let device = devices(store, vec![phone("v", "w")]).await.remove(0);
    commit(ledger, over(&job("held", &["v"]), 1, &[(0, &device, gone(None))], after, None)).await;
    assert_eq!(ask(ledger, &job("k", &["v"])).await.recipients[0].devices().len(), 1);
}

pub(super) async fn a_row_that_makes_no_sense_is_an_error_with_its_id(store: &Store) {
    let ledger = &store.ledger;
    let device = devices(store, vec![phone("u", "t")]).await.remove(0);
    let spoil = "update device set token = 'not a/token'";
    store.tamper(spoil, spoil).await;
    let (key, asked) = (key(&job("j", &["u"])), job("j", &["u"]));
    let ask = DirectAsk { key: &key, app: asked.app(), to: asked.to() };
    let error = ledger.read_direct(&[ask]).await.expect_err("nothing is guessed");
    let LedgerError::Nonsense { table: "device", id, why } = &error else { panic!("{error}") };
    assert_eq!(*id, device.record.get().to_string());
    assert!(!why.contains("not a/token") && !error.is_transient(), "{why}");

    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&asked, 1, &[(0, &device, accepted())], now, None)).await;
    store.tamper("update direct_job set outcomes = '\\xc8'", "update direct_job set outcomes = x'c8'").await;
    let error = ledger.job(&key).await.expect_err("no outcome has the code 200");
    assert!(matches!(&error, LedgerError::Nonsense { id, .. } if *id == key.to_string()), "{error}");
}

pub(super) async fn tags_and_attributes_are_kept_as_they_came_and_go_with_the_next_registration(
    store: &Store,
) {
    let mut told = phone("u", "t");
    told.tags = Tags::new(["{\"a\",\\b}", "null", "żółw, 'x'"]).expect("tags");
    let json =
        r#"{"balance":-12.5,"big":1e300,"note":"it's \"so\" \\","since":18446744073709551615,"staff":true}"#;
    told.attributes = serde_json::from_str::<Attributes>(json).expect("attributes");
    let device = devices(store, vec![told.clone(), phone("v", "w")]).await.remove(0);
    let record = store.ledger.device(device.id).await.expect("an answer").expect("it is there");
    assert_eq!((&record.tags, &record.attributes), (&told.tags, &told.attributes));
    assert_eq!(store.ledger.devices_of(None, &user("u")).await.expect("an answer"), [record]);

    store.ledger.import(vec![phone("u", "t")]).await.expect("committed");
    let record = store.ledger.device(device.id).await.expect("an answer").expect("it is there");
    assert!(record.tags.is_empty() && record.attributes.is_empty(), "a registration is whole");
}
