//! Audiences: a count is what a freeze takes, pages are the whole, an index serves what it is said to.

use super::{
    Store,
    campaign_set::{ALL, Set, THREE},
    fixtures::{APP, phone},
    selection::audience,
};
use crate::{
    audience::{Served, Who},
    ledger::{
        Basis, Ledger, LeftOut, ReadBy,
        selection::{Range, Selection, Users},
    },
    model::{Environment, NewDevice},
};

pub(super) async fn a_count_is_what_a_freeze_takes_and_what_changed_since_is_told(store: &Store) {
    let set = Set::with(store, 40, ALL, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let everyone = set.source().audience;
    let before = set.ledger.explain_audience(everyone).await.expect("an answer");
    assert!(before.change.is_none(), "nothing was frozen yet");
    let frozen = set.freeze(&ruling, &campaign, 5_000).await.frozen;
    assert_eq!((before.count.devices, before.count.people), (frozen, 40));

    let same = set.ledger.explain_audience(everyone).await.expect("an answer").change.expect("it was frozen");
    assert_eq!((same.then, same.now, same.gained, same.lost, same.set_aside), (53, 53, 0, 0, 0));
    assert_eq!(same.campaign.id, campaign.id);
    let abroad = NewDevice { country: Some("DE".into()), ..phone("person-9", "abroad") };
    set.ledger.import(vec![phone("new", "new-1"), phone("new", "new-2"), abroad]).await.expect("committed");
    let gone = "update device set gone_at = 1 where user_id = 'person-3'";
    store.tamper(gone, gone).await;
    let explained = set.ledger.explain_audience(everyone).await.expect("an answer");
    let change = explained.change.expect("it was frozen");
    assert_eq!((change.then, change.now, change.gained, change.lost), (53, 53, 2, 2));
    assert_eq!((explained.count.devices, explained.left_out.gone), (53, 2));
}

pub(super) async fn what_went_first_and_what_a_plan_never_reaches_is_not_compared(store: &Store) {
    let set = Set::with(store, 40, THREE, "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let everyone = set.source().audience;
    set.freeze(&ruling, &campaign, 5_000).await;
    let change =
        set.ledger.explain_audience(everyone).await.expect("an answer").change.expect("it was frozen");
    // Two of our own people have a phone each.
    assert_eq!((change.then, change.now, change.gained, change.lost, change.set_aside), (51, 51, 0, 0, 2));
}

pub(super) async fn half_a_plan_is_compared_with_half_an_audience(store: &Store) {
    let set = Set::with(store, 40, "[[stage]]\ndevices = 5\n[[stage]]\ndevices = 12\n", "").await;
    let (campaign, ruling) = (set.submit().await, set.rule().await);
    let everyone = set.source().audience;
    assert_eq!(set.freeze(&ruling, &campaign, 5_000).await.frozen, 17);
    let change =
        set.ledger.explain_audience(everyone).await.expect("an answer").change.expect("it was frozen");
    assert_eq!((change.then, change.now, change.gained, change.lost), (17, 17, 0, 0));
}

pub(super) async fn members_are_counted_as_they_are_frozen(store: &Store) {
    let set = Set::with(store, 3, THREE, "").await;
    let staff = set.source().first.expect("our own people");
    let development = NewDevice { environment: Environment::Sandbox, ..phone("person-1", "development") };
    set.ledger.import(vec![development]).await.expect("committed");
    let gone = "update device set gone_at = 1 where user_id = 'person-2'";
    store.tamper(gone, gone).await;
    let explained = set.ledger.explain_audience(staff).await.expect("an answer");
    assert_eq!((explained.count.devices, explained.count.people), (1, 1));
    let left_out = LeftOut { gone: 1, development_builds: 1, members_without_device: 1 };
    assert_eq!((explained.left_out, &explained.read_by), (left_out, &ReadBy::Members));
    assert_eq!(explained.platforms.values().sum::<u64>(), 1);
    assert_eq!(set.ledger.count_audience(staff).await.expect("an answer"), explained.count);
    let estimate = set.ledger.estimate_audience(staff).await.expect("an answer");
    assert_eq!((estimate.devices, estimate.basis), (1, Basis::Members));
}

/// 20,000 devices: one in fifty in DE, one in fifty of version 4, one in fifty with a tag.
async fn many(store: &Store, bucket: &str) {
    let columns = "bucket, public_id, user_id, app, platform, environment, token, country, app_version, version_key, tags, registered_at";
    let version =
        "case when n % 50 = 2 then '4' else '5' end, case when n % 50 = 2 then 'a41' else 'a51' end";
    let row = format!(
        "'u-' || n, '{APP}', 'ios', 'production', 't' || n, case when n % 50 = 1 then 'DE' else 'PL' end, {version}"
    );
    let postgres = format!(
        "insert into device ({columns}) select {bucket}, gen_random_uuid(), {row}, \
             case when n % 50 = 3 then array['beta'] else array[]::text[] end, 0 from generate_series(1, 20000) n; \
         analyze device"
    );
    let sqlite = format!(
        "with recursive number (n) as (select 1 union all select n + 1 from number where n < 20000) \
         insert into device ({columns}) select {bucket}, randomblob(16), {row}, \
             case when n % 50 = 3 then '[\"beta\"]' else '[]' end, 0 from number"
    );
    store.tamper(&postgres, &sqlite).await;
}

pub(super) async fn page_by_page_is_the_whole(store: &Store) {
    // A hundred devices a bucket, and windows of 64 buckets: pages end within windows, and reach over several.
    many(store, "n % 200").await;
    let most = audience("country = [\"PL\"]");
    let now = store.ledger.now().await.expect("the clock");
    let selection = Selection::of(&most, now);
    let mut tx = store.ledger.begin_reading().await.expect("a transaction");
    let mut read = async |range| {
        let found = selection.read(&mut tx, range, Users::Untold).await.expect("an answer");
        found.into_iter().map(|found| found.key).collect::<Vec<_>>()
    };
    let whole = read(Range::ALL).await;
    assert_eq!(whole.len(), 19_600);
    for limit in [750, 9_050] {
        let (mut pages, mut range) = (Vec::new(), Range { limit, ..Range::ALL });
        loop {
            let page = read(range).await;
            pages.extend_from_slice(&page);
            if page.len() < limit {
                break;
            }
            let last = page.last().expect("it is full");
            (range.from, range.after) = (last.bucket.get(), last.record.get());
        }
        assert!(pages == whole, "{limit} at a time: {} of {}", pages.len(), whole.len());
    }
}

pub(super) async fn an_indexed_condition_is_read_by_its_index_and_no_other(store: &Store) {
    // In the part of the ring that stands for the others: of a few devices no index is worth opening.
    many(store, "5000 + n % 156").await;
    for (lines, index) in [
        ("country = [\"DE\"]", Some("device_country")),
        ("country = [\"DE\", \"FR\"]", Some("device_country")),
        ("app_version = \"<4.5\"", Some("device_app_version")),
        ("app_version = \"=4\"\ntags = [\"beta\"]", Some("device_app_version")),
        ("tags = [\"beta\"]\nscan = \"few devices\"", None),
    ] {
        let audience = audience(lines);
        let Who::Select(select) = &audience.who else { panic!("it selects") };
        let served = select.conditions().find_map(|condition| match condition.served() {
            Served::By(index) => Some(index),
            Served::Broadly | Served::ByNone => None,
        });
        assert_eq!(served, index, "{lines}");
        let explained = store.ledger.explain_audience(&audience).await.expect("an answer");
        let expected = index.map_or(ReadBy::EveryDevice, |index| ReadBy::Index(index.to_owned()));
        assert_eq!(explained.read_by, expected, "{lines}");
    }
}

pub(super) async fn an_estimate_is_near_and_says_what_it_stands_on(store: &Store) {
    many(store, "n * 7919 % 10000").await;
    let everyone = audience("platform = [\"ios\", \"android\"]");
    let count = store.ledger.count_audience(&everyone).await.expect("an answer");
    assert_eq!((count.devices, count.people), (20_000, 20_000));
    let estimate = store.ledger.estimate_audience(&everyone).await.expect("an answer");
    assert!(estimate.devices.abs_diff(20_000) < 2_000, "{estimate:?}");
    let as_expected = match &store.ledger {
        Ledger::Postgres(_) => matches!(estimate.basis, Basis::Statistics { .. }),
        Ledger::Sqlite(_) => estimate.basis == Basis::Sample,
    };
    assert!(as_expected, "{estimate:?}");
    let few = store.ledger.estimate_audience(&audience("country = [\"DE\"]")).await.expect("an answer");
    assert!(few.devices.abs_diff(400) < 200, "{few:?}");
}

/// The migration's statement for devices that were registered before it.
fn backfill(migration: &str) -> &str {
    let start = migration.find("update device").expect("it has one");
    let end = migration[start..].find(";\n").expect("it ends");
    &migration[start..=start + end]
}

pub(super) async fn the_migration_reads_versions_as_registrations_do(store: &Store) {
    let versions = [
        "5.2.0",
        "5.10",
        "0",
        "0.0",
        "v1.0.20",
        "V2-rc",
        "5..2",
        "5.",
        "5.-1",
        ".5",
        "",
        "nightly",
        "007.010",
        "5.2-beta.1",
        "1.2.3+b",
        "5.2.0 (1234)",
        "99999999999999999999999999",
        "999999999999999999999999999",
        "1.00000000000000000000000000000002",
        "5\"2",
        "5\\2",
    ];
    let device = |(n, version): (usize, &&str)| NewDevice {
        app_version: Some((*version).to_owned()),
        ..phone(&format!("person-{n}"), &format!("token-{n}"))
    };
    let devices: Vec<NewDevice> = versions.iter().enumerate().map(device).collect();
    store.ledger.import(devices.clone()).await.expect("committed");
    let check = |device: &NewDevice| {
        let key = device.version_key().expect("it has a version");
        format!("(user_id = '{}' and version_key = '{key}')", device.user)
    };
    let all = devices.iter().map(check).collect::<Vec<_>>().join(" or ");
    let right = format!("select count(*) from device where {all}");
    let count = async || -> i64 {
        let answer = match &store.ledger {
            Ledger::Postgres(pg) => sqlx::query_scalar(&right).fetch_one(&pg.pool).await,
            Ledger::Sqlite(lite) => sqlx::query_scalar(&right).fetch_one(&lite.readers).await,
        };
        answer.expect("an answer")
    };
    let wanted = i64::try_from(versions.len()).expect("few");
    assert_eq!(count().await, wanted, "registered");
    let forget =
        "alter table device drop constraint device_version_key; update device set version_key = null";
    store.tamper(forget, "update device set version_key = null").await;
    assert_eq!(count().await, 0);
    let postgres = backfill(include_str!("../../../migrations/postgres/0006_selectors.sql"));
    let sqlite = backfill(include_str!("../../../migrations/sqlite/0006_selectors.sql"));
    store.tamper(postgres, sqlite).await;
    assert_eq!(count().await, wanted, "migrated");
}
