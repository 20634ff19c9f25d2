//! The audit: a hash chain of decisions.
//!
//! - **I10 explained**: each entry's hash covers the entry and the hash before it, so that a changed, removed
//!   or inserted entry breaks the chain. Cutting off or rewriting the end does not break it: for that the head
//!   is told on `bellwether.events`, and [`super::Ledger::audit_verify`] takes a head that was kept outside.

use jiff::Timestamp;
use sqlx::FromRow;

use super::{
    Ledger, LedgerError,
    rows::{digest, instant, micros},
};
use crate::model::{Digest, Event, EventBody};

/// Entries read at once by the verification: a few hundred kilobytes.
const PAGE: i64 = 1_000;

/// The newest entry of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditHead {
    /// The entry's number, counting from 1.
    pub sequence: i64,
    /// The entry's hash.
    pub hash: Digest,
}

impl AuditHead {
    /// Before the first entry.
    pub const GENESIS: Self = Self { sequence: 0, hash: Digest::ZERO };
}

impl TryFrom<(i64, Vec<u8>)> for AuditHead {
    type Error = LedgerError;

    fn try_from((sequence, hash): (i64, Vec<u8>)) -> Result<Self, LedgerError> {
        Ok(Self { sequence, hash: digest("audit", sequence, "hash", &hash)? })
    }
}

/// One entry of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number, counting from 1 without gaps.
    pub sequence: i64,
    /// When, on the database's clock.
    pub at: Timestamp,
    /// Who: an operator, a producer, or `bellwether` itself.
    pub actor: String,
    /// What, such as `halt.set` or `direct.verdicts`.
    pub kind: String,
    /// The particulars, as JSON.
    pub body: String,
    /// The hash of the entry before.
    pub prev: Digest,
    /// The hash of this one.
    pub hash: Digest,
}

impl AuditEntry {
    /// The entry that follows `head`.
    pub(super) fn after(head: AuditHead, at: Timestamp, actor: &str, kind: &str, body: String) -> Self {
        let mut entry = Self {
            sequence: head.sequence + 1,
            // As it will be read back: whole microseconds.
            at: Timestamp::from_microsecond(micros(at)).unwrap_or(at),
            actor: actor.to_owned(),
            kind: kind.to_owned(),
            body,
            prev: head.hash,
            hash: head.hash,
        };
        entry.hash = entry.expected_hash();
        entry
    }

    /// The hash that the entry must have.
    #[must_use]
    pub fn expected_hash(&self) -> Digest {
        Digest::of_parts(&[
            b"audit",
            &self.sequence.to_be_bytes(),
            &micros(self.at).to_be_bytes(),
            self.actor.as_bytes(),
            self.kind.as_bytes(),
            self.body.as_bytes(),
            self.prev.as_bytes(),
        ])
    }
}

/// Where the chain is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit is broken at entry {sequence}: {why}")]
pub struct Broken {
    /// The first entry that does not fit.
    pub sequence: i64,
    /// In which way.
    pub why: BrokenWhy,
}

/// In which way an entry does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenWhy {
    /// The number is skipped.
    #[error("the entry is missing")]
    Missing,
    /// The entry does not have its hash.
    #[error("the entry was changed")]
    Changed,
    /// It follows another entry than the one before it.
    #[error("the entry before it was rewritten")]
    Relinked,
    /// Whole and linked, but not what was told outside.
    #[error("its hash differs from the one that was told outside")]
    NotAsTold,
}

/// Checks one entry after the head so far, and gives the new head.
pub fn follow(head: AuditHead, entry: &AuditEntry) -> Result<AuditHead, Broken> {
    let broken = |sequence, why| Err(Broken { sequence, why });
    match () {
        () if entry.sequence != head.sequence + 1 => broken(head.sequence + 1, BrokenWhy::Missing),
        () if entry.hash != entry.expected_hash() => broken(entry.sequence, BrokenWhy::Changed),
        () if entry.prev != head.hash => broken(entry.sequence, BrokenWhy::Relinked),
        () => Ok(AuditHead { sequence: entry.sequence, hash: entry.hash }),
    }
}

#[derive(FromRow)]
struct AuditRow {
    seq: i64,
    at: i64,
    actor: String,
    kind: String,
    body: String,
    prev: Vec<u8>,
    hash: Vec<u8>,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = LedgerError;

