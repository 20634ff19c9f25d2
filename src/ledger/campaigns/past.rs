//! What the guard is told of the past: what was said to an audience lately, when a producer's notification was stopped,
//! and what its day comes to.
//!
//! All are asked before the guard judges, and once more in the transaction that puts the campaign on record, under locks on
//! its producer and its audience: of two that say the same at the same moment in two processes, the second to be stored is judged again.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    audience::GuardSettings,
    guard::{Fingerprint, OverDay, Past, is_flagged},
    ledger::{
        Day, Ledger, LedgerError, RefusedJob,
        rows::{digest, instant, micros},
        tx::{Tx, on_either},
    },
    model::{AppId, AudienceName, CampaignId, EventBody, ProducerId},
};

/// Most campaigns to one audience that are compared, the latest first. An audience that had more within the window is rung
/// all day, whatever was said.
const COMPARED: i64 = 500;

/// The advisory lock of an audience; the first number tells it from other locks.
const AUDIENCE_LOCK: i32 = 0x5A1D;

/// The same of a producer. It is taken first.
const PRODUCER_LOCK: i32 = 0x5A1E;

/// A campaign, as far as the past matters to it.
#[derive(Debug, Clone, Copy)]
pub struct PastAsk<'a> {
    /// Who enqueued it.
    pub producer: &'a ProducerId,
    /// Whose devices.
    pub app: &'a AppId,
    /// Whom it is for.
    pub audience: &'a AudienceName,
    /// What it says.
    pub fingerprint: Fingerprint,
    /// How far back to look.
    pub settings: &'a GuardSettings,
    /// How many devices it may come to.
    pub at_most: u64,
    /// How many devices its producer may reach in a day.
    pub devices_per_day: Option<u64>,
    /// How old a proof of its words may be, if its audience asks for one.
    pub proof_within: Option<Duration>,
}

#[derive(FromRow)]
struct SaidRow {
    id: i64,
    public_id: Uuid,
    fingerprint: Vec<u8>,
    simhash: i64,
    received_at: i64,
}

impl Ledger {
    /// What the guard is to be told.
    pub async fn past(&self, ask: &PastAsk<'_>) -> Result<Past, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now().await?;
        tx.past(ask, now, None).await
    }
}

impl Tx {
    /// The same as this transaction sees it, beside the campaign `but`.
    pub(super) async fn past(
        &mut self,
        ask: &PastAsk<'_>,
        now: Timestamp,
        but: Option<i64>,
    ) -> Result<Past, LedgerError> {
        let since = now.checked_sub(ask.settings.contagion_within).unwrap_or(Timestamp::MIN);
        let flagged = self.flagged(ask.producer).await?.filter(|at| *at >= since);
        let since = now.checked_sub(ask.settings.duplicate_within).unwrap_or(Timestamp::MIN);
        let over_day = match ask.devices_per_day {
            Some(limit) => self.over_day(ask, limit, now, but).await?,
            None => None,
        };
        let proven = match ask.proof_within {
            Some(within) => self.is_proven(ask.app, &ask.fingerprint, within, now).await?,
            None => false,
        };
        Ok(Past { duplicate: self.said(ask, since, but).await?, flagged, proven, over_day })
    }

    /// Waits until nobody else puts a campaign of this producer's, or to this audience, on record. Statements of their own: the
    /// next one must see what whoever held the locks before has committed. On SQLite there is one writer anyway.
    pub(super) async fn lock_past(
        &mut self,
        producer: &ProducerId,
        app: &AppId,
        audience: &AudienceName,
    ) -> Result<(), LedgerError> {
        let locks = [(PRODUCER_LOCK, producer.to_string()), (AUDIENCE_LOCK, format!("{app} {audience}"))];
        if let Self::Postgres(tx) = self {
            for (kind, name) in locks {
                sqlx::query("select pg_advisory_xact_lock($1, hashtext($2))")
                    .bind(kind)
                    .bind(name)
                    .execute(&mut **tx)
                    .await?;
            }
        }
        Ok(())
    }

