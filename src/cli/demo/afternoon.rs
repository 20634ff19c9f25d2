//! What happens in the demo, and what was seen of it.

use std::collections::{BTreeSet, HashSet};

use anyhow::Context;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    bank::Bank,
    campaign::{self, LOOK_EVERY, TEST_TEXT},
    policy::APP,
};
use crate::{
    ledger::Verb,
    model::{JobKey, Lane, OutcomeCode, RolloutState},
    simulator::{Provider, bank::LoginNow},
};

/// The texts of 5 August 2020, as they were reported.
const TEST_TEXTS: [&str; 3] = ["ęśąćż", "test wiadomości push", "Życzymy miłego dnia"];

/// One-time codes that are sent on the direct lane.
const CODES: u64 = 500;

/// What was seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// Each way in which the test texts arrived: its name, the rule that must refuse it, and what came of it.
    pub(super) ways: Vec<Way>,
    /// Testers, and how many of their phones show every test text that was sent to them.
    pub(super) testers: (usize, usize),
    /// Customers' phones that show a test text, by the simulators' record.
    pub(super) customers_reached_by_tests: u64,
    /// Direct jobs that were sent to customers.
    pub(super) codes: Codes,
    /// Campaigns that went out.
    pub(super) campaigns: Vec<campaign::Seen>,
    /// Every phone that was rung is on record as accepted, and no other request reached a provider.
    pub(super) record_agrees: bool,
    /// What the login felt of those who were rung.
    pub(super) login: LoginNow,
    /// Jobs that were enqueued and came to no end.
    pub(super) unsettled: usize,
}

/// One way of sending a test text to the wrong people.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: &'static str,
    /// Which rule must refuse; `None`: nothing can tell, and people must look.
    pub(super) rule: Option<&'static str>,
    pub(super) submitted: usize,
    pub(super) refused: usize,
    /// How many waited for people, and were rejected by one.
    pub(super) held: usize,
    /// How many of the refusals name the rule that must refuse.
    pub(super) by_rule: usize,
}

/// The one-time codes.
#[derive(Debug)]
pub(super) struct Codes {
    pub(super) jobs: u64,
    pub(super) phones_reached: u64,
    pub(super) requests: u64,
}

/// Plays the afternoon.
pub(super) async fn play(bank: &Bank) -> anyhow::Result<Seen> {
    let ways = vec![
        wrong_way(bank, "labelled as a test", "test-to-production", "qa", Some("test")).await?,
        wrong_way(bank, "without a label", "label-missing", "marketing", None).await?,
        held_way(bank, "labelled as real", "marketing").await?,
    ];
    let before_testers = provider_requests(bank);
    let mut jobs = to_testers(bank).await?;
    let to_testers = provider_requests(bank) - before_testers;
    let (codes, sent) = codes(bank).await?;
    jobs.extend(sent);
    let campaigns = campaign::play(bank).await?;
    let unsettled = bank.producer.record().borrow().unsettled();
    let (testers_shown, customers_reached_by_tests) = look_for_test_texts(bank);
    let by_campaigns: u64 = campaigns.iter().map(|campaign| campaign.requests).sum();
    let accepted = accepted_on_record(bank, &jobs).await?
        + campaigns.iter().map(|campaign| campaign.accepted).sum::<u64>();
    let delivered = bank.simulator.summary().accepted;
    let rejected: u64 = campaigns.iter().map(|campaign| campaign.rejected).sum();
    let login = bank.simulator.login().context("the simulators have no login")?;
    Ok(Seen {
        ways,
        testers: (bank.testers.len(), testers_shown),
        customers_reached_by_tests,
        record_agrees: accepted == delivered
            && provider_requests(bank) == delivered + rejected
            && before_testers == 0
            && codes.requests + to_testers + by_campaigns == delivered + rejected
            && campaigns.iter().all(campaign::Seen::is_on_record),
        codes,
        campaigns,
        login,
        unsettled,
    })
}

/// The three texts to every customer, in one way in which it could happen.
async fn wrong_way(
    bank: &Bank,
    name: &'static str,
    rule: &'static str,
    producer: &str,
    intent: Option<&str>,
) -> anyhow::Result<Way> {
    let told_before = bank.producer.record().borrow().events().len();
    to_everybody(bank, name, producer, intent).await?;
    let refusals = refusals_since(bank, told_before, TEST_TEXTS.len()).await?;
    let names_rule = |refusal: &&Value| {
        let findings = refusal["findings"].as_array();
        findings.is_some_and(|findings| findings.iter().any(|finding| finding["rule"] == rule))
    };
    Ok(Way {
        name,
        rule: Some(rule),
        submitted: TEST_TEXTS.len(),
        refused: refusals.len(),
        held: 0,
        by_rule: refusals.iter().filter(names_rule).count(),
    })
}

/// The three texts to every customer, as jobs.
async fn to_everybody(
    bank: &Bank,
    name: &str,
    producer: &str,
    intent: Option<&str>,
) -> anyhow::Result<Vec<JobKey>> {
    let mut keys = Vec::new();
    for (n, text) in TEST_TEXTS.iter().enumerate() {
        let mut job = job(&format!("{}-{n}", name.replace(' ', "-")), text);
        job["to"] = json!({"audience": "customers-pl", "at_most": 4_300_000});
        job["expires_at"] = json!(bank.expiry(SignedDuration::from_hours(1)));
        if let Some(intent) = intent {
            job["intent"] = json!(intent);
        }
        keys.push(bank.enqueue(producer, &job, Lane::Campaign).await?);
    }
    bank.settled().await?;
    Ok(keys)
}

