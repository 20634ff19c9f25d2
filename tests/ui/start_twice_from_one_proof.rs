//! The ledger's proof makes one permit.
use bellwether::{deliver::Permit, guard::Cleared, ledger::Started};

fn two<'s>(cleared: &Cleared, started: Started<'s>) -> (Permit<'s>, Permit<'s>) {
    let first = Permit::new(cleared, started).expect("it fits");
    let second = Permit::new(cleared, started).expect("it fits");
    (first, second)
}

fn main() {}
