//! What must hold for every job, whoever is named, whoever the registry finds, whatever the text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Rule, heaviest, sample::Sample};
use crate::{
    audience::Policy,
    guard::{DirectReach, Facts, Finding, FoundRecipient, OverDay, Past, Severity, Verdict, clear, recheck},
    model::{CampaignId, Device, Environment, Intent, Job, ProducerId, UserId},
};

use super::sample::{device, policy, policy_with};

/// Testers, people of other lists, and customers.
fn person() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (1..=6u8).prop_map(|n| format!("qa-{n}")),
        1 => Just("staff-1".to_owned()),
        1 => Just("other-1".to_owned()),
        2 => (1..=9u8).prop_map(|n| format!("u-{n}")),
    ]
}

fn intent() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![4 => Just(Some("test")), 2 => Just(Some("production")), 1 => Just(Some("tset")), 1 => Just(None)]
}

fn recipients() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => proptest::collection::vec(person(), 1..4).prop_map(|users| json!({"users": users})),
        1 => Just(json!({"devices": ["00000000-0000-0000-0000-000000000001"]})),
        1 => prop_oneof!["qa", "customers", "staff", "elsewhere", "nobody"]
            .prop_map(|audience| json!({"audience": audience, "at_most": 5})),
    ]
}

/// A job, and devices that need not belong to those whom it names: the guard must not trust that they do.
fn question() -> impl Strategy<Value = (Job, ProducerId, Vec<FoundRecipient>)> {
    let app = prop_oneof![6 => Just("bank"), 1 => Just("other"), 1 => Just("nope")];
    let producer = prop_oneof![5 => Just("cards"), 1 => Just("qa"), 1 => Just("nobody")];
    let text = prop_oneof![
        "[a-zA-Zęśąćż{}%$_. ]{1,40}",
        "Your \\{code\\} %s",
        ".{1,60}",
        ".{0,9}https?://[a-zż.:@0-9\\[\\]-]{0,20}.{0,9}"
    ];
    let link =
        proptest::option::of(prop_oneof!["https?://[a-z.:@0-9-]{0,20}/.{0,9}", "bank://.{0,9}", ".{1,20}"]);
    let owners = proptest::collection::vec((person(), proptest::collection::vec(person(), 0..3)), 0..4);
    (app, intent(), recipients(), producer, (text, link), owners, any::<bool>()).prop_map(
        |(app, intent, to, producer, (text, link), owners, sandbox)| {
            let mut job = json!({"v": 1, "id": "j", "app": app, "to": to,
                "expires_at": "2026-11-21T13:00:00Z", "notification": {"body": format!("x{text}")}});
            if let Some(intent) = intent {
                job["intent"] = json!(intent);
            }
            if let Some(link) = link {
                job["notification"]["link"] = json!(link);
            }
            let environment = if sandbox { Environment::Sandbox } else { Environment::Production };
            let user = |name: &str| UserId::parse(name).expect("a user");
            let found = owners.iter().map(|(named, owners)| {
                let devices =
                    owners.iter().enumerate().map(|(n, owner)| device(&user(owner), n, environment));
                FoundRecipient::User(user(named), devices.collect())
            });
            let job = Job::parse(job.to_string().as_bytes()).expect("a job whose form is right");
            (job, ProducerId::parse(producer).expect("a producer"), found.collect())
        },
    )
}

fn ask(job: &Job, producer: &ProducerId, recipients: &[FoundRecipient]) -> Verdict {
    ask_under(&policy(), job, producer, recipients, Past::default())
}

fn ask_under(
    policy: &Policy,
    job: &Job,
    producer: &ProducerId,
    recipients: &[FoundRecipient],
    past: Past,
) -> Verdict {
    let now = "2026-11-21T12:00:00Z".parse().expect("an instant");
    let facts =
        Facts { recipients, max_recipients: 100, received_at: now, past, reach: DirectReach::default() };
    clear(job, &job.key(producer), policy, &facts, now)
}

/// A policy in which any rules that may be are in shadow.
fn any_policy() -> impl Strategy<Value = Policy> {
    let (may, _) = crate::audience::rules_by_shadow();
    let most = may.len();
    proptest::sample::subsequence(may, 0..=most)
        .prop_map(|rules| policy_with(&format!("guard = {{ shadow = {rules:?} }}\n")))
}

