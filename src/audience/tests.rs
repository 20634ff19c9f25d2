//! Every mistake that a policy can have, with the line that a person reads; and the bank that is shipped.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::*;

const APPS: &str = r#"[apps."pl.example.bank"]
default_locale = "pl"
timezone = "Europe/Warsaw"
link_hosts = ["bank.example.pl"]
apns = { topic = "pl.example.bank", team = "TEAM123456", environment = "production", max_rate = 20_000 }
fcm = { project = "bank-prod", max_rate = 9_000 }
[apps.other]
default_locale = "de"
timezone = "Europe/Berlin"
link_hosts = []
fcm = { project = "other", max_rate = 10 }
[signals.headroom]
http = "https://status.example.pl/x"
json = "/headroom"
"#;

const PRODUCERS: &str = r#"[producers.cards]
owners = ["lead"]
apps = ["pl.example.bank"]
intents = ["production", "test"]
audiences = ["customers", "staff"]
direct_limit = 20
[[producers.cards.direct_text]]
text = "Your code is {code}"
max_users = 100
within = "10m"
"#;

const QA: &str = r#"class = "test"
app = "pl.example.bank"
members_file = "qa.txt"
[limits]
max_devices = 50
"#;

const STAFF: &str = r#"class = "internal"
app = "pl.example.bank"
default_plan = "cautious"
members_file = "staff.txt"
[limits]
max_devices = 50
"#;

const CUSTOMERS: &str = r#"class = "production"
app = "pl.example.bank"
default_plan = "cautious"
proof = "required"
[select]
country = ["PL"]
last_seen_within = "90d"
[limits]
max_devices = 100_000
approvals = [ { above = 0, people = 1 }, { above = 1_000, people = 2 } ]
"#;

const CAUTIOUS: &str = r#"[[stage]]
audience = "staff"
bake = "5m"
gate = "manual"
[[stage]]
percent = 1
[[stage]]
percent = 100
max_rate = 2000
[health]
rejected = { p0 = 0.002, alpha = 0.001, p1 = 0.01, beta = 0.05 }
[[downstream]]
name = "login"
prometheus = "up"
halt_above = 0.8
for = "30s"
[pace]
signal = "headroom"
min = 50
max = 2000
[quiet_hours]
from = "22:00"
to = "07:00"
"#;

fn folder() -> BTreeMap<&'static str, String> {
    [
        ("apps.toml", APPS),
        ("producers.toml", PRODUCERS),
        ("cohorts/qa.toml", QA),
        ("cohorts/qa.txt", "qa-1\n# a comment\n\nqa-2\n"),
        ("cohorts/staff.toml", STAFF),
        ("cohorts/staff.txt", "staff-1\n"),
        ("cohorts/customers.toml", CUSTOMERS),
        ("plans/cautious.toml", CAUTIOUS),
    ]
    .map(|(path, text)| (path, text.to_owned()))
    .into()
}

fn parse(folder: &BTreeMap<&'static str, String>) -> Result<Policy, PolicyErrors> {
    let file = |(path, text): (&&str, &String)| PolicyFile { path: (*path).to_owned(), text: text.clone() };
    Policy::parse(&folder.iter().map(file).collect::<Vec<_>>())
}

/// What the first guard is when its bound is replaced by `bounds`.
fn guard(bounds: &str) -> Downstream {
    let mut folder = folder();
    let plan = folder.get_mut("plans/cautious.toml").expect("a plan");
    *plan = plan.replace("halt_above = 0.8", bounds).replace("\"30s\"", "\"0s\"");
    let policy = parse(&folder).expect("a policy");
    policy.plans().next().expect("a plan").downstream[0].clone()
}

#[test]
fn a_guard_pauses_before_it_halts_or_does_one_of_the_two() {
    for (bounds, beyond, pause, halt) in [
        ("halt_above = 0.8", Beyond::Above, None, Some(0.8)),
        ("pause_above = 0.5", Beyond::Above, Some(0.5), None),
        ("pause_above = 0.5\nhalt_above = 0.8", Beyond::Above, Some(0.5), Some(0.8)),
        ("halt_below = -200", Beyond::Below, None, Some(-200.0)),
        ("pause_below = 0", Beyond::Below, Some(0.0), None),
        ("pause_below = 500\nhalt_below = 200", Beyond::Below, Some(500.0), Some(200.0)),
    ] {
        let guard = guard(bounds);
        assert_eq!((guard.beyond, guard.pause, guard.halt), (beyond, pause, halt), "{bounds}");
        assert_eq!(guard.hold, Duration::ZERO, "one reading is enough");
    }
}

