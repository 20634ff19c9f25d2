//! A broadcast that comes as direct jobs, one person each.

use std::time::Duration;

use bellwether::{
    clock::Clock,
    simulator::{Profile, SimulatorConfig},
};
use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::load::{Load, say, slow_providers};
use crate::harness::{
    broker::{eventually, within},
    service::{Serving, Stage},
};

/// How many people a text that is not declared may reach here.
const LIMIT: usize = 100;

/// One job a person; `BELLWETHER_TEST_BROADCAST` of them, if that is set, or few enough for every run.
fn people() -> usize {
    std::env::var("BELLWETHER_TEST_BROADCAST").map_or(600, |count| count.parse().expect("a number of people"))
}

/// A policy under which the first producer reaches few devices a day.
fn limit_day(stage: &Stage, devices: usize) {
    let file = stage.folder().join("audiences/producers.toml");
    let text = std::fs::read_to_string(&file).expect("producers.toml");
    let limited = text.replacen("devices_per_day = 2_000_000", &format!("devices_per_day = {devices}"), 1);
    assert_ne!(limited, text, "the first producer has a limit");
    std::fs::write(&file, limited).expect("producers.toml is written");
}

/// A policy under which undeclared texts of the first producer reach few.
fn limit_undeclared(stage: &Stage) {
    let file = stage.folder().join("audiences/producers.toml");
    let text = std::fs::read_to_string(&file).expect("producers.toml");
    let limit = format!("undeclared = {{ max_users = {LIMIT}, within = \"10m\" }}\ndirect_limit = 20 ");
    let limited = text.replacen("direct_limit = 20 ", &limit, 1);
    assert_ne!(limited, text, "the first producer has a limit");
    std::fs::write(&file, limited).expect("producers.toml is written");
}

async fn publish(stage: &Stage, load: &Load, prefix: &str, body: impl Fn(usize) -> String) {
    publish_changed(stage, load, prefix, body, |_| {}).await;
}

async fn publish_changed(
    stage: &Stage,
    load: &Load,
    prefix: &str,
    body: impl Fn(usize) -> String,
    change: impl Fn(&mut Value),
) {
    let client = stage.client("cards").await;
    let publish = async |(number, user): (usize, &str)| {
        let mut job = Stage::job(&format!("{prefix}-{number}"), "production", &[user], &body(number));
        change(&mut job);
        let job = job.to_string();
        let (exchange, key) = ("bellwether.jobs".into(), "direct".into());
        let (options, properties) = (BasicPublishOptions::default(), client.properties());
        let published = client.channel.basic_publish(exchange, key, options, job.as_bytes(), properties);
        published.await.expect("the broker is there").await.expect("a confirm").is_ack()
    };
    let people = load.phones.iter().map(|phone| phone.user.as_str()).enumerate();
    let confirmed = within("the confirms", join_all(people.map(publish))).await;
    assert!(confirmed.into_iter().all(|is_ack| is_ack));
}

async fn counted(stage: &Stage, sql: &'static str) -> usize {
    let mut connection = PgConnection::connect(&stage.database_url()).await.expect("the database answers");
    let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("an answer");
    usize::try_from(count).expect("a count")
}

const FINISHED: &str = "select count(*) from direct_job where state = 'finished'";

async fn refused(serving: &[&Serving]) -> usize {
    refused_by("broadcast-in-disguise", serving).await
}

async fn refused_by(rule: &str, serving: &[&Serving]) -> usize {
    let rule = format!("rule=\"{rule}\"");
    let labels = [rule.as_str(), "verdict=\"refuse\""];
    let mut refused = 0.0;
    for serving in serving {
        refused += serving.metric("bellwether_guard_findings_total", &labels).await;
    }
    format!("{refused}").parse().expect("a count")
}

