//! `bellwether campaign`: sending one by hand.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{Exit, Output, output, rollout::client};
use crate::{api::wire::SubmittedView, model::Job};

/// What can be done with a campaign before it is a rollout.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Campaign {
    /// Submit a campaign on behalf of a producer that you own; others must approve it
    Submit {
        /// The job, as JSON; standard input if it is absent or `-`
        file: Option<PathBuf>,
        /// On whose behalf; needed if several of your producers may send it
        #[arg(long, value_name = "PRODUCER")]
        producer: Option<crate::model::ProducerId>,
    },
}

/// Runs the verb.
pub(super) async fn run(output: Output, verb: Campaign) -> anyhow::Result<Exit> {
    let Campaign::Submit { file, producer } = verb;
    let client = client("campaign submit")?;
    let bytes = read(file.as_deref())?;
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
        Output::Table => output::line(&format!(
            "{}: on record; `bellwether rollout show` says what it waits for",
            view.campaign
        ))?,
    }
    Ok(Exit::Ok)
}
