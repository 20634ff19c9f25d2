//! Leases: a worker's share of a fleet-wide rate.

use std::{num::NonZeroU32, time::Duration};

use super::{
    Ledger, LedgerError,
    rows::micros,
    tx::{Tx, on_either},
};
use crate::{
    model::{AppId, Provider, RolloutId},
    pace::lease::{self, Leased},
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
    /// How many slots are wanted.
    pub want: u32,
    /// No slot may lie further ahead than this: 100 to 250 ms.
    pub horizon: Duration,
}

impl LeaseKey {
    fn stored(&self) -> String {
        match self {
            Self::Rollout(rollout) => format!("rollout:{rollout}"),
            Self::Provider(provider, app) => format!("{provider}:{app}"),
        }
    }
}

impl Ledger {
    /// Leases slots of one rate. In any window the fleet is given at most rate × window + one horizon (I11): the row says
    /// when the next slot is free, and whoever leases moves it on.
    pub async fn lease_slots(&self, ask: &LeaseAsk) -> Result<Leased, LedgerError> {
        const ROW: &str = "insert into lease (key, next_at) values ($1, 0) on conflict (key) do nothing";
        const MOVE: &str = "update lease set next_at = $1 where key = $2";
        let key = ask.key.stored();
        let mut tx = self.begin().await?;
        let lock = if matches!(tx, Tx::Postgres(_)) { "for update" } else { "" };
        let sql = format!("select next_at from lease where key = $1 {lock}");
        let mut next: Option<i64> =
            on_either!(&mut tx, c => sqlx::query_scalar(&sql).bind(&key).fetch_optional(c).await?);
        if next.is_none() {
            on_either!(&mut tx, c => {
                sqlx::query(ROW).bind(&key).execute(c).await?;
            });
            next = on_either!(&mut tx, c => sqlx::query_scalar(&sql).bind(&key).fetch_optional(c).await?);
        }
        let now = micros(tx.now().await?);
        let (leased, next) = lease::grant(next.unwrap_or_default(), now, ask.rate, ask.want, ask.horizon);
        on_either!(&mut tx, c => {
            sqlx::query(MOVE).bind(next).bind(&key).execute(c).await?;
        });
        tx.commit().await?;
        Ok(leased)
    }
}
