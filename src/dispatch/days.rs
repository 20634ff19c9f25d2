//! How many devices each producer's direct jobs have reached today: what the guard is told before it judges a batch.
//!
//! The fleet's allowance of a day is in the ledger. A process leases of it what its batch needs and a part ahead, so that it
//! asks seldom, and hands in what it counted when it asks again. A device that it has counted today it does not count again.
//!
//! - **I3 unknown-is-no**: a ledger that does not answer is the batch's error; nothing of it is sent.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    clock::Clock,
    guard::Sketch,
    ledger::{Day, DayAsk, DayLease, Ledger, LedgerError},
    metrics::Metrics,
    model::ProducerId,
};

/// Of a producer's day, this part is leased ahead: a process that dies takes as little with it until midnight.
const PARTS: u64 = 500;

/// Devices that a process remembers of one producer's day, at 8 bytes each. One beyond that is counted again when it is rung
/// again; the ledger's sketch finds that it is the same.
const REMEMBERED: usize = 1_000_000;

/// After it was given nothing, a process does not ask again for so long: others may hand something back.
const REST: Duration = Duration::from_secs(1);

/// What this process has counted and leased.
#[derive(Debug)]
pub(super) struct Days {
    process: Uuid,
    /// One asks at a time, so that what is said of the lease is true when it is written.
    asking: tokio::sync::Mutex<()>,
    producers: Mutex<HashMap<ProducerId, Today>>,
}

/// One producer's day.
#[derive(Debug)]
struct Today {
    day: Day,
    devices: HashSet<u64>,
    /// What the fleet had counted when this process asked last.
    fleet: Sketch,
    /// Counted since it was last handed in.
    counted: Sketch,
    /// Leased, and free.
    left: u64,
    /// Leased, and set aside for batches that are being counted.
    aside: u64,
    /// Nothing was left to give; no sense in asking before this.
    rests_until: Option<Timestamp>,
    /// Somebody has been told.
    told: bool,
}

impl Today {
    fn new(day: Day) -> Self {
        Self {
            day,
            devices: HashSet::new(),
            fleet: Sketch::default(),
            counted: Sketch::default(),
            left: 0,
            aside: 0,
            rests_until: None,
            told: false,
        }
    }

    fn new_of(&self, devices: &HashSet<u64>) -> u64 {
        devices.difference(&self.devices).filter(|device| !self.fleet.surely_has(**device)).count() as u64
    }

    /// What was given goes to the batch as far as it lacks it, and is free beyond that.
    fn take(&mut self, need: &mut Need<'_>, given: u64) {
        let mine = need.missing.min(given);
        need.aside += mine;
        self.aside += mine;
        self.left += given - mine;
    }

    fn count(&mut self, devices: &HashSet<u64>) {
        for device in devices {
            if !self.devices.contains(device) {
                self.counted.add(*device);
                if self.devices.len() < REMEMBERED {
                    self.devices.insert(*device);
                }
            }
        }
    }
}

/// A direct job's part in the day of its producer.
#[derive(Debug)]
pub(super) struct Rung<'a> {
    pub(super) producer: &'a ProducerId,
    /// How many devices it may reach a day.
    pub(super) limit: u64,
    /// By their hashes.
    pub(super) devices: HashSet<u64>,
}

/// What a batch needs of one producer's day.
struct Need<'a> {
    producer: &'a ProducerId,
    limit: u64,
    /// Set aside for it.
    aside: u64,
    missing: u64,
}

impl Need<'_> {
    /// What is asked for: what is missing, or a part ahead.
    fn want(&self) -> u64 {
        if self.missing == 0 { 0 } else { self.missing.max(self.limit / PARTS) }
    }
}

impl Days {
    /// Of a process that begins now.
    pub(super) fn new(clock: &Clock) -> Self {
        let process = Uuid::from_u64_pair(clock.seed(), clock.seed());
        Self { process, asking: tokio::sync::Mutex::default(), producers: Mutex::default() }
    }

    fn producers(&self) -> MutexGuard<'_, HashMap<ProducerId, Today>> {
        self.producers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the producer's day, which may have begun just now. A batch of a day that is over has nothing: what it
    /// leases or counts is not the new day's.
    fn with<T>(&self, producer: &ProducerId, day: Day, act: impl FnOnce(&mut Today) -> T) -> T {
        let mut producers = self.producers();
        if !producers.contains_key(producer) {
            producers.insert(producer.clone(), Today::new(day));
        }
        let today = producers.get_mut(producer).expect("inserted above");
        if today.day < day {
            *today = Today::new(day);
        }
        if today.day > day {
            return act(&mut Today::new(day));
        }
        act(today)
    }

