//! A permit has private fields: it comes from `Permit::new` alone.
use bellwether::{deliver::Permit, ledger::Started};

fn forge(started: Started<'_>) -> Permit<'_> {
    Permit { started }
}

fn main() {}
