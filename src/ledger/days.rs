//! How many distinct devices a producer's direct jobs may still reach today, over the whole fleet.
//!
//! - A process leases what it is about to need behind the row's lock, counts whatever is new to it against that, and hands in
//!   what it counted with its next lease: the devices of the fleet are never more than the sketch's upper bound and what is
//!   leased. A device that two processes count is one again as soon as both have handed it in.
//! - What a process says of its lease is absolute, so that saying it again changes nothing. If it dies, its lease stays taken
//!   until the day is over, since nobody knows whom it reached: that errs to refusing.
//! - **I3 unknown-is-no**: without the ledger nothing is leased.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{
    Ledger, LedgerError,
    commit::SERVICE,
    rows::micros,
    tx::{Tx, on_either},
};
use crate::{
    guard::Sketch,
    model::{Event, EventBody, ProducerId},
};

/// Days that are kept after they are over, so that somebody can look.
const KEPT: i64 = 7;

const MICROS_A_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// A process asks for more.
#[derive(Debug)]
pub struct DayAsk<'a> {
    /// Whose day.
    pub producer: &'a ProducerId,
    /// Which, in UTC.
    pub day: Day,
    /// How many devices it may reach in it.
    pub limit: u64,
    /// Who asks.
    pub process: Uuid,
    /// The devices that this process has counted, at least those since it last asked.
    pub counted: &'a Sketch,
    /// So many of its lease it has not used.
    pub keep: u64,
    /// So many more it wants.
    pub want: u64,
}

/// What a process was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayLease {
    /// So many more devices.
    pub given: u64,
    /// So many the producer has reached today at most, as far as processes have handed in.
    pub reached: u64,
    /// These devices, as far as that is known.
    pub fleet: Sketch,
}

/// A day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(i64);

impl Day {
    /// The day of an instant.
    #[must_use]
    pub fn of(now: Timestamp) -> Self {
        Self(micros(now).div_euclid(MICROS_A_DAY))
    }

    /// Its first instant, in microseconds since 1970.
    pub(super) const fn start(self) -> i64 {
        self.0.saturating_mul(MICROS_A_DAY)
    }
}

impl Ledger {
    /// Hands in what a process has counted, and gives it as much more as is left.
    pub async fn lease_day(&self, ask: &DayAsk<'_>) -> Result<DayLease, LedgerError> {
        let mut tx = self.begin().await?;
        let before = tx.locked_day(ask.producer, ask.day).await?;
        let mut sketch = before.clone();
        sketch.merge(ask.counted);
        let others = tx.leased(ask.producer, ask.day, Some(ask.process)).await?;
        let reached = sketch.at_most();
        let taken = reached.saturating_add(others).saturating_add(ask.keep);
        let given = ask.limit.saturating_sub(taken).min(ask.want);
        if sketch != before {
            tx.write_day(ask.producer, ask.day, &sketch).await?;
        }
        tx.write_lease(ask, ask.keep.saturating_add(given)).await?;
        tx.commit().await?;
        Ok(DayLease { given, reached, fleet: sketch })
    }

    /// Puts on record that a producer reached as many devices as it may today, and tells it, once a day and
    /// limit over the whole fleet. True for whoever was the first.
    pub async fn stop_producer(
        &self,
        producer: &ProducerId,
        day: Day,
        devices_per_day: u64,
    ) -> Result<bool, LedgerError> {
        const SQL: &str = "update producer_day set stopped_limit = $3 \
             where producer = $1 and day = $2 and (stopped_limit is null or stopped_limit <> $3)";
        let limit = i64::try_from(devices_per_day).unwrap_or(i64::MAX);
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let is_first = on_either!(&mut tx, c => {
            sqlx::query(SQL).bind(producer.as_str()).bind(day.0).bind(limit).execute(c).await?.rows_affected()
        }) > 0;
        if is_first {
            let since = Timestamp::from_microsecond(day.start()).unwrap_or(Timestamp::MIN);
            let body = EventBody::ProducerStopped { producer: producer.clone(), devices_per_day, since };
            let entry = json!(body);
            let subject = [day.0.to_be_bytes(), limit.to_be_bytes()].concat();
            tx.tell(&[Event::new(now, None, &subject, body)]).await?;
            tx.append_audit(now, SERVICE, "producer.stopped", &entry).await?;
        }
        tx.commit().await?;
        Ok(is_first)
    }

