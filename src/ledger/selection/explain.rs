//! Who is in an audience, who is left out and why, and what changed.

use std::collections::{BTreeMap, HashSet};

use sqlx::FromRow;

use super::{AudienceCount, Change, Range, ReadBy, Selection, Users, count::people_of, plan_for_values};
use crate::{
    audience::{Audience, Select, Who},
    ledger::{
        Ledger, LedgerError,
        rows::column,
        select::Looked,
        tx::{Tx, on_either, stored_bucket},
    },
    model::{Bucket, UserId},
};

/// How an audience's devices are divided by one thing. Those of which it is not known have no value.
pub type Shares = BTreeMap<Option<String>, u64>;

/// Devices and people who fit the audience and are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Devices whose provider called their token dead, that moved to somebody else, or that were removed.
    pub gone: u64,
    /// Live devices that run a development build.
    pub development_builds: u64,
    /// Members without a device of the app; 0 for an audience that selects.
    pub members_without_device: u64,
}

/// What an audience is, at one instant.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What a freeze would take now.
    pub count: AudienceCount,
    /// Its devices by platform.
    pub platforms: Shares,
    /// By country.
    pub countries: Shares,
    /// By the app's version, as registered.
    pub versions: Shares,
    /// By language.
    pub languages: Shares,
    /// Who is left out.
    pub left_out: LeftOut,
    /// How it is read.
    pub read_by: ReadBy,
    /// What changed since its last campaign was frozen; `None` if none was.
    pub change: Option<Change>,
}

/// Devices that are alike.
#[derive(FromRow)]
struct AlikeRow {
    platform: String,
    country: Option<String>,
    app_version: Option<String>,
    language: Option<String>,
    devices: i64,
}

/// One device of a member.
#[derive(FromRow)]
struct MemberRow {
    id: i64,
    is_gone: bool,
    #[sqlx(flatten)]
    alike: AlikeRow,
}

impl Ledger {
    /// Explains an audience. Reads it as often as there are questions; its memory does not grow with it.
    pub async fn explain_audience(&self, audience: &Audience) -> Result<Explanation, LedgerError> {
        let last = self.last_frozen(audience).await?;
        let mut tx = self.begin_reading().await?;
        let selection = Selection::of(audience, tx.now().await?);
        let mut explained = match &audience.who {
            Who::Select(select) => selection.explain_selected(&mut tx, select).await?,
            Who::Members(members) => selection.explain_members(&mut tx, members.iter()).await?,
        };
        if let Some(last) = last {
            explained.change = Some(selection.change(&mut tx, last).await?);
        }
        Ok(explained)
    }
}

impl Explanation {
    fn new(count: AudienceCount, read_by: ReadBy) -> Self {
        Self {
            count,
            platforms: Shares::new(),
            countries: Shares::new(),
            versions: Shares::new(),
            languages: Shares::new(),
            left_out: LeftOut::default(),
            read_by,
            change: None,
        }
    }

    fn learn(&mut self, row: AlikeRow) -> Result<(), LedgerError> {
        let devices = column("device", &row.platform, "count", u64::try_from(row.devices))?;
        *self.platforms.entry(Some(row.platform)).or_default() += devices;
        *self.countries.entry(row.country).or_default() += devices;
        *self.versions.entry(row.app_version).or_default() += devices;
        *self.languages.entry(row.language).or_default() += devices;
        Ok(())
    }
}

impl Selection<'_> {
    async fn explain_selected(&self, tx: &mut Tx, select: &Select) -> Result<Explanation, LedgerError> {
        let count = self.count(tx).await?;
        let mut explained = Explanation::new(count, self.read_by(tx, select).await?);
        plan_for_values(tx).await?;
        for part in Range::parts() {
            for row in self.alike(tx, select, part).await? {
                explained.learn(row)?;
            }
            for (is_gone, devices) in self.left_out(tx, select, part).await? {
                let devices = column("device", part.from, "count", u64::try_from(devices))?;
                let LeftOut { gone, development_builds, .. } = &mut explained.left_out;
                *(if is_gone { gone } else { development_builds }) += devices;
            }
        }
        Ok(explained)
    }

    async fn alike(&self, tx: &mut Tx, select: &Select, part: Range) -> Result<Vec<AlikeRow>, LedgerError> {
        const SHARES: &str =
            "select platform, country, app_version, language, count(*) as devices from device where ";
        Ok(ask!(tx, self.now, SHARES, AlikeRow, |conditions| {
            conditions.push(self.app, Looked::Taken, select);
            conditions.push_part(part);
            conditions.query.push(" group by platform, country, app_version, language");
        }))
    }

    /// Whether they are gone (else they run a development build), and how many.
    async fn left_out(
        &self,
        tx: &mut Tx,
        select: &Select,
        part: Range,
    ) -> Result<Vec<(bool, i64)>, LedgerError> {
        const GONE: &str = "select gone_at is not null as is_gone, count(*) from device where ";
        Ok(ask!(tx, self.now, GONE, (bool, i64), |conditions| {
            conditions.push(self.app, Looked::LeftOut, select);
            conditions.push_part(part);
            conditions.query.push(" group by 1");
        }))
    }

    /// Each member by itself: there are a few thousand at most, and a member's gone devices are in no index.
    async fn explain_members<'m>(
        &self,
        tx: &mut Tx,
        members: impl Iterator<Item = &'m UserId>,
    ) -> Result<Explanation, LedgerError> {
        const SQL: &str = "select id, gone_at is not null as is_gone, platform, country, app_version, language, \
                 cast(1 as bigint) as devices from device where bucket = $1 and user_id = $2 and app = $3";
        let found = self.read(tx, Range::ALL, Users::Told).await?;
        let taken: HashSet<i64> = found.iter().map(|found| found.key.record.get()).collect();
        let mut explained = Explanation::new(people_of(&found), ReadBy::Members);
        for member in members {
            let rows: Vec<MemberRow> = on_either!(&mut *tx, c => {
                sqlx::query_as(SQL)
                    .bind(stored_bucket(Bucket::of(member)))
                    .bind(member.as_str())
                    .bind(self.app.as_str())
                    .fetch_all(c)
                    .await?
            });
            let left_out = &mut explained.left_out;
            left_out.members_without_device += u64::from(rows.iter().all(|row| row.is_gone));
            for row in rows {
                match (taken.contains(&row.id), row.is_gone) {
                    (true, _) => explained.learn(row.alike)?,
                    (false, true) => explained.left_out.gone += 1,
                    (false, false) => explained.left_out.development_builds += 1,
                }
            }
        }
        Ok(explained)
    }
}
