//! A file of millions of registrations: read in one place, written over a few connections at once.
//!
//! Every registration of a token goes the same way, so that the last one in the file is the last one written. Each batch
//! is one transaction; an import that is interrupted has whole batches in, and can be run again.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    ImportCounts, Ledger, LedgerError,
    register::{Belief, KeyedDevice, last_of_each},
};
use crate::model::NewDevice;

/// How a file is written on an engine.
struct Shape {
    /// Connections that write at once.
    ways: usize,
    /// Devices of one transaction, once all ways are busy.
    batch: usize,
}

/// The first transaction of a way has so many devices, each further one twice as many: nobody waits idle for a large batch
/// to be read.
const FIRST_BATCH: usize = 12_500;

/// Two connections: while one waits for its commit to reach the disk the other works, and PostgreSQL uses two cores. A
/// third gains nothing unless there are more than four cores, and they wait for each other's pages.
///
/// Batches as large as memory allows without a second thought (some 50 MB each, and there are six): sorted by bucket, more
/// rows fall on each page of each index. A device costs PostgreSQL 14.7 µs in batches of 5,000, 11 of 20,000, 9.2 of
/// 100,000.
const POSTGRES: Shape = Shape { ways: 2, batch: 100_000 };

/// SQLite has one writer. A batch becomes a JSON text of some 10 MB; in the order of buckets it goes to neighbouring pages.
const SQLITE: Shape = Shape { ways: 1, batch: 20_000 };

/// Takes registrations one by one, and has them written behind the caller's back.
#[derive(Debug)]
pub struct Importer {
    ledger: Ledger,
    ways: Vec<Way>,
    batch: usize,
    progress: ImportProgress,
}

#[derive(Debug)]
struct Way {
    filling: Vec<KeyedDevice>,
    /// Devices of the batch that is being filled.
    full_at: usize,
    batches: mpsc::Sender<Vec<KeyedDevice>>,
    writing: JoinHandle<Result<(), LedgerError>>,
}

/// What an import came to so far: whole batches, committed.
#[derive(Debug, Clone, Default)]
pub struct ImportProgress(Arc<Mutex<ImportCounts>>);

impl ImportProgress {
    /// The counts of what is in.
    pub fn counts(&self) -> ImportCounts {
        // Counts are copied in and out: nobody can leave them half written.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, counts: ImportCounts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += counts;
    }
}

/// A batch could not be written, and nothing more is taken; [`Importer::finish`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the import stopped")]
pub struct ImportStopped;

impl Ledger {
    /// Begins an import. To be called within a tokio runtime.
    pub fn importer(&self) -> Importer {
        let Shape { ways, batch } = match self {
            Self::Postgres(_) => POSTGRES,
            Self::Sqlite(_) => SQLITE,
        };
        self.importer_of(ways, batch)
    }

    pub(super) fn importer_of(&self, ways: usize, batch: usize) -> Importer {
        let progress = ImportProgress::default();
        let way = |_| {
            // One batch waits while one is being written and one is being filled.
            let (batches, coming) = mpsc::channel(1);
            let writing = tokio::spawn(write(self.clone(), coming, progress.clone()));
            let full_at = batch.min(FIRST_BATCH);
            Way { filling: Vec::with_capacity(full_at), full_at, batches, writing }
        };
        Importer {
            ledger: self.clone(),
            ways: (0..ways).map(way).collect(),
            batch,
            progress: progress.clone(),
        }
    }
}

async fn write(
    ledger: Ledger,
    mut coming: mpsc::Receiver<Vec<KeyedDevice>>,
    progress: ImportProgress,
) -> Result<(), LedgerError> {
    let mut belief = Belief::AllAreNew;
    while let Some(batch) = coming.recv().await {
        let given = batch.len();
        let batch = last_of_each(batch);
        let counts = ledger.import_believing(&batch, &mut belief).await?;
        progress.add(ImportCounts { repeated: (given - batch.len()) as u64, ..counts });
    }
    Ok(())
}

impl Importer {
    /// What is in so far; stays true while the importer is being fed elsewhere.
    pub fn progress(&self) -> ImportProgress {
        self.progress.clone()
    }

    /// Takes a registration, and waits while too many are. Blocks: for a thread of its own, outside of the runtime.
    pub fn push(&mut self, device: NewDevice) -> Result<(), ImportStopped> {
        let new = KeyedDevice::from(device);
        let [first, ..] = *new.key.as_bytes();
        // By ranges: neighbours among the keys are neighbours in the index.
        let number = usize::from(first) * self.ways.len() / 256;
        let way = &mut self.ways[number];
        way.filling.push(new);
        if way.filling.len() == way.full_at {
            way.full_at = self.batch.min(2 * way.full_at);
            let full = std::mem::replace(&mut way.filling, Vec::with_capacity(way.full_at));
            way.batches.blocking_send(full).map_err(|_| ImportStopped)?;
        }
        Ok(())
    }

    /// Has the rest written, and waits for all of it. The first error, if there was one; what
    /// [`ImportProgress::counts`] says is in all the same.
    pub async fn finish(self) -> Result<(), LedgerError> {
        let mut writing = Vec::new();
        for way in self.ways {
            // Whoever does not take it has stopped, and says why below.
            way.batches.send(way.filling).await.ok();
            writing.push(way.writing);
        }
        let mut answer = Ok(());
        for way in writing {
            match way.await {
                Ok(ended) => answer = answer.and(ended),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        // Once, at the end: to look for each person costs more than to write their device.
        let ImportCounts { new, moved, .. } = self.progress.counts();
        if answer.is_ok() && new + moved > 0 {
            self.progress
                .add(ImportCounts { displaced: self.ledger.sweep().await?, ..ImportCounts::default() });
        }
        answer
    }
}
