//! The ledger's proof comes from `OpenJob::start` alone, and an open job from the engines alone.
use bellwether::ledger::{OpenJob, Started};

fn forge() -> Started<'static> {
    Started {}
}

fn open() -> OpenJob {
    OpenJob::new()
}

fn main() {}