fn past() -> impl Strategy<Value = Past> {
    let at = |minutes: i64| {
        let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().expect("an instant");
        now - jiff::SignedDuration::from_mins(minutes)
    };
    let duplicate = proptest::option::of((any::<u128>(), 0..1_500_i64));
    let over_day = proptest::option::of((1..1_000_u64, 1..1_000_u64));
    let over_day = over_day.prop_map(|over| {
        over.map(|(devices_per_day, more)| OverDay { devices_per_day, today: devices_per_day + more })
    });
    let all = (duplicate, proptest::option::of(0..60_i64), over_day, any::<bool>());
    all.prop_map(move |(duplicate, flagged, over_day, proven)| Past {
        proven,
        over_day,
        duplicate: duplicate
            .map(|(id, minutes)| (CampaignId::from_uuid(uuid::Uuid::from_u128(id)), at(minutes))),
        flagged: flagged.map(at),
    })
}

/// Something more that is known, or said: another text, a link, a field of data; another phone that was found.
fn more() -> impl Strategy<Value = (Value, Vec<Device>)> {
    let text = prop_oneof!["[a-zA-Z{}% ]{1,30}", ".{1,30}"];
    let said = prop_oneof![
        text.clone().prop_map(|text| json!({"localized": {"de": {"body": format!("x{text}")}}})),
        text.clone().prop_map(|text| json!({"title": text})),
        text.prop_map(|text| json!({"data": {"k": text}})),
        Just(json!({"data": {"u": "https://staging.example.pl/"}})),
    ];
    let owners = proptest::collection::vec(person(), 0..2);
    (said, owners).prop_map(|(said, owners)| {
        let user = |name: &String| UserId::parse(name).expect("a user");
        let devices = owners.iter().map(|owner| device(&user(owner), 7, Environment::Production)).collect();
        (said, devices)
    })
}

const fn weight(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Clear(..) => 0,
        Verdict::Hold(_) => 1,
        Verdict::Refuse(_) => 2,
    }
}

