//! Bellwether.

pub mod clock;
pub mod simulator;
