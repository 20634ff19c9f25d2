//! After a mistake: a campaign is stopped midway, with a worker that died; whom it reached, or may have reached, is told
//! better, and the simulators' record of every phone says who that was.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Output,
    time::Duration,
};

use bellwether::{
    api::wire::Scope,
    audience::Policy,
    clock::Clock,
    ledger::{Asked, CampaignRecord, Issuer, Ledger, MintedToken, NewOperatorToken, RolloutRecord, Verb},
    model::{CampaignId, OperatorName, RolloutState},
    simulator::{Latency, Profile, SimulatorConfig},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::Fleet;
use crate::{
    harness::{
        broker::{eventually, within},
        service::Serving,
    },
    service::load::say,
};

/// What the mistake says, on a phone.
const MISTAKE: &str = "Nowa aplikacja";

/// An owner of the producer, as the shipped policy names it.
const OWNER: &str = "marketing-lead";

fn person(name: &str) -> OperatorName {
    OperatorName::parse(name).expect("a name")
}

/// What a command said, as JSON.
fn answered(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A campaign that went wrong, and those who mend it.
struct Mistake<'f> {
    fleet: &'f Fleet,
    ledger: Ledger,
    door: &'f Serving,
    token: String,
}

impl<'f> Mistake<'f> {
    /// A campaign is midway when its worker dies, and is halted.
    async fn made(fleet: &'f Fleet, door: &'f Serving, worker: Serving) -> Self {
        let ledger = fleet.stage.ledger().await;
        fleet.publish(&fleet.job("mistake")).await;
        fleet.stage.simulator.wait_for_requests(150, super::STANDSTILL).await.expect("it is midway");
        worker.kill().await;
        let campaign = format!("{}/mistake", fleet.stage.producer("marketing"));
        let campaign = fleet.stage.run(&["--output", "json", "rollout", "show", &campaign]).await;
        let shown: Value = serde_json::from_slice(&campaign.stdout).expect("JSON");
        let id = shown["campaign"].as_str().expect("an id");
        let halt = ["halt", "--ledger", "--by", "night-duty", "--reason", "wrong text", "--campaign", id];
        assert!(fleet.stage.run(&halt).await.status.success());
        fleet.over().await;
        let owner = person(OWNER);
        let scopes = BTreeSet::from(["enqueue:production".parse::<Scope>().expect("a scope")]);
        let new = NewOperatorToken { operator: &owner, scopes: &scopes, lasts: Duration::from_hours(1) };
        let minted = MintedToken::mint(&Clock::system());
        let issued = ledger.issue_token(&new, &minted, Issuer::Admin(&person("root"))).await;
        issued.expect("the ledger answers").expect("an admin may");
        let token = minted.into_secret().expose_secret().to_owned();
        Self { fleet, ledger, door, token }
    }

    /// Runs a command as the owner.
    async fn as_owner(&self, arguments: &[&str]) -> Output {
        let mut command = self.fleet.stage.command(arguments);
        let url = format!("http://{}", self.door.api().expect("it has an API"));
        command.env("BELLWETHER_URL", url).env("BELLWETHER_TOKEN", &self.token);
        within("a command", command.output()).await.expect("the program runs")
    }

    /// Retries a job.
    async fn retried(&self, job: &str) -> Value {
        let campaign = format!("{}/{job}", self.fleet.stage.producer("marketing"));
        answered(&self.as_owner(&["--output", "json", "rollout", "retry", &campaign]).await)
    }

    /// Runs a verb with these words.
    async fn runs(&self, verb: &str, job: &str, words: &Value, more: &[&str]) -> Output {
        let file = self.fleet.stage.folder().join("words.json");
        std::fs::write(&file, words.to_string()).expect("a file");
        let campaign = format!("{}/{job}", self.fleet.stage.producer("marketing"));
        let file = file.to_string_lossy().into_owned();
        let mut arguments = vec!["--output", "json", "rollout", verb, &campaign, "--file", &file];
        arguments.extend(more);
        self.as_owner(&arguments).await
    }

    async fn says(&self, verb: &str, job: &str, words: &Value, more: &[&str]) -> Value {
        answered(&self.runs(verb, job, words, more).await)
    }

    /// The mistake itself.
    async fn campaign(&self) -> CampaignRecord {
        let id = self.ledger.campaign_by_job(&self.fleet.stage.key("marketing", "mistake")).await;
        let id = id.expect("an answer").expect("it is on record");
        self.ledger.campaign(id).await.expect("an answer").expect("it is on record")
    }

    async fn seen(&self, id: CampaignId) -> RolloutRecord {
        self.ledger.rollout(id).await.expect("an answer").expect("it is on record")
    }

    /// Waits until what was made is frozen.
    async fn frozen(&self, made: &Value) -> RolloutRecord {
        let id = made["campaign"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let id = CampaignId::from_uuid(id);
        eventually("it is frozen", async || {
            Some(self.seen(id).await).filter(|seen| seen.state == RolloutState::PendingApproval)
        })
        .await
    }

    async fn asks(&self, id: CampaignId, by: &str, verb: Verb) -> Result<RolloutRecord, String> {
        let asked = Asked { verb, by: &person(by), reason: Some("as agreed") };
        self.ledger.verb(id, &asked).await.expect("an answer").map_err(|refused| refused.to_string())
    }

    /// Two people approve it, neither of them an owner; it is started, and runs to its end.
    async fn approved(&self, pending: &RolloutRecord) {
        assert_eq!(pending.electorate.people, 2, "though nobody need approve what is for our own people");
        let policy = Policy::load(&self.fleet.stage.folder().join("audiences")).expect("a policy").hash();
        let digest = pending.frozen_digest.expect("it is frozen");
        let approve = || Verb::Approve { digest, policy, holds: Duration::from_hours(1), peak: None };
        self.asks(pending.id, OWNER, approve()).await.expect_err("it is said in their name");
        self.asks(pending.id, "first-approver", approve()).await.expect("the first");
        self.asks(pending.id, "first-approver", approve()).await.expect_err("one person is one");
        assert_eq!(self.seen(pending.id).await.state, RolloutState::PendingApproval, "one of two");
        self.asks(pending.id, "second-approver", approve()).await.expect("the second");
        self.asks(pending.id, "first-approver", Verb::Start).await.expect("two approved it");
        self.fleet.over().await;
        assert_eq!(self.seen(pending.id).await.state, RolloutState::Completed);
    }

    /// Who ended so, by what the ledger exports.
    async fn whose(&self, job: &str, outcomes: &[&str]) -> BTreeSet<String> {
        let exported = self.fleet.export(job).await;
        let wanted = exported.into_iter().filter(|(_, told)| outcomes.contains(&told.outcome.as_str()));
        wanted.map(|(user, _)| user).collect()
    }

    /// Whose phone shows this, by the simulators' record: how often, and how many notifications ended in it.
    fn showing(&self, body: &str) -> BTreeMap<String, (usize, u32)> {
        let screens = self.fleet.screens();
        let of = |token: &str| {
            let screen = &screens.get(token)?.phone.screen;
            let items: Vec<_> = screen.iter().filter(|item| *item.body == *body).collect();
            (!items.is_empty()).then(|| (items.len(), items.iter().map(|item| item.times).sum()))
        };
        let phones = self.fleet.phones.iter();
        phones.filter_map(|phone| Some((phone.user.clone(), of(&phone.token)?))).collect()
    }

    /// How many notifications each phone received.
    fn received(&self) -> BTreeMap<String, u32> {
        let received =
            |token: &str| self.fleet.stage.simulator.phone(token).map_or(0, |phone| phone.accepted);
        self.fleet.phones.iter().map(|phone| (phone.user.clone(), received(&phone.token))).collect()
    }

    fn related(shown: &Value) -> BTreeSet<String> {
        let related = shown["related"].as_array().expect("it came of something, or something of it").iter();
        related.map(|other| format!("{} {}", other["how"], other["job"]).replace('"', "")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e5_what_was_reached_or_in_doubt_is_corrected_and_superseded_and_nothing_else() {
    let profile = Profile::quiet().with_latency(Some(Latency::around(Duration::from_millis(70))));
    let simulator = SimulatorConfig { profile, ..SimulatorConfig::quiet(Clock::system()) };
    let fleet =
        Fleet::with(simulator, 600, &["percent = 5\nbake = \"1s\"", "percent = 100\nmax_rate = 200"]).await;
    let (door, dies) = tokio::join!(fleet.serve("intake,coordinator,api"), fleet.serve("worker"));
    let mistake = Mistake::made(&fleet, &door, dies).await;
    let works = fleet.serve("worker").await;

    // Before anything is sent: how many it would be, once nobody can say more of the last requests.
    let sorry = json!({"title": "Bank", "body": "Przepraszamy, to była pomyłka"});
    let (campaign, ledger) = (mistake.campaign().await, &mistake.ledger);
    eventually("its last answers are in, or never come", async || {
        let waits = ledger.is_on_the_wire(campaign.rollout).await.expect("an answer");
        (!waits).then_some(())
    })
    .await;
    let dry = mistake.says("correct", "mistake", &sorry, &["--dry-run"]).await;
    assert_eq!(dry["settled"], json!(true));
    let reached = mistake.whose("mistake", &["accepted", "unknown"]).await;
    let unknown = mistake.whose("mistake", &["unknown"]).await;
    assert_eq!(
        (dry["devices"].as_u64(), dry["unknown"].as_u64()),
        (Some(reached.len() as u64), Some(unknown.len() as u64))
    );
    let shown_before = mistake.showing(MISTAKE);
    assert!(!unknown.is_empty(), "a worker died with requests on the wire");
    assert!(reached.len() < fleet.phones.len(), "it was over before the halt: the test has proved nothing");
    assert!(
        shown_before.keys().all(|user| reached.contains(user)),
        "nobody shows it of whom the ledger does not know"
    );

    let made = mistake.says("correct", "mistake", &sorry, &[]).await;
    let pending = mistake.frozen(&made).await;
    assert_eq!(pending.frozen, reached.len() as u64);
    let second = mistake.runs("supersede", "mistake", &sorry, &[]).await;
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && told.contains("is not over"), "one at a time: {told}");
    let dry = mistake.runs("correct", "mistake-correct-1", &sorry, &["--dry-run"]).await;
    assert_eq!(dry.status.code(), Some(7), "it is not over: {dry:?}");
    mistake.approved(&pending).await;
    let corrected = mistake.showing("Przepraszamy, to była pomyłka");
    assert_eq!(corrected.keys().cloned().collect::<BTreeSet<_>>(), reached, "those, and nobody else");
    assert!(corrected.values().all(|seen| *seen == (1, 1)), "once");
    assert_eq!(mistake.whose("mistake-correct-1", &["accepted"]).await, reached, "the ledger says the same");
    assert_eq!(mistake.showing(MISTAKE), shown_before, "it stands beside the mistake");

    // In place of the mistake. The first attempt is given up, and what it left is retried: as the same two-people matter, and
    // in the same place on the screen.
    let job = json!({"v": 1, "notification": {"title": "Bank", "body": "Odwołane"}});
    let made = mistake.says("supersede", "mistake", &job, &[]).await;
    let given_up = mistake.frozen(&made).await;
    mistake.asks(given_up.id, "first-approver", Verb::Abort).await.expect("one person stops it");
    let made = mistake.retried("mistake-supersede-2").await;
    let pending = mistake.frozen(&made).await;
    let (before, supersession) = (mistake.received(), "mistake-supersede-2-retry-1");
    mistake.approved(&pending).await;
    let superseded = mistake.showing("Odwołane");
    assert_eq!(superseded.keys().cloned().collect::<BTreeSet<_>>(), reached, "those, and nobody else");
    assert_eq!(mistake.whose(supersession, &["accepted"]).await, reached);
    assert_eq!(mistake.showing(MISTAKE), BTreeMap::new(), "no phone shows the mistake any more");
    for (user, (_, times)) in &shown_before {
        assert_eq!(superseded[user], (1, times + 1), "{user}: the item that showed the mistake");
    }
    for (user, received) in mistake.received() {
        assert_eq!(received - before[&user], u32::from(reached.contains(&user)), "{user}: rang once more");
    }
    assert_eq!(mistake.showing("Przepraszamy, to była pomyłka"), corrected, "the correction stays");

    let shown = fleet.show("mistake").await;
    let of_mistake = [
        "corrected_by mistake-correct-1",
        "superseded_by mistake-supersede-2",
        &format!("superseded_by {supersession}"),
    ];
    assert_eq!(Mistake::related(&shown), of_mistake.iter().map(ToString::to_string).collect());
    assert_eq!(
        Mistake::related(&fleet.show("mistake-correct-1").await),
        ["corrects mistake".to_owned()].into()
    );
    say(format_args!(
        "{} of {} reached, {} of these in doubt",
        reached.len(),
        fleet.phones.len(),
        unknown.len()
    ));
    assert!(works.stop().await.success());
    assert!(door.stop().await.success());
}