    /// Forgets days that are long over.
    pub(super) async fn forget_days(&self, now: Timestamp) -> Result<u64, LedgerError> {
        let before = Day::of(now).0 - KEPT;
        let mut tx = self.begin().await?;
        let mut gone = 0;
        for sql in ["delete from producer_lease where day < $1", "delete from producer_day where day < $1"] {
            gone = on_either!(&mut tx, c => sqlx::query(sql).bind(before).execute(c).await?.rows_affected());
        }
        tx.commit().await?;
        Ok(gone)
    }
}

impl Tx {
    /// The day's sketch under its lock; the row is there afterwards.
    async fn locked_day(&mut self, producer: &ProducerId, day: Day) -> Result<Sketch, LedgerError> {
        const INSERT: &str = "insert into producer_day (producer, day, sketch) values ($1, $2, $3) \
             on conflict (producer, day) do nothing";
        const POSTGRES: &str = "select sketch from producer_day where producer = $1 and day = $2 for update";
        const SQLITE: &str = "select sketch from producer_day where producer = $1 and day = $2";
        let id = producer.as_str();
        let none = Sketch::default().packed();
        on_either!(&mut *self, c => {
            sqlx::query(INSERT).bind(id).bind(day.0).bind(none).execute(c).await?;
        });
        let packed: Vec<u8> = match self {
            Self::Postgres(tx) => {
                sqlx::query_scalar(POSTGRES).bind(id).bind(day.0).fetch_one(&mut **tx).await?
            }
            Self::Sqlite(tx) => sqlx::query_scalar(SQLITE).bind(id).bind(day.0).fetch_one(&mut **tx).await?,
        };
        unpacked(producer, &packed)
    }

    /// How much of a producer's day processes have leased, but for one of them.
    async fn leased(
        &mut self,
        producer: &ProducerId,
        day: Day,
        but: Option<Uuid>,
    ) -> Result<u64, LedgerError> {
        const SQL: &str = "select process, devices from producer_lease where producer = $1 and day = $2";
        let leases: Vec<(Uuid, i64)> = on_either!(&mut *self, c => {
            sqlx::query_as(SQL).bind(producer.as_str()).bind(day.0).fetch_all(c).await?
        });
        let others = leases.into_iter().filter(|(process, _)| Some(*process) != but);
        Ok(others.fold(0, |sum, (_, devices)| sum.saturating_add(u64::try_from(devices).unwrap_or(0))))
    }

    async fn write_day(
        &mut self,
        producer: &ProducerId,
        day: Day,
        sketch: &Sketch,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "update producer_day set sketch = $3 where producer = $1 and day = $2";
        on_either!(self, c => {
            sqlx::query(SQL).bind(producer.as_str()).bind(day.0).bind(sketch.packed()).execute(c).await?;
        });
        Ok(())
    }

    async fn write_lease(&mut self, ask: &DayAsk<'_>, devices: u64) -> Result<(), LedgerError> {
        const SQL: &str = "insert into producer_lease (producer, day, process, devices) values ($1, $2, $3, $4) \
             on conflict (producer, day, process) do update set devices = excluded.devices";
        on_either!(self, c => {
            sqlx::query(SQL)
                .bind(ask.producer.as_str())
                .bind(ask.day.0)
                .bind(ask.process)
                .bind(i64::try_from(devices).unwrap_or(i64::MAX))
                .execute(c)
                .await?;
        });
        Ok(())
    }

    /// How many devices a producer's direct jobs have reached today, or may with what is leased.
    pub(super) async fn direct_today(&mut self, producer: &ProducerId, day: Day) -> Result<u64, LedgerError> {
        const SQL: &str = "select sketch from producer_day where producer = $1 and day = $2";
        let packed: Option<Vec<u8>> = on_either!(&mut *self, c => {
            sqlx::query_scalar(SQL).bind(producer.as_str()).bind(day.0).fetch_optional(c).await?
        });
        let Some(packed) = packed else { return Ok(0) };
        let leased = self.leased(producer, day, None).await?;
        Ok(unpacked(producer, &packed)?.at_most().saturating_add(leased))
    }
}

fn unpacked(producer: &ProducerId, packed: &[u8]) -> Result<Sketch, LedgerError> {
    Sketch::unpack(packed).ok_or_else(|| LedgerError::nonsense("producer_day", producer, "column sketch"))
}
