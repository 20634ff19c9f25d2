//! Whom the texts of the direct lane have reached: what the guard is told before it judges a batch.
//!
//! The fleet's allowance of a text is in the ledger. A process leases of it what its batch needs, and, once a text has
//! come twice in a slice of its window, a part ahead, so that a stream of one-time codes does not ask for each. Whom it has
//! counted in this slice it does not count again. What it leased is void with the slice that it was leased in.
//!
//! - **I3 unknown-is-no**: a ledger that does not answer is the batch's error; nothing of it is sent.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::{days::Rung, direct::DirectLane, judge::Asked};
use crate::{
    audience::Policy,
    guard::{DirectReach, FoundRecipient, Sketch, TextLimit},
    ledger::{BroadcastStop, Day, DeferredJob, DirectRead, Ledger, LedgerError, NotDue, ReachAsk},
    model::{AppId, Digest, Intent, Job, JobKey, ProducerId, UserId},
};

/// Of a text's limit, this part is leased ahead: small enough that a process that dies takes little with it.
const PARTS: u64 = 50;

/// Texts that are remembered before those whose slice is over are looked for and forgotten.
const FORGET_ABOVE: usize = 10_000;

/// What this process knows of each text.
#[derive(Debug, Default)]
pub(super) struct Reached {
    texts: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    by_text: HashMap<Digest, Text>,
    /// How many there are before the next look at which are over.
    forget_above: usize,
    hashes: RandomState,
}

/// One text in one slice of its window.
#[derive(Debug)]
struct Text {
    limit: TextLimit,
    slice: i64,
    /// People by a hash, who have been counted.
    people: HashSet<u64>,
    /// What was leased and nobody has used.
    left: u64,
    /// Whether somebody has been told that it was stopped.
    told: bool,
}

/// A job, who asks for it, and whose devices it would ring.
pub(super) type Rings<'a> = (&'a JobKey, &'a Job, &'a [FoundRecipient]);

/// A job of a batch, as far as it is counted.
pub(super) struct Counted {
    text: TextLimit,
    people: HashSet<u64>,
}

impl Counted {
    /// How many of its people are new to the text.
    fn new_to(&self, text: &Text) -> u64 {
        self.people.difference(&text.people).count() as u64
    }
}

impl Text {
    fn new(limit: TextLimit, slice: i64) -> Self {
        Self { limit, slice, people: HashSet::new(), left: 0, told: false }
    }

    /// Counts the job's people, if the lease suffices.
    fn count(&mut self, job: &Counted) -> bool {
        let new = job.new_to(self);
        if new > self.left {
            return false;
        }
        self.left -= new;
        self.people.extend(&job.people);

        true
    }
}

impl Texts {
    /// The text as it stands in this slice; in a new one it begins with nothing leased and nobody counted.
    fn now(&mut self, limit: TextLimit, now: Timestamp) -> &mut Text {
        let slice = limit.slice(now);
        if self.by_text.len() >= self.forget_above.max(FORGET_ABOVE) {
            self.by_text.retain(|_, text| text.slice >= text.limit.slice(now));
            self.forget_above = 2 * self.by_text.len();
        }
        let text = self.by_text.entry(limit.text).or_insert_with(|| Text::new(limit, slice));
        if text.slice < slice {
            *text = Text::new(limit, slice);
        }
        text
    }

    fn person(&self, user: &UserId) -> u64 {
        self.hashes.hash_one(user.as_str())
    }

    /// What is counted of a job: of one for testers nothing, since there are few of them; of one that the guard will refuse
    /// for another reason, as of any other.
    fn counted(&self, policy: &Policy, (key, job, found): Rings<'_>) -> Option<Counted> {
        let producer = policy.producer(&key.producer).filter(|_| job.intent() == Some(Intent::Production))?;
        let owners = found.iter().flat_map(FoundRecipient::devices).map(|device| &device.user);
        let people: HashSet<u64> = owners.map(|user| self.person(user)).collect();
        (!people.is_empty()).then(|| Counted { text: TextLimit::of(job.notification(), producer), people })
    }
}

