//! Reads the text of a notification. Each check is explainable: it names what it found, and where.

mod links;
mod placeholders;
mod scripts;

pub(super) use links::{Doubt, doubt, hosts};
pub(super) use placeholders::placeholders;
pub(super) use scripts::{Script, of_country, of_language, script_of};
