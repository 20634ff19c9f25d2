//! A campaign as a person names it.

use std::{fmt, str::FromStr};

use crate::{
    cli::{Exit, exit::With},
    ledger::{CampaignRecord, Ledger, RolloutRecord},
    model::{CampaignId, InvalidJobKey, JobKey},
};

/// A campaign as a person names it.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Campaign {
    Id(CampaignId),
    Job(JobKey),
}

impl FromStr for Campaign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(CampaignId::from_uuid(id)));
        }
        text.parse().map(Self::Job).map_err(|error| match error {
            InvalidJobKey::NoSlash => "name the campaign by its id, or by its job as PRODUCER/JOB".to_owned(),
            InvalidJobKey::Part(error) => error.to_string(),
        })
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Job(key) => key.fmt(f),
        }
    }
}

/// Exit code 5, and where to look.
pub(super) fn not_found() -> anyhow::Error {
    With(Exit::NotFound, "no such campaign; `bellwether rollout list` shows them".to_owned()).into()
}

impl Campaign {
    /// The campaign and how it stands, or exit code 5.
    pub(in crate::cli) async fn find(
        &self,
        ledger: &Ledger,
    ) -> anyhow::Result<(CampaignRecord, RolloutRecord)> {
        let id = self.id_in(ledger).await?;
        let campaign = ledger.campaign(id).await?.ok_or_else(not_found)?;
        let rollout = ledger.rollout(id).await?.ok_or_else(not_found)?;
        Ok((campaign, rollout))
    }

    /// Its id, or exit code 5.
    pub(super) async fn id_in(&self, ledger: &Ledger) -> anyhow::Result<CampaignId> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Job(key) => ledger.campaign_by_job(key).await?.ok_or_else(not_found),
        }
    }
}
