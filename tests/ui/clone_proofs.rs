//! No proof can be copied.
use bellwether::{deliver::Permit, guard::Cleared, ledger::Started, pace::Slot};

fn cloned<T: Clone>() {}

fn main() {
    cloned::<Permit<'_>>();
    cloned::<Cleared>();
    cloned::<Started<'_>>();
    cloned::<Slot>();
}
