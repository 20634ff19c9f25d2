//! The ledger's proof comes from `OpenJob::start` alone.
use bellwether::ledger::Started;

fn forge() -> Started<'static> {
    Started {}
}

fn main() {}
