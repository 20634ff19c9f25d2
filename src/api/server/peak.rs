//! An estimated peak above what our own systems are said to take is approved by whoever says so, and by nobody else.

use super::{Api, ApiError};
use crate::{
    api::{
        views,
        wire::{Code, Opens},
    },
    ledger::{AcceptedPeak, CampaignRecord},
};

/// What the approver accepts of it; `None` where our own systems take it, or nobody has said what they take. An error unless
/// what they say that they `accept` is the estimate: a larger number would be one that nobody has looked at.
pub(super) async fn accepted(
    api: &Api,
    known: &CampaignRecord,
    accept: Option<u64>,
) -> Result<Option<AcceptedPeak>, ApiError> {
    let opens = views::opens(api.ledger(), api.policy(), known).await?;
    let Some((estimated, capacity)) = opens.accept_peak.zip(opens.capacity) else { return Ok(None) };
    match accept {
        Some(accepted) if accepted == estimated => Ok(Some(AcceptedPeak { estimated, capacity, accepted })),
        _ => Err(ApiError::new(Code::Waits, refused(&opens, estimated, capacity, accept))),
    }
}

fn refused(opens: &Opens, estimated: u64, capacity: u32, accept: Option<u64>) -> String {
    let said = accept.map(|accept| format!(", not {accept}")).unwrap_or_default();
    format!(
        "accept_peak: about {estimated} app opens a second are expected in stage {}, and our own systems take {capacity}; \
         let the plan go slower, or accept {estimated}{said}",
        opens.stage
    )
}
