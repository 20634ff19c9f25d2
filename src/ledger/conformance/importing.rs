//! Imports of many devices: what comes of a file does not depend on how it is written.

use std::collections::HashSet;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{Store, fixtures::*};
use crate::{
    ledger::{ImportCounts, Ledger, LedgerOptions},
    model::{Attributes, Locale, NewDevice, Platform, Scalar, Tags, Token},
};

/// Imports through an importer, as the command does.
pub(super) async fn import(
    ledger: &Ledger,
    ways: usize,
    batch: usize,
    devices: Vec<NewDevice>,
) -> ImportCounts {
    let mut importer = ledger.importer_of(ways, batch);
    let progress = importer.progress();
    let fed = tokio::task::spawn_blocking(move || {
        devices.into_iter().try_for_each(|device| importer.push(device)).map(|()| importer)
    });
    fed.await.expect("it is fed").expect("it takes all").finish().await.expect("all is written");
    progress.counts()
}

/// Every device and every owner, without what each run gives anew.
async fn registry(store: &Store) -> Vec<String> {
    let rows = match &store.ledger {
        Ledger::Postgres(pg) => {
            let sql = "select (bucket, public_id, user_id, app, platform, environment, token, country, language, \
                     timezone, app_version, version_key, tags, attributes, last_seen_at, gone_at is null)::text from device \
                 union all select (owner_key, bucket, public_id)::text from token_owner order by 1";
            sqlx::query_scalar(sql).fetch_all(&pg.pool).await
        }
        Ledger::Sqlite(lite) => {
            let sql = "select json_array(bucket, hex(public_id), user_id, app, platform, environment, token, country, \
                     language, timezone, app_version, version_key, tags, attributes, last_seen_at, gone_at is null) \
                 from device \
                 union all select json_array(hex(owner_key), bucket, hex(public_id)) from token_owner order by 1";
            sqlx::query_scalar(sql).fetch_all(&lite.readers).await
        }
    };
    rows.expect("the registry is readable")
}

async fn clear(store: &Store) {
    let sql = "delete from device; delete from token_owner";
    store.tamper(sql, sql).await;
}

/// The registry without the devices that are gone.
fn live(registry: &[String]) -> Vec<&String> {
    registry.iter().filter(|row| !row.ends_with(",f)") && !row.ends_with(",0]")).collect()
}

/// Live devices without their token, and tokens without their live device.
async fn strays(store: &Store) -> i64 {
    const SQL: &str = "select (select count(*) from device d where gone_at is null and not exists \
             (select 1 from token_owner o where o.public_id = d.public_id and o.bucket = d.bucket)) \
         + (select count(*) from token_owner o where not exists \
             (select 1 from device d where o.public_id = d.public_id and o.bucket = d.bucket and gone_at is null))";
    let count = match &store.ledger {
        Ledger::Postgres(pg) => sqlx::query_scalar(SQL).fetch_one(&pg.pool).await,
        Ledger::Sqlite(lite) => sqlx::query_scalar(SQL).fetch_one(&lite.readers).await,
    };
    count.expect("the registry is readable")
}

/// A text with everything that ends or begins something in one of the formats on its way.
const HOSTILE: &str = "\\N\t\\\\.\n\r\"quoted\" 'it''s' {a,b} null;,żółw\u{7f}\u{2028}\\";

/// The same as far as a name or a tag may be that.
const VISIBLE: &str = "\\N \\\\. \"quoted\" 'it''s' {a,\"b\"} null,żółw\u{2028}\\";

fn hostile(owner: &str, token: &str) -> NewDevice {
    let mut device = phone(owner, token);
    device.country = Some(HOSTILE.to_owned());
    device.timezone = Some(String::new());
    device.app_version = Some("\\.".to_owned());
    device.tags = Tags::new([VISIBLE, "NULL", "{}", "\\"]).expect("tags");
    let attributes = [("text", Scalar::Text(VISIBLE.into())), ("flag", Scalar::Flag(false))];
    device.attributes = Attributes::new(attributes).expect("attributes");
    device
}

pub(super) async fn hostile_text_is_kept_as_it_came(store: &Store) {
    let device = hostile(&format!("u{VISIBLE}"), "t:~.-_");
    let id = device.id();
    let new = ImportCounts { new: 1, ..ImportCounts::default() };
    assert_eq!(import(&store.ledger, 1, 10, vec![device.clone()]).await, new);
    let record = store.ledger.device(id).await.expect("an answer").expect("it is there");
    assert_eq!(record.device.user, device.user);
    assert_eq!(record.device.token, device.token);
    assert_eq!(
        (record.country, record.timezone, record.app_version, record.tags, record.attributes),
        (device.country, device.timezone, device.app_version, device.tags, device.attributes)
    );
}

