//! Answers: who was sent what, when, with which result.
//!
//! A device's outcome in a campaign is that of the last chunk that had it: its first-time chunk, or its latest retry. What
//! a rollout's end leaves without a final outcome is told as what it means then, see [`as_told`].
//!
//! An export reads a few chunks at a time, so that its memory does not grow with the campaign.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    CampaignRecord, Ledger, LedgerError, RolloutRecord, on_pool,
    rows::{column, instant},
    tx::stored_bucket,
};
use crate::{
    model::{
        AppId, CampaignId, ChunkNumber, DeviceId, FrozenDevice, OutcomeCode, Platform, RolloutId,
        RolloutState, StageNumber, UserId,
    },
    rollout::packed,
};

/// What became of one device in one campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which campaign.
    pub campaign: CampaignId,
    /// The device's key in the registry.
    pub key: FrozenDevice,
    /// The device and its owner; `None` if its row is gone.
    pub whose: Option<Whose>,
    /// In which stage.
    pub stage: StageNumber,
    /// What became of it.
    pub outcome: OutcomeCode,
    /// The provider's word, where one byte does not explain.
    pub reason: Option<String>,
    /// When the intent behind this outcome was recorded; `None` if there was none.
    pub at: Option<Timestamp>,
    /// How often it was tried: the intents of its first-time chunk and of every retry, without those after which nothing was
    /// asked of a provider.
    pub tries: u32,
}

/// A device's identity, as far as an answer needs it. Of a forgotten one the user is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// Its id.
    pub device: DeviceId,
    /// Its owner.
    pub user: Option<UserId>,
    /// Its platform.
    pub platform: Platform,
}

/// A page of an export.
#[derive(Debug)]
pub struct DeliveryPage {
    /// In the frozen order.
    pub deliveries: Vec<Delivery>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<ChunkNumber>,
}

/// What is told of `code` in a rollout that is over (or not): an intent without outcome may have been sent, and what was
/// never tried was not. `doubted`: an earlier try of it may have arrived, so that a last one that failed proves nothing.
#[must_use]
pub fn as_told(
    code: OutcomeCode,
    (tried, doubted): (bool, bool),
    state: RolloutState,
    at_most_once: bool,
) -> OutcomeCode {
    if state.is_terminal() && doubted && !settles_a_doubt(code) {
        return OutcomeCode::Unknown;
    }
    if !state.is_terminal() || code.is_final(at_most_once) || code == OutcomeCode::Unknown {
        return code;
    }
    match (code, state) {
        (OutcomeCode::ToDo, _) if tried => OutcomeCode::Unknown,
        (_, RolloutState::Expired) => OutcomeCode::Expired,
        (OutcomeCode::ToDo, _) => OutcomeCode::NotSent,
        _ => code,
    }
}

/// Whether a later try's outcome says how it stands with the phone, whatever came of an earlier one: it has it, or has no
/// use for it, or would not have taken the earlier one either.
const fn settles_a_doubt(code: OutcomeCode) -> bool {
    match code {
        OutcomeCode::Accepted
        | OutcomeCode::TokenGone
        | OutcomeCode::Rejected
        | OutcomeCode::LeftOut
        | OutcomeCode::Cancelled => true,
        OutcomeCode::ToDo
        | OutcomeCode::Throttled
        | OutcomeCode::Unavailable
        | OutcomeCode::Unknown
        | OutcomeCode::NotSent
        | OutcomeCode::CredentialStop
        | OutcomeCode::Expired
        | OutcomeCode::QuietHours => false,
    }
}

#[derive(FromRow)]
struct ChunkRow {
    chunk: i32,
    stage: i16,
    source: Option<i32>,
    ids: Vec<u8>,
}

#[derive(FromRow)]
struct SegmentRow {
    chunk: i32,
    segment: i16,
    n: i16,
    at: i64,
    outcomes: Option<Vec<u8>>,
    doubted: bool,
}

/// What is known of one device in one chunk.
#[derive(Debug, Clone, Copy)]
struct Tried {
    /// The outcome's byte; `None`: intent only.
    byte: Option<u8>,
    at: i64,
    /// An earlier claim had begun it.
    doubted: bool,
}

#[derive(FromRow)]
struct ReasonRow {
    chunk: i32,
    position: i16,
    reason: String,
}

