//! The campaigns of the afternoon that may go out, through the real machinery: frozen by the coordinator, claimed by the
//! worker, recorded in the ledger; and what the phones show of them.

use std::{collections::HashSet, time::Duration};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use serde_json::json;

use super::{
    afternoon::{job, provider_requests},
    bank::Bank,
    policy,
};
use crate::{
    ledger::{RolloutRecord, Tally, Verb},
    model::{CampaignId, Lane, OutcomeCode, RolloutState, Token},
    rollout::{Pause, Rollout},
    simulator::{Fault, Provider},
};

/// The text of the test campaign.
pub(super) const TEST_TEXT: &str = "test kampanii";

/// What customers are told.
const UPDATE: &str = "Nowa wersja aplikacji jest gotowa.";

/// What customers are to be told by a job that the providers reject for some of them.
const BAD: &str = "Sprawdź nowe warunki umowy.";

/// Which part of the phones rejects it, in millionths.
const REJECT: u32 = 150_000;

/// Most phones that may show it until its own health has halted it.
const FEW: u64 = 200;

/// Who approves it, and who starts it and opens its gates. Neither owns its producer.
const APPROVERS: [&str; 2] = ["release-manager", "duty-manager"];

/// What our own people are told.
const NEWS: &str = "W poniedziałek zaczynamy o dziewiątej.";

/// For how long the campaigns are worth something: they are over in seconds, and on a busy machine in a minute.
const WORTH: SignedDuration = SignedDuration::from_mins(5);

/// How often a campaign under way is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A campaign that goes out.
struct Campaign<'b> {
    name: &'static str,
    what: &'static str,
    producer: &'static str,
    intent: &'static str,
    audience: &'static str,
    plan: &'static str,
    /// Most devices that its producer expects.
    at_most: u64,
    text: &'static str,
    phones: HashSet<&'b str>,
    /// The providers reject it for some, and its own health must halt it.
    is_bad: bool,
}

/// A campaign that is over, and what was seen of it.
#[derive(Debug)]
pub(super) struct Seen {
    /// The job's id.
    pub(super) name: &'static str,
    /// In words.
    pub(super) what: &'static str,
    /// How it ended.
    pub(super) state: RolloutState,
    /// Why, if that needs a word.
    pub(super) cause: Option<String>,
    /// Devices that were frozen, by the ledger.
    pub(super) frozen: u64,
    /// Devices of which a provider took it, by the ledger.
    pub(super) accepted: u64,
    /// Devices for which a provider rejected it, by the ledger.
    pub(super) rejected: u64,
    /// Its own health had to halt it.
    pub(super) is_bad: bool,
    /// What providers were asked while it ran, by the simulators.
    pub(super) requests: u64,
    /// Phones that show it, by the simulators' record of every screen.
    pub(super) phones_reached: u64,
    /// Among them: phones that were rung more than once.
    pub(super) rung_again: u64,
    /// Among them: phones of people who are not in its audience.
    pub(super) strangers: u64,
    /// Phones that showed it before people had approved and started it.
    pub(super) early: u64,
}

impl Seen {
    /// Each phone was rung at most once (I6).
    pub(super) fn is_once(&self) -> bool {
        self.rung_again == 0 && self.requests == self.phones_reached + self.rejected
    }

    /// Each request belongs to an intent on record, and nobody was added (I2).
    pub(super) fn is_on_record(&self) -> bool {
        self.requests == self.accepted + self.rejected && self.strangers == 0
    }

    /// Nobody was rung before people said so (I4).
    pub(super) fn is_approved(&self) -> bool {
        self.early == 0
    }

    /// It came to its end, and reached everyone (I7); what is bad is the next one's affair.
    pub(super) fn is_whole(&self) -> bool {
        if self.is_bad {
            return true;
        }
        self.state == RolloutState::Completed
            && self.accepted == self.frozen
            && self.phones_reached == self.frozen
    }

    /// What was bad was halted by its own health, and reached few (I5).
    pub(super) fn is_halted_in_time(&self) -> bool {
        let by_health = |cause: &String| cause.starts_with("rejected-too-often: ");
        !self.is_bad
            || (self.state == RolloutState::Halted
                && self.cause.as_ref().is_some_and(by_health)
                && self.phones_reached <= FEW)
    }
}

