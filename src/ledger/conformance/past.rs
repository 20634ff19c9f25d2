//! What the guard is told of the past, and that nothing slips in between its look and the record.

use super::{
    Store,
    campaign_set::{ALL, Set},
    fixtures::{APP, app},
};
use crate::{
    audience::{Class, GuardSettings},
    guard::{Fingerprint, OverDay, Past, Sketch},
    ledger::{Day, DayAsk, Ledger, OverBecause, PastAsk, RefusedJob, Ruled, Submitted},
    model::{AudienceName, Event, EventBody, FindingNote, Intent, Job, JobKey, ProducerId},
};

fn job(id: &str, body: &str) -> (Job, JobKey) {
    let json = format!(
        r#"{{"v":1,"id":"{id}","app":"{APP}","intent":"production","to":{{"audience":"everyone","at_most":9999}},
            "expires_at":"2199-01-01T00:00:00Z","notification":{{"body":"{body}"}}}}"#
    );
    let job = Job::parse(json.as_bytes()).expect("a job");
    let key = job.key(&ProducerId::parse("marketing").expect("a producer"));
    (job, key)
}

/// Asks for the past, as whoever judges does.
async fn past(ledger: &Ledger, job: &Job, key: &JobKey) -> Past {
    let (audience, settings) = (everyone(), GuardSettings::default());
    ledger.past(&ask(job, key, &audience, &settings)).await.expect("an answer")
}

fn ask<'a>(
    job: &Job,
    key: &'a JobKey,
    audience: &'a AudienceName,
    settings: &'a GuardSettings,
) -> PastAsk<'a> {
    static ID: std::sync::LazyLock<crate::model::AppId> = std::sync::LazyLock::new(app);
    let fingerprint = Fingerprint::of(job.notification());
    let (at_most, devices_per_day, proof_within) = (9_999, None, None);
    let producer = &key.producer;
    PastAsk { producer, app: &ID, audience, fingerprint, settings, at_most, devices_per_day, proof_within }
}

fn everyone() -> AudienceName {
    AudienceName::parse("everyone").expect("a name")
}

/// Puts a campaign on record that was judged by this past.
async fn submit(ledger: &Ledger, set: &Set<'_>, job: &(Job, JobKey), told: Past) -> Submitted {
    submit_within(ledger, set, job, told, None).await
}

/// The same of a producer that may reach so many devices a day.
async fn submit_within(
    ledger: &Ledger,
    set: &Set<'_>,
    (job, key): &(Job, JobKey),
    told: Past,
    devices_per_day: Option<u64>,
) -> Submitted {
    let (audience, settings) = (everyone(), GuardSettings::default());
    let ask = PastAsk { devices_per_day, ..ask(job, key, &audience, &settings) };
    set.submit_by(ledger, (job, key), (Intent::Production, Class::Internal), &[], Some((ask, told))).await
}

pub(super) async fn a_campaign_that_says_the_same_is_found_while_it_may_have_been_heard(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let (first, second) = (job("n-1", "Nowa oferta na 5%"), job("n-2", "NOWA oferta na 7 %"));
    assert_eq!(past(&store.ledger, &second.0, &second.1).await, Past::default());
    let Submitted::Stored(id) = submit(&store.ledger, &set, &first, Past::default()).await else {
        panic!("it is new")
    };
    let found = past(&store.ledger, &second.0, &second.1).await;
    assert_eq!(found.duplicate.map(|(earlier, _)| earlier), Some(id));
    let other = job("n-3", "Przerwa techniczna dziś w nocy");
    assert_eq!(past(&store.ledger, &other.0, &other.1).await.duplicate, None);
    // One that ended before anybody heard it has said nothing.
    let ruling = set.rule().await;
    let seen = set.seen(id).await;
    let over = Ruled::Over(OverBecause::Expired);
    assert!(set.ruled(&ruling, &seen, over).await.expect("it rules"));
    assert_eq!(past(&store.ledger, &second.0, &second.1).await.duplicate, None);
}

