//! Who may submit what on whose behalf; what a retry takes over. On the embedded ledger.

use super::*;
use crate::{
    audience::PolicyFile,
    clock::Clock,
    dispatch::outlook::electorate,
    ledger::{Asked, LedgerOptions, Verb},
    model::RolloutState,
};

const APP: &str = "pl.example.bank";

/// One that lets a test say the same twice.
pub(in crate::dispatch) fn policy() -> Policy {
    policy_with("guard = { shadow = [\"duplicate-campaign\"] }\n")
}

/// The same, where the audience asks for a proof.
pub(in crate::dispatch) fn policy_that_asks_for_a_proof() -> Policy {
    policy_of("guard = { shadow = [\"duplicate-campaign\"] }\n", "proof = \"required\"\n")
}

fn policy_with(guard: &str) -> Policy {
    policy_of(guard, "")
}

fn policy_of(guard: &str, of_staff: &str) -> Policy {
    let file = |path: &str, text: &str| PolicyFile { path: path.to_owned(), text: text.replace("APP", APP) };
    let files = [
        file(
            "apps.toml",
            &format!(
                "[apps.\"APP\"]\ndefault_locale = \"pl\"\ntimezone = \"Europe/Warsaw\"\nlink_hosts = []\n\
                 apns = {{ topic = \"t\", team = \"TEAM123456\", environment = \"production\", max_rate = 1000 }}\n{guard}"
            ),
        ),
        file(
            "producers.toml",
            "[producers.marketing]\nowners = [\"ada\", \"bob\"]\napps = [\"APP\"]\nintents = [\"production\"]\n\
             audiences = [\"staff\"]\n[producers.news]\nowners = [\"bob\"]\napps = [\"APP\"]\n\
             intents = [\"production\"]\naudiences = [\"staff\"]\n",
        ),
        file(
            "cohorts/staff.toml",
            &format!(
                "class = \"internal\"\napp = \"APP\"\nmembers_file = \"staff.txt\"\ndefault_plan = \"p\"\n\
                 {of_staff}[limits]\nmax_devices = 100\n"
            ),
        ),
        file("cohorts/staff.txt", "person-1\n"),
        file("plans/p.toml", "[[stage]]\npercent = 100\n"),
    ];
    Policy::parse(&files).unwrap_or_else(|errors| panic!("{errors}"))
}

pub(in crate::dispatch) fn watched(policy: Policy) -> Watched {
    Watched::new(std::sync::Arc::new(policy), crate::metrics::Metrics::new())
}

pub(in crate::dispatch) async fn ledger() -> Ledger {
    let ledger = Ledger::connect("sqlite::memory:", LedgerOptions::default()).await.expect("it opens");
    ledger.migrate().await.expect("the migrations apply");
    ledger
}

pub(in crate::dispatch) fn job(id: &str, intent: &str) -> Job {
    let expires = Clock::system().now() + jiff::SignedDuration::from_hours(2);
    let json = format!(
        r#"{{"v":1,"id":"{id}","app":"{APP}","intent":"{intent}","to":{{"audience":"staff","at_most":9}},
            "expires_at":"{expires}","notification":{{"body":"News"}}}}"#
    );
    Job::parse(json.as_bytes()).expect("a job")
}

pub(in crate::dispatch) fn name(name: &str) -> OperatorName {
    OperatorName::parse(name).expect("a name")
}

fn producer(name: &str) -> ProducerId {
    ProducerId::parse(name).expect("a producer")
}

pub(in crate::dispatch) async fn submitted(
    ledger: &Ledger,
    job: &Job,
    by: &str,
) -> Result<SubmittedView, Findings> {
    submit(ledger, &watched(policy()), job, &name(by)).await.expect("the ledger answers")
}

pub(in crate::dispatch) async fn campaign(ledger: &Ledger, view: &SubmittedView) -> CampaignRecord {
    let id = CampaignId::from_uuid(view.campaign.parse().expect("a UUID"));
    ledger.campaign(id).await.expect("an answer").expect("it is there")
}

#[tokio::test]
async fn i4_a_person_submits_for_a_producer_of_theirs_and_is_its_requester() {
    let (ledger, news) = (ledger().await, job("n-1", "production"));
    let first = submitted(&ledger, &news, "ada").await.expect("she owns marketing");
    assert!(!first.known);
    let stored = campaign(&ledger, &first).await;
    assert_eq!((stored.requester, stored.key.producer), (Some(name("ada")), producer("marketing")));
    let again = submitted(&ledger, &news, "ada").await.expect("the same");
    assert_eq!(again, SubmittedView { known: true, ..first });
    let other = Job::parse(news.canonical_json().replace("News", "Other").as_bytes()).expect("a job");
    assert_eq!(submitted(&ledger, &other, "ada").await.expect_err("another content")[0].rule, "id-reused");
}

