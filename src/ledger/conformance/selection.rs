//! The SQL of both engines finds whom a plain predicate finds.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use proptest::{
    prelude::*,
    strategy::{Union, ValueTree},
    test_runner::TestRunner,
};

use super::{
    Store,
    fixtures::{APP, phone},
};
use crate::{
    audience::{Audience, Policy, PolicyFile, Select, Side, Who},
    ledger::{
        Ledger, LeftOut,
        selection::{Range, Selection, Users},
    },
    model::{AppVersion, Attributes, AudienceName, Environment, NewDevice, Platform, Scalar, Tags},
};

/// An audience with these lines in its `[select]`.
pub(super) fn audience(conditions: &str) -> Audience {
    let file = |path: &str, text: String| PolicyFile { path: path.to_owned(), text };
    let apps = format!(
        "[apps.\"{APP}\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
         fcm = {{ project = \"p\", max_rate = 10 }}\n"
    );
    let cohort = format!(
        "class = \"internal\"\napp = \"{APP}\"\n[select]\n{conditions}\n[limits]\nmax_devices = 10000\n"
    );
    let files = [
        file("apps.toml", apps),
        file("producers.toml", "[producers]\n".to_owned()),
        file("cohorts/some.toml", cohort),
    ];
    let policy = Policy::parse(&files).unwrap_or_else(|errors| panic!("{errors}\n{conditions}"));
    policy.audience(&AudienceName::parse("some").expect("a name")).expect("it is there").clone()
}

const VERSIONS: [&str; 12] =
    ["4", "5", "5.0.0", "5.2", "5.2-beta", "5.2.0 (77)", "5.2.1", "5.9", "5.10", "v6", "nightly", "05.02"];
const LANGUAGES: [&str; 5] = ["de", "de-AT", "pl", "pl-PL", "deu"];
const COUNTRIES: [&str; 4] = ["PL", "DE", "FR", "CZ"];
const ZONES: [&str; 3] = ["Europe/Warsaw", "Europe/Berlin", "UTC"];
const TAGS: [&str; 4] = ["beta", "staff", "\"quoted\\", "żółw"];
const VALUES: [&str; 10] =
    ["\"gold\"", "\"1\"", "1", "1.0", "-12.5", "true", "false", "\"true\"", "2019", "\"ż\\\"\""];
/// Days ago.
const AGES: [i64; 6] = [0, 2, 5, 20, 40, 100];

/// A device of the registry, and what its row says that no registration can.
#[derive(Debug, Clone)]
struct Row {
    device: NewDevice,
    registered_days_ago: i64,
    is_gone: bool,
}

fn optional(values: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.8, prop::sample::select(values)).prop_map(|value| value.map(str::to_owned))
}

fn value(text: &str) -> Scalar {
    serde_json::from_str(text).expect("a scalar")
}

fn row(number: usize, now: Timestamp) -> impl Strategy<Value = Row> {
    let words = (optional(&COUNTRIES), optional(&LANGUAGES), optional(&ZONES), optional(&VERSIONS));
    let extras = (
        prop::sample::subsequence(TAGS.to_vec(), 0..=TAGS.len()),
        prop::collection::btree_map(
            prop::sample::select(vec!["tier", "level"]),
            prop::sample::select(VALUES.to_vec()),
            0..=2,
        ),
        prop::option::of(prop::sample::select(AGES.to_vec())),
        prop::sample::select(AGES.to_vec()),
    );
    let kind = (any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1));
    (words, extras, kind).prop_map(move |(words, extras, (is_ios, is_sandbox, is_gone))| {
        let (country, language, timezone, app_version) = words;
        let (tags, attributes, seen, registered_days_ago) = extras;
        let attributes = attributes.into_iter().map(|(name, text)| (name, value(text)));
        let device = NewDevice {
            platform: if is_ios { Platform::Ios } else { Platform::Android },
            environment: if is_sandbox { Environment::Sandbox } else { Environment::Production },
            country,
            language: language.map(|tag| crate::model::Locale::parse(&tag).expect("a tag")),
            timezone,
            app_version,
            last_seen_at: seen.map(|days| days_before(now, days)),
            tags: Tags::new(tags).expect("tags"),
            attributes: Attributes::new(attributes).expect("attributes"),
            ..phone(&format!("person-{number}"), &format!("token-{number}"))
        };
        Row { device, registered_days_ago, is_gone }
    })
}

