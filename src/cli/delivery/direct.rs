//! `bellwether delivery direct`: whom the direct jobs of a producer rang, such as one that was stopped.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use jiff::Timestamp;
use serde_json::json;

use super::super::{Exit, exit::With, ledger};
use crate::{
    guard::TextLimit,
    ledger::{JobRecord, Ledger},
    model::{Digest, Job, ProducerId, Recipients},
};

/// Jobs of one page: a few megabytes at most.
const PAGE: i64 = 500;

/// One JSON object a job, in the order of the jobs' ids: every job, or those with one text. A text is known by the policy of
/// the configuration: one that was declared since has another name.
pub(super) async fn run(
    config: &Path,
    producer: &ProducerId,
    text: Option<Digest>,
    since: Timestamp,
) -> anyhow::Result<Exit> {
    let policy = ledger::policy(config)?;
    let Some(known) = policy.producer(producer) else {
        return Err(With(Exit::NotFound, format!("the policy knows no producer {producer}")).into());
    };
    let ledger = ledger::open(config).await?;
    let is_it = |record: &JobRecord| {
        let has = |text| {
            record.job.as_ref().is_some_and(|job| TextLimit::of(job.notification(), known).text == text)
        };
        text.is_none_or(has)
    };
    let written = write(&ledger, producer, since, is_it).await;
    match written {
        Err(error) if super::broken_pipe(&error) => Ok(Exit::Ok),
        written => written.map(|()| Exit::Ok),
    }
}

async fn write(
    ledger: &Ledger,
    producer: &ProducerId,
    since: Timestamp,
    is_it: impl Fn(&JobRecord) -> bool,
) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut after = None;
    loop {
        let page = ledger.jobs_of(producer, since, after.as_ref(), PAGE).await?;
        for record in page.iter().filter(|record| is_it(record)) {
            writeln!(out, "{}", as_json(record))?;
        }
        let Some(last) = page.last() else { break };
        after = Some(last.key.id.clone());
    }
    out.flush()?;
    Ok(())
}

fn as_json(record: &JobRecord) -> serde_json::Value {
    let devices: Vec<_> = record
        .targets
        .iter()
        .map(|target| json!({"device": target.device, "outcome": target.outcome.as_str()}))
        .collect();
    let users = match record.job.as_ref().and_then(Job::to) {
        Some(Recipients::Users(users)) => users.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    json!({
        "job": record.key.id, "received_at": record.received_at,
        "users": users, "devices": devices,
    })
}