impl Reached {
    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is counted of each job of a batch.
    pub(super) fn counted(&self, policy: &Policy, jobs: &[Option<Rings<'_>>]) -> Vec<Option<Counted>> {
        let texts = self.texts();
        jobs.iter().map(|job| job.and_then(|job| texts.counted(policy, job))).collect()
    }

    /// Counts a batch, and says of each job what the guard must know. The jobs are counted in order.
    async fn count(
        &self,
        ledger: &Ledger,
        jobs: Vec<Option<Counted>>,
        now: Timestamp,
    ) -> Result<Vec<DirectReach>, LedgerError> {
        let (asides, asks) = self.set_aside(&jobs, now);
        let leased = ledger.lease_reach(&asks, now).await;
        self.settle(jobs, asides, (&asks, leased), now)
    }

    /// Counts the jobs against what was set aside for them and what was leased. What was set aside comes back in any case.
    pub(super) fn settle<E>(
        &self,
        jobs: Vec<Option<Counted>>,
        asides: Vec<(TextLimit, u64)>,
        (asks, leased): (&[ReachAsk], Result<Vec<u64>, E>),
        now: Timestamp,
    ) -> Result<Vec<DirectReach>, E> {
        let mut texts = self.texts();
        for (limit, aside) in asides {
            texts.now(limit, now).left += aside;
        }
        for (ask, given) in asks.iter().zip(leased?) {
            texts.now(ask.text, now).left += given;
        }
        let reach = |job: Option<Counted>| {
            let over = job.filter(|job| !texts.now(job.text, now).count(job));
            DirectReach { over_text: over.map(|job| job.text), over_day: None }
        };
        Ok(jobs.into_iter().map(reach).collect())
    }

    /// Sets aside what the batch needs, so that no other batch takes it while this one asks for what is missing. A batch
    /// that is given up meanwhile takes it along, until the slice is over.
    pub(super) fn set_aside(
        &self,
        jobs: &[Option<Counted>],
        now: Timestamp,
    ) -> (Vec<(TextLimit, u64)>, Vec<ReachAsk>) {
        let mut texts = self.texts();
        let mut needs: BTreeMap<Digest, (TextLimit, HashSet<u64>)> = BTreeMap::new();
        for job in jobs.iter().flatten() {
            let known = &texts.now(job.text, now).people;
            let new: Vec<u64> = job.people.difference(known).copied().collect();
            needs.entry(job.text.text).or_insert_with(|| (job.text, HashSet::new())).1.extend(new);
        }
        let (mut asides, mut asks) = (Vec::new(), Vec::new());
        for (limit, new) in needs.into_values() {
            let text = texts.now(limit, now);
            let need = new.len() as u64;
            let aside = need.min(text.left);
            text.left -= aside;
            asides.push((limit, aside));
            if need > aside {
                let ahead = if text.people.is_empty() { 0 } else { limit.limit.max_users / PARTS };
                asks.push(ReachAsk { text: limit, want: (need - aside).max(ahead) });
            }
        }
        (asides, asks)
    }
}

impl DirectLane {
    /// What the guard must know of the texts of a batch, and who must be told of it.
    pub(super) async fn reach(
        &self,
        group: &[Asked],
        read: &DirectRead,
    ) -> Result<Vec<DirectReach>, LedgerError> {
        let each = group.iter().zip(&read.answers).map(|(asked, answer)| {
            // What is on record already is not sent again, and what waits for its hour is counted then.
            let is_now = asked.job.not_before().is_none_or(|start| start <= read.now);
            let counts = answer.prior.is_none() && is_now;
            counts.then_some((&asked.key, &asked.job, &answer.recipients[..]))
        });
        self.reach_of(each.collect(), read.now).await
    }

