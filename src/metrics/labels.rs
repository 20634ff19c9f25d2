//! The labels of metrics: closed sets, each a struct of its own.

use prometheus_client::encoding::EncodeLabelSet;

use crate::ledger::Applied;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct JobLabels {
    pub(super) lane: &'static str,
    pub(super) verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RegistrationLabels {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FindingLabels {
    pub(super) rule: String,
    pub(super) verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ShadowLabels {
    pub(super) app: String,
    pub(super) rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SendLabels {
    pub(super) provider: &'static str,
    pub(super) app: String,
    pub(super) outcome: &'static str,
    pub(super) reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProviderLabels {
    pub(super) provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RuleLabels {
    pub(super) rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProducerLabels {
    pub(super) producer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LaneLabels {
    pub(super) lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ScopeLabels {
    pub(super) scope: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct QueueLabels {
    pub(super) queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DependencyLabels {
    pub(super) dependency: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CredentialLabels {
    pub(super) app: String,
    pub(super) provider: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ApiLabels {
    pub(super) verb: &'static str,
    pub(super) code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AppLabels {
    pub(super) app: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

/// How a job ended at the door: the `verdict` label of `jobs_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobVerdict {
    /// Cleared for sending.
    Clear,
    /// A person must look first.
    Hold,
    /// Refused by the guard.
    Refuse,
    /// Not a job.
    Malformed,
    /// On record already.
    Known,
    /// Waits in the ledger: halted, or before its time.
    Waiting,
}

impl JobVerdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Hold => "hold",
            Self::Refuse => "refuse",
            Self::Malformed => "malformed",
            Self::Known => "known",
            Self::Waiting => "waiting",
        }
    }
}

/// What became of a message about a device: the `outcome` label of `registrations_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationOutcome {
    /// It reached the registry, or was late.
    Applied(Applied),
    /// Its producer may not, or the phone is not known.
    Refused,
    /// Not a registration.
    Malformed,
}

impl RegistrationOutcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Applied(Applied::Registered) => "registered",
            Self::Applied(Applied::Updated) => "updated",
            Self::Applied(Applied::Moved) => "moved",
            Self::Applied(Applied::Removed) => "removed",
            Self::Applied(Applied::Stale) => "stale",
            Self::Refused | Self::Applied(Applied::Unknown) => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// What the process depends on and cannot work without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependency {
    /// PostgreSQL (or the embedded ledger).
    Ledger,
    /// RabbitMQ (or the in-process intake).
    Broker,
}

impl Dependency {
    /// As shown in `/readyz` and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Broker => "broker",
        }
    }
}
