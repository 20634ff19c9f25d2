//! Everything that needs a real service beside it, as one binary.

mod harness {
    pub(crate) mod broker;
}
mod intake;
