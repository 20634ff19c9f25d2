//! Bellwether: push notifications that cannot reach the wrong people, and do not knock over the right ones.
pub mod audience;
pub mod clock;
pub mod deliver;
pub mod guard;
pub mod intake;
pub mod ledger;
pub mod model;
pub mod pace;
pub mod simulator;
