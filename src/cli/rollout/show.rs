//! `rollout list` and `rollout show`.

use super::{Campaign, Source, json, table};
use crate::{
    api::wire::RolloutView,
    cli::{
        Exit, Output,
        output::{self, Paint},
    },
    clock::Clock,
    model::CampaignId,
};

/// Lists a page of rollouts.
pub(super) async fn list(
    source: &Source,
    output: Output,
    live: bool,
    last: u32,
    before: Option<uuid::Uuid>,
) -> anyhow::Result<Exit> {
    let list = source.list(live, last, before.map(CampaignId::from_uuid)).await?;
    match output {
        Output::Json | Output::Yaml => output.print(&json::list(&list))?,
        Output::Table => output::line(&table::list(&list, Clock::system().now(), Paint::stdout()))?,
    }
    Ok(Exit::Ok)
}

/// Shows how one campaign stands.
pub(in crate::cli) async fn show(
    source: &Source,
    output: Output,
    campaign: &Campaign,
) -> anyhow::Result<Exit> {
    let id = source.id(campaign).await?;
    print(output, &source.view(id).await?)?;
    Ok(Exit::Ok)
}

/// Prints a rollout, whole.
pub(super) fn print(output: Output, view: &RolloutView) -> anyhow::Result<()> {
    match output {
        Output::Json | Output::Yaml => output.print(&json::rollout(view)),
        Output::Table => output::line(&table::rollout(view, Paint::stdout())),
    }
}