/// The three texts to every customer, labelled as what they are not: each waits for people, and one of them reads it.
async fn held_way(bank: &Bank, name: &'static str, producer: &str) -> anyhow::Result<Way> {
    let mut held = 0;
    for key in to_everybody(bank, name, producer, Some("production")).await? {
        let campaign = bank.ledger.campaign_by_job(&key).await?.context("it is not on record")?;
        while bank.ledger.rollout(campaign).await?.is_none_or(|seen| seen.state == RolloutState::Draft) {
            anyhow::ensure!(bank.is_serving(), "the service ended early");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let reason = "that is a test text";
        bank.says(campaign, "release-manager", Verb::Reject, Some(reason)).await?;
        let seen = bank.ledger.rollout(campaign).await?;
        held += usize::from(seen.is_some_and(|seen| seen.state == RolloutState::Rejected));
    }
    let submitted = TEST_TEXTS.len();
    Ok(Way { name, rule: None, submitted, refused: 0, held, by_rule: held })
}

/// The refusals among the events since `told_before`; waits until there are `wanted` of them, because events
/// are told a moment after what they tell. Fewer come only when a job was not refused, which ends the wait too.
async fn refusals_since(bank: &Bank, told_before: usize, wanted: usize) -> anyhow::Result<Vec<Value>> {
    let mut record = bank.producer.record();
    let told = record
        .wait_for(|record| record.events().len() >= told_before + wanted)
        .await
        .context("the service ended early")?;
    let events = told.events().iter().skip(told_before);
    let read = events.map(|(_, event)| serde_json::from_slice::<Value>(event));
    let events = read.collect::<Result<Vec<_>, _>>().context("an event is no JSON")?;
    Ok(events.into_iter().filter(|event| event["type"] == "job.refused").collect())
}

/// The same texts to whom they were meant for.
async fn to_testers(bank: &Bank) -> anyhow::Result<Vec<JobKey>> {
    let users: Vec<_> = bank.testers.iter().map(|(user, _)| user).collect();
    let mut jobs = Vec::new();
    for (n, text) in TEST_TEXTS.iter().enumerate() {
        let mut job = job(&format!("to-testers-{n}"), text);
        job["intent"] = json!("test");
        job["to"] = json!({"users": users});
        jobs.push(bank.enqueue("qa", &job, Lane::Direct).await?);
    }
    bank.settled().await?;
    Ok(jobs)
}

/// One-time codes to customers, each to one person.
async fn codes(bank: &Bank) -> anyhow::Result<(Codes, Vec<JobKey>)> {
    let before = provider_requests(bank);
    let mut jobs = Vec::new();
    for n in 1..=CODES {
        let text = format!("Kod do logowania: {:06}. Nie podawaj go nikomu.", n * 1_511 % 1_000_000);
        let mut job = job(&format!("code-{n:05}"), &text);
        job["intent"] = json!("production");
        job["to"] = json!({"users": [format!("user-{n:06}")]});
        jobs.push(bank.enqueue("cards", &job, Lane::Direct).await?);
    }
    bank.settled().await?;
    let requests = provider_requests(bank) - before;
    let mut phones_reached = 0;
    bank.simulator.for_each_phone(|_, phone| {
        let shows_code = phone.screen.iter().any(|shown| shown.body.starts_with("Kod do logowania"));
        phones_reached += u64::from(shows_code);
    });
    Ok((Codes { jobs: CODES, phones_reached, requests }, jobs))
}

/// Everything that was asked of APNs and FCM so far, whatever the answer; FCM's token exchange rings nobody.
pub(super) fn provider_requests(bank: &Bank) -> u64 {
    let answers = bank.simulator.summary().answers;
    answers.iter().filter(|answer| answer.provider != Provider::OAuth).map(|answer| answer.count).sum()
}

/// Looks at every screen: testers that show all test texts, and customers that show any.
fn look_for_test_texts(bank: &Bank) -> (usize, u64) {
    let testers: HashSet<&str> = bank.testers.iter().map(|(_, token)| token.reveal()).collect();
    let (mut testers_shown, mut customers) = (0, 0);
    bank.simulator.for_each_phone(|token, phone| {
        let shown: BTreeSet<&str> = phone.screen.iter().map(|shown| shown.body.as_ref()).collect();
        let tests = TEST_TEXTS.iter().filter(|text| shown.contains(*text)).count();
        if testers.contains(token) {
            testers_shown += usize::from(tests == TEST_TEXTS.len());
        } else {
            customers += u64::from(tests > 0 || shown.contains(TEST_TEXT));
        }
    });
    (testers_shown, customers)
}

/// Devices that the ledger has as accepted, over all jobs that were sent.
async fn accepted_on_record(bank: &Bank, jobs: &[JobKey]) -> anyhow::Result<u64> {
    let mut accepted = 0;
    for key in jobs {
        let record = bank.ledger.job(key).await?.with_context(|| format!("job {key} is not on record"))?;
        let devices = record.targets.iter();
        accepted += devices.filter(|device| device.outcome == OutcomeCode::Accepted).count() as u64;
    }
    Ok(accepted)
}

/// A job, as far as all of them are alike.
pub(super) fn job(id: &str, body: &str) -> Value {
    json!({
        "v": 1, "id": id, "app": APP,
        "notification": {"title": "Bank", "body": body},
    })
}
