//! `bellwether campaign`: sending one by hand.

mod plan;

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    Exit, Output, output,
    rollout::{FindingArgs, Reasoned, accept_finding, client, prove},
};
use crate::{api::wire::SubmittedView, model::Job};

/// What can be done with a campaign before it is a rollout.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Campaign {
    /// What a campaign would come to now: its stages, the peak of app opens, how late its guards are, and the guard's verdict
    /// (0 clear, 3 refused, 7 held); nothing is submitted
    Plan {
        /// The job, as JSON; standard input if it is absent or `-`
        file: Option<PathBuf>,
        /// Who would submit it; needed if several producers may
        #[arg(long, value_name = "PRODUCER")]
        producer: Option<crate::model::ProducerId>,
    },
    /// Submit a campaign on behalf of a producer that you own; others must approve it
    Submit {
        /// The job, as JSON; standard input if it is absent or `-`
        file: Option<PathBuf>,
        /// On whose behalf; needed if several of your producers may send it
        #[arg(long, value_name = "PRODUCER")]
        producer: Option<crate::model::ProducerId>,
    },
    /// Answer for one finding of the guard that holds a campaign; `rollout show` lists them
    AcceptFinding(FindingArgs),
    /// Say that a test campaign looked right on a phone: campaigns of the same words need that where the audience asks for a proof
    Prove(Reasoned),
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Campaign) -> anyhow::Result<Exit> {
    match verb {
        Campaign::Plan { file, producer } => plan::run(config, output, file.as_deref(), producer).await,
        Campaign::Submit { file, producer } => submit(output, file.as_deref(), producer).await,
        Campaign::AcceptFinding(args) => accept_finding(output, &args).await,
        Campaign::Prove(args) => prove(output, &args).await,
    }
}

async fn submit(
    output: Output,
    file: Option<&Path>,
    producer: Option<crate::model::ProducerId>,
) -> anyhow::Result<Exit> {
    let client = client("campaign submit")?;
    let bytes = read(file)?;
    // A mistake is told with its place before anything is sent.
    Job::parse(&bytes).context("this is no job")?;
    let job: serde_json::Value = serde_json::from_slice(&bytes).context("this is no JSON")?;
    let behalf = producer.map(|producer| format!("?producer={producer}")).unwrap_or_default();
    submitted(output, &client.post(&format!("campaigns{behalf}"), &job).await?)
}

pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    if let Some(file) = file.filter(|file| *file != Path::new("-")) {
        return std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

/// Says what became of it.
pub(super) fn submitted(output: Output, view: &SubmittedView) -> anyhow::Result<Exit> {
    match output {
        Output::Json | Output::Yaml => output.print(view)?,
        Output::Table if view.known => output::line(&format!("{}: on record already", view.campaign))?,
        Output::Table if view.held => output::line(&format!(
            "{}: on record, and held by the guard; `bellwether rollout show` lists what somebody must accept first",
            view.campaign
        ))?,
        Output::Table => output::line(&format!(
            "{}: on record; `bellwether rollout show` says what it waits for",
            view.campaign
        ))?,
    }
    Ok(Exit::Ok)
}