pub(super) async fn a_producers_day_is_what_its_direct_jobs_reached_and_its_campaigns_may(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let ledger = &store.ledger;
    let (audience, settings) = (everyone(), GuardSettings::default());
    let (first, second) = (job("n-1", "Nowa oferta"), job("n-2", "Przerwa techniczna dziś w nocy"));
    let told = async |limit: u64| {
        let (job, key) = &second;
        let ask =
            PastAsk { devices_per_day: Some(limit), at_most: 100, ..ask(job, key, &audience, &settings) };
        ledger.past(&ask).await.expect("an answer").over_day
    };
    let over = |devices_per_day, today| Some(OverDay { devices_per_day, today });
    assert_eq!((told(99).await, told(100).await), (over(99, 100), None));
    // What its direct jobs reached, and what processes have leased for more.
    let (day, process) = (Day::of(ledger.now().await.expect("the clock")), uuid::Uuid::from_u128(1));
    let mut counted = Sketch::default();
    (0..30).for_each(|n| counted.add(n << 32));
    let producer = &first.1.producer;
    let lease = DayAsk { producer, day, limit: 1_000, process, counted: &counted, keep: 0, want: 20 };
    ledger.lease_day(&lease).await.expect("an answer");
    assert_eq!((told(149).await, told(150).await), (over(149, 150), None));
    // A campaign that waits may come to its bound; once it is frozen, to those whom it was frozen to.
    let Submitted::Stored(id) = submit(ledger, &set, &first, Past::default()).await else {
        panic!("it is new")
    };
    assert_eq!(told(10_148).await, over(10_148, 10_149));
    assert_eq!(told(10_149).await, None);
    let ruling = set.rule().await;
    let campaign = ledger.campaign(id).await.expect("an answer").expect("it is on record");
    let all = 150 + set.freeze(&ruling, &campaign, 10).await.frozen;
    assert!(all < 160, "few are registered");
    assert_eq!((told(all - 1).await, told(all).await), (over(all - 1, all), None));
    // One that ended before anybody was sent anything reaches nobody.
    let seen = set.seen(id).await;
    assert!(set.ruled(&ruling, &seen, Ruled::Over(OverBecause::Expired)).await.expect("it rules"));
    assert_eq!(told(150).await, None);
}

pub(super) async fn of_two_campaigns_beyond_a_producers_day_at_one_moment_the_second_is_judged_again(
    store: &Store,
) {
    let set = Set::with(store, 3, ALL, "").await;
    let other = store.other_process().await;
    let (one, two) = (job("n-1", "Nowa oferta"), job("n-2", "Przerwa techniczna dziś w nocy"));
    let limit = Some(15_000);
    let (here, there) = tokio::join!(
        submit_within(&store.ledger, &set, &one, Past::default(), limit),
        submit_within(&other, &set, &two, Past::default(), limit)
    );
    let again = [here, there].iter().filter(|done| **done == Submitted::JudgeAgain).count();
    assert_eq!(again, 1, "{here:?} {there:?}");
}

pub(super) async fn of_two_equal_campaigns_at_one_moment_the_second_is_judged_again(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let other = store.other_process().await;
    for round in 0..8 {
        let body = format!("wiadomość {}", ["a", "b", "c", "d", "e", "f", "g", "h"][round]);
        let here = job(&format!("h-{round}"), &body);
        let there = job(&format!("t-{round}"), &body);
        // Both were judged before either was stored.
        let told = past(&store.ledger, &here.0, &here.1).await;
        assert_eq!((told, past(&other, &there.0, &there.1).await), (Past::default(), Past::default()));
        let (one, two) =
            tokio::join!(submit(&store.ledger, &set, &here, told), submit(&other, &set, &there, told));
        let stored = [one, two].iter().filter(|done| matches!(done, Submitted::Stored(_))).count();
        let again = [one, two].iter().filter(|done| **done == Submitted::JudgeAgain).count();
        assert_eq!((stored, again), (1, 1), "{one:?} {two:?}");
        // Whoever was told of the other is stored: a person decides.
        let (late, key) = if one == Submitted::JudgeAgain { here } else { there };
        let told = past(&other, &late, &key).await;
        assert!(told.duplicate.is_some());
        assert!(matches!(submit(&other, &set, &(late, key), told).await, Submitted::Stored(_)));
    }
}

pub(super) async fn what_was_stopped_for_what_it_is_is_remembered_by_producer(store: &Store) {
    let set = Set::with(store, 3, ALL, "").await;
    let news = job("n-1", "Nowa oferta");
    let refused = |producer: &str, rule: &str| {
        let (stopped, _) = job("x", "test");
        let finding = FindingNote {
            rule: rule.to_owned(),
            verdict: "refuse".to_owned(),
            field: "to".to_owned(),
            span: None,
            reason: String::new(),
            fix: String::new(),
        };
        let body = EventBody::JobRefused {
            producer: ProducerId::parse(producer).expect("a producer"),
            job: stopped.id().clone(),
            app: stopped.app().cloned(),
            digest: stopped.digest(),
            findings: vec![finding],
        };
        RefusedJob { event: Event::new(jiff::Timestamp::UNIX_EPOCH, None, producer.as_bytes(), body) }
    };
    let commit = |refusals: Vec<RefusedJob>| async move {
        store.ledger.commit_direct(&[], &refusals).await.expect("it is committed");
    };
    commit(vec![refused("marketing", "expired"), refused("cards", "test-to-production")]).await;
    assert_eq!(
        past(&store.ledger, &news.0, &news.1).await,
        Past::default(),
        "another's, and no matter of content"
    );
    commit(vec![refused("marketing", "test-to-production"), refused("marketing", "staging-link")]).await;
    let told = past(&store.ledger, &news.0, &news.1).await;
    assert!(told.flagged.is_some());
    assert_eq!(submit(&store.ledger, &set, &news, Past::default()).await, Submitted::JudgeAgain);
    store.tamper("update flagged set at = at - 1800000001", "update flagged set at = at - 1800000001").await;
    assert_eq!(past(&store.ledger, &news.0, &news.1).await, Past::default(), "half an hour has passed");
}
