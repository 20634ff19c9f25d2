//! Audiences and the rest of the policy: cohorts, apps, producers, plans, as reviewed files.
