//! Registrations that come by queue: in each phone's own order, and no more phones than a person may have.
//!
//! - A phone's messages are ordered by the version that its producer counts. One that is not higher than the version on
//!   record changes nothing, whatever became of the phone since: see the table `device_version`.
//! - **I7 nothing-lost**: when [`Ledger::apply_registrations`] has returned, the messages may be acknowledged. If it fails,
//!   the same batch may be applied again: what was done is then late.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::json;

use super::{
    Ledger, LedgerError,
    commit::SERVICE,
    devices::Placed,
    postgres, sqlite,
    tx::{Gone, Tx},
};
use crate::model::{AppId, Change, DeviceId, Digest, Event, EventBody, NewDevice, Registration, UserId};

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Nobody had the phone.
    Registered,
    /// Its owner had it already.
    Updated,
    /// It was somebody else's.
    Moved,
    /// It is nobody's now, or was before; an earlier message does not bring it back.
    Removed,
    /// Not higher than the version on record, or the removal of a phone that is another person's: nothing changed.
    Stale,
    /// An update of a phone that nobody has: nothing changed, and its version is still free.
    Unknown,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedBatch {
    /// By place.
    pub applied: Vec<Applied>,
    /// Phones that had to make room for others of the same person.
    pub displaced: u64,
}

impl Ledger {
    /// Applies a batch (some hundreds), in its order as far as messages are about the same phone.
    pub async fn apply_registrations(&self, batch: &[Registration]) -> Result<AppliedBatch, LedgerError> {
        let keys: Vec<Digest> = batch.iter().map(|registration| registration.phone.owner_key()).collect();
        // A round has each phone once, and is a transaction of its own: it holds no lock while it waits for one.
        let (mut rounds, mut seen) = (Vec::<Vec<usize>>::new(), HashMap::<Digest, usize>::new());
        for (place, key) in keys.iter().enumerate() {
            let round = seen.entry(*key).or_default();
            if rounds.len() == *round {
                rounds.push(Vec::new());
            }
            rounds[*round].push(place);
            *round += 1;
        }
        let mut answer = AppliedBatch { applied: vec![Applied::Stale; batch.len()], displaced: 0 };
        for mut round in rounds {
            // One order for all who register: they wait for each other, never in a circle.
            round.sort_by_key(|place| keys[*place]);
            let asked: Vec<_> = round.iter().map(|place| (keys[*place], &batch[*place])).collect();
            let (applied, displaced) = self.apply_round(&asked).await?;
            answer.displaced += displaced;
            for (place, applied) in round.into_iter().zip(applied) {
                answer.applied[place] = applied;
            }
        }
        Ok(answer)
    }

    async fn apply_round(
        &self,
        asked: &[(Digest, &Registration)],
    ) -> Result<(Vec<Applied>, u64), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let known = known(&mut tx, asked).await?;
        let is_update = |change: &Change| matches!(change, Change::Update(..));
        let claims: Vec<(Digest, i64)> = asked
            .iter()
            .filter(|(key, asked)| !is_update(&asked.change) || known.devices.contains_key(key))
            .map(|(key, asked)| (*key, asked.version))
            .collect();
        let fresh = tx.claim_versions(&claims, now).await?;
        let mut round = Round::default();
        for (key, asked) in asked {
            round.decide(*key, asked, &known, fresh.contains(key));
        }
        let place: Vec<(Digest, &NewDevice)> =
            round.placed.iter().map(|(_, key, device)| (*key, device)).collect();
        let placed = tx.place(&place, now).await?;
        let mut gained = BTreeSet::new();
        for ((at, _, device), placed) in round.placed.iter().zip(placed) {
            round.applied[*at] = match placed {
                Placed::New => Applied::Registered,
                Placed::Same => Applied::Updated,
                Placed::Moved(_) => Applied::Moved,
            };
            if placed != Placed::Same {
                gained.insert((&device.app, &device.user));
            }
        }
        tx.mark_gone(&round.gone, now).await?;
        let displaced = tx.make_room(&gained, self.max_devices_per_user(), now).await?;
        tx.commit().await?;
        Ok((round.applied, displaced))
    }

    /// Records that registrations were refused, and has it told: one event each.
    pub async fn refuse_registrations(&self, events: &[Event]) -> Result<(), LedgerError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        tx.tell(events).await?;
        let hashes: Vec<u8> =
            events.iter().flat_map(|event| *Digest::of(event.to_json().as_bytes()).as_bytes()).collect();
        let body = json!({
            "refused": events.iter().map(refusal).collect::<Vec<_>>(),
            "hash": Digest::of_parts(&[b"registrations", &hashes]).to_string(),
        });
        tx.append_audit(now, SERVICE, "device.refusals", &body).await?;
        tx.commit().await
    }
}

