//! Everything that needs a real service beside it, as one binary.

mod harness {
    pub(crate) mod broker;
    pub(crate) mod database;
    pub(crate) mod number;
    pub(crate) mod service;
    pub(crate) mod services;
    pub(crate) mod told;
}
mod api;
mod fleet;
mod incidents;
mod intake;
mod permits;
mod service;