#[tokio::test]
async fn nobody_submits_for_a_producer_that_is_not_theirs() {
    let (ledger, news) = (ledger().await, job("n-1", "production"));
    let stranger = submitted(&ledger, &news, "eve").await.expect_err("she owns none");
    assert_eq!((stranger[0].rule.as_str(), stranger[0].field.as_str()), ("producer-scope", "to.audience"));
    let either = submitted(&ledger, &news, "bob").await.expect_err("he owns two");
    assert!(either[0].reason.contains("marketing or news"), "{}", either[0].reason);
    let on_behalf = async |by: &str, of: &str| {
        let (policy, by, of) = (watched(policy()), name(by), producer(of));
        submit_on_behalf(&ledger, &policy, &news, &by, &of).await.expect("the ledger answers")
    };
    assert_eq!(on_behalf("ada", "news").await.expect_err("not hers")[0].field, "producer");
    assert!(on_behalf("bob", "news").await.is_ok());
    // Each producer has ids of its own.
    assert!(!on_behalf("ada", "marketing").await.expect("another key").known);
}

#[tokio::test]
async fn what_the_guard_refuses_is_refused_and_told() {
    let ledger = ledger().await;
    let mut late: serde_json::Value =
        serde_json::from_str(job("n-1", "production").canonical_json()).expect("JSON");
    late["expires_at"] = "2001-01-01T00:00:00Z".into();
    let late = Job::parse(late.to_string().as_bytes()).expect("a job");
    let findings = submitted(&ledger, &late, "ada").await.expect_err("its time is over");
    assert_eq!(findings[0].rule, "expired");
    assert!(ledger.live_rollouts().await.expect("an answer").is_empty());
    let told = ledger.outbox_batch(10).await.expect("an answer");
    assert!(told.iter().any(|event| event.routing_key == "job.refused.marketing"));
    let test = submitted(&ledger, &job("n-2", "test"), "ada").await.expect_err("not their intent");
    assert_eq!(test[0].rule, "producer-scope");
}

#[tokio::test]
async fn i3_somebody_answers_for_what_is_held_also_where_nobody_need_approve() {
    let (ledger, policy) = (ledger().await, policy());
    let news = job("n-1", "production");
    let unfilled = Job::parse(news.canonical_json().replace("News", "News for {{name}}").as_bytes());
    let unfilled = unfilled.expect("a job").renamed("n-2".parse().expect("an id"));
    for (job, held, people) in [(&news, false, 0), (&unfilled, true, 1)] {
        let view = submitted(&ledger, job, "ada").await.expect("stored");
        assert_eq!(view.held, held);
        let stored = campaign(&ledger, &view).await;
        let who = electorate(&policy, &stored, 1);
        assert_eq!((stored.held, who.people), (held, people));
        assert!(who.barred.contains(&name("ada")), "whoever asked for it does not answer for it");
    }
}

#[tokio::test]
async fn a_retry_is_of_what_is_over_and_was_frozen() {
    let (ledger, policy) = (ledger().await, watched(policy()));
    let view = submitted(&ledger, &job("n-1", "production"), "ada").await.expect("stored");
    let (old, eve) = (campaign(&ledger, &view).await, name("eve"));
    let refused =
        async |id| retry(&ledger, &policy, id, &eve).await.expect("an answer").expect_err("refused");
    let nobody = CampaignId::from_uuid(uuid::Uuid::nil());
    assert_eq!(refused(nobody).await, RetryRefused::NotFound);
    assert_eq!(refused(old.id).await, RetryRefused::NotOver);
    let asked = Asked { verb: Verb::Abort, by: &eve, reason: Some("wrong text") };
    let over = ledger.verb(old.id, &asked).await.expect("an answer").expect("aborted");
    assert_eq!(over.state, RolloutState::Aborted);
    assert_eq!(refused(old.id).await, RetryRefused::NeverFrozen);
}

#[tokio::test]
async fn the_same_words_to_the_same_audience_wait_for_a_person() {
    let (ledger, bob) = (ledger().await, name("bob"));
    let policy = watched(policy_with(""));
    let submit = async |id: &str| {
        let job = job(id, "production");
        submit_on_behalf(&ledger, &policy, &job, &bob, &producer("news")).await.expect("the ledger answers")
    };
    assert!(!submit("monday").await.expect("it is new").held);
    assert!(submit("monday-again").await.expect("it waits for a person").held, "it says the same");
}
