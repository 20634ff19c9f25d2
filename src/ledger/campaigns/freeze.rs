//! Freezing: an audience becomes chunks, in bounded transactions, so that whoever takes over goes on where the last one
//! stood (I6: nobody twice, nobody forgotten).

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::json;

use super::{
    CampaignRecord, Deposed, FreezeProgress, FreezeSource, Ruling,
    again::TakenOver,
    steer::{Steer, Steered},
};
use crate::{
    audience::Audience,
    guard::Rule,
    ledger::{
        Ledger, LedgerError,
        commit::SERVICE,
        rows::{column, micros},
        selection::{Found, Range, Selection, Users, builds},
        tx::{Tx, on_either, stored_bucket},
    },
    model::{CHUNK_DEVICES, FrozenDevice, RolloutId, StageNumber},
    rollout::{
        Electorate, FrozenTake, RolloutEvent,
        freeze::{Cursor, Next, frozen_digest, offset},
        packed,
    },
};

/// Why a retry comes to nothing.
const NOBODY_LEFT: &str = "nobody is left: everyone was sent it, or may have been";

/// Why a correction or a supersession comes to nothing.
const NOBODY_REACHED: &str = "nobody was reached: there is nothing to mend on any phone";

/// A chunk that is to be written.
struct NewChunk {
    number: u32,
    stage: StageNumber,
    devices: Vec<FrozenDevice>,
    ids: Vec<u8>,
}

impl Ledger {
    /// Freezes up to `devices` devices more of a Draft, in one transaction: chunks, stages, cursor. The last step
    /// writes the digest of I8, and asks `electorate` of the audience's own devices for whoever must approve it. More devices
    /// than the job or the audience allows: Rejected, and nothing is ever sent.
    pub async fn freeze_step(
        &self,
        ruling: &Ruling,
        rollout: RolloutId,
        source: FreezeSource<'_>,
        devices: usize,
        electorate: impl Fn(u64) -> Electorate,
    ) -> Result<FreezeProgress, Deposed> {
        const READ: &str =
            "select frozen, chunks, freeze_cursor from rollout where id = $1 and state = 'draft'";
        const WRITE: &str =
            "update rollout set frozen = $1, chunks = $2, freeze_cursor = $3, changed_at = $4 where id = $5";
        let nowhere = || Deposed::Ledger(LedgerError::nonsense("rollout", rollout, "it is no draft"));
        let campaign = self.campaign_of(rollout).await?.ok_or_else(nowhere)?;
        // What a campaign that is over left does not change any more: it is read before the transaction.
        let taken_over = self.taken_over(&campaign, devices).await?;
        let from_another = taken_over.is_some();
        let (mut tx, now) = self.begin_ruling(ruling).await?;
        let row: Option<(i64, i32, Option<String>)> = on_either!(&mut tx, c => {
            sqlx::query_as(READ).bind(rollout.get()).fetch_optional(c).await.map_err(LedgerError::from)?
        });
        let Some((frozen, chunks, cursor)) = row else { return Err(nowhere()) };
        let cursor = cursor.as_deref().map(serde_json::from_str).transpose();
        let cursor: Option<Cursor> = column("rollout", rollout, "freeze_cursor", cursor)?;
        let mut step = Step {
            campaign: &campaign,
            source,
            now,
            cursor: cursor.unwrap_or_default(),
            frozen: column("rollout", rollout, "frozen", u64::try_from(frozen))?,
            chunks: column("rollout", rollout, "chunks", u32::try_from(chunks))?,
        };
        match taken_over {
            Some(taken_over) => step.take_over(&mut tx, taken_over).await?,
            None => step.take_some(&mut tx, devices).await?,
        }
        let done = step.cursor.next(&campaign.plan, offset(campaign.id)) == Next::Done;
        let limit = source.audience.max_devices.min(campaign.at_most);
        // Whoever was reached has it: that they are many is no reason to leave them with it.
        let too_many = campaign.mends.is_none() && step.own() > limit;
        let cursor = serde_json::to_string(&step.cursor).expect("a cursor has only string keys");
        on_either!(&mut tx, c => {
            sqlx::query(WRITE)
                .bind(i64::try_from(step.frozen).unwrap_or(i64::MAX))
                .bind(i64::from(step.chunks))
                .bind((!done && !too_many).then_some(cursor))
                .bind(micros(now))
                .bind(rollout.get())
                .execute(c)
                .await
                .map_err(LedgerError::from)?;
        });
        if too_many {
            // Named as where the guard could tell it from the job alone: it is one bound.
            let rule = Rule::AudienceAboveLimit.id();
            let cause = format!(
                "{rule}: it comes to more than {limit} devices; the job allows {}, the audience {}",
                campaign.at_most, source.audience.max_devices
            );
            step.settle(&mut tx, RolloutEvent::Reject, Some(&cause)).await?;
        } else if done && from_another && step.frozen == 0 {
            let nobody = if campaign.retry_of.is_some() { NOBODY_LEFT } else { NOBODY_REACHED };
            step.settle(&mut tx, RolloutEvent::Reject, Some(nobody)).await?;
        } else if done {
            step.write_stages(&mut tx).await?;
            step.settle(&mut tx, RolloutEvent::Frozen(electorate(step.frozen)), None).await?;
        }
        tx.commit().await?;
        Ok(FreezeProgress { frozen: step.frozen, done: done || too_many })
    }
}

