//! What has been applied somewhere is not written anew: a ledger that has the old one would be refused.

use std::fmt::Write as _;

use super::super::{postgres, sqlite};

/// A migration that is added adds a line to the golden file. A line that changes is a mistake: write another migration.
#[test]
fn a_migration_that_was_released_stays_as_it_is() {
    for (engine, migrator) in [("postgres", &postgres::MIGRATOR), ("sqlite", &sqlite::MIGRATOR)] {
        let mut told = String::new();
        for migration in migrator.iter() {
            write!(told, "{:04} ", migration.version).expect("a string takes it");
            // Some bytes of its hash are enough to see a change.
            for byte in &migration.checksum[..8] {
                write!(told, "{byte:02x}").expect("a string takes it");
            }
            told.push('\n');
        }
        insta::assert_snapshot!(engine, told);
    }
}
