//! The guard's proof.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use crate::model::{AppId, Device, Digest, Intent, JobKey, UserId};

/// Proof that the guard cleared one job. Only [`super::clear`] and [`super::recheck`] make it.
///
/// It is one half of a permit; the other is the ledger's. It has no `Clone`, no `Default` and no serde:
/// a proof cannot be kept for later or made from bytes.
#[derive(Debug)]
pub struct Cleared {
    pub(super) key: JobKey,
    pub(super) digest: Digest,
    pub(super) app: AppId,
    pub(super) expires_at: Timestamp,
    pub(super) reach: Reach,
}

/// Whom a cleared job may ring.
#[derive(Debug)]
pub(super) enum Reach {
    /// Test intent: the registered testers of the app, nobody else (I1).
    Testers(Arc<BTreeSet<UserId>>),
    /// Production intent: whoever the job names.
    Named,
}

/// A device that the cleared job must not ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Test intent, and the device's owner is no registered tester (I1).
    #[error("the device does not belong to a registered tester of the app")]
    NoTester,
    /// The device has another app.
    #[error("the device belongs to another app")]
    OtherApp,
}

impl Cleared {
    /// Asks again, for this one device, at the last moment before a permit is made.
    pub fn admits(&self, device: &Device) -> Result<(), NotAdmitted> {
        if device.app != self.app {
            return Err(NotAdmitted::OtherApp);
        }
        match &self.reach {
            Reach::Testers(testers) if !testers.contains(&device.user) => Err(NotAdmitted::NoTester),
            Reach::Testers(_) | Reach::Named => Ok(()),
        }
    }

    /// Which job was cleared.
    pub const fn key(&self) -> &JobKey {
        &self.key
    }

    /// The digest of exactly what was cleared.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The app whose devices may be rung.
    pub const fn app(&self) -> &AppId {
        &self.app
    }

    /// The intent that was cleared.
    pub const fn intent(&self) -> Intent {
        match self.reach {
            Reach::Testers(_) => Intent::Test,
            Reach::Named => Intent::Production,
        }
    }

    /// Nothing may be sent after this.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

#[cfg(test)]
impl Cleared {
    /// A production clearance, for tests of what needs one. Not in a release build: there only the guard's rules
    /// make one.
    pub(crate) fn for_test(key: JobKey, digest: Digest, app: AppId, expires_at: Timestamp) -> Self {
        Self { key, digest, app, expires_at, reach: Reach::Named }
    }
}
