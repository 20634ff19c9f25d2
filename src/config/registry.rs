//! `[registry]`: what is kept of people's devices.

use std::num::NonZeroU32;

use serde::Deserialize;

use crate::ledger::MAX_DEVICES_PER_USER;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistryTable {
    max_devices_per_user: Option<NonZeroU32>,
}

/// The registry's settings.
#[derive(Debug, Clone, Copy)]
pub struct Registry {
    /// Most live devices of one person and app.
    pub max_devices_per_user: NonZeroU32,
}

impl From<RegistryTable> for Registry {
    fn from(table: RegistryTable) -> Self {
        Self { max_devices_per_user: table.max_devices_per_user.unwrap_or(MAX_DEVICES_PER_USER) }
    }
}
