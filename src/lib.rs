//! Bellwether: push notifications that cannot reach the wrong people, and do not knock over the right ones.
pub mod clock;
pub mod model;
