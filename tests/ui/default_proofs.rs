//! No proof has a default.
use bellwether::{deliver::Permit, guard::Cleared, ledger::Started, pace::Slot};

fn defaulted<T: Default>() {}

fn main() {
    defaulted::<Permit<'_>>();
    defaulted::<Cleared>();
    defaulted::<Started<'_>>();
    defaulted::<Slot>();
}
