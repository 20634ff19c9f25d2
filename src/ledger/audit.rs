//! The audit: a hash chain of decisions.
//!
//! - **I10 explained**: each entry's hash covers the entry and the hash before it, so that a changed, removed
//!   or inserted entry breaks the chain. Cutting off or rewriting the end does not break it: for that the head
//!   is told on `bellwether.events`, and [`super::Ledger::audit_verify`] takes a head that was kept outside.

mod verify;

use std::{fmt, str::FromStr};

pub use verify::Verification;

use jiff::Timestamp;
use sqlx::FromRow;

use super::{
    Ledger, LedgerError,
    rows::{digest, instant, micros},
};
use crate::model::{Digest, Event, EventBody};

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

/// Not a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is NUMBER:HASH, as `audit.head` events tell it: a number from 1 on, and 64 hex digits")]
pub struct NoHead;

impl fmt::Display for AuditHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl FromStr for AuditHead {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (sequence, hash) = text.split_once(':').ok_or(NoHead)?;
        // No sign, no blanks: what is compared is read as it was told.
        let is_number = !sequence.is_empty() && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let sequence = sequence.parse().ok().filter(|number| is_number && *number > 0).ok_or(NoHead)?;
        Ok(Self { sequence, hash: hash.parse().map_err(|_| NoHead)? })
    }
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
        let texts = [self.actor.as_bytes(), self.kind.as_bytes(), self.body.as_bytes()];
        entry_hash(self.sequence, micros(self.at), texts, &self.prev)
    }
}

/// What an entry's hash covers: every column but the hash itself. `texts` are the actor, the kind and the body.
fn entry_hash(sequence: i64, at: i64, texts: [&[u8]; 3], prev: &Digest) -> Digest {
    let [actor, kind, body] = texts;
    let (sequence, at) = (sequence.to_be_bytes(), at.to_be_bytes());
    Digest::of_parts(&[b"audit", &sequence, &at, actor, kind, body, prev.as_bytes()])
}

/// Which entries are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// From this number on.
    pub from: i64,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only by this actor.
    pub actor: Option<String>,
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
    /// It stands before the first.
    #[error("the entry does not belong there: the first one has the number 1")]
    Inserted,
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

    /// Up to `limit` entries that the filter lets through, in order.
    pub async fn audit_page(&self, filter: &AuditFilter, limit: i64) -> Result<Vec<AuditEntry>, LedgerError> {
        const SQL: &str = "select seq, at, actor, kind, body, prev, hash from audit where seq >= $1 \
             and (cast($2 as text) is null or kind = $2) and (cast($3 as text) is null or actor = $3) \
             order by seq limit $4";
        let AuditFilter { from, kind, actor } = filter;
        let rows: Vec<AuditRow> = super::on_pool!(self, pool => {
            sqlx::query_as(SQL).bind(from).bind(kind).bind(actor).bind(limit).fetch_all(pool).await?
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

    #[test]
    fn a_head_is_read_as_it_is_told_and_nothing_else_is() {
        let head = AuditHead { sequence: 7, hash: Digest::of(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
        let hash = Digest::of(b"x");
        for wrong in
            ["", "7", "7:", &format!("0:{hash}"), &format!("-7:{hash}"), &format!("+7:{hash}"), "7:abc"]
        {
            assert_eq!(wrong.parse::<AuditHead>(), Err(NoHead), "{wrong}");
        }
    }
}
