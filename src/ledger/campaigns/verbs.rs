//! What people let happen to a rollout: they approve, refuse, start, pause, go on, promote, give up.
//!
//! - **I4 widening-needs-two**: an approval is of exactly one digest, by one person; the machine counts them.
//! - **I10 explained**: every verb stands in the audit with who said it, and why.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CampaignRecord, RolloutRecord,
    steer::{Steer, Steered},
};
use crate::{
    ledger::{Ledger, LedgerError},
    model::{CampaignId, Digest, OperatorName},
    rollout::{Electorate, Pause, Refused, Rollout, RolloutEvent},
};

/// What a person may do to a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Approve exactly this.
    Approve {
        /// The digest that they were shown.
        digest: Digest,
        /// The policy under which they approve it.
        policy: Digest,
        /// For how long that may wait for the start.
        holds: Duration,
        /// What they accept above what our own systems are said to take.
        peak: Option<AcceptedPeak>,
    },
    /// Refuse it for good.
    Reject,
    /// Start it.
    Start,
    /// Let nothing more leave until somebody says otherwise.
    Pause,
    /// Go on.
    Resume,
    /// Open the next stage.
    Promote,
    /// Give it up for good.
    Abort,
}

/// More app opens a second than our own systems are said to take, which an approver accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedPeak {
    /// What was estimated, rounded up.
    pub estimated: u64,
    /// What our own systems take.
    pub capacity: u32,
    /// What the approver said that they accept.
    pub accepted: u64,
}

/// A verb, by whom, and why.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// What they ask for.
    pub verb: Verb,
    /// Who they are.
    pub by: &'a OperatorName,
    /// Why, in their words.
    pub reason: Option<&'a str>,
}

/// Why a verb did not happen. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerbRefused {
    /// No campaign has this id.
    #[error("no campaign has this id")]
    NotFound,
    /// What is frozen, or the policy in force, is not what they were shown.
    #[error("it is not what you were shown; look at it again, and approve what it is now")]
    OtherDigest,
    /// The policy in force is not the one that it was approved under, or is to be.
    #[error("the policy in force is not the one that it was approved under; look at it again")]
    OtherPolicy,
    /// Approvals wait for the start for a while only, and somebody waited longer.
    #[error(
        "its approvals are older than they may be when it starts; they are about to be void, and people must approve it anew"
    )]
    ApprovalsExpired,
    /// Findings that hold it are open.
    #[error("the guard holds it: somebody must accept {} first, with `bellwether campaign accept-finding`", numbered(.0))]
    Findings(Vec<u32>),
    /// A halt in force covers it.
    #[error("a halt of {0} is in force; `bellwether unhalt` first")]
    UnderHalt(String),
    /// The state machine says no.
    #[error(transparent)]
    Machine(#[from] Refused),
}