#[derive(FromRow)]
struct WhoseRow {
    bucket: i16,
    id: i64,
    public_id: Uuid,
    user_id: String,
    platform: String,
}

/// Chunks with all that is known of their devices.
#[derive(Default)]
struct Known {
    /// By chunk, by position.
    segments: HashMap<i32, HashMap<usize, Tried>>,
    reasons: HashMap<(i32, usize), String>,
}

impl Known {
    fn learn(&mut self, rows: Vec<SegmentRow>, reasons: Vec<ReasonRow>) {
        for row in rows {
            let of_chunk = self.segments.entry(row.chunk).or_default();
            let first = usize::try_from(row.segment).unwrap_or_default();
            for place in 0..usize::try_from(row.n).unwrap_or_default() {
                let byte = row.outcomes.as_ref().and_then(|outcomes| outcomes.get(place).copied());
                of_chunk.insert(first + place, Tried { byte, at: row.at, doubted: row.doubted });
            }
        }
        for row in reasons {
            let position = usize::try_from(row.position).unwrap_or_default();
            self.reasons.insert((row.chunk, position), row.reason);
        }
    }
}

impl Ledger {
    /// A page of a campaign's devices, from first-time chunk `from` on, `chunks` chunks long.
    pub async fn deliveries(
        &self,
        campaign: &CampaignRecord,
        state: RolloutState,
        from: ChunkNumber,
        chunks: u32,
    ) -> Result<DeliveryPage, LedgerError> {
        let mut page = self.outcomes(campaign, state, from, chunks).await?;
        self.identify(&mut page.deliveries).await?;
        Ok(page)
    }

    /// The same, without whose the devices are: that takes as many look-ups as there are devices.
    pub(super) async fn outcomes(
        &self,
        campaign: &CampaignRecord,
        state: RolloutState,
        from: ChunkNumber,
        chunks: u32,
    ) -> Result<DeliveryPage, LedgerError> {
        const FIRST: &str = "select chunk, stage, source, ids from chunk \
             where rollout = $1 and chunk >= $2 and source is null order by chunk limit $3";
        let rollout = campaign.rollout;
        let rows: Vec<ChunkRow> = on_pool!(self, pool => {
            sqlx::query_as(FIRST)
                .bind(rollout.get())
                .bind(i32::try_from(from).unwrap_or(i32::MAX))
                .bind(i64::from(chunks))
                .fetch_all(pool)
                .await?
        });
        let next = (rows.len() == usize::try_from(chunks).unwrap_or(usize::MAX))
            .then(|| rows.last().map(|row| row.chunk + 1))
            .flatten();
        let deliveries = self.follow(campaign, state, rows).await?;
        let next = next.map(|next| column("chunk", rollout, "chunk", u32::try_from(next))).transpose()?;
        Ok(DeliveryPage { deliveries, next })
    }

    /// What one device was sent, in the latest `most` campaigns of its app that had it, the newest first.
    pub async fn deliveries_to(
        &self,
        app: &AppId,
        device: FrozenDevice,
        most: u32,
    ) -> Result<Vec<Delivery>, LedgerError> {
        const ROLLOUTS: &str = "select distinct k.id from campaign k join chunk c on c.rollout = k.id \
             where k.app = $1 and c.source is null and c.first_bucket <= $2 and c.last_bucket >= $2 \
             order by k.id desc limit $3";
        const CHUNKS: &str = "select chunk, stage, source, ids from chunk \
             where rollout = $1 and source is null and first_bucket <= $2 and last_bucket >= $2 order by chunk";
        let bucket = stored_bucket(device.bucket);
        let rollouts: Vec<i64> = on_pool!(self, pool => {
            sqlx::query_scalar(ROLLOUTS)
                .bind(app.as_str())
                .bind(bucket)
                .bind(i64::from(most))
                .fetch_all(pool)
                .await?
        });
        let mut found = Vec::new();
        for rollout in rollouts {
            let rows: Vec<ChunkRow> = on_pool!(self, pool => {
                sqlx::query_as(CHUNKS).bind(rollout).bind(bucket).fetch_all(pool).await?
            });
            let has = |row: &ChunkRow| packed::unpack(&row.ids).is_some_and(|list| list.contains(&device));
            let rows: Vec<ChunkRow> = rows.into_iter().filter(has).collect();
            if rows.is_empty() {
                continue;
            }
            let Some(campaign) = self.campaign_of(RolloutId::new(rollout)).await? else { continue };
            let Some(RolloutRecord { state, .. }) = self.rollout(campaign.id).await? else { continue };
            let of_chunk = self.follow(&campaign, state, rows).await?;
            found.extend(of_chunk.into_iter().filter(|delivery| delivery.key == device));
        }
        self.identify(&mut found).await?;
        Ok(found)
    }

