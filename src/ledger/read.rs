//! The batch's read: halts, prior jobs and recipients' devices, of one snapshot.

use std::collections::HashMap;

use super::{
    DirectAnswer, DirectAsk, DirectRead, HaltScope, Ledger, LedgerError, PriorJob, postgres, rows,
    rows::{DeviceRow, PriorRow},
    sqlite,
    tx::{KEY_KEPT, Wanted},
};
use crate::{
    guard::FoundRecipient,
    model::{AppId, Device, DeviceId, JobKey, Recipients, UserId},
};

/// What an engine answers, before it makes sense.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) now: i64,
    pub(super) halts: Vec<String>,
    pub(super) priors: Vec<PriorRow>,
    pub(super) devices: Vec<(usize, DeviceRow)>,
}

impl Ledger {
    /// Reads what one batch needs to know, in one round trip.
    pub async fn read_direct(&self, asks: &[DirectAsk<'_>]) -> Result<DirectRead, LedgerError> {
        let keys: Vec<&JobKey> = asks.iter().map(|ask| ask.key).collect();
        let mut wanted = Wanted::default();
        for (number, ask) in asks.iter().enumerate() {
            if let (Some(app), Some(to)) = (ask.app, ask.to) {
                wanted.add(number, app, to);
            }
        }
        let kept = i64::try_from(KEY_KEPT.as_micros()).unwrap_or(i64::MAX);
        let snapshot = match self {
            Self::Postgres(store) => postgres::read::snapshot(&store.pool, &keys, &wanted, kept).await?,
            Self::Sqlite(store) => sqlite::read::snapshot(&store.readers, &keys, &wanted, kept).await?,
        };
        let halts = parse_halts(&snapshot.halts)?;
        let mut priors = parse_priors(&keys, snapshot.priors)?;
        let found = |(ask, row): (usize, DeviceRow)| Ok((ask, Device::try_from(row)?));
        let found = snapshot.devices.into_iter().map(found).collect::<Result<Vec<_>, LedgerError>>()?;
        let mut found = Found::new(found);
        let answers = asks.iter().enumerate().map(|(number, ask)| DirectAnswer {
            prior: priors.remove(&number),
            recipients: ask.app.and(ask.to).map(|to| found.recipients(number, to)).unwrap_or_default(),
            halted: halts.iter().any(|scope| scope.covers(ask.app)),
        });
        let answers = answers.collect();
        Ok(DirectRead { now: rows::instant("clock", "now", snapshot.now)?, answers })
    }
}

fn parse_halts(scopes: &[String]) -> Result<Vec<HaltScope>, LedgerError> {
    scopes.iter().map(|scope| rows::column("halt", scope, "scope", scope.parse())).collect()
}

fn parse_priors(keys: &[&JobKey], priors: Vec<PriorRow>) -> Result<HashMap<usize, PriorJob>, LedgerError> {
    let mut parsed = HashMap::with_capacity(priors.len());
    for row in priors {
        let number = usize::try_from(row.ask).unwrap_or(usize::MAX);
        let Some(key) = keys.get(number) else { continue };
        let digest = rows::digest("direct_job", key, "digest", &row.digest)?;
        parsed.insert(number, PriorJob { digest, finished: row.finished });
    }
    Ok(parsed)
}

impl<'a> Wanted<'a> {
    /// Whom the ask with this number is for.
    pub(super) fn add(&mut self, ask: usize, app: &'a AppId, to: &'a Recipients) {
        match to {
            Recipients::Audience { .. } => {}
            Recipients::Users(users) => self.users.extend(users.iter().map(|user| (ask, app, user))),
            Recipients::Devices(devices) => {
                self.devices.extend(devices.iter().map(|device| (ask, app, *device)));
            }
        }
    }
}

/// Devices that were found, by the ask that they were found for.
#[derive(Debug, Default)]
pub(super) struct Found {
    by_ask: HashMap<usize, Vec<Device>>,
}

impl Found {
    pub(super) fn new(devices: Vec<(usize, Device)>) -> Self {
        let mut by_ask: HashMap<usize, Vec<Device>> = HashMap::new();
        for (ask, device) in devices {
            by_ask.entry(ask).or_default().push(device);
        }
        Self { by_ask }
    }

    /// The devices of one ask by their ids.
    pub(super) fn devices_by_id(&mut self, ask: usize) -> HashMap<DeviceId, Device> {
        let devices = self.by_ask.remove(&ask).unwrap_or_default();
        devices.into_iter().map(|device| (device.id, device)).collect()
    }

    /// The recipients of one ask in the order of the job; a person's devices in the order of their rows, so
    /// that positions do not depend on how the database read them.
    pub(super) fn recipients(&mut self, ask: usize, to: &Recipients) -> Vec<FoundRecipient> {
        arrange(self.by_ask.remove(&ask).unwrap_or_default(), to)
    }
}

/// Puts devices under the recipients that they were found for.
pub(super) fn arrange(mut devices: Vec<Device>, to: &Recipients) -> Vec<FoundRecipient> {
    devices.sort_by_key(|device| device.record);
    match to {
        Recipients::Audience { .. } => Vec::new(),
        Recipients::Users(users) => {
            let mut owned: HashMap<UserId, Vec<Device>> = HashMap::new();
            for device in devices {
                owned.entry(device.user.clone()).or_default().push(device);
            }
            let of_user =
                |user: &UserId| FoundRecipient::User(user.clone(), owned.remove(user).unwrap_or_default());
            users.iter().map(of_user).collect()
        }
        Recipients::Devices(ids) => {
            let mut known: HashMap<DeviceId, Device> =
                devices.into_iter().map(|device| (device.id, device)).collect();
            ids.iter().map(|id| FoundRecipient::Device(*id, known.remove(id))).collect()
        }
    }
}
