//! HTTP: what other machines, and operators, ask the service.

pub mod health;
pub mod wire;
