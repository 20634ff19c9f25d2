//! `[send]`: how providers are reached, for every app.

use std::{
    num::{NonZeroU16, NonZeroUsize},
    time::Duration,
};

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SendTable {
    connections: Option<NonZeroUsize>,
    request_timeout_seconds: Option<NonZeroU16>,
    connect_timeout_seconds: Option<NonZeroU16>,
}

/// How providers are reached.
#[derive(Debug, Clone, Copy)]
pub struct Send {
    /// Connections for each app and provider.
    pub connections: NonZeroUsize,
    /// How long a provider may take to answer. Google asks for at least 10 s.
    pub request_timeout: Duration,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
}

impl From<SendTable> for Send {
    fn from(table: SendTable) -> Self {
        let seconds = |given: Option<NonZeroU16>, default: u64| {
            Duration::from_secs(given.map_or(default, |seconds| u64::from(seconds.get())))
        };
        Self {
            connections: table.connections.unwrap_or(NonZeroUsize::MIN),
            request_timeout: seconds(table.request_timeout_seconds, 15),
            connect_timeout: seconds(table.connect_timeout_seconds, 10),
        }
    }
}
