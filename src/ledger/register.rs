//! Writing registrations: whose phone is whose from now on.
//!
//! Whoever registers or removes takes the tokens' owners first, in the order of their keys, and only then touches devices.
//! A device belongs to one token, so that two who write never wait for each other in a circle.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Ledger, LedgerError, devices::Placed, rows::column, tx::Tx};
use crate::model::{AppId, DeviceId, Digest, NewDevice, UserId};

/// Partitions that are swept at once: as many as connections write an import.
const SWEEPS: usize = 2;

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportCounts {
    /// Tokens that nobody had.
    pub new: u64,
    /// Tokens that their owner had already.
    pub updated: u64,
    /// Tokens that belonged to somebody else.
    pub moved: u64,
    /// Registrations that a later one of the same token in the same batch replaced.
    pub repeated: u64,
    /// Devices that had to make room for others of the same person.
    pub displaced: u64,
}

impl ImportCounts {
    /// Every registration that was taken.
    pub const fn all(&self) -> u64 {
        self.new + self.updated + self.moved + self.repeated
    }
}

impl std::ops::AddAssign for ImportCounts {
    fn add_assign(&mut self, other: Self) {
        self.new += other.new;
        self.updated += other.updated;
        self.moved += other.moved;
        self.repeated += other.repeated;
        self.displaced += other.displaced;
    }
}

/// A registration, with what is derived from it once.
#[derive(Debug)]
pub(super) struct KeyedDevice {
    pub(super) key: Digest,
    pub(super) id: DeviceId,
    pub(super) device: NewDevice,
}

impl From<NewDevice> for KeyedDevice {
    fn from(device: NewDevice) -> Self {
        let key = device.owner_key();
        Self { key, id: device.id_under(&key), device }
    }
}

/// What an import still believes of its file, for as long as it is cheap to be wrong.
///
/// PostgreSQL takes rows as a stream (`COPY`) at two thirds of the cost of an insert that looks for conflicts. A stream
/// fails as a whole when one row is there already: then the batch is rolled back, and written again with less belief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// No token has an owner yet, as in the first import.
    AllAreNew,
    /// Some tokens have one. A token without one belongs to a device that never was.
    FreeTokensAreNew,
    /// Devices that were gone come back.
    Nothing,
}

impl Belief {
    const fn shaken(self) -> Option<Self> {
        match self {
            Self::AllAreNew => Some(Self::FreeTokensAreNew),
            Self::FreeTokensAreNew => Some(Self::Nothing),
            Self::Nothing => None,
        }
    }
}

impl Ledger {
    /// Registers a batch of devices (some thousands), in one transaction. The same registration again changes
    /// nothing but its instant. For a file of millions, see [`Ledger::importer`].
    pub async fn import(&self, batch: Vec<NewDevice>) -> Result<ImportCounts, LedgerError> {
        let given = batch.len();
        let batch: Vec<_> = last_of_each(batch.into_iter().map(KeyedDevice::from).collect());
        let mut counts = self.import_believing(&batch, &mut Belief::Nothing).await?;
        counts.repeated = (given - batch.len()) as u64;
        let gained = batch.iter().map(|new| (&new.device.app, &new.device.user)).collect();
        counts.displaced = self.make_room(&gained).await?;
        Ok(counts)
    }

    /// A batch of distinct tokens in their order, as fast as what is believed allows. The outcome does not depend on it. Nobody
    /// has to make room yet.
    pub(super) async fn import_believing(
        &self,
        batch: &[KeyedDevice],
        belief: &mut Belief,
    ) -> Result<ImportCounts, LedgerError> {
        if batch.is_empty() {
            return Ok(ImportCounts::default());
        }
        loop {
            match (self.begin().await?.import(batch, *belief).await, belief.shaken()) {
                (Err(error), Some(less)) if error.is_key_taken() => *belief = less,
                (answer, _) => return answer,
            }
        }
    }