fn is_tester(user: &UserId) -> bool {
    ["qa-1", "qa-2", "qa-3", "qa-4", "qa-5"].contains(&user.as_str())
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![Just(Severity::Note), Just(Severity::Hold), Just(Severity::Refuse)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// I1: a test job that names a stranger, or meets a stranger's device, is never cleared; and a proof
    /// for a test job admits no stranger's device, whatever it was made for.
    #[test]
    fn i1_no_test_to_production((job, producer, found) in question(), strangers in proptest::collection::vec(person(), 1..6)) {
        let verdict = ask(&job, &producer, &found);
        let owners = found.iter().flat_map(FoundRecipient::devices).map(|device| &device.user);
        let stranger = owners.into_iter().any(|user| !is_tester(user));
        if job.intent() == Some(Intent::Test) && stranger {
            prop_assert!(matches!(verdict, Verdict::Refuse(_)));
        }
        if let Verdict::Clear(cleared, _) = verdict
            && cleared.intent() == Intent::Test
        {
            for name in strangers {
                let user = UserId::parse(&name).expect("a user");
                let admitted = cleared.admits(&device(&user, 0, Environment::Production)).is_ok();
                prop_assert_eq!(admitted, is_tester(&user));
            }
        }
    }

    /// I1 whatever the policy has in shadow, and whatever was before.
    #[test]
    fn i1_no_test_to_production_under_any_policy_and_past((job, producer, found) in question(), policy in any_policy(), past in past()) {
        let verdict = ask_under(&policy, &job, &producer, &found, past);
        let stranger = found.iter().flat_map(FoundRecipient::devices).any(|device| !is_tester(&device.user));
        if job.intent() == Some(Intent::Test) && stranger {
            prop_assert!(matches!(verdict, Verdict::Refuse(_)));
        }
        if let Verdict::Clear(cleared, _) = verdict {
            let customer = device(&UserId::parse("u-1").expect("a user"), 0, Environment::Production);
            prop_assert!(cleared.intent() == Intent::Production || cleared.admits(&customer).is_err());
        }
    }

    /// What is known besides never makes a refused job clear, nor a held one: no rule is argued out of its answer. A missing
    /// label is another matter: naming it is what mends the job.
    #[test]
    fn more_information_never_makes_a_verdict_lighter(
        (job, producer, found) in question(), policy in any_policy(), past in past(), (said, devices) in more()
    ) {
        let before = ask_under(&policy, &job, &producer, &found, Past::default());
        prop_assert!(weight(&ask_under(&policy, &job, &producer, &found, past)) >= weight(&before));
        let mut richer: Value = serde_json::from_str(job.canonical_json()).expect("its own JSON");
        for (key, value) in said.as_object().expect("an object") {
            if richer["notification"].get(key).is_none_or(Value::is_null) {
                richer["notification"][key] = value.clone();
            }
        }
        let richer = Job::parse(richer.to_string().as_bytes()).expect("a job still");
        let mut found = found;
        if let Some(FoundRecipient::User(_, known)) = found.first_mut() {
            known.extend(devices);
        }
        prop_assert!(weight(&ask_under(&policy, &richer, &producer, &found, past)) >= weight(&before));
    }

    /// No rule breaks, whatever it is asked.
    #[test]
    fn no_rule_panics((job, producer, found) in question(), past in past()) {
        let verdict = ask_under(&policy(), &job, &producer, &found, past);
        prop_assert!(verdict.findings().iter().all(|finding| finding.field != "job"), "{:?}", verdict);
    }

    /// I1 holds for a stored job as well.
    #[test]
    fn i1_no_test_to_production_on_recheck((job, producer, found) in question()) {
        let now = "2026-11-21T12:00:00Z".parse().expect("an instant");
        let facts = Facts {
            recipients: &found,
            max_recipients: 100,
            received_at: now,
            past: Past::default(),
            reach: DirectReach::default(),
        };
        let again = recheck(&job, &job.key(&producer), &policy(), &facts, now);
        let stranger = found.iter().flat_map(FoundRecipient::devices).any(|device| !is_tester(&device.user));
        if job.intent() == Some(Intent::Test) && stranger {
            prop_assert!(matches!(again, Verdict::Refuse(_)));
        }
    }

    /// I3: what is cleared has every label, and each is known.
    #[test]
    fn i3_unknown_is_no((job, producer, found) in question()) {
        if let Verdict::Clear(cleared, _) = ask(&job, &producer, &found) {
            prop_assert!(job.intent().is_some() && job.to().is_some());
            prop_assert_eq!(cleared.app().as_str(), "bank");
            prop_assert!(["cards", "qa"].contains(&producer.as_str()));
        }
    }

    /// A span lies in its field, on the borders of characters, and is what was matched.
    #[test]
    fn spans_are_what_was_matched((job, producer, found) in question()) {
        let verdict = ask(&job, &producer, &found);
        let link = job.notification().link.as_deref().map(|link| ("notification.link".to_owned(), link));
        let texts: std::collections::HashMap<_, _> = job.notification().texts().chain(link).collect();
        for finding in verdict.findings() {
            if let Some(span) = &finding.span {
                let text = texts.get(&finding.field).and_then(|text| text.get(span.clone()));
                prop_assert_eq!(text, finding.matched.as_deref());
                prop_assert!(text.is_some());
            }
        }
    }

    /// The heaviest finding decides, whatever the order.
    #[test]
    fn refuse_beats_hold_beats_note(severities in proptest::collection::vec(severity(), 0..8)) {
        let finding = |severity| Finding::new((Rule::Expired, severity), "job", "", "");
        let findings: Vec<_> = severities.iter().copied().map(finding).collect();
        let expected = [Severity::Refuse, Severity::Hold, Severity::Note]
            .into_iter()
            .find(|severity| severities.contains(severity));
        prop_assert_eq!(heaviest(&findings), expected);
    }

    /// I12: whatever stands in the notification, and whatever is wrong with it, nothing but the matched
    /// text quotes it.
    #[test]
    fn i12_silent_logs(place in 0..6usize, wrong in 0..6usize) {
        const SECRET: &str = "sesame7391";
        let sample = Sample::direct().change(|job| {
            let notification = &mut job["notification"];
            let text = ["{{sesame7391}}", "sesame7391 %s", "sesame7391", "null sesame7391"][wrong % 4];
            match place {
                0 => notification["title"] = json!(text),
                1 => notification["body"] = json!(text),
                2 => notification["localized"] = json!({"de": {"body": text}}),
                3 => notification["data"] = json!({"google.sesame7391": text}),
                4 => notification["collapse_id"] = json!(text.repeat(9)),
                _ => notification["fcm"] = json!({"data": {"gcm.sesame7391": text}, "topic": text}),
            }
            if wrong == 5 {
                job["intent"] = json!(SECRET);
            }
        });
        let verdict = sample.clear();
        for finding in verdict.findings() {
            let told = format!("{:?} {:?} {} {} {}", finding, finding.note(), finding.field, finding.reason, finding.fix);
            prop_assert!(!told.contains(SECRET), "{}", told);
        }
        let printed = format!("{verdict:?}");
        prop_assert!(!printed.contains(SECRET), "{}", printed);
    }
}