/// One transaction's worth of freezing.
struct Step<'a> {
    campaign: &'a CampaignRecord,
    source: FreezeSource<'a>,
    now: Timestamp,
    cursor: Cursor,
    frozen: u64,
    chunks: u32,
}

impl Step<'_> {
    /// Devices of the campaign's own audience: our own people who go first lie beside it.
    fn own(&self) -> u64 {
        let beside = |stage: &usize| {
            matches!(
                self.campaign.plan.stages.get(*stage).map(|stage| &stage.take),
                Some(FrozenTake::Audience(_))
            )
        };
        let counts = self.cursor.full.iter().map(|(devices, _)| *devices).chain([self.cursor.in_stage]);
        counts.enumerate().filter(|(stage, _)| !beside(stage)).map(|(_, devices)| devices).sum()
    }

    /// Takes up to so many devices more.
    async fn take_some(&mut self, tx: &mut Tx, devices: usize) -> Result<(), LedgerError> {
        self.cursor.close_full(&self.campaign.plan);
        let mut left = devices.max(CHUNK_DEVICES);
        while left > 0 && self.cursor.next(&self.campaign.plan, offset(self.campaign.id)) != Next::Done {
            left = left.saturating_sub(self.take(tx, left).await?.max(1));
        }
        Ok(())
    }

    /// Takes over from another campaign's lists.
    async fn take_over(&mut self, tx: &mut Tx, taken: TakenOver) -> Result<(), LedgerError> {
        // Somebody was quicker; the next step reads on from there.
        if taken.from != self.cursor.source.unwrap_or(0) {
            return Ok(());
        }
        for (stage, devices) in taken.lists {
            while self.cursor.stage < stage {
                self.cursor.close_stage();
            }
            self.put(tx, devices).await?;
        }
        self.cursor.source = taken.next;
        if taken.next.is_none() {
            while usize::from(self.cursor.stage) < self.campaign.plan.stages.len() {
                self.cursor.close_stage();
            }
        }
        Ok(())
    }

    /// Reads what comes next, and writes its chunks. Answers how many devices it read.
    async fn take(&mut self, tx: &mut Tx, most: usize) -> Result<usize, LedgerError> {
        match self.cursor.next(&self.campaign.plan, offset(self.campaign.id)) {
            Next::Done => Ok(0),
            Next::First => {
                let Some(first) = self.source.first else {
                    let why = "its plan begins with an audience that is not there";
                    return Err(LedgerError::nonsense("campaign", self.campaign.rollout, why));
                };
                let found = self.read(tx, first, Range::ALL, Users::Untold).await?;
                self.put(tx, found.iter().map(|found| found.key).collect()).await?;
                self.cursor.close_stage();
                self.cursor.close_full(&self.campaign.plan);
                Ok(found.len())
            }
            Next::Range { from, after, to, most: of_stage } => {
                let of_stage =
                    of_stage.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
                let limit = most.min(of_stage);
                let before = self.before(tx).await?;
                let range = Range { from, after, to, limit };
                let users = if before.is_empty() { Users::Untold } else { Users::Told };
                let found = self.read(tx, self.source.audience, range, users).await?;
                let last = found.last().map(|found| found.key);
                let fresh = found.iter().filter(|found| !before.contains(&found.user)).map(|found| found.key);
                self.put(tx, fresh.collect()).await?;
                self.cursor.took(&self.campaign.plan, (from, to), last, found.len() < limit);
                Ok(found.len())
            }
        }
    }

    /// The people whom the internal first stage has: left out later, with all their devices.
    async fn before(&self, tx: &mut Tx) -> Result<HashSet<String>, LedgerError> {
        let Some(first) = self.source.first else { return Ok(HashSet::new()) };
        let found = self.read(tx, first, Range::ALL, Users::Told).await?;
        Ok(found.into_iter().map(|found| found.user).collect())
    }

    async fn read(
        &self,
        tx: &mut Tx,
        audience: &Audience,
        range: Range,
        users: Users,
    ) -> Result<Vec<Found>, LedgerError> {
        let builds = builds(self.source.audience.class);
        Selection { audience, app: &self.campaign.app, builds, now: self.now }.read(tx, range, users).await
    }

    /// Cuts devices into chunks and writes them.
    async fn put(&mut self, tx: &mut Tx, devices: Vec<FrozenDevice>) -> Result<(), LedgerError> {
        let mut chunks = Vec::new();
        for list in devices.chunks(CHUNK_DEVICES) {
            let ids = packed::pack(list);
            let stage = self.cursor.stage;
            self.cursor.put(list.len(), &ids);
            chunks.push(NewChunk { number: self.chunks, stage, devices: list.to_vec(), ids });
            self.chunks += 1;
            self.frozen += list.len() as u64;
        }
        insert_chunks(tx, self.campaign.rollout, &chunks).await
    }

    async fn write_stages(&self, tx: &mut Tx) -> Result<(), LedgerError> {
        const SQL: &str = "insert into stage (rollout, stage, devices, chunks) values ($1, $2, $3, $4)";
        for (stage, (devices, chunks)) in self.cursor.full.iter().enumerate() {
            let devices = i64::try_from(*devices).unwrap_or(i64::MAX);
            on_either!(&mut *tx, c => {
                sqlx::query(SQL)
                    .bind(self.campaign.rollout.get())
                    .bind(i64::try_from(stage).unwrap_or(i64::MAX))
                    .bind(devices)
                    .bind(i64::from(*chunks))
                    .execute(c)
                    .await?;
            });
        }
        Ok(())
    }

    async fn settle(&self, tx: &mut Tx, event: RolloutEvent, cause: Option<&str>) -> Result<(), LedgerError> {
        const SQL: &str = "update rollout set frozen_digest = $1 where id = $2";
        let CampaignRecord { rollout, digest, plan, policy, .. } = self.campaign;
        let frozen_digest = frozen_digest(digest, plan, policy, &self.cursor);
        let bytes = cause.is_none().then(|| frozen_digest.as_bytes().to_vec());
        on_either!(&mut *tx, c => {
            sqlx::query(SQL).bind(bytes).bind(rollout.get()).execute(c).await?;
        });
        let no_row = || LedgerError::nonsense("rollout", rollout, "its row is gone");
        let seen = tx.locked_rollout(*rollout).await?.ok_or_else(no_row)?;
        let particulars =
            json!({ "frozen": self.frozen, "digest": frozen_digest, "stages": self.cursor.full });
        let steer = Steer { event, actor: SERVICE, cause, particulars };
        match tx.steer(seen, plan, steer, self.now).await? {
            Steered::Moved(_) => Ok(()),
            Steered::Refused(refused) => {
                tracing::error!(rollout = %rollout, %refused, "a frozen audience has no use");
                Err(LedgerError::nonsense("rollout", rollout, "it is no draft"))
            }
        }
    }
}

