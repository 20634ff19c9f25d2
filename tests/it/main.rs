//! Integration tests: one binary.

mod permits;
