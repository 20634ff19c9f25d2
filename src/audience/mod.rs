//! Audiences and the rest of the policy: cohorts, apps, producers, plans, as reviewed files.

/// Sketch: the whole policy, loaded and checked.
#[derive(Debug)]
pub struct Policy;