    fn try_from(row: AuditRow) -> Result<Self, LedgerError> {
        Ok(Self {
            sequence: row.seq,
            at: instant("audit", row.seq, row.at)?,
            prev: digest("audit", row.seq, "prev", &row.prev)?,
            hash: digest("audit", row.seq, "hash", &row.hash)?,
            actor: row.actor,
            kind: row.kind,
            body: row.body,
        })
    }
}

impl Ledger {
    /// Adds an entry: `actor` did `kind`, and `body` says what exactly. The body is told to whoever may read the
    /// audit: no text of a notification, no token.
    pub async fn audit_append(
        &self,
        actor: &str,
        kind: &str,
        body: &serde_json::Value,
    ) -> Result<AuditHead, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let head = tx.append_audit(now, actor, kind, body).await?;
        tx.commit().await?;
        Ok(head)
    }

    /// Up to `limit` entries, from number `from` on.
    pub async fn audit_entries(&self, from: i64, limit: i64) -> Result<Vec<AuditEntry>, LedgerError> {
        const SQL: &str = "select seq, at, actor, kind, body, prev, hash from audit \
                           where seq >= $1 order by seq limit $2";
        let rows: Vec<AuditRow> = super::on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(from).bind(limit).fetch_all(pool).await?
        });
        rows.into_iter().map(AuditEntry::try_from).collect()
    }

    /// The newest entry; `None` while the audit is empty.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, LedgerError> {
        const SQL: &str = "select seq, hash from audit order by seq desc limit 1";
        let head: Option<(i64, Vec<u8>)> =
            super::on_pool!(self, pool => sqlx::query_as(SQL).fetch_optional(pool).await?);
        head.map(AuditHead::try_from).transpose()
    }

    /// Puts the newest entry's number and hash into the outbox, for whoever keeps heads outside.
    pub async fn tell_audit_head(&self) -> Result<Option<AuditHead>, LedgerError> {
        let Some(head) = self.audit_head().await? else { return Ok(None) };
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        let body = EventBody::AuditHead { sequence: head.sequence, hash: head.hash.to_string() };
        tx.tell(&[Event::new(now, None, head.hash.as_bytes(), body)]).await?;
        tx.commit().await?;
        Ok(Some(head))
    }

    /// Follows the whole chain, and compares it with a head that was `told` outside, if there is one.
    pub async fn audit_verify(
        &self,
        told: Option<AuditHead>,
    ) -> Result<Result<AuditHead, Broken>, LedgerError> {
        let mut head = AuditHead::GENESIS;
        let not_as_told = |sequence| Ok(Err(Broken { sequence, why: BrokenWhy::NotAsTold }));
        loop {
            let page = self.audit_entries(head.sequence + 1, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for entry in &page {
                head = match follow(head, entry) {
                    Ok(head) => head,
                    Err(broken) => return Ok(Err(broken)),
                };
                if told.is_some_and(|told| told.sequence == head.sequence && told.hash != head.hash) {
                    return not_as_told(head.sequence);
                }
            }
        }
        match told {
            Some(told) if told.sequence > head.sequence => {
                Ok(Err(Broken { sequence: head.sequence + 1, why: BrokenWhy::Missing }))
            }
            _ => Ok(Ok(head)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Vec<AuditEntry> {
        let mut head = AuditHead::GENESIS;
        let mut entries = Vec::new();
        for n in 0..4 {
            let at = Timestamp::from_second(n).expect("an instant");
            let entry = AuditEntry::after(head, at, "ada", "halt.set", format!("{{\"n\":{n}}}"));
            head = AuditHead { sequence: entry.sequence, hash: entry.hash };
            entries.push(entry);
        }
        entries
    }

    fn verify(entries: &[AuditEntry]) -> Result<AuditHead, Broken> {
        entries.iter().try_fold(AuditHead::GENESIS, follow)
    }

    #[test]
    fn i10_a_whole_chain_is_followed_and_a_tampered_one_names_its_entry() {
        let whole = chain();
        assert_eq!(verify(&whole).expect("whole").sequence, 4);

        let mut changed = chain();
        changed[1].body.push(' ');
        assert_eq!(verify(&changed), Err(Broken { sequence: 2, why: BrokenWhy::Changed }));

        let mut removed = chain();
        removed.remove(2);
        assert_eq!(verify(&removed), Err(Broken { sequence: 3, why: BrokenWhy::Missing }));

        let mut rewritten = chain();
        rewritten[1].actor = "eve".to_owned();
        rewritten[1].hash = rewritten[1].expected_hash();
        assert_eq!(verify(&rewritten), Err(Broken { sequence: 3, why: BrokenWhy::Relinked }));
    }
}
