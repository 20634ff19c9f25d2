//! What operators are shown, built from the ledger and the policy: the same for the API and for a command that opens the
//! ledger itself.
//!
//! - What a rollout waits for comes from the coordinator's own question ([`crate::dispatch::outlook`]): nobody is told
//!   one thing while another happens.
//! - **I12 silent-logs**: only a [`Preview`](super::wire::Preview) holds a notification's text. It is for approvers.

mod audit;
mod estimate;
mod guards;
mod halts;
mod phone;
mod preview;
mod related;
mod rollout;
mod words;

pub use audit::audit_list;
pub use halts::halt_list;
pub use preview::{opens, planned, preview};
pub use rollout::{rollout_list, rollout_view};