/// A test campaign to the testers, news to our own people, and two to customers, which people approve: one that is sound, and
/// one that is not.
pub(super) async fn play(bank: &Bank) -> anyhow::Result<Vec<Seen>> {
    let test = Campaign {
        name: "test-campaign",
        what: "a test campaign to the registered testers",
        producer: "qa",
        intent: "test",
        audience: "qa-phones",
        plan: policy::PLAN,
        at_most: 50,
        text: TEST_TEXT,
        phones: bank.testers.iter().map(|(_, token)| token.reveal()).collect(),
        is_bad: false,
    };
    let news = Campaign {
        name: "news-for-our-people",
        what: "a campaign to our own people, in 3 stages",
        producer: policy::PRODUCER,
        intent: "production",
        audience: policy::AUDIENCE,
        plan: policy::PLAN,
        at_most: policy::PEOPLE,
        text: NEWS,
        phones: bank.people.iter().map(Token::reveal).collect(),
        is_bad: false,
    };
    let update = Campaign {
        name: "update-for-customers",
        what: "a campaign to customers, approved by two, in 3 stages",
        producer: policy::PRODUCER,
        intent: "production",
        audience: policy::CUSTOMERS,
        plan: "customers-in-seconds",
        at_most: 500_000,
        text: UPDATE,
        phones: bank.newest.iter().chain(&bank.people).map(Token::reveal).collect(),
        is_bad: false,
    };
    let bad = Campaign {
        name: "terms-for-customers",
        what: "one that the providers reject for 15 %",
        text: BAD,
        phones: update.phones.clone(),
        is_bad: true,
        ..update
    };
    let mut sent = vec![test.send(bank).await?, news.send(bank).await?, update.send(bank).await?];
    for (provider, status, reason) in
        [(Provider::Apns, 400, "BadCollapseId"), (Provider::Fcm, 400, "INVALID_ARGUMENT")]
    {
        bank.simulator.inject(Fault::answer(status, reason).on(provider).always().for_part(REJECT, 1));
    }
    sent.push(bad.send(bank).await?);
    bank.simulator.clear_faults();
    Ok(sent)
}

impl Campaign<'_> {
    async fn send(&self, bank: &Bank) -> anyhow::Result<Seen> {
        let before = provider_requests(bank);
        let mut job = job(self.name, self.text);
        job["intent"] = json!(self.intent);
        job["to"] = json!({"audience": self.audience, "at_most": self.at_most});
        job["plan"] = json!(self.plan);
        job["expires_at"] = json!(bank.expiry(WORTH));
        let key = bank.enqueue(self.producer, &job, Lane::Campaign).await?;
        bank.settled().await?;
        let id = bank.ledger.campaign_by_job(&key).await?;
        let id = id.with_context(|| format!("the campaign {key} was not put on record"))?;
        let Followed { over, accepted, rejected, early } = self.follow(bank, id, before).await?;
        let mut seen = Seen {
            name: self.name,
            what: self.what,
            state: over.state,
            cause: over.cause,
            frozen: over.frozen,
            accepted,
            rejected,
            is_bad: self.is_bad,
            requests: provider_requests(bank) - before,
            phones_reached: 0,
            rung_again: 0,
            strangers: 0,
            early,
        };
        bank.simulator.for_each_phone(|token, phone| {
            let times: u32 =
                phone.screen.iter().filter(|shown| *shown.body == *self.text).map(|shown| shown.times).sum();
            seen.phones_reached += u64::from(times > 0);
            seen.rung_again += u64::from(times > 1);
            seen.strangers += u64::from(times > 0 && !self.phones.contains(token));
        });
        Ok(seen)
    }

    /// Shows how far it is until it is over, and does what people do: approve, start, open the gates.
    async fn follow(&self, bank: &Bank, id: CampaignId, before: u64) -> anyhow::Result<Followed> {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} sent")?;
        let progress = ProgressBar::new(0).with_style(style);
        let mut early = 0;
        loop {
            let rollout = bank.ledger.rollout(id).await?.context("a campaign without a rollout")?;
            let tallies = bank.ledger.tallies(rollout.rollout).await?;
            let accepted = count(&tallies, OutcomeCode::Accepted);
            let stage =
                rollout.stage.map_or_else(|| "freezing".to_owned(), |stage| format!("stage {}", stage + 1));
            progress.set_message(format!("{}: {stage}", self.name));
            progress.set_length(rollout.frozen);
            progress.set_position(accepted);
            match &rollout.stands {
                Rollout::Over(_) => {
                    progress.finish_and_clear();
                    let rejected = count(&tallies, OutcomeCode::Rejected);
                    return Ok(Followed { over: rollout, accepted, rejected, early });
                }
                Rollout::PendingApproval(_) => {
                    early = provider_requests(bank) - before;
                    let digest = rollout.frozen_digest.context("it waits for people and is not frozen")?;
                    for by in APPROVERS {
                        bank.says(id, by, bank.approval(digest), None).await?;
                    }
                }
                Rollout::Approved(approved) if !approved.started => {
                    early = provider_requests(bank) - before;
                    bank.says(id, APPROVERS[0], Verb::Start, None).await?;
                }
                Rollout::Paused(paused) if paused.why == Pause::Gate => {
                    bank.says(id, APPROVERS[0], Verb::Promote, None).await?;
                }
                _ => {}
            }
            anyhow::ensure!(bank.is_serving(), "the service ended early");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// How a campaign ended, for how many devices it was accepted and rejected, and what was asked of providers before people let it go.
struct Followed {
    over: RolloutRecord,
    accepted: u64,
    rejected: u64,
    early: u64,
}

fn count(tallies: &[Tally], outcome: OutcomeCode) -> u64 {
    tallies.iter().filter_map(|tally| tally.counts.get(&outcome)).sum()
}
