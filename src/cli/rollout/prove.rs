//! `campaign prove`: a person has looked at a tester's phone.

use super::{
    source::{client, id_by_api},
    verbs,
};
use crate::{
    api::wire::{RolloutView, WhyBody},
    cli::{Exit, Output},
};

/// Asks for it.
pub(in crate::cli) async fn prove(output: Output, args: &verbs::Reasoned) -> anyhow::Result<Exit> {
    const VERB: &str = "prove";
    let verbs::Reasoned { campaign, reason, dry_run } = args;
    let body = WhyBody { reason: reason.clone() };
    if *dry_run {
        verbs::would_ask(output, &campaign.to_string(), VERB, &body)?;
        return Ok(Exit::Ok);
    }
    let client = client("campaign prove")?;
    let id = id_by_api(&client, campaign).await?;
    let view: RolloutView = client.post(&format!("rollouts/{id}/{VERB}"), &body).await?;
    verbs::print(output, VERB, &view)?;
    Ok(Exit::Ok)
}
