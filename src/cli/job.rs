//! `bellwether job`: enqueue, look up, withdraw.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use super::{Exit, Output, exit::With, ledger, output, rollout};
use crate::{
    app,
    intake::{self, RabbitMqConfig},
    ledger::{Cancelling, JobRecord, JobState, Ledger},
    model::{Job as ParsedJob, JobId, JobKey, OutcomeCode, ProducerId, Reason, RolloutState, job_schema},
};

/// What can be done with a job.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Job {
    /// Print the JSON Schema of a job
    Schema,
    /// Check a job's form and put it on RabbitMQ as the user of `AMQP_URL`
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
    let job = ParsedJob::parse(&bytes).map_err(|malformed| {
        With(Exit::Refused, format!("{malformed}; `bellwether job schema` has the format"))
    })?;
    // A producer's machine has no configuration of the service: the broker's address is enough.
    let broker = match std::env::var("AMQP_URL") {
        Ok(url) => RabbitMqConfig::new(&url).context("AMQP_URL")?,
        Err(_) => app::rabbitmq_config(&ledger::configuration(config)?)?,
    };
    let enqueued = intake::enqueue(&broker, job.lane(), &bytes).await;
    enqueued.with_context(|| format!("the job is NOT enqueued: {}", broker.place()))?;
    output::remark(&format!("enqueued {}; the broker has it on disk", job.id()));
    Ok(Exit::Ok)
}

async fn show(config: &Path, output: Output, key: &JobKey) -> anyhow::Result<Exit> {
    let ledger = ledger::open(config).await?;
    let Some(record) = ledger.job(key).await? else {
        if ledger.campaign_by_job(key).await?.is_some() {
            let policy = ledger::policy(config)?;
            let source = rollout::Source::ledger(ledger, policy);
            return rollout::show(&source, output, &rollout::Campaign::Job(key.clone())).await;
        }
        return Err(With(
            Exit::NotFound,
            format!("no job {key} is on record; refused jobs are not (see `dead`)"),
        )
        .into());
    };
    match output {
        Output::Json | Output::Yaml => output.print(&as_json(&record))?,
        Output::Table => output::line(&as_table(&record))?,
    }
    Ok(Exit::Ok)
}

fn as_json(record: &JobRecord) -> serde_json::Value {
    let (due_at, finished_at) = when(record.state);
    let targets: Vec<_> = record
        .targets
        .iter()
        .map(|target| {
            json!({
                "device": target.device, "outcome": target.outcome.as_str(), "at": target.at,
                "reason": target.reason.as_ref().map(Reason::as_str),
            })
        })
        .collect();
    json!({
        "producer": record.key.producer, "job": record.key.id, "app": record.app,
        "intent": record.intent, "digest": record.digest, "policy": record.policy,
        "state": record.state.as_str(), "tries": record.tries,
        "received_at": record.received_at, "expires_at": record.expires_at,
        "due_at": due_at, "finished_at": finished_at,
        "unreachable": record.unreachable, "devices": targets,
    })
}

/// When the job is due, and when it ended.
const fn when(state: JobState) -> (Option<Timestamp>, Option<Timestamp>) {
    match state {
        JobState::Waiting { due_at } => (Some(due_at), None),
        JobState::Sending { .. } => (None, None),
        JobState::Finished { at } => (None, Some(at)),
    }
}

fn as_table(record: &JobRecord) -> String {
    let instant = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let (due_at, finished_at) = when(record.state);
    let head = format!(
        "{key}: {state}, tries: {tries}\n\
         received {received}  expires {expires}\n\
         next try {due}  finished {finished}\n\
         recipients without a device of the app: {unreachable}",
        key = output::visible(&record.key.to_string()),
        state = record.state.as_str(),
        tries = record.tries,
        received = record.received_at,
        expires = record.expires_at,
        due = instant(due_at),
        finished = instant(finished_at),
        unreachable = record.unreachable,
    );
    let rows: Vec<_> = record
        .targets
        .iter()
        .map(|target| {
            let reason = target.reason.as_ref().map_or("", Reason::as_str);
            vec![target.device.to_string(), target.outcome.as_str().to_owned(), reason.to_owned()]
        })
        .collect();
    if rows.is_empty() {
        return head;
    }
    format!("{head}\n\n{}", output::table(&["device", "outcome", "reason"], &rows))
}

/// True if the job ended by being withdrawn.
async fn is_withdrawn(ledger: &Ledger, key: &JobKey) -> anyhow::Result<bool> {
    let record = ledger.job(key).await?;
    if record.is_none()
        && let Some(id) = ledger.campaign_by_job(key).await?
    {
        return Ok(ledger.rollout(id).await?.is_some_and(|rollout| rollout.state == RolloutState::Aborted));
    }
    let cancelled =
        |record: &JobRecord| record.targets.iter().any(|target| target.outcome == OutcomeCode::Cancelled);
    Ok(record.as_ref().is_some_and(cancelled))
}

async fn cancel(config: &Path, key: &JobKey) -> anyhow::Result<Exit> {
    let ledger = ledger::open(config).await?;
    let cancelling = match ledger.cancel_job(key).await? {
        Cancelling::NotFound => ledger.withdraw_campaign(key).await?,
        direct => direct,
    };
    let (exit, message) = match cancelling {
        Cancelling::Cancelled => {
            output::remark("withdrawn: nothing more is sent for it");
            return Ok(Exit::Ok);
        }
        Cancelling::TooLate if is_withdrawn(&ledger, key).await? => {
            output::remark("withdrawn before: nothing more is sent for it");
            return Ok(Exit::Ok);
        }
        Cancelling::TooLate => {
            (Exit::Error, format!("{key} is finished or being sent; that cannot be undone"))
        }
        Cancelling::NotFound => (
            Exit::NotFound,
            format!("no job {key} is on record; it may still be in the queue, where it cannot be withdrawn"),
        ),
    };
    Err(With(exit, message).into())
}
