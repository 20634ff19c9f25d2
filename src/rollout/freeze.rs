//! The order in which devices are taken, and which stage takes them.