    /// What the producer's day comes to with this campaign, if that is more than it may reach. Of each campaign that may still
    /// send today, or has, those count whom it was frozen to, or as many as it may come to.
    async fn over_day(
        &mut self,
        ask: &PastAsk<'_>,
        devices_per_day: u64,
        now: Timestamp,
        but: Option<i64>,
    ) -> Result<Option<OverDay>, LedgerError> {
        const SQL: &str = "select k.id, case when r.frozen_digest is null then k.at_most else r.frozen end \
             from campaign k join rollout r on r.id = k.id \
             where k.producer = $1 and k.expires_at >= $2 and k.intent = 'production' \
             and (r.finished_at is null or (r.finished_at >= $2 and r.stage >= 0))";
        let day = Day::of(now);
        let campaigns: Vec<(i64, i64)> = on_either!(&mut *self, c => {
            sqlx::query_as(SQL).bind(ask.producer.as_str()).bind(day.start()).fetch_all(c).await?
        });
        let others = campaigns.into_iter().filter(|(id, _)| Some(*id) != but);
        let others = others.map(|(_, devices)| u64::try_from(devices).unwrap_or(0));
        let direct = self.direct_today(ask.producer, day).await?;
        let today = others.fold(direct.saturating_add(ask.at_most), u64::saturating_add);
        Ok((today > devices_per_day).then_some(OverDay { devices_per_day, today }))
    }

    /// The latest campaign that says the same. One that was over before its first stage opened has said nothing.
    async fn said(
        &mut self,
        ask: &PastAsk<'_>,
        since: Timestamp,
        but: Option<i64>,
    ) -> Result<Option<(CampaignId, Timestamp)>, LedgerError> {
        const SQL: &str = "select k.id, k.public_id, k.fingerprint, k.simhash, k.received_at \
             from campaign k join rollout r on r.id = k.id \
             where k.app = $1 and k.audience = $2 and k.received_at >= $3 and k.intent = 'production' \
             and k.fingerprint is not null and (r.finished_at is null or r.stage >= 0) \
             order by k.received_at desc limit $4";
        let rows: Vec<SaidRow> = on_either!(self, c => {
            sqlx::query_as(SQL)
                .bind(ask.app.as_str())
                .bind(ask.audience.as_str())
                .bind(micros(since))
                .bind(COMPARED)
                .fetch_all(c)
                .await?
        });
        for row in rows.into_iter().filter(|row| Some(row.id) != but) {
            let exact = digest("campaign", row.id, "fingerprint", &row.fingerprint)?;
            let said = Fingerprint { exact, simhash: row.simhash.cast_unsigned() };
            if ask.fingerprint.is_like(&said) {
                let at = instant("campaign", row.id, row.received_at)?;
                return Ok(Some((CampaignId::from_uuid(row.public_id), at)));
            }
        }
        Ok(None)
    }

    async fn flagged(&mut self, producer: &ProducerId) -> Result<Option<Timestamp>, LedgerError> {
        const SQL: &str = "select at from flagged where producer = $1";
        let at: Option<i64> = on_either!(self, c => {
            sqlx::query_scalar(SQL).bind(producer.as_str()).fetch_optional(c).await?
        });
        at.map(|at| instant("flagged", producer, at)).transpose()
    }

    /// Notes whose notifications were stopped for what they are.
    pub(in crate::ledger) async fn flag(
        &mut self,
        refused: &[RefusedJob],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let stopped = refused.iter().filter_map(|refused| match &refused.event.body {
            EventBody::JobRefused { producer, findings, .. } if is_flagged(findings) => Some(producer),
            _ => None,
        });
        // In one order, so that two batches never wait for each other's rows.
        for producer in stopped.collect::<BTreeSet<_>>() {
            self.flag_producer(producer, now).await?;
        }
        Ok(())
    }

    pub(in crate::ledger) async fn flag_producer(
        &mut self,
        producer: &ProducerId,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        const SQL: &str = "insert into flagged (producer, at) values ($1, $2) \
             on conflict (producer) do update set at = excluded.at where excluded.at > flagged.at";
        on_either!(self, c => {
            sqlx::query(SQL).bind(producer.as_str()).bind(micros(now)).execute(c).await?;
        });
        Ok(())
    }
}
