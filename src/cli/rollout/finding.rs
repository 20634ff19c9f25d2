//! `campaign accept-finding`: a person answers for what the guard has to say of a campaign.

use super::{
    Campaign,
    source::{client, id_by_api},
    verbs,
};
use crate::{
    api::wire::{AcceptBody, RolloutView},
    cli::{Exit, Output},
};

/// What it understands.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The campaign: its id, or PRODUCER/JOB
    campaign: Campaign,
    /// Which finding, by the number that `rollout show` gives it
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    finding: u32,
    /// Why it is all right; it stands in the audit log
    #[arg(long, value_name = "TEXT", value_parser = verbs::reason)]
    reason: String,
    /// Say what would be asked, and ask nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it.
pub(in crate::cli) async fn accept(output: Output, args: &Args) -> anyhow::Result<Exit> {
    const VERB: &str = "accept-finding";
    let body = AcceptBody { finding: args.finding, reason: args.reason.clone() };
    if args.dry_run {
        verbs::would_ask(output, &args.campaign.to_string(), VERB, &body)?;
        return Ok(Exit::Ok);
    }
    let client = client("campaign accept-finding")?;
    let id = id_by_api(&client, &args.campaign).await?;
    let view: RolloutView = client.post(&format!("rollouts/{id}/{VERB}"), &body).await?;
    verbs::print(output, VERB, &view)?;
    Ok(Exit::Ok)
}
