//! Campaigns in the ledger: from a job to a frozen list, and from a chunk to outcomes.
//!
//! ```text
//! submit_campaign                 the job is on record; its message may be acknowledged
//! rule ─▶ Ruling                  one coordinator at a time, by lease, with a term that fences the one before
//!   freeze_step … freeze_step     the audience becomes chunks, in bounded transactions
//!   open_stage                    its chunks can be claimed
//!   follow_retries                what was deferred becomes retry chunks
//!   end_rollout                   everyone has a final outcome, or time is over
//! claim_chunks ─▶ Claim           a worker holds a chunk until a deadline
//!   exchange ─▶ OpenSegment       outcomes in, next intents out: one statement
//!   mark_gone                     what providers call dead is asked for no more
//!     OpenSegment::start          one Started for each device, once
//! ```

mod claims;
mod coordinator;
mod exchange;
mod found;
mod freeze;
mod retries;
mod segments;
mod stages;
mod submit;
mod tally;
mod told;
mod withdraw;

pub use claims::{Claim, Halfway};
pub use coordinator::{
    Deposed, FreezeProgress, FreezeSource, OverBecause, Ruling, StageCount, StageProgress, Tally,
};
pub use retries::LateTail;
pub use segments::{Exchange, Exchanged, NoIntent, OpenSegment, SegmentAsk, SegmentEnd};
pub use submit::{CampaignRecord, NewCampaign, RolloutRecord, Submitted};
