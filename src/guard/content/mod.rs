//! Reads the text of a notification. Each check is explainable: it names what it found, and where.

mod placeholders;

pub(super) use placeholders::placeholders;