/// The one line that is printed when, in the file `path`, `old` is replaced by `new`.
fn refused(path: &'static str, old: &str, new: &str) -> String {
    let mut folder = folder();
    let text = folder.get_mut(path).expect("a file of the test policy");
    assert!(text.contains(old), "{path} has no {old}");
    *text = text.replacen(old, new, 1);
    parse(&folder).expect_err("must be refused").to_string()
}

fn warnings(path: &'static str, old: &str, new: &str) -> Vec<String> {
    let mut folder = folder();
    let text = folder.get_mut(path).expect("a file of the test policy");
    assert!(text.contains(old), "{path} has no {old}");
    *text = text.replacen(old, new, 1);
    parse(&folder).expect("only warnings").warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn a_sound_policy_is_read_into_checked_values() {
    let policy = parse(&folder()).expect("sound");
    let app = AppId::parse("pl.example.bank").expect("an app");
    assert_eq!(policy.warnings(), []);
    let testers: Vec<_> = policy.testers(&app).iter().map(ToString::to_string).collect();
    assert_eq!(testers, ["qa-1", "qa-2"]);
    assert!(policy.testers(&AppId::parse("unknown").expect("an app")).is_empty());
    assert_eq!(policy.tester_devices(&app), 50);
    let cards = policy.producer(&ProducerId::parse("cards").expect("a producer")).expect("is known");
    assert!(cards.may_use_app(&app) && cards.direct_limit == 20 && cards.direct_texts.len() == 1);
    let plan = policy.plan(&PlanName::parse("cautious").expect("a plan")).expect("is known");
    assert_eq!(plan.stages.len(), 3);
    assert_eq!(plan.stages[1].take(), StageTake::Percent(Percent::read(1.0).expect("a share")));
    assert_eq!(plan.downstream[0].no_data, WhenBlind::Pause);
    assert_eq!(
        policy.app(&app).expect("is known").apns.as_ref().expect("has APNs").max_rate.per_second(),
        20_000
    );
}

macro_rules! mistakes {
    ($($name:ident: $path:literal, $old:literal => $new:literal, $line:literal;)+) => {$(
        #[test]
        fn $name() {
            assert_eq!(refused($path, $old, $new), $line);
        }
    )+};
}

mod mistakes;

#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let mut folder = folder();
    folder.insert("apps.toml", APPS.replace("\"pl\"", "\"p l\"").replace("TEAM123456", "x"));
    folder.insert("cohorts/qa.toml", QA.replace("50", "501").replace("class", "klass"));
    folder.insert("plans/cautious.toml", "[[stage]\n".into());
    let errors = parse(&folder).expect_err("must be refused");
    let lines: Vec<_> = errors.problems().iter().map(ToString::to_string).collect();
    let starts = |n: usize, start: &str| assert!(lines[n].starts_with(start), "{}", lines[n]);
    starts(0, "apps.toml:2: apps.\"pl.example.bank\".default_locale: ");
    starts(1, "apps.toml:5: apps.\"pl.example.bank\".apns.team: ");
    starts(2, "cohorts/qa.toml: class: is missing");
    starts(3, "cohorts/qa.toml:1: klass: is not a field that is known here");
    starts(4, "plans/cautious.toml:1: is not TOML: ");
    assert_eq!(lines.len(), 5, "{lines:#?}");
}

#[test]
fn the_files_that_must_be_there_are_missed() {
    let mut folder = folder();
    folder.remove("apps.toml");
    folder.remove("producers.toml");
    let errors = parse(&folder).expect_err("must be refused").to_string();
    assert_eq!(errors, "apps.toml: is missing; add the file\nproducers.toml: is missing; add the file");
}

#[test]
fn a_file_that_would_be_ignored_is_told() {
    let mut folder = folder();
    folder.insert("cohort/x.toml", String::new());
    assert_eq!(
        parse(&folder).expect_err("must be refused").to_string(),
        "cohort/x.toml: is no file of a policy, so it would be ignored; keep apps.toml, producers.toml, \
         cohorts/*.toml, cohorts/*.txt and plans/*.toml"
    );
}

#[test]
fn a_file_name_must_be_a_name() {
    let mut folder = folder();
    folder.insert("plans/Urgent.toml", CAUTIOUS.into());
    assert_eq!(
        parse(&folder).expect_err("must be refused").to_string(),
        "plans/Urgent.toml: plan \"Urgent\" is not allowed: 1 to 64 lower-case letters, digits or '-'; rename the file"
    );
}