    /// Counts a batch in its order; answers of each job whether its producer's day has no more room for it. Of a job that is
    /// over nothing is counted.
    pub(super) async fn count(
        &self,
        ledger: &Ledger,
        metrics: &Metrics,
        jobs: &[Option<Rung<'_>>],
        now: Timestamp,
    ) -> Result<Vec<bool>, LedgerError> {
        let day = Day::of(now);
        let mut needs = self.set_aside(jobs, day, now);
        let mut failed = None;
        for need in &mut needs {
            if need.missing > 0 && failed.is_none() {
                failed = self.lease(ledger, metrics, need, (day, now)).await.err();
            }
        }
        let over = self.settle(needs, jobs, day, failed.is_none());
        failed.map_or(Ok(over), Err)
    }

    /// [`Self::count`] with a ledger that gives what it is asked for, at once.
    pub(super) fn count_freely(&self, jobs: &[Option<Rung<'_>>], now: Timestamp) -> Vec<bool> {
        let day = Day::of(now);
        let mut needs = self.set_aside(jobs, day, now);
        for need in &mut needs {
            self.with(need.producer, day, |today| today.take(need, need.want()));
        }
        self.settle(needs, jobs, day, true)
    }

    /// Counts the jobs against what their producers have set aside, if the ledger has answered. The rest is free again.
    fn settle(
        &self,
        needs: Vec<Need<'_>>,
        jobs: &[Option<Rung<'_>>],
        day: Day,
        is_answered: bool,
    ) -> Vec<bool> {
        let mut over = vec![false; jobs.len()];
        for need in needs {
            let Need { producer, aside, .. } = need;
            let of_it = jobs.iter().zip(&mut over);
            let of_it = of_it.filter_map(|(job, over)| job.as_ref().map(|job| (job, over)));
            self.with(producer, day, |today| {
                let mut budget = aside.min(today.aside);
                today.aside -= budget;
                if is_answered {
                    for (job, over) in of_it.filter(|(job, _)| job.producer == producer) {
                        let new = today.new_of(&job.devices);
                        *over = new > budget;
                        if !*over {
                            budget -= new;
                            today.count(&job.devices);
                        }
                    }
                }
                today.left += budget;
            });
        }
        over
    }

    /// Sets aside what the batch needs, so that no other batch takes it meanwhile. What a batch that is given up had set aside
    /// stays so until the day is over.
    fn set_aside<'a>(&self, jobs: &'a [Option<Rung<'a>>], day: Day, now: Timestamp) -> Vec<Need<'a>> {
        let mut needs: Vec<(&Rung<'a>, HashSet<u64>)> = Vec::new();
        for job in jobs.iter().flatten() {
            let known = needs.iter().position(|(first, _)| first.producer == job.producer);
            let place = known.unwrap_or_else(|| {
                needs.push((job, HashSet::new()));
                needs.len() - 1
            });
            needs[place].1.extend(&job.devices);
        }
        let need = |(job, all): (&Rung<'a>, HashSet<u64>)| {
            self.with(job.producer, day, |today| {
                let new = today.new_of(&all);
                let aside = new.min(today.left);
                today.left -= aside;
                today.aside += aside;
                let rests = today.rests_until.is_some_and(|until| now < until);
                let missing = if rests { 0 } else { new - aside };
                Need { producer: job.producer, limit: job.limit, aside, missing }
            })
        };
        needs.into_iter().map(need).collect()
    }

    /// Asks the ledger for what is missing.
    async fn lease(
        &self,
        ledger: &Ledger,
        metrics: &Metrics,
        need: &mut Need<'_>,
        (day, now): (Day, Timestamp),
    ) -> Result<(), LedgerError> {
        let _one = self.asking.lock().await;
        let (counted, keep) = self.with(need.producer, day, |today| {
            // Whoever asked before us may have brought enough.
            let brought = need.missing.min(today.left);
            today.left -= brought;
            today.aside += brought;
            need.aside += brought;
            need.missing -= brought;
            (std::mem::take(&mut today.counted), today.left + today.aside)
        });
        let want = need.want();
        let Need { producer, limit, .. } = *need;
        let process = self.process;
        let ask = DayAsk { producer, day, limit, process, counted: &counted, keep, want };
        let leased = ledger.lease_day(&ask).await;
        self.with(producer, day, |today| match &leased {
            Ok(DayLease { given, fleet, .. }) => {
                today.take(need, *given);
                today.fleet.clone_from(fleet);
                let is_empty = want > 0 && *given == 0;
                today.rests_until = is_empty.then(|| now.checked_add(REST).unwrap_or(Timestamp::MAX));
            }
            Err(_) => today.counted.merge(&counted),
        });
        metrics.producer_day(producer, leased?.reached, limit);
        Ok(())
    }

    /// True for the first who asks, and until [`Days::is_told`] is noted.
    pub(super) fn must_tell(&self, producer: &ProducerId, now: Timestamp) -> bool {
        self.with(producer, Day::of(now), |today| !today.told)
    }

    /// Somebody has been told that the producer has no more room today.
    pub(super) fn is_told(&self, producer: &ProducerId, now: Timestamp) {
        self.with(producer, Day::of(now), |today| today.told = true);
    }

    /// Hands in what was counted and gives back what is left, as the process ends. What fails is lost until midnight.
    pub(super) async fn hand_back(&self, ledger: &Ledger) {
        let all: Vec<(ProducerId, Day, Sketch)> = {
            let mut producers = self.producers();
            producers.drain().map(|(producer, today)| (producer, today.day, today.counted)).collect()
        };
        for (producer, day, counted) in all {
            let (process, counted) = (self.process, &counted);
            let ask = DayAsk { producer: &producer, day, limit: 0, process, counted, keep: 0, want: 0 };
            if let Err(error) = ledger.lease_day(&ask).await {
                tracing::warn!(%producer, %error, "what is left of its day is not handed back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_a_day_that_is_over_takes_nothing_of_the_new_one() {
        let noon: Timestamp = "2026-11-21T12:00:00Z".parse().expect("an instant");
        let yesterday = noon.checked_sub(Duration::from_hours(24)).expect("an instant");
        let (days, producer) =
            (Days::new(&Clock::manual(noon, 7)), ProducerId::parse("cards").expect("a producer"));
        let job = |device: u64| [Some(Rung { producer: &producer, limit: 1_000, devices: [device].into() })];
        assert_eq!(days.count_freely(&job(1), noon), [false]);
        assert_eq!(days.count_freely(&job(2), yesterday), [true]);
        let (left, counted) =
            days.with(&producer, Day::of(noon), |today| (today.left, today.counted.clone()));
        assert_eq!((left, counted.at_most(), counted.surely_has(2)), (1, 1, false));
    }
}