    /// Every device of these first-time chunks, with what their retries added.
    async fn follow(
        &self,
        campaign: &CampaignRecord,
        state: RolloutState,
        first: Vec<ChunkRow>,
    ) -> Result<Vec<Delivery>, LedgerError> {
        let rollout = campaign.rollout;
        let numbers: Vec<i32> = first.iter().map(|row| row.chunk).collect();
        let retries = self.retries_of(rollout, &numbers).await?;
        let all: Vec<i32> = numbers.iter().copied().chain(retries.iter().map(|row| row.chunk)).collect();
        let mut known = Known::default();
        known.learn(self.segments_of(rollout, &all).await?, self.reasons_of(rollout, &all).await?);
        let (mut deliveries, mut places) = (Vec::<Delivery>::new(), HashMap::new());
        let mut doubts = HashSet::new();
        // Retries have higher numbers than what they retry, and a later try a higher one than an earlier.
        for row in first.iter().chain(&retries) {
            let list = packed::unpack(&row.ids)
                .ok_or_else(|| LedgerError::nonsense("chunk", row.chunk, "its list cannot be read"))?;
            for (position, key) in list.into_iter().enumerate() {
                let tried = known.segments.get(&row.chunk).and_then(|chunk| chunk.get(&position));
                let place = *places.entry((row.source.unwrap_or(row.chunk), key)).or_insert_with(|| {
                    deliveries.push(Delivery {
                        campaign: campaign.id,
                        key,
                        whose: None,
                        stage: StageNumber::try_from(row.stage).unwrap_or_default(),
                        outcome: OutcomeCode::ToDo,
                        reason: None,
                        at: None,
                        tries: 0,
                    });
                    deliveries.len() - 1
                });
                let Some(&Tried { byte, at, doubted }) = tried else { continue };
                let delivery = &mut deliveries[place];
                // Of an earlier chunk's try, if there was one, nobody knows more than this.
                if doubted || delivery.outcome == OutcomeCode::Unknown {
                    doubts.insert(place);
                }
                let code = OutcomeCode::from_byte(byte.unwrap_or_default());
                delivery.outcome = column("segment", row.chunk, "outcomes", code.ok_or(()))?;
                delivery.reason = known.reasons.get(&(row.chunk, position)).cloned();
                delivery.at = Some(instant("segment", row.chunk, at)?);
                delivery.tries += u32::from(delivery.outcome.may_have_been_asked());
            }
        }
        for (place, delivery) in deliveries.iter_mut().enumerate() {
            let tried = (delivery.at.is_some(), doubts.contains(&place));
            delivery.outcome = as_told(delivery.outcome, tried, state, campaign.at_most_once);
        }
        Ok(deliveries)
    }

    async fn retries_of(&self, rollout: RolloutId, chunks: &[i32]) -> Result<Vec<ChunkRow>, LedgerError> {
        Ok(match self {
            Self::Postgres(store) => {
                let sql = "select chunk, stage, source, ids from chunk \
                     where rollout = $1 and source = any($2) order by chunk";
                sqlx::query_as(sql).bind(rollout.get()).bind(chunks).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let sql = "select chunk, stage, source, ids from chunk \
                     where rollout = $1 and source in (select value from json_each($2)) order by chunk";
                sqlx::query_as(sql).bind(rollout.get()).bind(list(chunks)).fetch_all(&store.readers).await?
            }
        })
    }

    async fn segments_of(&self, rollout: RolloutId, chunks: &[i32]) -> Result<Vec<SegmentRow>, LedgerError> {
        Ok(match self {
            Self::Postgres(store) => {
                let sql = "select chunk, segment, n, at, outcomes, doubted from segment \
                     where rollout = $1 and chunk = any($2)";
                sqlx::query_as(sql).bind(rollout.get()).bind(chunks).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let sql = "select chunk, segment, n, at, outcomes, doubted from segment \
                     where rollout = $1 and chunk in (select value from json_each($2))";
                sqlx::query_as(sql).bind(rollout.get()).bind(list(chunks)).fetch_all(&store.readers).await?
            }
        })
    }

