//! What changed in an audience since its last campaign was frozen.

use sqlx::FromRow;

use super::{Range, Selection, Users};
use crate::{
    ledger::{
        CampaignRecord, LedgerError,
        rows::column,
        tx::{Tx, on_either},
    },
    model::{FrozenDevice, StageNumber},
    rollout::{
        FrozenTake,
        freeze::{Reach, offset},
        packed,
    },
};

/// What changed since a campaign was frozen. Compared is what that campaign's plan went by: all of the audience, or the
/// share that its last stage ends at.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which campaign.
    pub campaign: CampaignRecord,
    /// Devices that it took from the audience.
    pub then: u64,
    /// Devices of which the same would be taken from now.
    pub now: u64,
    /// Devices that are in it now and were not.
    pub gained: u64,
    /// Devices that were in it and are not now.
    pub lost: u64,
    /// Devices that the campaign took as another audience's, before all others: whether they were in this one was not
    /// recorded, and they are not compared.
    pub set_aside: u64,
}

#[derive(FromRow)]
struct ListRow {
    chunk: i32,
    stage: i16,
    ids: Vec<u8>,
}

impl Selection<'_> {
    /// Reads the registry and the frozen lists part by part: memory holds one part of either.
    pub(super) async fn change(&self, tx: &mut Tx, campaign: CampaignRecord) -> Result<Change, LedgerError> {
        let reach = reach(tx, &campaign).await?;
        let mut change = Change { campaign, then: 0, now: 0, gained: 0, lost: 0, set_aside: 0 };
        for part in Range::parts() {
            let (then, aside) = frozen(tx, &change.campaign, part).await?;
            let mut now: Vec<FrozenDevice> =
                self.read(tx, part, Users::Untold).await?.into_iter().map(|found| found.key).collect();
            now.retain(|key| reach.covers(*key) && aside.binary_search(key).is_err());
            let kept = now.iter().filter(|key| then.binary_search(key).is_ok()).count();
            change.then += then.len() as u64;
            change.now += now.len() as u64;
            change.gained += (now.len() - kept) as u64;
            change.lost += (then.len() - kept) as u64;
            change.set_aside += aside.len() as u64;
        }
        Ok(change)
    }
}

/// How far the campaign's plan went.
async fn reach(tx: &mut Tx, campaign: &CampaignRecord) -> Result<Reach, LedgerError> {
    const STAGE: &str = "select devices from stage where rollout = $1 order by stage desc limit 1";
    const LAST: &str = "select chunk, stage, ids from chunk where rollout = $1 and source is null order by chunk desc limit 1";
    let rollout = campaign.rollout;
    let devices: Option<i64> = on_either!(&mut *tx, c => {
        sqlx::query_scalar(STAGE).bind(rollout.get()).fetch_optional(c).await?
    });
    let last: Option<ListRow> = on_either!(&mut *tx, c => {
        sqlx::query_as(LAST).bind(rollout.get()).fetch_optional(c).await?
    });
    let devices = column("stage", rollout, "devices", u64::try_from(devices.unwrap_or_default()))?;
    let last = match last {
        // Our own people's list goes round the whole ring, and says nothing of how far the others' went.
        Some(row) if !is_aside(campaign, row.stage) => unpack(&row)?.last().copied(),
        _ => None,
    };
    Ok(Reach::of(&campaign.plan, offset(campaign.id), devices, last))
}

/// The frozen devices of a part, in order: those of the audience, and those that were taken as another's.
async fn frozen(
    tx: &mut Tx,
    campaign: &CampaignRecord,
    part: Range,
) -> Result<(Vec<FrozenDevice>, Vec<FrozenDevice>), LedgerError> {
    const SQL: &str = "select chunk, stage, ids from chunk \
         where rollout = $1 and source is null and last_bucket >= $2 and first_bucket <= $3";
    let rows: Vec<ListRow> = on_either!(&mut *tx, c => {
        sqlx::query_as(SQL)
            .bind(campaign.rollout.get())
            .bind(i64::from(part.from))
            .bind(i64::from(part.to))
            .fetch_all(c)
            .await?
    });
    let (mut own, mut aside) = (Vec::new(), Vec::new());
    for row in &rows {
        let list = if is_aside(campaign, row.stage) { &mut aside } else { &mut own };
        list.extend(unpack(row)?.into_iter().filter(|key| part.has(*key)));
    }
    own.sort_unstable();
    aside.sort_unstable();
    Ok((own, aside))
}

fn is_aside(campaign: &CampaignRecord, stage: i16) -> bool {
    let stage = StageNumber::try_from(stage).unwrap_or_default();
    let stage = campaign.plan.stages.get(usize::from(stage));
    matches!(stage.map(|stage| &stage.take), Some(FrozenTake::Audience(_)))
}

fn unpack(row: &ListRow) -> Result<Vec<FrozenDevice>, LedgerError> {
    packed::unpack(&row.ids)
        .ok_or_else(|| LedgerError::nonsense("chunk", row.chunk, "its list cannot be read"))
}
