//! (producer, id) is one key for both lanes.

use std::time::Duration;

use super::{
    Store,
    campaign_set::{ALL, Set},
    fixtures::*,
};
use crate::{
    ledger::{Cancelling, Ledger, NotStarted, Submitted},
    model::{Device, Job},
};

/// A campaign whose key is that of the direct jobs with this id, and a direct job with it.
async fn rivals<'s>(store: &'s Store, id: &str, fields: &str) -> (Set<'s>, Job, Device) {
    let mut set = Set::with(store, 3, ALL, "").await;
    let direct = job_with(id, &["person-1"], fields, "Your card was used");
    set.key = key(&direct);
    let answer = ask(&store.ledger, &direct).await;
    let device = answer.recipients[0].devices()[0].clone();
    (set, direct, device)
}

async fn campaigns(ledger: &Ledger) -> usize {
    ledger.listed_rollouts(false, 100, None).await.expect("an answer").len()
}

pub(super) async fn a_direct_job_with_a_campaigns_id_is_seen(store: &Store) {
    let (set, direct, device) = rivals(store, "j", "").await;
    let ledger = &store.ledger;
    let campaign = set.submit().await;
    let prior = ask(ledger, &direct).await.prior.expect("the key is taken");
    assert_eq!(prior.digest, set.job.digest());
    assert_ne!(prior.digest, direct.digest());
    assert_eq!(set.submit_as(&set.job).await, Submitted::Known(campaign.id));
    // It was read before the campaign came, and was sent: what is on record stays.
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&direct, 1, &[(0, &device, accepted())], now, None)).await;
    let newest = ledger.audit_entries(1, 100).await.expect("entries").pop().expect("one");
    assert!(newest.body.contains(r#""conflicts":["cards/j"]"#), "{}", newest.body);
    assert_eq!(ledger.job(&set.key).await.expect("an answer"), None, "it is no direct job");
    assert_eq!(ledger.cancel_job(&set.key).await.expect("an answer"), Cancelling::NotFound);
    let withdrawn = ledger.withdraw_campaign(&set.key).await.expect("an answer");
    assert_eq!(withdrawn, Cancelling::Cancelled);
    let pointers = ledger.overdue_direct(Duration::ZERO, 10).await.expect("an answer");
    assert_eq!(pointers, [], "nothing of it is ever due in the direct lane");
}

pub(super) async fn a_campaign_with_a_direct_jobs_id_is_refused(store: &Store) {
    let (set, direct, device) = rivals(store, "j", "").await;
    let ledger = &store.ledger;
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&direct, 1, &[(0, &device, accepted())], now, None)).await;
    let before = ledger.outbox_len().await.expect("a count");
    assert_eq!(set.submit_as(&set.job).await, Submitted::Conflict);
    assert_eq!(campaigns(ledger).await, 0, "nothing of it is on record");
    assert_eq!(ledger.outbox_len().await.expect("a count"), before, "nor told");
    let age = "update direct_job set finished_at = finished_at - 2678400000000";
    store.tamper(age, age).await;
    assert!(matches!(set.submit_as(&set.job).await, Submitted::Stored(_)), "31 days later the key is free");
    assert_eq!(ledger.job(&set.key).await.expect("an answer"), None);
}

pub(super) async fn a_campaigns_key_is_free_thirty_days_after_its_expiry(store: &Store) {
    let (set, direct, device) = rivals(store, "j", "").await;
    let ledger = &store.ledger;
    set.submit().await;
    let age = "update direct_job set finished_at = (select changed_at from rollout) - 2678400000000";
    store.tamper(age, age).await;
    assert_eq!(ask(ledger, &direct).await.prior, None);
    let now = ledger.now().await.expect("the clock");
    commit(ledger, over(&direct, 1, &[(0, &device, accepted())], now, None)).await;
    let record = ledger.job(&set.key).await.expect("an answer").expect("it is a direct job now");
    assert_eq!(record.digest, direct.digest());
}

pub(super) async fn of_two_lanes_at_once_one_has_the_key(store: &Store) {
    let other = store.other_process().await;
    let (mut set, ..) = rivals(store, "j", "").await;
    let (mut direct_won, mut campaigns_won) = (0, 0);
    for n in 0..24 {
        let direct = job_with(&format!("j-{n}"), &["person-1"], r#""at_most_once":true,"#, "Once");
        set.key = key(&direct);
        // Both have looked, and neither has seen the other. Turn about, so that each is first now and then.
        let seen = read(&other, &direct).await;
        assert_eq!(seen.answers[0].prior, None);
        let (opened, submitted) = if n % 2 == 0 {
            tokio::join!(open_as_read(&other, &direct, seen), set.submit_as(&set.job))
        } else {
            let (submitted, opened) =
                tokio::join!(set.submit_as(&set.job), open_as_read(&other, &direct, seen));
            (opened, submitted)
        };
        match (opened, submitted) {
            (Ok(_), Submitted::Conflict) => direct_won += 1,
            (Err(NotStarted::KeyTaken), Submitted::Stored(_)) => campaigns_won += 1,
            both => panic!("{both:?}"),
        }
    }
    assert_eq!(campaigns(&other).await, campaigns_won);
    assert_eq!(direct_won + campaigns_won, 24);
}

pub(super) async fn another_at_most_once_job_with_the_same_id_is_told_apart_from_a_copy(store: &Store) {
    devices(store, vec![phone("a", "1")]).await;
    let [first, second] =
        ["Once", "Other"].map(|text| job_with("j", &["a"], r#""at_most_once":true,"#, text));
    let ledger = &store.ledger;
    let reads = (read(ledger, &first).await, read(ledger, &first).await, read(ledger, &second).await);
    assert!(open_as_read(ledger, &first, reads.0).await.is_ok());
    let again = open_as_read(ledger, &first, reads.1).await;
    assert_eq!(again.expect_err("a copy"), NotStarted::AlreadyKnown);
    let other = open_as_read(ledger, &second, reads.2).await;
    assert_eq!(other.expect_err("another job"), NotStarted::KeyTaken);
}

pub(super) async fn a_campaign_of_before_has_its_key_after_the_migration(store: &Store) {
    let (set, direct, _) = rivals(store, "j", "").await;
    set.submit().await;
    store.tamper("delete from direct_job", "delete from direct_job").await;
    assert_eq!(ask(&store.ledger, &direct).await.prior, None, "as an older program left it");
    let filling = |migration: &'static str| {
        let mut statements = migration.split(';');
        statements.find(|statement| statement.contains("insert into direct_job")).expect("it is there")
    };
    let postgres = filling(include_str!("../../../migrations/postgres/0008_late_tail.sql"));
    let sqlite = filling(include_str!("../../../migrations/sqlite/0008_late_tail.sql"));
    // Twice: what is there already stays.
    for _ in 0..2 {
        store.tamper(postgres, sqlite).await;
    }
    let prior = ask(&store.ledger, &direct).await.prior.expect("the key is taken");
    assert_eq!((prior.digest, prior.finished), (set.job.digest(), true));
}
