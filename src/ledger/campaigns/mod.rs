//! Campaigns in the ledger: from a job to a frozen list, and from a chunk to outcomes.
//!
//! ```text
//! submit_campaign                 the job is on record; its message may be acknowledged
//! rule ─▶ Ruling                  one coordinator at a time, by lease, with a term that fences the one before
//!   freeze_step … freeze_step     the audience becomes chunks, in bounded transactions
//!   ruled                         a stage opens, is sent, waits at a gate; a rollout ends
//!   follow_retries                what was deferred becomes retry chunks
//! verb                            a person approves, starts, pauses, promotes, gives up
//! claim_chunks ─▶ Claim           a worker holds a chunk until a deadline
//!   exchange ─▶ OpenSegment       outcomes in, next intents out: one statement
//!   mark_gone                     what providers call dead is asked for no more
//!     OpenSegment::start          one Started for each device, once
//! ```

mod again;
mod approvals;
mod breakers;
mod claims;
mod coordinator;
mod downstream;
mod exchange;
mod findings;
mod found;
mod freeze;
mod listed;
mod paced;
mod past;
mod proofs;
mod retries;
mod rollouts;
mod segments;
mod stages;
mod steer;
mod submit;
mod tally;
mod told;
mod verbs;
mod waits;
mod withdraw;

pub use again::Reached;
pub use approvals::Approval;
pub use claims::{Claim, Claimable, Halfway};
pub use coordinator::{
    Deposed, FreezeProgress, FreezeSource, OverBecause, Ruling, StageCount, StageProgress, Tally,
};
pub use downstream::SeenDownstream;
pub use findings::{FindingRecord, NotAccepted};
pub use listed::RolloutLine;
#[cfg(test)]
pub(in crate::ledger) use listed::listing;
pub use paced::Paced;
pub use past::PastAsk;
pub use proofs::{NotProven, ProofRecord};
pub use retries::LateTail;
pub use rollouts::RolloutRecord;
pub use segments::{Exchange, Exchanged, NoIntent, OpenSegment, SegmentAsk, SegmentEnd};
pub use stages::Ruled;
pub use submit::{CampaignRecord, NewCampaign, Submitted};
pub use verbs::{AcceptedPeak, Asked, Verb, VerbRefused};
