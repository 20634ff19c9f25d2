//! Where the answers come from: the operators' API, or the ledger.

use std::path::Path;

use super::campaign::{Campaign, not_found};
use crate::{
    api::{
        client::{CA_VARIABLE, Client, ClientError, TOKEN_VARIABLE, URL_VARIABLE},
        views,
        wire::{RolloutList, RolloutView},
    },
    audience::Policy,
    cli::{Exit, exit::With, ledger},
    clock::Clock,
    ledger::Ledger,
    model::{CampaignId, JobKey},
};

/// Rollouts on one page, while a campaign is looked for by its job.
const PAGE: u32 = 200;

/// How many pages are looked through: a campaign that somebody names by its job is one of the latest.
const PAGES: usize = 25;

/// Where the answers come from.
#[derive(Debug)]
pub(in crate::cli) enum Source {
    /// The operators' API.
    Api(Client),
    /// The ledger, under this policy.
    Ledger(Box<Ledger>, Box<Policy>),
}

/// The environment's variables.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The operators' API, for what only it can do.
pub(super) fn client(verb: &str) -> anyhow::Result<Client> {
    if !Client::is_configured(variable) {
        let message = format!(
            "`{verb}` goes by the operators' API, which knows who asks; set {URL_VARIABLE} to where it listens, \
             {TOKEN_VARIABLE} to your own token, and {CA_VARIABLE} if its certificate is not publicly trusted"
        );
        return Err(With(Exit::Usage, message).into());
    }
    Ok(Client::from_variables(variable, Clock::system())?)
}

impl Source {
    /// The API if the environment names one; else the ledger that the configuration names.
    pub(super) async fn open(config: &Path) -> anyhow::Result<Self> {
        if Client::is_configured(variable) {
            return Ok(Self::Api(Client::from_variables(variable, Clock::system())?));
        }
        Ok(Self::ledger(ledger::open(config).await?, ledger::policy(config)?))
    }

    /// A ledger that is open already.
    pub(in crate::cli) fn ledger(ledger: Ledger, policy: Policy) -> Self {
        Self::Ledger(Box::new(ledger), Box::new(policy))
    }

    /// A page of rollouts.
    pub(super) async fn list(
        &self,
        live: bool,
        limit: u32,
        before: Option<CampaignId>,
    ) -> anyhow::Result<RolloutList> {
        match self {
            Self::Api(client) => Ok(page(client, live, limit, before).await?),
            Self::Ledger(ledger, _) => Ok(views::rollout_list(ledger, live, limit, before).await?),
        }
    }

    /// The id of a campaign, or exit code 5.
    pub(super) async fn id(&self, campaign: &Campaign) -> anyhow::Result<CampaignId> {
        match self {
            Self::Api(client) => id_by_api(client, campaign).await,
            Self::Ledger(ledger, _) => campaign.id_in(ledger).await,
        }
    }

    /// How a campaign stands, or exit code 5.
    pub(super) async fn view(&self, id: CampaignId) -> anyhow::Result<RolloutView> {
        match self {
            Self::Api(client) => Ok(client.get(&format!("rollouts/{id}")).await?),
            Self::Ledger(ledger, policy) => {
                views::rollout_view(ledger, policy, id).await?.ok_or_else(not_found)
            }
        }
    }
}

async fn page(
    client: &Client,
    live: bool,
    limit: u32,
    before: Option<CampaignId>,
) -> Result<RolloutList, ClientError> {
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    client.get(&format!("rollouts?live={live}&limit={limit}{before}")).await
}

/// The id of a campaign, as the API knows it.
pub(super) async fn id_by_api(client: &Client, campaign: &Campaign) -> anyhow::Result<CampaignId> {
    let key = match campaign {
        Campaign::Id(id) => return Ok(*id),
        Campaign::Job(key) => key,
    };
    let mut before = None;
    for _ in 0..PAGES {
        let list = page(client, false, PAGE, before).await?;
        if let Some(found) = list.rollouts.iter().find(|line| is_of(key, &line.producer, &line.job)) {
            return Ok(CampaignId::from_uuid(found.campaign.parse()?));
        }
        let Some(last) = list.rollouts.last() else { break };
        before = Some(CampaignId::from_uuid(last.campaign.parse()?));
    }
    let message =
        format!("no campaign {key} is among the latest; name it by its id, which events and logs have");
    Err(With(Exit::NotFound, message).into())
}

fn is_of(key: &JobKey, producer: &str, job: &str) -> bool {
    key.producer.as_str() == producer && key.id.as_str() == job
}
