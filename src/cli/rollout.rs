//! `bellwether rollout`: which campaigns there are, and how one stands.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use serde_json::json;

use super::{Exit, Output, exit::With, ledger, output};
use crate::{
    ledger::{CampaignRecord, Ledger, RolloutRecord, StageCount, Tally},
    model::{CampaignId, JobId, JobKey, OutcomeCode, ProducerId},
};

/// What can be asked about rollouts.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Rollout {
    /// The latest rollouts, the newest first
    List {
        /// Only those that are not over
        #[arg(long)]
        live: bool,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50)]
        last: u32,
    },
    /// One campaign: its stages, and how many of its devices ended how
    Show {
        /// The campaign: its id, or PRODUCER/JOB
        campaign: Campaign,
    },
}

/// A campaign as a person names it.
#[derive(Debug, Clone)]
pub(super) enum Campaign {
    Id(CampaignId),
    Job(JobKey),
}

impl FromStr for Campaign {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(CampaignId::from_uuid(id)));
        }
        let (producer, job) =
            text.split_once('/').ok_or("name the campaign by its id, or by its job as PRODUCER/JOB")?;
        let producer = ProducerId::parse(producer).map_err(|error| error.to_string())?;
        let id = JobId::parse(job).map_err(|error| error.to_string())?;
        Ok(Self::Job(JobKey { producer, id }))
    }
}

impl Campaign {
    /// The campaign and how it stands, or exit code 5.
    pub(super) async fn find(&self, ledger: &Ledger) -> anyhow::Result<(CampaignRecord, RolloutRecord)> {
        let not_found =
            || With(Exit::NotFound, "no such campaign; `bellwether rollout list` shows them".to_owned());
        let id = match self {
            Self::Id(id) => Some(*id),
            Self::Job(key) => ledger.campaign_by_job(key).await?,
        };
        let id = id.ok_or_else(not_found)?;
        let campaign = ledger.campaign(id).await?.ok_or_else(not_found)?;
        let rollout = ledger.rollout(id).await?.ok_or_else(not_found)?;
        Ok((campaign, rollout))
    }
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Rollout) -> anyhow::Result<Exit> {
    let ledger = ledger::open(config).await?;
    match verb {
        Rollout::List { live, last } => list(&ledger, output, live, last).await,
        Rollout::Show { campaign } => show(&ledger, output, &campaign).await,
    }
}

async fn list(ledger: &Ledger, output: Output, live: bool, last: u32) -> anyhow::Result<Exit> {
    let rollouts = ledger.latest_rollouts(live, last).await?;
    match output {
        Output::Json => output::print_json(&rollouts.iter().map(rollout_json).collect::<Vec<_>>())?,
        Output::Table if rollouts.is_empty() => output::line("no rollouts")?,
        Output::Table => {
            let rows: Vec<_> = rollouts.iter().map(as_row).collect();
            let header = ["campaign", "audience", "state", "stage", "frozen", "since"];
            output::line(&output::table(&header, &rows))?;
        }
    }
    Ok(Exit::Ok)
}

fn rollout_json(rollout: &RolloutRecord) -> serde_json::Value {
    json!({
        "campaign": rollout.id, "app": rollout.app, "audience": rollout.audience, "state": rollout.state,
        "cause": rollout.cause, "stage": rollout.stage, "epoch": rollout.epoch, "frozen": rollout.frozen,
        "frozen_digest": rollout.frozen_digest, "after_halt": rollout.after_halt, "changed_at": rollout.changed_at, "finished_at": rollout.finished_at,
    })
}

fn as_row(rollout: &RolloutRecord) -> Vec<String> {
    let state = match &rollout.cause {
        Some(cause) => format!("{} ({})", rollout.state, output::visible(cause)),
        None => rollout.state.to_string(),
    };
    vec![
        rollout.id.to_string(),
        rollout.audience.to_string(),
        state,
        rollout.stage.map_or_else(|| "-".to_owned(), |stage| (stage + 1).to_string()),
        rollout.frozen.to_string(),
        rollout.changed_at.to_string(),
    ]
}

/// Shows how one campaign stands.
pub(super) async fn show(ledger: &Ledger, output: Output, campaign: &Campaign) -> anyhow::Result<Exit> {
    let (campaign, rollout) = campaign.find(ledger).await?;
    let stages = ledger.stages(campaign.rollout).await?;
    let tallies = ledger.tallies(campaign.rollout).await?;
    // Of one that is over, nobody waits for anything.
    let live = !rollout.state.is_terminal();
    let tail = if live { ledger.late_tail(campaign.rollout).await? } else { None };
    match output {
        Output::Json => {
            let mut told = rollout_json(&rollout);
            told["producer"] = json!(campaign.key.producer);
            told["job"] = json!(campaign.key.id);
            told["plan"] = json!(campaign.plan);
            told["late_tail"] =
                json!(tail.map(|tail| json!({"devices": tail.devices, "due_at": tail.due_at})));
            told["stages"] = stages.iter().map(|stage| stage_json(stage, &tallies)).collect();
            output::print_json(&told)?;
        }
        Output::Table => {
            output::line(&format!(
                "campaign {} ({}), plan {}",
                campaign.id, campaign.key, campaign.plan.name
            ))?;
            output::line(&format!(
                "{} to {}: {}, {} devices frozen",
                campaign.app,
                campaign.audience,
                as_row(&rollout)[2],
                rollout.frozen
            ))?;
            if let Some(tail) = tail {
                output::line(&format!("late tail: {} devices, the first at {}", tail.devices, tail.due_at))?;
            }
            if rollout.after_halt > 0 {
                output::line(&format!(
                    "{} requests were on the wire when the halt was heard, and ended after it",
                    rollout.after_halt
                ))?;
            }
            let rows: Vec<_> = stages.iter().map(|stage| stage_row(stage, &tallies)).collect();
            output::line(&output::table(&["stage", "devices", "opened", "sent", "requests ended"], &rows))?;
        }
    }
    Ok(Exit::Ok)
}

/// How often each outcome was recorded in a stage, at both providers.
fn outcomes(stage: &StageCount, tallies: &[Tally]) -> BTreeMap<OutcomeCode, u64> {
    let mut sum = BTreeMap::new();
    for tally in tallies.iter().filter(|tally| tally.stage == stage.stage) {
        for (code, count) in tally.counts.iter().filter(|(_, count)| **count > 0) {
            *sum.entry(*code).or_default() += count;
        }
    }
    sum
}

fn stage_json(stage: &StageCount, tallies: &[Tally]) -> serde_json::Value {
    let counts: BTreeMap<&str, u64> =
        outcomes(stage, tallies).into_iter().map(|(code, count)| (code.as_str(), count)).collect();
    json!({
        "stage": stage.stage + 1, "devices": stage.devices, "chunks": stage.chunks, "opened_at": stage.opened_at,
        "sent_at": stage.sent_at, "outcomes": counts,
    })
}

fn stage_row(stage: &StageCount, tallies: &[Tally]) -> Vec<String> {
    let at = |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let ended: Vec<String> = outcomes(stage, tallies)
        .into_iter()
        .map(|(code, count)| format!("{count} {}", code.as_str()))
        .collect();
    vec![
        (stage.stage + 1).to_string(),
        stage.devices.to_string(),
        at(stage.opened_at),
        at(stage.sent_at),
        if ended.is_empty() { "-".to_owned() } else { ended.join(", ") },
    ]
}
