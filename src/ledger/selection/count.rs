//! How many an audience comes to.

use jiff::Timestamp;

use super::{Found, Range, Selection, Users, plan_for_values};
use crate::{
    audience::{Audience, Select, Who},
    ledger::{Ledger, LedgerError, rows::column, select::Looked, tx::Tx},
    model::Bucket,
};

/// Buckets of a sample: people are spread over buckets by a hash, so that any hundredth of them is like the others.
const SAMPLE: u16 = Bucket::COUNT / 100;

/// What an audience comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudienceCount {
    /// Devices that a freeze takes.
    pub devices: u64,
    /// Their owners.
    pub people: u64,
}

impl std::ops::AddAssign for AudienceCount {
    fn add_assign(&mut self, other: Self) {
        self.devices += other.devices;
        self.people += other.people;
    }
}

/// What an audience comes to, by guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Devices.
    pub devices: u64,
    /// On what ground.
    pub basis: Basis,
}

/// The ground of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The audience lists its members: they were counted.
    Members,
    /// What PostgreSQL's planner expects to find, without reading a device.
    Statistics {
        /// When the oldest of its statistics were gathered; `None` if some never were, and then it guesses.
        gathered: Option<Timestamp>,
    },
    /// SQLite's planner counts nothing: the devices of one bucket in a hundred, times a hundred.
    Sample,
}

impl Ledger {
    /// Counts the devices that a freeze of this audience would take now, and their owners. Of one instant, whatever is
    /// registered meanwhile.
    pub async fn count_audience(&self, audience: &Audience) -> Result<AudienceCount, LedgerError> {
        let mut tx = self.begin_reading().await?;
        let now = tx.now().await?;
        Selection::of(audience, now).count(&mut tx).await
    }

    /// Says quickly how many devices about.
    pub async fn estimate_audience(&self, audience: &Audience) -> Result<Estimate, LedgerError> {
        let mut tx = self.begin_reading().await?;
        let selection = Selection::of(audience, tx.now().await?);
        let Who::Select(select) = &audience.who else {
            let devices = selection.count(&mut tx).await?.devices;
            return Ok(Estimate { devices, basis: Basis::Members });
        };
        if let Tx::Postgres(tx) = &mut tx {
            let devices = selection.expected(tx, select).await?;
            let gathered = super::plan::statistics_gathered(tx).await?;
            return Ok(Estimate { devices, basis: Basis::Statistics { gathered } });
        }
        let sample = selection.count_selected(&mut tx, select, Range::buckets(0, SAMPLE - 1)).await?;
        Ok(Estimate { devices: sample.devices * 100, basis: Basis::Sample })
    }
}

impl Selection<'_> {
    pub(super) async fn count(&self, tx: &mut Tx) -> Result<AudienceCount, LedgerError> {
        let Who::Select(select) = &self.audience.who else {
            return Ok(people_of(&self.read(tx, Range::ALL, Users::Told).await?));
        };
        plan_for_values(tx).await?;
        let mut count = AudienceCount::default();
        // A person's devices lie in one bucket: what parts count adds up.
        for part in Range::parts() {
            count += self.count_selected(tx, select, part).await?;
        }
        Ok(count)
    }

    async fn count_selected(
        &self,
        tx: &mut Tx,
        select: &Select,
        part: Range,
    ) -> Result<AudienceCount, LedgerError> {
        const COUNT: &str = "select count(*), count(distinct user_id) from device where ";
        let counts = ask!(tx, self.now, COUNT, (i64, i64), |conditions| {
            conditions.push(self.app, Looked::Taken, select);
            conditions.push_part(part);
        });
        let (devices, people) = counts.first().copied().unwrap_or_default();
        Ok(AudienceCount {
            devices: column("device", part.from, "count", u64::try_from(devices))?,
            people: column("device", part.from, "count", u64::try_from(people))?,
        })
    }
}

/// What these come to.
pub(super) fn people_of(found: &[Found]) -> AudienceCount {
    let mut people: Vec<&str> = found.iter().map(|found| found.user.as_str()).collect();
    people.sort_unstable();
    people.dedup();
    AudienceCount { devices: found.len() as u64, people: people.len() as u64 }
}
