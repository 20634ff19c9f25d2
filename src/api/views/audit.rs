//! The audit, as it is shown.

use crate::{
    api::wire::{AuditBroken, AuditEntryView, AuditHeadView, AuditList, AuditVerification},
    ledger::{AuditEntry, AuditFilter, AuditHead, Ledger, LedgerError, Verification},
};

impl From<AuditHead> for AuditHeadView {
    fn from(head: AuditHead) -> Self {
        Self { sequence: head.sequence, hash: head.hash.to_string() }
    }
}

impl From<AuditEntry> for AuditEntryView {
    fn from(entry: AuditEntry) -> Self {
        Self {
            sequence: entry.sequence,
            at: entry.at,
            actor: entry.actor,
            kind: entry.kind,
            body: entry.body,
            prev: entry.prev.to_string(),
            hash: entry.hash.to_string(),
        }
    }
}

impl From<Verification> for AuditVerification {
    fn from(found: Verification) -> Self {
        let broken =
            found.broken.map(|broken| AuditBroken { sequence: broken.sequence, why: broken.why.to_string() });
        Self {
            whole: broken.is_none(),
            head: found.head.into(),
            fits: found.fits.map(AuditHeadView::from),
            broken,
        }
    }
}

/// One page of the audit.
pub async fn audit_list(ledger: &Ledger, filter: &AuditFilter, limit: u32) -> Result<AuditList, LedgerError> {
    let entries = ledger.audit_page(filter, i64::from(limit)).await?;
    let is_full = entries.len() == limit as usize;
    let next = entries.last().filter(|_| is_full).map(|last| last.sequence + 1);
    let head = ledger.audit_head().await?.map(AuditHeadView::from);
    Ok(AuditList { entries: entries.into_iter().map(AuditEntryView::from).collect(), next, head })
}