    async fn reasons_of(&self, rollout: RolloutId, chunks: &[i32]) -> Result<Vec<ReasonRow>, LedgerError> {
        Ok(match self {
            Self::Postgres(store) => {
                let sql = "select chunk, position, reason from delivery_word \
                     where rollout = $1 and chunk = any($2)";
                sqlx::query_as(sql).bind(rollout.get()).bind(chunks).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let sql = "select chunk, position, reason from delivery_word \
                     where rollout = $1 and chunk in (select value from json_each($2))";
                sqlx::query_as(sql).bind(rollout.get()).bind(list(chunks)).fetch_all(&store.readers).await?
            }
        })
    }

    /// Says whose devices these are.
    async fn identify(&self, deliveries: &mut [Delivery]) -> Result<(), LedgerError> {
        let (buckets, ids): (Vec<i16>, Vec<i64>) = deliveries
            .iter()
            .map(|delivery| (stored_bucket(delivery.key.bucket), delivery.key.record.get()))
            .unzip();
        let rows: Vec<WhoseRow> = match self {
            Self::Postgres(store) => {
                // See the batch's read for `offset 0`.
                let sql = "select d.* from unnest($1::smallint[], $2::bigint[]) u (bucket, id) cross join lateral ( \
                         select bucket, id, public_id, user_id, platform from device d \
                         where d.bucket = u.bucket and d.id = u.id offset 0) d";
                sqlx::query_as(sql).bind(buckets).bind(ids).fetch_all(&store.pool).await?
            }
            Self::Sqlite(store) => {
                let keys: Vec<_> = buckets.into_iter().zip(ids).collect();
                let keys = serde_json::to_string(&keys).expect("numbers have a JSON form");
                let sql = "select d.bucket, d.id, d.public_id, d.user_id, d.platform from json_each($1) u \
                     join device d on d.id = u.value ->> 1 and d.bucket = u.value ->> 0";
                sqlx::query_as(sql).bind(keys).fetch_all(&store.readers).await?
            }
        };
        let mut whose = HashMap::with_capacity(rows.len());
        for row in rows {
            let platform = column("device", row.id, "platform", row.platform.parse())?;
            // A forgotten device has no user any more.
            let user = UserId::parse(&row.user_id).ok();
            let device = DeviceId::from_uuid(row.public_id);
            whose.insert((row.bucket, row.id), Whose { device, user, platform });
        }
        for delivery in deliveries {
            let key = (stored_bucket(delivery.key.bucket), delivery.key.record.get());
            delivery.whose = whose.get(&key).cloned();
        }
        Ok(())
    }
}

fn list(numbers: &[i32]) -> String {
    serde_json::to_string(numbers).expect("numbers have a JSON form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_end_leaves_open_is_told_as_what_it_means() {
        use OutcomeCode::{Accepted, Expired, NotSent, Throttled, ToDo, Unknown};
        use RolloutState::{Completed, Halted, Running};
        let told = |code, tried, state| as_told(code, (tried, false), state, false);
        assert_eq!(told(Accepted, true, Halted), Accepted);
        assert_eq!(told(ToDo, true, Running), ToDo);
        assert_eq!(told(ToDo, true, Halted), Unknown);
        assert_eq!(told(ToDo, false, Halted), NotSent);
        assert_eq!(told(Throttled, true, RolloutState::Expired), Expired);
        assert_eq!(told(ToDo, false, RolloutState::Expired), Expired);
        assert_eq!(told(Unknown, true, RolloutState::Expired), Unknown);
        assert_eq!(told(Unknown, true, Completed), Unknown);
    }

    #[test]
    fn a_last_try_that_failed_proves_nothing_about_an_earlier_one() {
        use OutcomeCode::{Accepted, NotSent, Rejected, Throttled, ToDo, TokenGone, Unknown};
        use RolloutState::{Aborted, Running};
        let told = |code, state| as_told(code, (true, true), state, false);
        for code in [ToDo, Throttled, NotSent, OutcomeCode::Expired] {
            assert_eq!(told(code, Aborted), Unknown, "{code:?}");
            assert_eq!(told(code, Running), code, "it is tried again: {code:?}");
        }
        for code in [Accepted, Rejected, TokenGone] {
            assert_eq!(told(code, Aborted), code);
        }
    }
}
