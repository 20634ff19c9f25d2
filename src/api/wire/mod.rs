//! What the operators' API says and hears, as its server, its client and the command line share it. JSON only ever gains
//! fields: whoever reads ignores what it does not know.

mod access;
mod audit;
mod guards;
mod halts;
mod mend;
mod policy;
mod preview;
mod problem;
mod rollout;
mod whole;

pub use access::{
    NewToken, Nothing, Operator, OperatorList, Scope, TokenIssued, TokenView, UnknownScopeWord, Whoami,
};
pub use audit::{AuditBroken, AuditEntryView, AuditHeadView, AuditList, AuditVerification};
pub use guards::{GuardState, GuardView, PreviewGuard, RungMeanwhile};
pub use halts::{HaltBody, HaltList, HaltSet, HaltView, LiftBody, Lifted, REASON_CHARS, fitting_reason};
pub use mend::{MendBody, ReachedView, RelatedView, Relation};
pub use policy::{PolicyActivated, PolicyBody, PolicyDiff, PolicyStanding, PolicyView, ShadowView};
pub use preview::{
    AudienceInWords, Opens, PhoneText, PlanPreview, Preview, PreviewFinding, PreviewStage, Truncated,
};
pub use problem::{Code, Problem};
pub use rollout::{
    AcceptBody, ApprovalView, ApproveBody, FindingView, PaceView, ProvenView, ReasonBody, RolloutList,
    RolloutSummary, RolloutView, StageHealth, StageView, SubmittedView, TailView, Waits, WhyBody,
};