    /// Looks through the whole registry for people who have too many devices, and lets those go that were not seen for longest.
    /// Answers how many. After a large import this costs a fiftieth of looking for each person.
    pub(super) async fn sweep(&self) -> Result<u64, LedgerError> {
        let most = i64::from(self.max_devices_per_user().get());
        let of_table = |table: &str| {
            format!(
                "select app, user_id from {table} where gone_at is null group by app, user_id having count(*) > $1"
            )
        };
        let rows: Vec<(String, String)> = match self {
            Self::Postgres(store) => {
                // Each partition by its name: its people fit into the memory of one statement.
                let of_partition = async |partition: u8| {
                    let sql = of_table(&format!("device_p{partition:02}"));
                    sqlx::query_as(&sql).bind(most).fetch_all(&store.pool).await
                };
                let partitions = stream::iter(0..64).map(of_partition).buffer_unordered(SWEEPS);
                partitions.try_fold(Vec::new(), async |rows, more| Ok([rows, more].concat())).await?
            }
            Self::Sqlite(store) => {
                sqlx::query_as(&of_table("device")).bind(most).fetch_all(&store.readers).await?
            }
        };
        let person = |(app, user): (String, String)| {
            let app = column("device", &app, "app", AppId::parse(&app))?;
            Ok((app, column("device", "of a person", "user_id", UserId::parse(&user))?))
        };
        let people = rows.into_iter().map(person).collect::<Result<Vec<_>, LedgerError>>()?;
        self.make_room(&people.iter().map(|(app, user)| (app, user)).collect()).await
    }

    /// In a transaction of its own: whoever has to go has a token, too, and the batch's tokens are taken in their order.
    /// Should it be lost, a person has too many devices until the next one is gained.
    async fn make_room(&self, gained: &BTreeSet<(&AppId, &UserId)>) -> Result<u64, LedgerError> {
        if gained.is_empty() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let displaced = tx.make_room(gained, self.max_devices_per_user(), now).await?;
        tx.commit().await?;
        Ok(displaced)
    }
}

/// The last registration of each token, in the order of keys: one order for all who register.
pub(super) fn last_of_each(mut batch: Vec<KeyedDevice>) -> Vec<KeyedDevice> {
    batch.reverse();
    // Stable: of one key, the last comes first now. By the keys beside it, because a registration is large to move.
    batch.sort_by_cached_key(|registration| registration.key);
    batch.dedup_by_key(|registration| registration.key);
    batch
}

impl Tx {
    /// One batch, to the end of the transaction.
    async fn import(mut self, batch: &[KeyedDevice], belief: Belief) -> Result<ImportCounts, LedgerError> {
        let mut counts = ImportCounts::default();
        let now = self.now().await?;
        let all: Vec<_> = batch.iter().map(|new| (new.key, &new.device)).collect();
        let owners = match belief {
            Belief::AllAreNew => self.claim_free_tokens(batch).await?,
            Belief::FreeTokensAreNew | Belief::Nothing => self.claim_tokens(&all).await?,
        };
        let (mut free, mut known, mut former) = (Vec::new(), Vec::new(), Vec::new());
        for (new, owner) in batch.iter().zip(owners) {
            match Placed::over(owner, new.id) {
                Placed::New => {
                    counts.new += 1;
                    free.push(new);
                    continue;
                }
                Placed::Same => counts.updated += 1,
                Placed::Moved(owner) => {
                    counts.moved += 1;
                    former.push(owner);
                }
            }
            known.push((new.key, &new.device));
        }
        self.retire(&former, now).await?;
        match belief {
            Belief::Nothing => self.register(&all, now).await?,
            Belief::AllAreNew | Belief::FreeTokensAreNew => {
                self.register_new(free, now).await?;
                self.register(&known, now).await?;
            }
        }
        self.commit().await?;
        Ok(counts)
    }
}
