//! Following the chain, as it stands in the database: a row that was tampered with need not make sense, so that its columns
//! are taken as they are.

use sqlx::FromRow;

use super::{AuditHead, Broken, BrokenWhy, entry_hash};
use crate::{
    ledger::{Ledger, LedgerError},
    model::Digest,
};

/// Entries read at once: a few hundred kilobytes.
const PAGE: i64 = 1_000;

/// What came of following the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// The last entry that is right, as far as can be told; before the first one [`AuditHead::GENESIS`].
    pub head: AuditHead,
    /// The last of the heads told outside that the chain agrees with: nothing up to there was rewritten since.
    pub fits: Option<AuditHead>,
    /// The first entry that is wrong.
    pub broken: Option<Broken>,
}

/// An entry as it stands there, sense or none.
#[derive(FromRow)]
struct Standing {
    seq: i64,
    at: i64,
    actor: Vec<u8>,
    kind: Vec<u8>,
    body: Vec<u8>,
    prev: Vec<u8>,
    hash: Vec<u8>,
}

impl Standing {
    /// Checks it after the head so far, and gives the new head.
    fn follow(&self, head: AuditHead) -> Result<AuditHead, Broken> {
        let next = head.sequence + 1;
        let broken = |sequence, why| Err(Broken { sequence, why });
        if self.seq != next {
            let is_before = self.seq < next;
            return if is_before {
                broken(self.seq, BrokenWhy::Inserted)
            } else {
                broken(next, BrokenWhy::Missing)
            };
        }
        let (Some(prev), Some(hash)) = (Digest::from_bytes(&self.prev), Digest::from_bytes(&self.hash))
        else {
            return broken(next, BrokenWhy::Changed);
        };
        if hash != entry_hash(self.seq, self.at, [&self.actor, &self.kind, &self.body], &prev) {
            return broken(next, BrokenWhy::Changed);
        }
        if prev != head.hash {
            return broken(next, BrokenWhy::Relinked);
        }
        Ok(AuditHead { sequence: next, hash })
    }
}

impl Ledger {
    /// Follows the whole chain, and compares it with a head that was `told` outside, if there is one.
    pub async fn audit_verify(
        &self,
        told: Option<AuditHead>,
    ) -> Result<Result<AuditHead, Broken>, LedgerError> {
        let told: Vec<_> = told.into_iter().collect();
        let Verification { head, broken, .. } = self.audit_verify_against(&told).await?;
        Ok(broken.map_or(Ok(head), Err))
    }

    /// Follows the whole chain, and compares it with every head that was `told` outside. A rewritten end is whole in itself;
    /// with several heads it is located between the last that fits and the first that does not.
    pub async fn audit_verify_against(&self, told: &[AuditHead]) -> Result<Verification, LedgerError> {
        let mut told = told.to_vec();
        told.sort_unstable_by_key(|told| told.sequence);
        let mut told = told.into_iter().peekable();
        let mut so_far = Verification { head: AuditHead::GENESIS, fits: None, broken: None };
        // Also what stands before the first entry, where nothing may.
        let mut from = i64::MIN;
        loop {
            let page = self.standing(from).await?;
            let Some(last) = page.last() else { break };
            from = last.seq.saturating_add(1);
            for standing in &page {
                let head = match standing.follow(so_far.head) {
                    Ok(head) => head,
                    Err(broken) => return Ok(Verification { broken: Some(broken), ..so_far }),
                };
                while let Some(told) = told.next_if(|told| told.sequence == head.sequence) {
                    if told.hash != head.hash {
                        let broken = Broken { sequence: head.sequence, why: BrokenWhy::NotAsTold };
                        return Ok(Verification { broken: Some(broken), ..so_far });
                    }
                    so_far.fits = Some(told);
                }
                so_far.head = head;
            }
        }
        if told.next().is_some() {
            let sequence = so_far.head.sequence + 1;
            so_far.broken = Some(Broken { sequence, why: BrokenWhy::Missing });
        }
        Ok(so_far)
    }

    /// A page of entries from this number on. The texts come as bytes: one that is no text any more is no error here.
    async fn standing(&self, from: i64) -> Result<Vec<Standing>, LedgerError> {
        const POSTGRES: &str = "select seq, at, convert_to(actor, 'UTF8') as actor, \
             convert_to(kind, 'UTF8') as kind, convert_to(body, 'UTF8') as body, prev, hash \
             from audit where seq >= $1 order by seq limit $2";
        const SQLITE: &str = "select seq, at, cast(actor as blob) as actor, cast(kind as blob) as kind, \
             cast(body as blob) as body, prev, hash from audit where seq >= $1 order by seq limit $2";
        Ok(match self {
            Self::Postgres(store) => {
                sqlx::query_as(POSTGRES).bind(from).bind(PAGE).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                sqlx::query_as(SQLITE).bind(from).bind(PAGE).fetch_all(&store.readers).await?
            }
        })
    }
}
