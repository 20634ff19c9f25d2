//! What the attempts need around them: one policy with an audience and a producer for each, the phones, the one service.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use bellwether::{
    clock::Clock,
    simulator::{NewPhone, Platform, SimulatorConfig},
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{
    attempt::{Attempt, By, Cohort, DAY_LIMIT, MEANT, TEXT_LIMIT, TWO_ABOVE},
    file::{HitClass, MeantClass},
};
use crate::harness::service::{APP, Stage, TestPhone};

/// People who may be asked for by the broker's management at once.
const AT_ONCE: usize = 16;

/// Whoever enqueues an attempt: what one attempt did to a producer's record is no matter for another variant's.
pub(super) type ProducerName = String;

pub(super) fn producer_of(attempt: &Attempt) -> ProducerName {
    let variant = attempt.variant.map_or("meant", |variant| variant.as_str());
    format!("{}-{variant}-{}", attempt.incident, attempt.by.as_str())
}

/// The phones of an attempt's crowd; those who were meant are the first of them.
pub(super) fn phones(attempt: &Attempt) -> Vec<TestPhone> {
    let phone = |(n, user): (usize, String)| {
        if n.is_multiple_of(2) { TestPhone::ios(&user) } else { TestPhone::android(&user) }
    };
    attempt.users().enumerate().map(phone).collect()
}

/// Everything set, and nothing served yet. Also the broker's users by producer.
pub(super) async fn set(attempts: &[Attempt]) -> (Stage, BTreeMap<ProducerName, String>) {
    let stage = Stage::with(SimulatorConfig::quiet(Clock::system()), "").await;
    let names: BTreeSet<_> = attempts.iter().map(producer_of).collect();
    let users = stream::iter(names)
        .map(async |name| {
            let user = stage.broker.producer(&name).await;
            (name, user)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    write_policy(&stage, attempts, &users);
    register(&stage, attempts).await;
    (stage, users)
}

fn write_policy(stage: &Stage, attempts: &[Attempt], users: &BTreeMap<ProducerName, String>) {
    let folder = stage.folder().join("audiences");
    let write = |path: &str, text: &str| std::fs::write(folder.join(path), text).expect("a policy file");
    let read = |path: &str| std::fs::read_to_string(folder.join(path)).expect("a policy file");
    // Here the rules decide that other tests have in shadow.
    let (shadowed, shadow) =
        (read("apps.toml"), "guard = { shadow = [\"contagion\", \"duplicate-campaign\"] }\n");
    assert!(shadowed.contains(shadow), "some rules are in shadow");
    write("apps.toml", &shadowed.replace(shadow, ""));
    // The hastiest plan that there may be: whatever is stopped is not stopped by it.
    let plan = "customers_first = \"they are all there is here\"\n[[stage]]\ndevices = 1\ngate = \"time\"\n[[stage]]\npercent = 100\n";
    write("plans/at-once.toml", plan);
    for attempt in attempts {
        let (cohort, members) = cohort(attempt);
        write(&format!("cohorts/{}.toml", attempt.id), &cohort);
        if let Some(members) = members {
            write(&format!("cohorts/{}.txt", attempt.id), &members);
        }
    }
    write("producers.toml", &(read("producers.toml") + &producers(attempts, users)));
}

/// The audience's file, and its list of people.
fn cohort(attempt: &Attempt) -> (String, Option<String>) {
    let (id, tiers) =
        (&attempt.id, format!("[{{ above = 0, people = 1 }}, {{ above = {TWO_ABOVE}, people = 2 }}]"));
    let file = |class: &str, who: &str, limits: &str| {
        format!("class = \"{class}\"\napp = \"{APP}\"\n{who}\n[limits]\n{limits}\n")
    };
    let select = |tags: &str| format!("[select]\n{tags}\nscan = \"few are registered here\"");
    let listed = format!("members_file = \"{id}.txt\"");
    let people = |count: usize| attempt.users().take(count).collect::<Vec<_>>().join("\n");
    match attempt.cohort {
        Cohort::Crowd { class, max_devices, proof } => {
            // Our own people select here, too: a list cannot come to more than the file's bound.
            let class = if class == HitClass::Production { "production" } else { "internal" };
            let proof = if proof { "required" } else { "optional" };
            let who = format!("proof = \"{proof}\"\n{}", select(&format!("tags = [\"{id}\"]")));
            (file(class, &who, &format!("max_devices = {max_devices}\napprovals = {tiers}")), None)
        }
        Cohort::Meant(MeantClass::Production) => {
            let limits = format!("max_devices = {MEANT}\napprovals = {tiers}");
            let who = select(&format!("tags_all = [\"{id}\", \"meant\"]"));
            (file("production", &who, &limits), None)
        }
        Cohort::Meant(class) => {
            let class = if class == MeantClass::Test { "test" } else { "internal" };
            let limits = format!("max_devices = {MEANT}");
            (file(class, &listed, &limits), Some(people(MEANT)))
        }
    }
}

fn producers(attempts: &[Attempt], users: &BTreeMap<ProducerName, String>) -> String {
    let mut audiences: BTreeMap<_, (By, Vec<&str>)> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.by != By::Stranger) {
        let known = audiences.entry(producer_of(attempt)).or_insert((attempt.by, Vec::new()));
        known.1.push(&attempt.id);
    }
    let mut text = String::new();
    for (name, (by, audiences)) in audiences {
        let (intents, limit) = match by {
            By::Tests => ("[\"test\"]", String::new()),
            By::Day => ("[\"test\", \"production\"]", format!("devices_per_day = {DAY_LIMIT}\n")),
            By::Anything | By::Stranger => {
                let limit = format!("undeclared = {{ max_users = {TEXT_LIMIT}, within = \"10m\" }}\n");
                ("[\"test\", \"production\"]", limit)
            }
        };
        let user = &users[&name];
        writeln!(
            text,
            "\n[producers.{user:?}]\nowners = [\"rita\"]\napps = [\"{APP}\"]\nintents = {intents}\n\
             audiences = {audiences:?}\ndirect_limit = 20\n{limit}"
        )
        .expect("a text is written");
    }
    text
}

async fn register(stage: &Stage, attempts: &[Attempt]) {
    let (now, mut lines) = (Clock::system().now().to_string(), String::new());
    for attempt in attempts {
        let phones = phones(attempt);
        let new = |phone: &TestPhone| NewPhone::new(phone.platform, phone.token.clone());
        stage.simulator.register(phones.iter().map(new));
        for (n, phone) in phones.iter().enumerate() {
            let platform = match phone.platform {
                Platform::Ios => "ios",
                Platform::Android => "android",
            };
            let tags = if n < MEANT { vec![attempt.id.as_str(), "meant"] } else { vec![&*attempt.id] };
            let device = json!({"user_id": phone.user, "app": APP, "platform": platform, "tags": tags,
                "environment": "production", "token": phone.token, "language": attempt.language,
                "last_seen_at": now});
            writeln!(lines, "{device}").expect("a text is written");
        }
    }
    let file = stage.folder().join("devices.ndjson");
    std::fs::write(&file, lines).expect("a file of devices");
    let imported = stage.run(&["device", "import", &file.to_string_lossy()]).await;
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
}
