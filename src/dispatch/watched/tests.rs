//! A rule that hangs, until the test lets it go. Time stands still but where a test moves it.

use super::*;
use crate::{
    guard::{
        Severity, sample_policy,
        stuck::{Held, hold},
    },
    model::{JobId, ProducerId},
};

/// Time only moves when a test says so: the runtime does not skip ahead while something blocks.
struct Still {
    _until_dropped: mpsc::Sender<()>,
}

fn still() -> Still {
    let (until_dropped, wait) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || wait.recv());
    Still { _until_dropped: until_dropped }
}

const NOW: &str = "2026-11-21T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("an instant")
}

/// A question about a job of this id, to a person or, if it is a campaign, to the customers.
fn question(id: &str, is_campaign: bool) -> Question {
    let to = if is_campaign { r#"{"audience":"customers","at_most":9}"# } else { r#"{"users":["u-1"]}"# };
    let job = format!(
        r#"{{"v":1,"id":"{id}","app":"bank","intent":"production","to":{to},
            "expires_at":"2026-11-21T20:00:00Z","notification":{{"body":"Zapłacono 50,00 zł"}}}}"#
    );
    let job = Job::parse(job.as_bytes()).expect("a job");
    let key = job.key(&ProducerId::parse("cards").expect("a producer"));
    Question {
        max_recipients: 100,
        ..Question::of_campaign(Asking::All, (&key, &job), now(), Past::default())
    }
}

fn held(id: &str) -> Held {
    hold(&id.parse::<JobId>().expect("an id"))
}

fn watched(rules: Rules) -> Watched {
    Watched::with(rules, Arc::new(sample_policy()), Metrics::new())
}

/// Returns when the rule is at the job.
async fn entered(held: Held) -> mpsc::Sender<()> {
    let Held { entered, lets_go } = held;
    tokio::task::spawn_blocking(move || entered.recv())
        .await
        .expect("it ran")
        .expect("the rule is at the job");
    lets_go
}

/// Moves time until so many threads are left behind.
async fn left_behind(watched: &Watched, threads: usize) {
    while watched.0.left_behind.load(Ordering::Relaxed) < threads {
        tokio::time::advance(LOOK_EVERY).await;
    }
}

/// Asks of each, while the rule hangs at the jobs of `stuck`, one after the other.
async fn asked_while_stuck(
    watched: &Watched,
    questions: Vec<Question>,
    stuck: &[&str],
) -> (Result<Vec<(Question, Verdict)>, GivenUp>, Vec<mpsc::Sender<()>>) {
    let gates: Vec<_> = stuck.iter().map(|id| held(id)).collect();
    let asked = tokio::spawn({
        let watched = watched.clone();
        async move { watched.ask(questions, now()).await }
    });
    let mut kept = Vec::new();
    for gate in gates {
        kept.push(entered(gate).await);
        left_behind(watched, kept.len()).await;
    }
    (asked.await.expect("it ran"), kept)
}

fn broken(verdict: &Verdict) -> Vec<(Rule, Severity)> {
    let broken = verdict.findings().iter().filter(|finding| finding.broken);
    broken.map(|finding| (finding.rule, finding.severity)).collect()
}

fn counted(watched: &Watched, rule: &str) -> bool {
    watched.0.metrics.encode().contains(&format!("guard_broken_total{{rule=\"{rule}\"}} 1\n"))
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_hangs_is_open_for_a_direct_job_and_harms_no_other_of_the_batch() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::UnfilledTemplate)));
    let ids = ["open-1", "open-2", "open-3"];
    let questions = ids.iter().map(|id| question(id, false)).collect();
    let (answered, _kept) = asked_while_stuck(&watched, questions, &["open-2"]).await;
    let answered = answered.expect("it goes on");
    let answers: Vec<_> =
        answered.iter().map(|(asked, verdict)| (asked.key.id.as_str(), broken(verdict))).collect();
    let note = vec![(Rule::UnfilledTemplate, Severity::Note)];
    assert_eq!(answers, [("open-1", vec![]), ("open-2", note), ("open-3", vec![])]);
    assert!(answered.iter().all(|(_, verdict)| matches!(verdict, Verdict::Clear(..))), "{answered:?}");
    assert!(counted(&watched, "unfilled-template"));
    assert!(!watched.has_given_up());
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_hangs_is_closed_for_a_campaign() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::UnfilledTemplate)));
    let (answered, _kept) = asked_while_stuck(&watched, vec![question("closed", true)], &["closed"]).await;
    let (_, verdict) = &answered.expect("it goes on")[0];
    assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    assert_eq!(broken(verdict), [(Rule::UnfilledTemplate, Severity::Refuse)]);
    assert!(verdict.findings()[0].reason.contains("did not come back"), "{verdict:?}");
    assert!(counted(&watched, "unfilled-template"));
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_bounds_direct_jobs_is_closed_for_them_when_it_hangs() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::TestToProduction)));
    let (answered, _kept) = asked_while_stuck(&watched, vec![question("bound", false)], &["bound"]).await;
    let (_, verdict) = &answered.expect("it goes on")[0];
    assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
    assert_eq!(broken(verdict), [(Rule::TestToProduction, Severity::Refuse)]);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_hangs_when_a_stored_job_is_asked_about_again_is_counted() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::UnfilledTemplate)));
    let again = Question { asking: Asking::Again, ..question("again", false) };
    let (answered, _kept) = asked_while_stuck(&watched, vec![again], &["again"]).await;
    let (_, verdict) = &answered.expect("it goes on")[0];
    assert!(matches!(verdict, Verdict::Clear(..)), "{verdict:?}");
    assert!(counted(&watched, "unfilled-template"));
}

#[tokio::test(start_paused = true)]
async fn two_rules_that_hang_at_one_job_are_both_left_out_of_it() {
    let rules = Rules::stuck_in_two(Rule::UnfilledTemplate, Rule::StagingLink);
    let (_still, watched) = (still(), watched(rules));
    let questions = vec![question("twice", false), question("once", false)];
    let (answered, _kept) = asked_while_stuck(&watched, questions, &["twice", "twice"]).await;
    let answered = answered.expect("it goes on");
    let both = [(Rule::UnfilledTemplate, Severity::Note), (Rule::StagingLink, Severity::Note)];
    assert_eq!(broken(&answered[0].1), both);
    assert_eq!(broken(&answered[1].1), [], "left out of the job that it hung at alone");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_left_too_many_threads_behind_stops() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::UnfilledTemplate)));
    let ids = ["many-1", "many-2", "many-3"];
    let questions = ids.iter().map(|id| question(id, false)).collect();
    let (answered, _kept) = asked_while_stuck(&watched, questions, &ids).await;
    assert_eq!(answered.expect_err("nobody judges them"), GivenUp);
    assert!(watched.has_given_up());
    watched.given_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_comes_back_late_takes_its_thread_from_those_left_behind() {
    let (_still, watched) = (still(), watched(Rules::stuck_in(Rule::UnfilledTemplate)));
    let (answered, kept) = asked_while_stuck(&watched, vec![question("late", false)], &["late"]).await;
    assert!(answered.is_ok());
    drop(kept);
    while watched.0.left_behind.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn batches_that_are_judged_one_after_the_other_are_judged_by_one_thread() {
    let watched = watched(Rules::ALL);
    for n in 0..3 {
        let verdict = watched.ask_one(question(&format!("idle-{n}"), false), now()).await;
        assert_eq!(broken(&verdict), []);
    }
    assert_eq!(watched.idle().len(), 1);
    assert_eq!(watched.ask(Vec::new(), now()).await.map(|answered| answered.len()), Ok(0));
}