/// `finding 1`, `findings 1 and 3`.
fn numbered(open: &[u32]) -> String {
    let numbers: Vec<String> = open.iter().map(u32::to_string).collect();
    match numbers.split_last() {
        Some((last, [])) => format!("finding {last}"),
        Some((last, others)) => format!("findings {} and {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}

impl Verb {
    fn event(&self, asked: &Asked<'_>, seen: &RolloutRecord) -> RolloutEvent {
        match self {
            Self::Approve { .. } => RolloutEvent::Approve(seen.as_known(asked.by)),
            Self::Reject => RolloutEvent::Reject,
            Self::Start => RolloutEvent::Start,
            Self::Pause => RolloutEvent::Pause(Pause::Manual),
            Self::Resume => RolloutEvent::Resume { by_itself: false },
            Self::Promote => RolloutEvent::Promote { reasoned: asked.reason.is_some() },
            Self::Abort => RolloutEvent::Abort,
        }
    }

    /// What operators see beside the state.
    fn cause(&self, asked: &Asked<'_>) -> Option<String> {
        let by = asked.by;
        let why = asked.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        match self {
            Self::Reject => Some(format!("rejected by {by}{why}")),
            Self::Pause => Some(format!("paused by {by}{why}")),
            Self::Abort => Some(format!("aborted by {by}{why}")),
            Self::Approve { .. } | Self::Start | Self::Resume | Self::Promote => None,
        }
    }
}

impl RolloutRecord {
    /// A person by the name under which they are barred or have approved, whichever spelling that is.
    fn as_known(&self, by: &OperatorName) -> OperatorName {
        let approved = match &self.stands {
            Rollout::PendingApproval(pending) => Some(&pending.approved),
            _ => None,
        };
        let mut known = self.electorate.barred.iter().chain(approved.into_iter().flatten());
        known.find(|name| name.person() == by.person()).unwrap_or(by).clone()
    }

    /// The policy that it was approved under, or, before anybody approved it, cleared under.
    #[must_use]
    pub fn approved_under(&self, campaign: &CampaignRecord) -> Digest {
        self.policy.unwrap_or(campaign.policy)
    }

    /// True if approvals hold that another policy would void (I8).
    #[must_use]
    pub fn holds_approvals(&self) -> bool {
        match &self.stands {
            Rollout::Draft | Rollout::Over(_) => false,
            Rollout::PendingApproval(pending) => !pending.approved.is_empty(),
            Rollout::Approved(_) | Rollout::Running(_) | Rollout::Baking(_) | Rollout::Paused(_) => {
                self.electorate.people > 0
            }
        }
    }

    /// What an approval is bound to, under the policy in force (I8): the frozen job, plan, audience and chunks under the
    /// policy that they were frozen under. Under another, which people have seen as a difference, it is another digest.
    /// `None` until it is frozen.
    #[must_use]
    pub fn approval_digest(&self, frozen_under: &Digest, in_force: &Digest) -> Option<Digest> {
        let frozen = self.frozen_digest?;
        if frozen_under == in_force {
            return Some(frozen);
        }
        Some(Digest::of_parts(&[b"under", frozen.as_bytes(), in_force.as_bytes()]))
    }

    /// Approvals that it has not started on in time, and that the coordinator has yet to void.
    fn has_expired_approvals(&self, now: Timestamp) -> bool {
        let waits = match &self.stands {
            Rollout::PendingApproval(pending) => !pending.approved.is_empty(),
            Rollout::Approved(approved) => !approved.started && self.electorate.people > 0,
            _ => false,
        };
        waits && self.approvals_until.is_some_and(|until| until <= now)
    }

    /// I8: approvals that were given under another policy, and that the coordinator has yet to void, are not added to: of two
    /// approvals that count together, both are of the same digest.
    fn is_approved_under_another(&self, policy: &Digest) -> bool {
        let given = matches!(&self.stands, Rollout::PendingApproval(pending) if !pending.approved.is_empty());
        given && self.policy != Some(*policy)
    }
}

impl Ledger {
    /// Does what a person asks, or says why not. Whether they may ask it at all is for the caller to know.
    pub async fn verb(
        &self,
        campaign: CampaignId,
        asked: &Asked<'_>,
    ) -> Result<Result<RolloutRecord, VerbRefused>, LedgerError> {
        let Some(known) = self.campaign(campaign).await? else { return Ok(Err(VerbRefused::NotFound)) };
        let mut tx = self.begin().await?;
        let Some(mut seen) = tx.locked_rollout(known.rollout).await? else {
            return Ok(Err(VerbRefused::NotFound));
        };
        let now = tx.now().await?;
        // Under the row's lock: a policy that comes into force after this is met by the coordinator, which voids.
        let in_force = tx.policy_hash_in_force().await?;
        let mut particulars = json!({ "reason": asked.reason });
        // The coordinator voids them; whoever is quicker must not get by.
        if matches!(asked.verb, Verb::Approve { .. } | Verb::Start) && seen.has_expired_approvals(now) {
            return Ok(Err(VerbRefused::ApprovalsExpired));
        }
        match &asked.verb {
            Verb::Approve { digest, policy, holds, peak } => {
                let open = tx.open_findings(&known).await?;
                if !open.is_empty() {
                    return Ok(Err(VerbRefused::Findings(open)));
                }
                if in_force.is_some_and(|hash| hash != *policy) {
                    return Ok(Err(VerbRefused::OtherPolicy));
                }
                if seen.approval_digest(&known.policy, policy) != Some(*digest)
                    || seen.is_approved_under_another(policy)
                {
                    return Ok(Err(VerbRefused::OtherDigest));
                }
                particulars["digest"] = Value::String(digest.to_string());
                if let Some(AcceptedPeak { estimated, capacity, accepted }) = peak {
                    particulars["opens_per_second"] =
                        json!({ "estimated": estimated, "capacity": capacity, "accepted": accepted });
                }
                let until = now.checked_add(*holds).unwrap_or(Timestamp::MAX);
                seen.approvals_until = Some(seen.approvals_until.map_or(until, |first| first.min(until)));
                seen.policy = Some(*policy);
            }
            Verb::Start | Verb::Resume | Verb::Promote => {
                if seen.electorate.people > 0
                    && in_force.is_some_and(|hash| hash != seen.approved_under(&known))
                {
                    return Ok(Err(VerbRefused::OtherPolicy));
                }
                let halts = tx.halts().await?;
                if let Some(halt) = halts.iter().find(|halt| seen.is_covered_by(&halt.scope)) {
                    return Ok(Err(VerbRefused::UnderHalt(halt.scope.to_string())));
                }
            }
            Verb::Reject | Verb::Pause | Verb::Abort => {}
        }
        let (event, cause) = (asked.verb.event(asked, &seen), asked.verb.cause(asked));
        let steer = Steer { event, actor: asked.by.as_str(), cause: cause.as_deref(), particulars };
        let after = match tx.steer(seen, &known.plan, steer, now).await? {
            Steered::Moved(after) => *after,
            Steered::Refused(refused) => return Ok(Err(refused.into())),
        };
        if let Verb::Approve { digest, .. } = &asked.verb {
            let until = after.approvals_until.unwrap_or(now);
            tx.note_approval(known.rollout, asked, digest, (now, until)).await?;
        }
        tx.commit().await?;
        Ok(Ok(after))
    }

    /// Voids the approvals that a rollout holds under the policy `under`, because a person's request found that another
    /// is in force, loaded, or in the folder (I8); `electorate` must approve it anew, `because` says beside its state which of
    /// them it was, and `differs` in the audit what was found. False if there is nothing to void any more.
    pub async fn void_for_drift(
        &self,
        known: &CampaignRecord,
        under: &Digest,
        electorate: Electorate,
        (by, because, differs): (&OperatorName, &str, &Value),
    ) -> Result<bool, LedgerError> {
        let mut tx = self.begin().await?;
        let Some(seen) = tx.locked_rollout(known.rollout).await? else { return Ok(false) };
        if !seen.holds_approvals() || seen.approved_under(known) != *under {
            return Ok(false);
        }
        let now = tx.now().await?;
        let particulars = json!({ "approved_under": under, "differs": differs });
        let event = RolloutEvent::Void(electorate);
        let steer = Steer { event, actor: by.as_str(), cause: Some(because), particulars };
        if let Steered::Refused(refused) = tx.steer(seen, &known.plan, steer, now).await? {
            tracing::debug!(rollout = %known.rollout, %refused, "nothing to void");
            return Ok(false);
        }
        tx.void_approvals(known.rollout, because, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
