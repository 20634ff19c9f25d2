//! HTTP: what other machines ask the service. Today its health; the operators' API joins here.

pub mod health;