    /// The same of jobs that are due now. A job that was tried before was counted then.
    pub(super) async fn reach_of_deferred(
        &self,
        taken: &[Result<DeferredJob, NotDue>],
    ) -> Result<Vec<DirectReach>, LedgerError> {
        let each = taken.iter().map(|taken| {
            let first = taken.as_ref().ok().filter(|job| job.tries == 0)?;
            Some((&first.key, &first.job, &first.recipients[..]))
        });
        let jobs: Vec<_> = each.collect();
        if jobs.iter().all(Option::is_none) {
            return Ok(vec![DirectReach::default(); jobs.len()]);
        }
        let now = self.ledger.now().await?;
        self.reach_of(jobs, now).await
    }

    async fn reach_of(
        &self,
        jobs: Vec<Option<Rings<'_>>>,
        now: Timestamp,
    ) -> Result<Vec<DirectReach>, LedgerError> {
        let counted = self.reached.counted(&self.policy, &jobs);
        let mut reach = self.reached.count(&self.ledger, counted, now).await?;
        let rung = rung(&self.policy, &jobs, &reach);
        let over = self.days.count(&self.ledger, &self.metrics, &rung, now).await?;
        for ((rung, over), reach) in rung.iter().zip(over).zip(&mut reach) {
            if let Some(rung) = rung.as_ref().filter(|_| over) {
                reach.over_day = Some(rung.limit);
                self.stopped_day(rung, now).await?;
            }
        }
        for (job, reach) in jobs.iter().zip(&reach) {
            if let (Some((key, job, _)), Some(over)) = (job, reach.over_text)
                && let Some(app) = job.app()
            {
                self.stopped(&key.producer, app, over, now).await?;
            }
        }
        Ok(reach)
    }

    /// The same as for a text, once a day.
    async fn stopped_day(&self, rung: &Rung<'_>, now: Timestamp) -> Result<(), LedgerError> {
        let Rung { producer, limit, .. } = *rung;
        if !self.days.must_tell(producer, now) {
            return Ok(());
        }
        if self.ledger.stop_producer(producer, Day::of(now), limit).await? {
            self.metrics.producer_stopped(producer);
            tracing::error!(%producer, devices_per_day = limit, "a producer has reached as many devices as it may today");
        }
        self.days.is_told(producer, now);
        Ok(())
    }

    /// Calls somebody, once a window over the whole fleet. Until that is on record nothing of the batch goes on.
    async fn stopped(
        &self,
        producer: &ProducerId,
        app: &AppId,
        text: TextLimit,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        if self.reached.texts().now(text, now).told {
            return Ok(());
        }
        let stop = BroadcastStop { producer: producer.clone(), app: app.clone(), text };
        if self.ledger.stop_broadcast(&stop).await? {
            self.metrics.broadcast_stopped(app);
            let (max_users, within) = (text.limit.max_users, text.limit.within.as_secs());
            tracing::error!(%producer, %app, text = %text.text, max_users, within, "a broadcast in disguise is stopped");
        }
        self.reached.texts().now(text, now).told = true;
        Ok(())
    }
}

/// Each job's part in the day of its producer, unless its text's limit has stopped it: then it reaches nobody.
pub(super) fn rung<'a>(
    policy: &Policy,
    jobs: &[Option<Rings<'a>>],
    reach: &[DirectReach],
) -> Vec<Option<Rung<'a>>> {
    let goes_on =
        |(job, reach): (&Option<Rings<'a>>, &DirectReach)| job.filter(|_| reach.over_text.is_none());
    jobs.iter().zip(reach).map(|of_one| rung_by(policy, goes_on(of_one)?)).collect()
}

/// A production job's part in the day of its producer, if that has a limit.
fn rung_by<'a>(policy: &Policy, (key, job, found): Rings<'a>) -> Option<Rung<'a>> {
    let limit = policy.producer(&key.producer)?.devices_per_day?;
    let devices = found.iter().flat_map(FoundRecipient::devices).map(|device| Sketch::hash(device.id));
    let devices = devices.collect();
    (job.intent() == Some(Intent::Production)).then_some(Rung { producer: &key.producer, limit, devices })
}