pub(super) async fn an_import_tells_new_updated_moved_and_repeated_apart(store: &Store) {
    let all = |count: u32, owner: &str| -> Vec<_> {
        (0..count).map(|n| phone(&format!("{owner}-{n}"), &format!("t-{n}"))).collect()
    };
    // Two batches, and a rest.
    let counts = import(&store.ledger, 1, 10, all(25, "a")).await;
    assert_eq!(counts, ImportCounts { new: 25, ..ImportCounts::default() });
    // The same again, five that move, five that are new, and one that stands in its batch twice.
    let mut again = all(25, "a");
    again.extend(all(5, "b"));
    again.extend((25..30).map(|n| phone("c", &format!("t-{n}"))));
    again.push(phone("c", "t-29"));
    let counts = import(&store.ledger, 1, 36, again).await;
    assert_eq!(counts, ImportCounts { new: 5, updated: 20, moved: 5, repeated: 5 + 1, displaced: 0 });
    // Across batches the second is another registration of a known token.
    let twice = vec![phone("d", "t-31"), phone("d", "t-32"), phone("e", "t-31"), phone("d", "t-32")];
    let counts = import(&store.ledger, 1, 2, twice).await;
    assert_eq!(counts, ImportCounts { new: 2, updated: 1, moved: 1, repeated: 0, displaced: 0 });
    assert_eq!(store.ledger.devices_of(None, &user("e")).await.expect("an answer").len(), 1);
    assert_eq!(strays(store).await, 0);
}

pub(super) async fn an_import_revives_what_was_gone_and_leaves_its_version(store: &Store) {
    const VERSIONS: &str = "select count(*) from device_version where version = 7";
    let phones = |count: u32| -> Vec<_> { (0..count).map(|n| phone("u", &format!("t-{n}"))).collect() };
    import(&store.ledger, 1, 10, phones(3)).await;
    let gone = "insert into device_version (owner_key, version, at) select owner_key, 7, 0 from token_owner; \
         update device set gone_at = 1; delete from token_owner";
    store.tamper(gone, gone).await;
    let counts = import(&store.ledger, 1, 10, phones(5)).await;
    assert_eq!(counts, ImportCounts { new: 5, ..ImportCounts::default() });
    assert_eq!(store.ledger.devices_of(None, &user("u")).await.expect("an answer").len(), 5);
    let versions: i64 = match &store.ledger {
        Ledger::Postgres(pg) => sqlx::query_scalar(VERSIONS).fetch_one(&pg.pool).await,
        Ledger::Sqlite(lite) => sqlx::query_scalar(VERSIONS).fetch_one(&lite.readers).await,
    }
    .expect("the registry is readable");
    assert_eq!((versions, strays(store).await), (3, 0));
}

