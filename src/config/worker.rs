//! `[worker]`: how much a worker takes on at once, and for how long.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

/// A worker's settings.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    /// Most requests in flight, over all campaigns.
    pub streams: NonZeroUsize,
    /// For how long a chunk is claimed. A worker that dies holds its chunks back for so long.
    pub lease: Duration,
}

/// What Apple grants on one connection, and what keeps 14,000 requests a second in flight at 70 ms.
const DEFAULT_STREAMS: NonZeroUsize = NonZeroUsize::new(1_000).expect("not zero");

/// Twenty such connections. A request in flight costs some kilobytes, and every one may be in doubt after a crash.
const MOST_STREAMS: usize = 20_000;

/// Ten commits of a slow ledger fit into it, and a dead worker's chunks wait no longer.
const DEFAULT_LEASE: Duration = Duration::from_secs(10);

/// A holder stops a second before the lease ends, and needs time for a request and a commit until then.
const SHORTEST_LEASE: u64 = 3;

/// Longer, and what a dead worker held would be late for most purposes.
const LONGEST_LEASE: u64 = 120;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WorkerTable {
    #[serde(deserialize_with = "streams")]
    streams: Option<NonZeroUsize>,
    #[serde(deserialize_with = "lease")]
    lease_seconds: Option<Duration>,
}

impl From<WorkerTable> for Worker {
    fn from(table: WorkerTable) -> Self {
        Self {
            streams: table.streams.unwrap_or(DEFAULT_STREAMS),
            lease: table.lease_seconds.unwrap_or(DEFAULT_LEASE),
        }
    }
}

fn streams<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<NonZeroUsize>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let streams = usize::try_from(number).ok().filter(|streams| *streams <= MOST_STREAMS);
    streams.and_then(NonZeroUsize::new).map(Some).ok_or_else(|| {
        D::Error::custom(format!("worker.streams is {number}; write 1 to {MOST_STREAMS} requests in flight"))
    })
}

fn lease<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let seconds = u64::try_from(number).ok();
    let seconds = seconds.filter(|seconds| (SHORTEST_LEASE..=LONGEST_LEASE).contains(seconds));
    seconds.map(|seconds| Some(Duration::from_secs(seconds))).ok_or_else(|| {
        D::Error::custom(format!(
            "worker.lease_seconds is {number}; write {SHORTEST_LEASE} to {LONGEST_LEASE} seconds"
        ))
    })
}