fn days_before(now: Timestamp, days: i64) -> Timestamp {
    now.checked_sub(jiff::SignedDuration::from_hours(24 * days)).expect("not the beginning of time")
}

/// Lines of a `[select]`: each condition now and then.
fn conditions() -> impl Strategy<Value = String> {
    fn list(key: &'static str, values: &'static [&'static str]) -> BoxedStrategy<String> {
        prop::sample::subsequence(values, 1..=2).prop_map(move |some| format!("{key} = {some:?}")).boxed()
    }
    let version = prop::sample::select(VERSIONS.to_vec())
        .prop_filter("a version", |text| AppVersion::read(text).is_some());
    let bound = (prop::sample::select(vec![">=", ">", "<=", "<", "="]), version)
        .prop_map(|(side, version)| format!("app_version = \"{side}{version}\""));
    let attribute = (prop::sample::select(vec!["tier", "level"]), prop::sample::select(VALUES.to_vec()))
        .prop_map(|(name, value)| format!("attributes = {{ {name} = {value} }}"));
    let within = |key: &'static str, days: &'static [u32]| {
        prop::sample::select(days).prop_map(move |days| format!("{key} = \"{days}d\"")).boxed()
    };
    let each = vec![
        list("country", &COUNTRIES),
        list("platform", &["ios", "android"]),
        list("language", &["de", "pl", "pl-PL"]),
        list("timezone", &ZONES),
        list("tags", &TAGS),
        list("tags_all", &TAGS),
        bound.boxed(),
        attribute.boxed(),
        within("last_seen_within", &[30, 60]),
        within("not_seen_within", &[1, 10]),
        within("registered_within", &[1, 10, 60]),
    ];
    let one = Union::new(each.clone());
    let several = prop::sample::subsequence((0..each.len()).collect::<Vec<_>>(), 2..=4)
        .prop_flat_map(move |some| some.into_iter().map(|place| each[place].clone()).collect::<Vec<_>>())
        .prop_map(|lines| lines.join("\n"));
    Union::new([one.boxed(), several.boxed()]).prop_map(|lines| format!("{lines}\nscan = \"few devices\""))
}

/// What `[select]` says, as plainly as it can be said.
fn fits(select: &Select, row: &Row, now: Timestamp) -> bool {
    let device = &row.device;
    let among = |list: Vec<&str>, value: Option<&str>| {
        list.is_empty() || value.is_some_and(|value| list.contains(&value))
    };
    let is_variety =
        |of: &str, tag: &str| tag == of || tag.strip_prefix(of).is_some_and(|rest| rest.starts_with('-'));
    let language = device.language.as_ref().map(crate::model::Locale::as_str);
    let version = device.app_version.as_deref().and_then(AppVersion::read);
    let within = |bound: &crate::audience::VersionBound| match (&version, bound.side) {
        (None, _) => false,
        (Some(version), Side::AtLeast) => *version >= bound.version,
        (Some(version), Side::Above) => *version > bound.version,
        (Some(version), Side::AtMost) => *version <= bound.version,
        (Some(version), Side::Below) => *version < bound.version,
        (Some(version), Side::Exactly) => *version == bound.version,
    };
    let tags: Vec<&str> = device.tags.iter().collect();
    let has = |tag: &String| tags.contains(&tag.as_str());
    let same = |one: &Scalar, other: &Scalar| match (one, other) {
        (Scalar::Number(one), Scalar::Number(other)) => one.as_f64() == other.as_f64(),
        (one, other) => one == other,
    };
    let attribute = |(name, value): &(String, Scalar)| {
        device.attributes.iter().any(|(known, is)| known == name && same(is, value))
    };
    let since = |within: Option<Duration>| {
        within.map(|within| now.checked_sub(within).expect("not the beginning of time"))
    };
    among(select.country.iter().map(crate::audience::Country::as_str).collect(), device.country.as_deref())
        && among(
            select.platform.iter().copied().map(Platform::as_str).collect(),
            Some(device.platform.as_str()),
        )
        && among(
            select.timezone.iter().map(crate::audience::Timezone::as_str).collect(),
            device.timezone.as_deref(),
        )
        && (select.language.is_empty()
            || language.is_some_and(|tag| select.language.iter().any(|of| is_variety(of.as_str(), tag))))
        && select.app_version.iter().all(within)
        && (select.tags.is_empty() || select.tags.iter().any(has))
        && select.tags_all.iter().all(has)
        && select.attributes.iter().all(attribute)
        && since(select.last_seen_within)
            .is_none_or(|since| device.last_seen_at.is_some_and(|seen| seen >= since))
        && since(select.not_seen_within)
            .is_none_or(|since| device.last_seen_at.is_some_and(|seen| seen < since))
        && since(select.registered_within)
            .is_none_or(|since| days_before(now, row.registered_days_ago) >= since)
}

async fn fill(store: &Store, now: Timestamp, runner: &mut TestRunner) -> Vec<Row> {
    let sample = |number| row(number, now).new_tree(runner).expect("a device").current();
    let rows: Vec<Row> = (0..300).map(sample).collect();
    store.ledger.import(rows.iter().map(|row| row.device.clone()).collect()).await.expect("committed");
    for (number, row) in rows.iter().enumerate() {
        let registered = days_before(now, row.registered_days_ago).as_microsecond();
        let gone = if row.is_gone { "1" } else { "null" };
        let sql = format!(
            "update device set registered_at = {registered}, gone_at = {gone} where user_id = 'person-{number}'"
        );
        store.tamper(&sql, &sql).await;
    }
    rows
}

async fn found(ledger: &Ledger, audience: &Audience, now: Timestamp) -> BTreeSet<String> {
    let mut tx = ledger.begin_reading().await.expect("a transaction");
    let found = Selection::of(audience, now).read(&mut tx, Range::ALL, Users::Told).await.expect("an answer");
    assert!(found.is_sorted_by_key(|found| found.key), "in the order of keys");
    found.into_iter().map(|found| found.user).collect()
}

pub(super) async fn what_is_selected_is_what_a_plain_predicate_selects(store: &Store) {
    let ledger = &store.ledger;
    let now = ledger.now().await.expect("the clock");
    let mut runner = TestRunner::default();
    let rows = fill(store, now, &mut runner).await;
    let mut ever = 0;
    for _ in 0..150 {
        let lines = conditions().new_tree(&mut runner).expect("conditions").current();
        let audience = audience(&lines);
        let Who::Select(select) = &audience.who else { panic!("it selects") };
        let is_live = |row: &&Row| !row.is_gone && row.device.environment == Environment::Production;
        let (live, out): (Vec<_>, Vec<_>) =
            rows.iter().filter(|row| fits(select, row, now)).partition(is_live);
        let expected: BTreeSet<String> = live.iter().map(|row| row.device.user.as_str().to_owned()).collect();
        let found = found(ledger, &audience, now).await;
        let wrong: Vec<_> = rows
            .iter()
            .filter(|row| {
                found.contains(row.device.user.as_str()) != expected.contains(row.device.user.as_str())
            })
            .collect();
        assert!(wrong.is_empty(), "{lines}\n{wrong:#?}");
        ever += found.len();

        // Ages are whole days, and so far from the bounds that the clock may go on meanwhile.
        let count = ledger.count_audience(&audience).await.expect("an answer");
        assert_eq!((count.devices, count.people), (expected.len() as u64, expected.len() as u64), "{lines}");
        let explained = ledger.explain_audience(&audience).await.expect("an answer");
        assert_eq!(explained.count, count, "{lines}");
        let gone = out.iter().filter(|row| row.is_gone).count() as u64;
        let development_builds = out.len() as u64 - gone;
        assert_eq!(
            explained.left_out,
            LeftOut { gone, development_builds, members_without_device: 0 },
            "{lines}"
        );
        for shares in [explained.platforms, explained.countries, explained.versions, explained.languages] {
            assert_eq!(shares.values().sum::<u64>(), count.devices, "{lines}");
        }
    }
    assert!(ever > 1_000, "conditions that find nobody prove nothing: {ever}");
}
