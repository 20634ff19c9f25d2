//! The rules in their order, and the two entry points.

use jiff::Timestamp;

use super::{Cleared, Facts, Verdict};
use crate::{
    audience::Policy,
    model::{Job, JobKey},
};

/// A rule of the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Sketch.
    LabelMissing,
}

impl Rule {
    /// As told.
    #[must_use]
    pub const fn id(self) -> &'static str {
        "label-missing"
    }
}

/// Sketch.
pub fn clear(_job: &Job, _key: &JobKey, _policy: &Policy, _facts: &Facts<'_>, _now: Timestamp) -> Verdict {
    Verdict::Refuse(Vec::new())
}

/// Sketch.
pub fn recheck(
    job: &Job,
    key: &JobKey,
    policy: &Policy,
    facts: &Facts<'_>,
    now: Timestamp,
) -> Result<Cleared, Vec<super::Finding>> {
    match clear(job, key, policy, facts, now) {
        Verdict::Clear(cleared, _) => Ok(cleared),
        Verdict::Hold(findings) | Verdict::Refuse(findings) => Err(findings),
    }
}