async fn insert_chunks(tx: &mut Tx, rollout: RolloutId, chunks: &[NewChunk]) -> Result<(), LedgerError> {
    let ends = |chunk: &NewChunk| {
        let buckets = || chunk.devices.iter().map(|device| stored_bucket(device.bucket));
        (buckets().min().unwrap_or_default(), buckets().max().unwrap_or_default())
    };
    match tx {
        _ if chunks.is_empty() => Ok(()),
        Tx::Postgres(tx) => {
            const SQL: &str = "insert into chunk (rollout, chunk, stage, n, first_bucket, last_bucket, ids) \
                 select $1, * from unnest($2::int[], $3::smallint[], $4::smallint[], $5::smallint[], $6::smallint[], $7::bytea[])";
            let number = |chunk: &NewChunk| i32::try_from(chunk.number).unwrap_or(i32::MAX);
            let stage = |chunk: &NewChunk| i16::try_from(chunk.stage).unwrap_or(i16::MAX);
            let size = |chunk: &NewChunk| i16::try_from(chunk.devices.len()).unwrap_or(i16::MAX);
            sqlx::query(SQL)
                .bind(rollout.get())
                .bind(chunks.iter().map(number).collect::<Vec<_>>())
                .bind(chunks.iter().map(stage).collect::<Vec<_>>())
                .bind(chunks.iter().map(size).collect::<Vec<_>>())
                .bind(chunks.iter().map(|chunk| ends(chunk).0).collect::<Vec<_>>())
                .bind(chunks.iter().map(|chunk| ends(chunk).1).collect::<Vec<_>>())
                .bind(chunks.iter().map(|chunk| chunk.ids.as_slice()).collect::<Vec<_>>())
                .execute(&mut **tx)
                .await?;
            Ok(())
        }
        Tx::Sqlite(tx) => {
            const SQL: &str = "insert into chunk (rollout, chunk, stage, n, first_bucket, last_bucket, ids) \
                 values ($1, $2, $3, $4, $5, $6, $7)";
            for chunk in chunks {
                let (first, last) = ends(chunk);
                sqlx::query(SQL)
                    .bind(rollout.get())
                    .bind(i64::from(chunk.number))
                    .bind(i64::from(chunk.stage))
                    .bind(i64::try_from(chunk.devices.len()).unwrap_or(i64::MAX))
                    .bind(first)
                    .bind(last)
                    .bind(chunk.ids.as_slice())
                    .execute(&mut **tx)
                    .await?;
            }
            Ok(())
        }
    }
}