pub(super) async fn an_import_leaves_nobody_with_too_many(store: &Store) {
    let options = LedgerOptions {
        max_devices_per_user: std::num::NonZeroU32::new(3).expect("not zero"),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::connect(&store.url, options).await.expect("the ledger answers");
    let phones = |owner: &str, count: u32| -> Vec<_> {
        (0..count).map(|n| phone(owner, &format!("{owner}-{n}"))).collect()
    };
    let counts = import(&ledger, 2, 2, [phones("many", 5), phones("few", 3)].concat()).await;
    assert_eq!((counts.new, counts.displaced), (8, 2));
    for (owner, left) in [("many", 3), ("few", 3)] {
        assert_eq!(ledger.devices_of(None, &user(owner)).await.expect("an answer").len(), left, "{owner}");
    }
    assert_eq!(strays(store).await, 0);
}

pub(super) async fn imports_at_once_wait_for_each_other_and_leave_one_owner_a_token(store: &Store) {
    const TOKENS: u32 = 1_500;
    let other = store.other_process().await;
    // The same tokens in both, from the start and from the end; not all of them known to the other.
    let phones = |owner: &str, numbers: &mut dyn Iterator<Item = u32>| -> Vec<_> {
        numbers.map(|n| phone(&format!("{owner}-{n}"), &format!("t-{n}"))).collect()
    };
    for turn in 0..6 {
        // New to both, then known to both; in one transaction each, then in many that overlap.
        if turn % 2 == 0 {
            clear(store).await;
        }
        let (ways, batch) = if turn < 4 { (1, 2_000) } else { (2, 200) };
        let one = import(&store.ledger, ways, batch, phones("a", &mut (0..TOKENS).rev()));
        let two = import(&other, ways, batch, phones("b", &mut (10..TOKENS + 11)));
        let (one, two) = tokio::join!(one, two);
        assert_eq!((one.all(), two.all()), (1_500, 1_501));
        assert_eq!(strays(store).await, 0);
    }
}

/// What happens to a registry.
#[derive(Debug, Clone)]
enum Step {
    Import(Vec<NewDevice>),
    /// A provider calls a token dead.
    Gone(u8),
}

fn device() -> impl Strategy<Value = NewDevice> {
    let text = || prop::option::of(prop::sample::select(vec![HOSTILE, "", "\\N", "PL", "\t"]));
    let tags = prop::collection::vec(prop::sample::select(vec!["a", "\"", "\\", "{}", VISIBLE]), 0..3);
    (0..6_u8, 0..12_u8, any::<bool>(), text(), text(), tags, any::<bool>()).prop_map(
        |(user, token, ios, country, zone, tags, has_language)| {
            let mut device = phone(&format!("u{user}"), &format!("t{token}"));
            device.platform = if ios { Platform::Ios } else { Platform::Android };
            device.token = Token::parse(&format!("t{token}")).expect("a token");
            device.country = country.map(str::to_owned);
            device.timezone = zone.map(str::to_owned);
            device.language = has_language.then(|| Locale::parse("de-AT").expect("a language"));
            device.tags = Tags::new(tags).expect("tags");
            let pair = zone.filter(|text| !text.contains('\t')).map(|text| ("z", Scalar::Text(text.into())));
            device.attributes = Attributes::new(pair).expect("attributes");
            device
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let import = prop::collection::vec(device(), 1..30).prop_map(Step::Import);
    let gone = (0..12_u8).prop_map(Step::Gone);
    prop::collection::vec(prop_oneof![3 => import, 1 => gone], 1..6)
}

async fn gone_token(store: &Store, token: u8) {
    let sql = format!(
        "delete from token_owner where public_id in (select public_id from device where token = 't{token}'); \
         update device set gone_at = 1 where token = 't{token}' and gone_at is null"
    );
    store.tamper(&sql, &sql).await;
}

/// What each step came to, and the registry after them all. Without `ways`, row by row.
async fn outcome(
    store: &Store,
    steps: &[Step],
    ways: Option<usize>,
    batch: usize,
) -> (Vec<ImportCounts>, Vec<String>) {
    clear(store).await;
    let mut told = Vec::new();
    for step in steps {
        match (step, ways) {
            (Step::Gone(token), _) => gone_token(store, *token).await,
            (Step::Import(devices), Some(ways)) => {
                told.push(import(&store.ledger, ways, batch, devices.clone()).await);
            }
            (Step::Import(devices), None) => {
                let mut counts = ImportCounts::default();
                for batch in devices.chunks(batch) {
                    counts += store.ledger.import(batch.to_vec()).await.expect("committed");
                }
                told.push(counts);
            }
        }
    }
    assert_eq!(strays(store).await, 0);
    (told, registry(store).await)
}

pub(super) async fn a_stream_and_single_rows_leave_the_same_registry(store: &Store) {
    let runtime = tokio::runtime::Handle::current();
    let check = |(steps, batch): (Vec<Step>, usize)| {
        let (rows, streamed, apart) = runtime.block_on(async {
            let rows = outcome(store, &steps, None, batch).await;
            let streamed = outcome(store, &steps, Some(1), batch).await;
            (rows, streamed, outcome(store, &steps, Some(3), batch).await)
        });
        prop_assert_eq!(&rows, &streamed);
        // Other batches: a phone that changes hands twice in one never was the second's.
        prop_assert_eq!(live(&rows.1), live(&apart.1));
        let all = |told: &[ImportCounts]| told.iter().map(ImportCounts::all).collect::<Vec<_>>();
        prop_assert_eq!(all(&rows.0), all(&apart.0));
        Ok(())
    };
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let ran = tokio::task::block_in_place(|| TestRunner::new(config).run(&(steps(), 1..12_usize), check));
    ran.expect("it does not matter how it is written");
}

pub(super) async fn an_import_that_fails_says_why_and_takes_no_more(store: &Store) {
    let spoil = "drop table token_owner";
    store.tamper(spoil, spoil).await;
    let mut importer = store.ledger.importer_of(2, 1);
    let progress = importer.progress();
    let fed = tokio::task::spawn_blocking(move || {
        let phones = (0..100).map(|n| phone("u", &format!("t-{n}")));
        let taken: HashSet<bool> = phones.map(|phone| importer.push(phone).is_ok()).collect();
        (importer, taken)
    });
    let (importer, taken) = fed.await.expect("it is fed");
    assert!(taken.contains(&false), "nobody is there to take a hundred batches");
    let error = importer.finish().await.expect_err("nothing can be written");
    assert!(error.to_string().contains("token_owner"), "{error}");
    assert_eq!(progress.counts(), ImportCounts::default());
}