/// The phones on whose screen such a text is.
fn reached(stage: &Stage, load: &Load, part: &str) -> usize {
    let shown = |token: &str| {
        stage
            .simulator
            .phone(token)
            .is_some_and(|phone| phone.screen.iter().any(|item| item.body.contains(part)))
    };
    load.phones.iter().filter(|phone| shown(&phone.token)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_text_is_stopped_at_its_limit_fleet_wide_and_one_time_codes_arrive() {
    let stage = Stage::with(slow_providers(Profile::quiet(), 5), "").await;
    limit_undeclared(&stage);
    let people = people();
    let load = Load::on(&stage, people).await;
    let first = stage.serve().await;
    let second = stage.serve().await;
    let fleet = [&first, &second];
    publish(&stage, &load, "all", |_| "Nowe  warunki KONTA".to_owned()).await;
    eventually("every job ends", async || {
        (refused(&fleet).await + counted(&stage, FINISHED).await == people).then_some(())
    })
    .await;
    let rung = reached(&stage, &load, "warunki");
    say(format_args!(
        "one text to {people} people by two processes, {LIMIT} allowed: {rung} phones are reached"
    ));
    assert!((LIMIT / 2..=LIMIT).contains(&rung), "{rung} of {people} phones are reached");
    for serving in fleet {
        assert!(serving.metric("bellwether_jobs_total", &[]).await > 0.0, "both have worked");
    }
    // Paged once, whichever process met the limit first.
    let mut stopped = (0.0, 0);
    for serving in fleet {
        stopped.0 += serving.metric("bellwether_broadcasts_stopped_total", &["pl.example.bank"]).await;
        stopped.1 += serving.log().matches("a broadcast in disguise is stopped").count();
    }
    assert!(stopped.0.total_cmp(&1.0).is_eq() && stopped.1 == 1, "{stopped:?}");
    let audited = "select count(*) from audit where kind = 'broadcast.stopped'";
    assert_eq!(counted(&stage, audited).await, 1);
    assert_eq!(listed(&stage, "broadcast.stopped").await, rung, "who was sent it is listed");

    publish(&stage, &load, "code", |n| format!("Kod do logowania: {n:06}. Nie podawaj go nikomu.")).await;
    eventually("every code arrives", async || {
        (reached(&stage, &load, "Kod do logowania") == people).then_some(())
    })
    .await;
    say(format_args!("{people} codes under a declared text: every phone has its own"));
    assert!(first.stop().await.success() && second.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_credential_that_writes_to_each_another_text_is_stopped_at_its_producers_day() {
    let stage = Stage::with(slow_providers(Profile::quiet(), 5), "").await;
    let people = people();
    let limit = people / 2;
    limit_day(&stage, limit);
    let load = Load::on(&stage, people).await;
    let first = stage.serve().await;
    let second = stage.serve().await;
    let fleet = [&first, &second];
    publish(&stage, &load, "leak", |n| format!("Wygrana nr {n} czeka na Ciebie")).await;
    eventually("every job ends", async || {
        let ended = refused_by("blast-radius", &fleet).await + counted(&stage, FINISHED).await;
        (ended == people).then_some(())
    })
    .await;
    let rung = reached(&stage, &load, "Wygrana");
    say(format_args!(
        "{people} texts to as many people, {limit} devices a day allowed: {rung} phones are reached"
    ));
    assert!((limit - limit / 10..=limit).contains(&rung), "{rung} of {people} phones are reached");
    let mut stopped = (0.0, 0);
    for serving in fleet {
        stopped.0 += serving.metric("bellwether_producers_stopped_total", &["cards"]).await;
        stopped.1 += serving.log().matches("a producer has reached as many devices as it may today").count();
    }
    assert!(stopped.0.total_cmp(&1.0).is_eq() && stopped.1 == 1, "paged once: {stopped:?}");
    let audited = "select count(*) from audit where kind = 'producer.stopped'";
    assert_eq!(counted(&stage, audited).await, 1);
    assert_eq!(listed(&stage, "producer.stopped").await, rung, "who was sent it is listed");

    // A process that comes after them knows of the day, and has what they handed back.
    assert!(first.stop().await.success() && second.stop().await.success());
    let third = stage.serve().await;
    publish(&stage, &load, "more", |n| format!("Odbierz nagrodę nr {n}")).await;
    eventually("every job ends", async || {
        let ended = refused_by("blast-radius", &[&third]).await + counted(&stage, FINISHED).await;
        (ended == people + rung).then_some(())
    })
    .await;
    // Who was rung before is rung again, by a process that did not; of many devices it does not know that.
    if limit <= 1_024 {
        assert_eq!(refused_by("blast-radius", &[&third]).await, people - limit, "whoever is new");
    }
    let both = load
        .phones
        .iter()
        .filter(|phone| stage.simulator.phone(&phone.token).is_some_and(|phone| !phone.screen.is_empty()));
    assert!(both.count() <= limit, "the day is the producer's, whoever serves it");
    assert!(third.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_that_ring_many_times_a_day_are_one_of_the_producers_day_each() {
    let stage = Stage::with(SimulatorConfig::quiet(Clock::system()), "").await;
    limit_day(&stage, LIMIT);
    let load = Load::on(&stage, LIMIT).await;
    let serving = stage.serve().await;
    for time in ["first", "second", "third"] {
        let code = |n| format!("Kod do logowania: {n:06}. Nie podawaj go nikomu.");
        publish(&stage, &load, time, code).await;
    }
    eventually("every job is sent", async || (counted(&stage, FINISHED).await == 3 * LIMIT).then_some(()))
        .await;
    assert_eq!(refused_by("blast-radius", &[&serving]).await, 0);
    assert!(serving.stop().await.success());
}

/// How many phones the command lists that the audit's entry leads to.
async fn listed(stage: &Stage, kind: &str) -> usize {
    let mut connection = PgConnection::connect(&stage.database_url()).await.expect("the database answers");
    let body: String = sqlx::query_scalar("select body from audit where kind = $1")
        .bind(kind)
        .fetch_one(&mut connection)
        .await
        .expect("the entry");
    let entry: Value = serde_json::from_str(&body).expect("an entry is JSON");
    let word = |field: &str| entry[field].as_str().expect("a word").to_owned();
    let (producer, since) = (word("producer"), word("since"));
    let text = entry["text"].as_str();
    let mut asked = vec!["delivery", "direct", "--producer", &producer, "--since", &since];
    asked.extend(text.into_iter().flat_map(|text| ["--text", text]));
    let answer = stage.run(&asked).await;
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
    let lines = String::from_utf8(answer.stdout).expect("UTF-8");
    let jobs = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    jobs.flat_map(|job| job["devices"].as_array().cloned().expect("devices"))
        .filter(|device| device["outcome"] == "accepted")
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_that_waits_for_one_hour_is_stopped_when_the_hour_has_come() {
    let stage = Stage::with(SimulatorConfig::quiet(Clock::system()), "").await;
    limit_undeclared(&stage);
    let people = LIMIT + LIMIT / 2;
    let load = Load::on(&stage, people).await;
    let serving = stage.serve().await;
    let start = Clock::system().now() + Duration::from_secs(4);
    let wait = |job: &mut Value| job["not_before"] = json!(start.to_string());
    publish_changed(&stage, &load, "later", |_| "Wszystko na raz".to_owned(), wait).await;
    eventually("every job ends", async || (counted(&stage, FINISHED).await == people).then_some(())).await;
    let rung = reached(&stage, &load, "Wszystko");
    assert!((1..=LIMIT).contains(&rung), "{rung} of {people} phones are reached");
    assert_eq!(refused(&[&serving]).await + rung, people);
    assert!(serving.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_who_are_rung_again_with_the_same_text_are_counted_once() {
    let stage = Stage::with(SimulatorConfig::quiet(Clock::system()), "").await;
    limit_undeclared(&stage);
    let load = Load::on(&stage, LIMIT / 2).await;
    let serving = stage.serve().await;
    for time in ["first", "second", "third"] {
        publish(&stage, &load, time, |_| "Zaloguj się, aby potwierdzić".to_owned()).await;
    }
    eventually("every job is sent", async || {
        (counted(&stage, FINISHED).await == 3 * (LIMIT / 2)).then_some(())
    })
    .await;
    assert_eq!(refused(&[&serving]).await, 0);
    assert!(serving.stop().await.success());
}
