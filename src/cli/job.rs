//! `bellwether job`: enqueue, look up, withdraw.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::json;

use super::{Exit, Output, exit::With, ledger, output};
use crate::{
    app,
    intake::{self, RabbitMqConfig},
    ledger::{Cancelled, JobRecord},
    model::{Job as ParsedJob, JobId, JobKey, ProducerId, job_schema},
};

/// What can be done with a job.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Job {
    /// Print the JSON Schema of a job
    Schema,
    /// Check a job's form and put it on RabbitMQ as the user of AMQP_URL
    Send {
        /// A file with the job's JSON; standard input if absent or `-`
        file: Option<PathBuf>,
    },
    /// Show what became of a job, device by device
    Show(Which),
    /// Withdraw what has not been sent of a job
    Cancel(Which),
}

/// Which job.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Who enqueued it
    producer: ProducerId,
    /// The producer's id for it
    id: JobId,
}

impl Which {
    fn key(self) -> JobKey {
        JobKey { producer: self.producer, id: self.id }
    }
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Job) -> anyhow::Result<Exit> {
    match verb {
        Job::Schema => output::print_json(&job_schema()).map(|()| Exit::Ok),
        Job::Send { file } => send(config, file.as_deref()).await,
        Job::Show(which) => show(config, output, &which.key()).await,
        Job::Cancel(which) => cancel(config, &which.key()).await,
    }
}

async fn send(config: &Path, file: Option<&Path>) -> anyhow::Result<Exit> {
    let bytes = match file {
        Some(path) if path != Path::new("-") => {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        _ => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            bytes
        }
    };
    let job = ParsedJob::parse(&bytes)
        .map_err(|malformed| With(Exit::Refused, format!("{malformed}; `bellwether job schema` has the format")))?;
    // A producer's machine has no configuration of the service: the broker's address is enough.
    let broker = match std::env::var("AMQP_URL") {
        Ok(url) => RabbitMqConfig::new(&url).context("AMQP_URL")?,
        Err(_) => app::rabbitmq_config(&ledger::configuration(config)?)?,
    };
    intake::enqueue(&broker, job.lane(), &bytes).await.context("the job is NOT enqueued")?;
    output::remark(&format!("enqueued {}; the broker has it on disk", job.id()));
    Ok(Exit::Ok)
}

async fn show(config: &Path, output: Output, key: &JobKey) -> anyhow::Result<Exit> {
    let Some(record) = ledger::open(config).await?.job(key).await? else {
        return Err(With(Exit::NotFound, format!("no job {key} is on record; refused jobs are not (see `dead`)")).into());
    };
    match output {
        Output::Json => output::print_json(&as_json(&record))?,
        Output::Table => output::line(&as_table(&record))?,
    }
    Ok(Exit::Ok)
}

fn as_json(record: &JobRecord) -> serde_json::Value {
    let devices: Vec<_> = record
        .devices
        .iter()
        .map(|device| {
            json!({
                "device": device.device, "outcome": device.outcome.as_str(),
                "reason": device.reason.as_ref().map(crate::model::Reason::as_str),
            })
        })
        .collect();
    json!({
        "producer": record.key.producer, "job": record.key.id, "state": record.state.as_str(),
        "tries": record.tries, "received_at": record.received_at, "expires_at": record.expires_at,
        "due_at": record.due_at, "finished_at": record.finished_at,
        "unreachable": record.unreachable, "devices": devices,
    })
}

fn as_table(record: &JobRecord) -> String {
    let instant = |at: Option<jiff::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let head = format!(
        "{key}: {state}\nreceived {received}, expires {expires}, finished {finished}, next try {due}, tries {tries}\n\
         {unreachable} recipient(s) without a device\n",
        key = output::visible(&record.key.to_string()),
        state = record.state.as_str(),
        received = record.received_at,
        expires = record.expires_at,
        finished = instant(record.finished_at),
        due = instant(record.due_at),
        tries = record.tries,
        unreachable = record.unreachable,
    );
    let rows: Vec<_> = record
        .devices
        .iter()
        .map(|device| {
            let reason = device.reason.as_ref().map_or("", crate::model::Reason::as_str);
            let id = device.device.map_or_else(|| "(gone)".to_owned(), |id| id.to_string());
            vec![id, device.outcome.as_str().to_owned(), reason.to_owned()]
        })
        .collect();
    head + &output::table(&["device", "outcome", "reason"], &rows)
}

async fn cancel(config: &Path, key: &JobKey) -> anyhow::Result<Exit> {
    match ledger::open(config).await?.cancel_job(key).await? {
        Cancelled::Withdrawn { devices } => {
            output::remark(&format!("withdrawn: {devices} device(s) will not be rung"));
            Ok(Exit::Ok)
        }
        Cancelled::TooLate => Err(With(Exit::Error, format!("{key} is finished; what was sent cannot be undone")).into()),
        Cancelled::Unknown => Err(With(
            Exit::NotFound,
            format!("no job {key} is on record; it may still be in the queue, where it cannot be withdrawn"),
        )
        .into()),
    }
}