#[test]
fn what_was_probably_not_meant_is_warned_of() {
    assert_eq!(
        warnings("cohorts/customers.toml", "default_plan = \"cautious\"\n", ""),
        [
            "cohorts/customers.toml: has no default_plan, so a campaign to it must name a plan; write default_plan = \"…\""
        ]
    );
    assert_eq!(
        warnings("producers.toml", "\"customers\", ", ""),
        ["cohorts/customers.toml: is an audience that no producer may use; name it in producers.toml"]
    );
    assert_eq!(
        warnings("plans/cautious.toml", "[[stage]]", "customers_first = \"habit\"\n[[stage]]"),
        [
            "plans/cautious.toml: argues that customers go first, and our own people do; leave customers_first out"
        ]
    );
    assert_eq!(
        warnings("plans/cautious.toml", "percent = 100", "percent = 50"),
        ["plans/cautious.toml: never reaches its whole audience; end with [[stage]] percent = 100"]
    );
    assert_eq!(
        warnings("cohorts/qa.txt", "qa-2", "qa-1"),
        ["cohorts/qa.txt:4: names a person who is listed already; leave one out"]
    );
    // 2,000 a second, of whom 8 % open the app.
    let takes = |capacity: u32| {
        let opens =
            format!("opens = {{ share = 0.08, median_delay = \"90s\", capacity = {capacity} }}\nfcm = {{");
        warnings("apps.toml", "fcm = {", &opens)
    };
    assert_eq!(takes(160), [""; 0]);
    assert_eq!(
        takes(159),
        [
            "plans/cautious.toml: brings customers up to 160 opens a second at 2000 notifications a second, and apps.toml says that our \
             own systems take 159; let it send 1987 a second or fewer"
        ]
    );
}

#[test]
fn whoever_reads_all_is_asked_why_only_if_most_is_thrown_away() {
    let selected = |lines: &str| {
        let warnings =
            warnings("cohorts/customers.toml", "country = [\"PL\"]\nlast_seen_within = \"90d\"", lines);
        assert!(warnings.iter().all(|warning| warning.contains("argues for a scan")), "{warnings:?}");
        warnings.len()
    };
    for served in [
        "platform = [\"ios\", \"android\"]",
        "platform = [\"ios\"]\nlast_seen_within = \"30d\"",
        "country = [\"PL\"]\ntags = [\"beta\"]",
        "app_version = \"<5.2\"\nattributes = { tier = \"gold\" }\nregistered_within = \"1d\"",
    ] {
        assert_eq!(selected(served), 0, "{served}");
        assert_eq!(selected(&format!("{served}\nscan = \"why not\"")), 1, "{served}");
    }
    assert_eq!(selected("tags_all = [\"beta\", \"x\"]\nscan = \"two minutes at night\""), 0);
}

#[test]
fn a_plan_for_our_own_people_may_begin_with_them() {
    let mut folder = folder();
    folder.insert("plans/inside.toml", "[[stage]]\npercent = 100\n".into());
    let other = STAFF.replace("cautious", "inside");
    folder.insert("cohorts/staff.toml", other);
    assert_eq!(parse(&folder).expect("sound").warnings(), []);
}

#[test]
fn a_plan_that_begins_with_customers_argues_for_it_or_is_doubted() {
    let argued = "customers_first = \"an outage: our own people have no phone of this kind\"\n";
    let mut folder = folder();
    folder.insert("plans/other.toml", "[[stage]]\npercent = 100\n".into());
    let told: Vec<_> = parse(&folder).expect("sound").warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "plans/other.toml: begins with customers: nobody of our own sees it first; begin with [[stage]] audience = \"…\""
        ]
    );
    folder.insert("plans/other.toml", format!("{argued}[[stage]]\npercent = 100\n"));
    assert_eq!(parse(&folder).expect("sound").warnings(), []);
    folder.insert(
        "plans/cautious.toml",
        format!("{argued}{}", CAUTIOUS.replace("audience = \"staff\"", "devices = 10")),
    );
    assert_eq!(parse(&folder).expect("sound").warnings(), []);
}

