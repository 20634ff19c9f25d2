//! What processes tell each other at once. The ledger stays the truth: whoever misses a message learns it there.

use crate::ledger::HaltScope;

/// A message on `bellwether.control`, or within one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    /// A halt is on record: stop what it covers.
    Halted(HaltScope),
    /// There is something to do: a campaign arrived, a stage opened, a chunk is free.
    Work,
}
