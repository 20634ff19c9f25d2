//! The guard: may this job reach these people?
//!
//! [`clear`] is pure: what it needs of the past, of the registry and of the hour comes as arguments. Its
//! rules run in the order of [`Rule::ALL`]; a Refuse beats a Hold, a Hold beats Clear. A clear verdict
//! carries [`Cleared`], the guard's half of the permission to send; it cannot be made anywhere else.
//!
//! - **I1 no-test-to-production**: a test-intent job never reaches a device outside a test-class
//!   audience. The rule refuses, and [`Cleared::admits`] asks again for every single device.
//! - **I3 unknown-is-no**: a missing label, an unknown app or producer is a Refuse, and so is a rule that
//!   panics, or that does not come back: see [`Watch`].
//! - **I12 silent-logs**: of a finding, only `matched` may quote the notification, and it is shown to
//!   authorised operators alone.

mod case;
mod cleared;
mod content;
mod facts;
mod fingerprint;
mod reach;
mod registration;
mod rules;
mod sketch;
mod verdict;
mod watch;
mod window;

pub use cleared::{Cleared, NotAdmitted};
pub use facts::{Facts, FoundRecipient, OverDay, Past};
pub use fingerprint::Fingerprint;
pub use reach::{DirectReach, TextLimit};
pub use registration::refuse_registration;
pub use rules::{Rule, Rules, clear, is_flagged, not_come_back, recheck};
#[cfg(test)]
pub(crate) use rules::{sample_policy, stuck};
pub use sketch::Sketch;
pub use verdict::{Finding, Severity, Span, Verdict};
pub use watch::{Progress, Step, Watch};
pub use window::Window;