#[test]
fn the_presets_begin_with_our_own_people_and_rise_to_everybody() {
    let policy = Policy::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("audiences")).expect("sound");
    for name in ["cautious", "linear", "exponential", "urgent", "cautious-test"] {
        let plan = policy.plan(&PlanName::parse(name).expect("a name")).expect(name);
        assert!(plan.first_audience().is_some() && plan.stages[0].gate == Gate::Manual, "{name}");
        let shares: Vec<u16> = plan.stages[1..]
            .iter()
            .map(|stage| match stage.take() {
                StageTake::Percent(share) => share.hundredths(),
                take => panic!("{name}: {take:?}"),
            })
            .collect();
        assert!(shares.is_sorted() && shares.last() == Some(&10_000), "{name}: {shares:?}");
        let steps: Vec<u16> = shares.windows(2).map(|pair| pair[1] - pair[0]).collect();
        match name {
            "linear" => assert!(steps.windows(2).all(|pair| pair[0] == pair[1]), "{steps:?}"),
            "exponential" => {
                assert!(
                    shares[..shares.len() - 1].windows(2).all(|pair| pair[1] == 2 * pair[0]),
                    "{shares:?}"
                );
            }
            _ => {}
        }
        let baked: Duration = plan.stages.iter().filter_map(|stage| stage.bake).sum();
        assert_eq!(baked < Duration::from_secs(30), name == "cautious-test", "{name} bakes for {baked:?}");
    }
}

#[test]
fn how_people_open_an_app_is_assumed_unless_it_is_said() {
    let opens = |said: &str| {
        let mut folder = folder();
        let text = APPS.replacen(
            "fcm = { project = \"bank-prod\"",
            &format!("{said}fcm = {{ project = \"bank-prod\""),
            1,
        );
        folder.insert("apps.toml", text);
        let policy = parse(&folder).expect("sound");
        policy.app(&AppId::parse("pl.example.bank").expect("an app")).expect("is known").opens
    };
    let assumed = Opens { share: 0.08, median_delay: Duration::from_secs(90), capacity: None };
    assert_eq!(opens(""), assumed);
    let said = "opens = { share = 0.25, median_delay = \"2m\" }\n";
    let known = Opens { share: 0.25, median_delay: Duration::from_mins(2), capacity: None };
    assert_eq!(opens(said), known);
    let declared = opens("opens = { share = 0.25, median_delay = \"2m\", capacity = 300 }\n");
    assert_eq!(declared.capacity.map(Rate::per_second), Some(300));
    assert_eq!(Opens { capacity: None, ..declared }, known);
}

#[test]
fn the_hash_names_every_file_and_its_content() {
    let hash = |change: fn(&mut BTreeMap<&'static str, String>)| {
        let mut folder = folder();
        change(&mut folder);
        parse(&folder).expect("sound").hash()
    };
    let before = hash(|_| {});
    assert_eq!(before, hash(|_| {}));
    assert_ne!(before, hash(|folder| folder.get_mut("cohorts/qa.txt").expect("a file").push_str("qa-3\n")));
    assert_ne!(before, hash(|folder| folder.get_mut("apps.toml").expect("a file").push_str("# x\n")));
    assert_ne!(
        before,
        hash(|folder| {
            let text = folder.get("plans/cautious.toml").expect("a file").clone();
            folder.insert("plans/other.toml", text);
        })
    );
}

#[test]
fn the_bank_that_is_shipped_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("audiences");
    let told = check(&folder).expect("sound");
    assert!(
        told.starts_with("1 app, 4 producers, 3 audiences, 6 plans\n"),
        "a warning, or another bank: {told}"
    );
}

#[test]
fn a_mistake_in_a_folder_is_told_with_the_folder_s_path() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("apps.toml"), "x = 1\n[apps]\n").expect("can be written");
    let told = Policy::load(folder.path()).expect_err("must be refused").to_string();
    let shown = folder.path().display();
    assert_eq!(
        told,
        format!(
            "{shown}/apps.toml:1: x: is not a field that is known here; write one of apps, signals\n\
             {shown}/producers.toml: is missing; add the file"
        )
    );
    let missing = Policy::load(&folder.path().join("nowhere")).expect_err("must be refused").to_string();
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_makes_nobody_a_tester() {
    let (inside, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    fs::create_dir(inside.path().join("cohorts")).expect("can be made");
    let target = outside.path().join("everyone.txt");
    fs::write(&target, "u-1\n").expect("can be written");
    std::os::unix::fs::symlink(&target, inside.path().join("cohorts/qa.txt")).expect("can be linked");
    let told = Policy::load(inside.path()).expect_err("must be refused").to_string();
    let shown = inside.path().display();
    assert_eq!(told, format!("{shown}/cohorts/qa.txt: leads out of the folder; put the file itself here"));
}