fn refusal(event: &Event) -> serde_json::Value {
    match &event.body {
        EventBody::DeviceRefused { producer, version, findings, .. } => {
            let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
            json!({ "producer": producer, "version": version, "rules": rules, "event": event.id })
        }
        EventBody::DeviceMalformed { producer, code, field, .. } => {
            json!({ "producer": producer, "malformed": code, "field": field, "event": event.id })
        }
        _ => json!({ "event": event.id }),
    }
}

/// What is on record of phones that are updated or removed.
struct Known {
    /// Whose phone it is now.
    owners: HashMap<Digest, DeviceId>,
    /// Of those that are updated.
    devices: HashMap<Digest, NewDevice>,
}

async fn known(tx: &mut Tx, asked: &[(Digest, &Registration)]) -> Result<Known, LedgerError> {
    let of_known = asked.iter().filter(|(_, asked)| !matches!(asked.change, Change::Register(..)));
    let keys: Vec<Digest> = of_known.map(|(key, _)| *key).collect();
    let owners = tx.owners(&keys).await?;
    let updated = asked.iter().filter(|(_, asked)| matches!(asked.change, Change::Update(..)));
    let ids: Vec<DeviceId> = updated.filter_map(|(key, _)| owners.get(key).copied()).collect();
    let devices = tx.records(&ids).await?.into_iter().filter(|record| record.gone_at.is_none());
    let devices = devices.map(NewDevice::from).map(|device| (device.owner_key(), device)).collect();
    Ok(Known { owners, devices })
}

/// What is to be done for a round.
#[derive(Default)]
struct Round {
    applied: Vec<Applied>,
    /// Who has which phone from now on, and for which place.
    placed: Vec<(usize, Digest, NewDevice)>,
    gone: Vec<Gone>,
}

impl Round {
    fn decide(&mut self, key: Digest, asked: &Registration, known: &Known, is_fresh: bool) {
        let mut applied = Applied::Stale;
        let mut placed = None;
        match &asked.change {
            Change::Update(..) if !known.devices.contains_key(&key) => applied = Applied::Unknown,
            _ if !is_fresh => {}
            Change::Register(user, particulars) => {
                let mut device = asked.phone.of(user.clone());
                particulars.apply_to(&mut device);
                placed = Some(device);
            }
            Change::Update(user, particulars) => {
                placed = known.devices.get(&key).cloned().map(|mut device| {
                    device.user = user.clone().unwrap_or(device.user);
                    particulars.apply_to(&mut device);
                    device
                });
            }
            Change::Remove(user) => match (known.owners.get(&key), user) {
                (Some(owner), Some(user)) if *owner != asked.phone.id_of(user) => {}
                (owner, _) => {
                    applied = Applied::Removed;
                    self.gone.extend(owner.map(|device| Gone { device: *device, since: None }));
                }
            },
        }
        self.placed.extend(placed.map(|device| (self.applied.len(), key, device)));
        self.applied.push(applied);
    }
}

impl Tx {
    /// Whose these phones are, as far as they are anybody's.
    async fn owners(&mut self, keys: &[Digest]) -> Result<HashMap<Digest, DeviceId>, LedgerError> {
        match self {
            _ if keys.is_empty() => Ok(HashMap::new()),
            Self::Postgres(tx) => postgres::registrations::owners(tx, keys).await,
            Self::Sqlite(tx) => sqlite::registrations::owners(tx, keys).await,
        }
    }

    /// Raises the phones' versions, and says of which that was possible. Until the transaction ends nobody else can
    /// change them. No phone may stand in `claims` twice; they are in the order of their keys.
    async fn claim_versions(
        &mut self,
        claims: &[(Digest, i64)],
        now: Timestamp,
    ) -> Result<BTreeSet<Digest>, LedgerError> {
        match self {
            _ if claims.is_empty() => Ok(BTreeSet::new()),
            Self::Postgres(tx) => postgres::registrations::claim_versions(tx, claims, now).await,
            Self::Sqlite(tx) => sqlite::registrations::claim_versions(tx, claims, now).await,
        }
    }

    /// Of people who have gained a phone of an app: marks those gone that are too many, the ones first that were not seen
    /// for longest. Answers how many. Two transactions that do not see each other's phones may leave one too many, until
    /// the next one is gained.
    pub(super) async fn make_room(
        &mut self,
        gained: &BTreeSet<(&AppId, &UserId)>,
        most: std::num::NonZeroU32,
        now: Timestamp,
    ) -> Result<u64, LedgerError> {
        let most = i64::from(most.get());
        let too_many = match self {
            _ if gained.is_empty() => return Ok(0),
            Self::Postgres(tx) => postgres::registrations::too_many(tx, gained, most).await?,
            Self::Sqlite(tx) => sqlite::registrations::too_many(tx, gained, most).await?,
        };
        let gone: Vec<_> = too_many.into_iter().map(|device| Gone { device, since: None }).collect();
        self.mark_gone(&gone, now).await?;
        Ok(gone.len() as u64)
    }
}
