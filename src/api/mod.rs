//! HTTP: what other machines, and operators, ask the service.

pub mod client;
pub mod health;
pub mod server;
pub mod views;
pub mod wire;
