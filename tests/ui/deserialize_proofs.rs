//! No proof can be made from bytes.
use bellwether::{deliver::Permit, guard::Cleared, ledger::Started, pace::Slot};

fn read<T: serde::de::DeserializeOwned>() {}

fn main() {
    read::<Permit<'static>>();
    read::<Cleared>();
    read::<Started<'static>>();
    read::<Slot>();
}
