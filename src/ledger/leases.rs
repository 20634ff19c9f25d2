//! Leases: a process's share of a fleet-wide rate.
//!
//! - **I11 paced**: whoever leases moves the rate's row on, behind its lock; what is given is decided by [`crate::pace`].
//! - **I3 unknown-is-no**: a rate that follows a signal is noted in its row with an end. Behind it, it is the least again.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Ledger, LedgerError, postgres, sqlite,
    tx::{Tx, on_either},
};
use crate::{
    model::{AppId, Provider, RolloutId},
    pace::{
        lease::{self, Leased},
        shared::Shared,
    },
};

/// Whose rate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LeaseKey {
    /// One rollout's.
    Rollout(RolloutId),
    /// One app's at one provider.
    Provider(Provider, AppId),
}

/// What is asked of one row.
#[derive(Debug, Clone)]
pub struct LeaseAsk {
    /// Whose rate.
    pub key: LeaseKey,
    /// Slots a second.
    pub rate: NonZeroU32,
    /// Of a rollout that follows a signal: the rate while none is noted in its row. No more is given than is noted.
    pub least: Option<NonZeroU32>,
    /// How many slots are wanted.
    pub want: u32,
    /// No slot may lie further ahead than this: 100 to 250 ms.
    pub horizon: Duration,
}

impl LeaseKey {
    pub(super) fn stored(&self) -> String {
        match self {
            Self::Rollout(rollout) => format!("rollout:{rollout}"),
            Self::Provider(provider, app) => format!("{provider}:{app}"),
        }
    }
}

/// A rate's row. A rollout's has one schedule, in `next_at`.
#[derive(sqlx::FromRow)]
struct LeaseRow {
    next_at: i64,
    campaign_next_at: i64,
    campaigns_until: i64,
    lowered: i32,
    lowered_at: i64,
    paced: Option<i32>,
    paced_until: i64,
    now: i64,
}

impl LeaseRow {
    /// What a rollout's row gives: the smaller of what is asked for, and what its signal allows.
    fn follows(&self, rate: NonZeroU32, least: Option<NonZeroU32>) -> NonZeroU32 {
        let Some(least) = least else { return rate };
        let noted = self.paced.filter(|_| self.now < self.paced_until);
        let noted = noted.and_then(|paced| NonZeroU32::new(u32::try_from(paced).ok()?));
        noted.unwrap_or(least).min(rate)
    }

    fn shared(&self) -> Shared {
        Shared {
            reserve_next: self.next_at,
            rest_next: self.campaign_next_at,
            campaigns_until: self.campaigns_until,
            lowered: self.lowered.into(),
            lowered_at: self.lowered_at,
        }
    }

    fn set_shared(&mut self, shared: &Shared) {
        self.next_at = shared.reserve_next;
        self.campaign_next_at = shared.rest_next;
        self.campaigns_until = shared.campaigns_until;
        self.lowered = i32::try_from(shared.lowered).unwrap_or(i32::MAX);
        self.lowered_at = shared.lowered_at;
    }
}

impl Ledger {
    /// Leases slots for campaigns. In any window the fleet is given at most rate × window + one horizon (I11): the row says
    /// when the next slot is free, and whoever leases moves it on. Of a provider's rate this is what the direct lane's
    /// reserve leaves.
    pub async fn lease_slots(&self, ask: &LeaseAsk) -> Result<Leased, LedgerError> {
        let LeaseAsk { rate, least, want, horizon, .. } = *ask;
        self.on_row(&ask.key, |row| match ask.key {
            LeaseKey::Rollout(_) => {
                let (leased, next) =
                    lease::grant(row.next_at, row.now, row.follows(rate, least), want, horizon);
                row.next_at = next;
                leased
            }
            LeaseKey::Provider(..) => {
                let mut shared = row.shared();
                let leased = shared.campaign(row.now, rate, want, horizon);
                row.set_shared(&shared);
                leased
            }
        })
        .await
    }

    /// Leases up to `want` slots of a provider's rate for the direct lane: of its reserve, and what campaigns leave.
    pub async fn lease_direct(
        &self,
        provider: Provider,
        app: &AppId,
        rate: NonZeroU32,
        want: u32,
    ) -> Result<[Leased; 2], LedgerError> {
        self.on_row(&LeaseKey::Provider(provider, app.clone()), |row| {
            let mut shared = row.shared();
            let leased = shared.direct(row.now, rate, want);
            row.set_shared(&shared);
            leased
        })
        .await
    }

    /// A provider asked everyone of an app to be slower: so every process is, from its next lease on.
    pub async fn lower_rate(&self, provider: Provider, app: &AppId) -> Result<(), LedgerError> {
        self.on_row(&LeaseKey::Provider(provider, app.clone()), |row| {
            let mut shared = row.shared();
            shared.lower(row.now);
            row.set_shared(&shared);
        })
        .await
    }

    /// Changes a rate's row behind its lock.
    async fn on_row<T>(
        &self,
        key: &LeaseKey,
        change: impl FnOnce(&mut LeaseRow) -> T,
    ) -> Result<T, LedgerError> {
        const ROW: &str = "insert into lease (key, next_at) values ($1, 0) on conflict (key) do nothing";
        const MOVE: &str = "update lease set next_at = $1, campaign_next_at = $2, campaigns_until = $3, lowered = $4, \
             lowered_at = $5 where key = $6";
        const COLUMNS: &str =
            "next_at, campaign_next_at, campaigns_until, lowered, lowered_at, paced, paced_until";
        let key = key.stored();
        let mut tx = self.begin().await?;
        // The clock is read when the row comes out of its lock.
        let sql = match tx {
            Tx::Postgres(_) => format!(
                "with l as materialized (select {COLUMNS} from lease where key = $1 for update) \
                 select l.*, ({}) as now from l",
                postgres::NOW
            ),
            Tx::Sqlite(_) => format!("select {COLUMNS}, ({}) as now from lease where key = $1", sqlite::NOW),
        };
        let mut row: Option<LeaseRow> =
            on_either!(&mut tx, c => sqlx::query_as(&sql).bind(&key).fetch_optional(c).await?);
        if row.is_none() {
            on_either!(&mut tx, c => {
                sqlx::query(ROW).bind(&key).execute(c).await?;
            });
            row = on_either!(&mut tx, c => sqlx::query_as(&sql).bind(&key).fetch_optional(c).await?);
        }
        let mut row = row.ok_or_else(|| LedgerError::nonsense("lease", &key, "it is not there"))?;
        let changed = change(&mut row);
        on_either!(&mut tx, c => {
            sqlx::query(MOVE)
                .bind(row.next_at)
                .bind(row.campaign_next_at)
                .bind(row.campaigns_until)
                .bind(row.lowered)
                .bind(row.lowered_at)
                .bind(&key)
                .execute(c)
                .await?;
        });
        tx.commit().await?;
        Ok(changed)
    }
}
