//! `bellwether delivery`: who was sent what, when, with which result.

mod direct;

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, bail};
use serde_json::json;

use super::{Exit, Output, exit::With, ledger, output, rollout::Campaign};
use crate::{
    ledger::{Delivery, DeviceRecord, Ledger},
    model::{Device, DeviceId, Digest, FrozenDevice, OutcomeCode, ProducerId, UserId},
};

/// First-time chunks of one page: 20,000 devices, a few megabytes.
const PAGE: u32 = 20;

/// How far back a person's or device's history goes, unless more is asked for.
const LATEST: u32 = 50;

/// What can be asked about deliveries.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Deliveries {
    /// Which campaigns a person or a device was sent, when, and what became of each
    #[command(group(clap::ArgGroup::new("whose").args(["user", "device"]).required(true)))]
    Show {
        /// The person
        #[arg(long, value_name = "USER")]
        user: Option<UserId>,
        /// The device's id
        #[arg(long, value_name = "UUID")]
        device: Option<uuid::Uuid>,
        /// How many campaigns back
        #[arg(long, value_name = "N", default_value_t = LATEST, value_parser = clap::value_parser!(u32).range(1..))]
        last: u32,
    },
    /// Every direct job of a producer, with its devices and their outcomes, as a stream: who was sent what was stopped
    Direct {
        /// Whose jobs
        #[arg(long, value_name = "PRODUCER")]
        producer: ProducerId,
        /// Only this text, as the event `broadcast.stopped` names it
        #[arg(long, value_name = "DIGEST")]
        text: Option<Digest>,
        /// Only jobs that arrived at or after this, such as 2026-11-21T12:00:00Z
        #[arg(long, value_name = "INSTANT")]
        since: jiff::Timestamp,
    },
    /// Every device of a campaign with its outcome, in the frozen order, as a stream
    Export {
        /// The campaign: its id, or PRODUCER/JOB
        #[arg(long, value_name = "CAMPAIGN")]
        campaign: Campaign,
        /// Only these outcomes, such as `unknown,rejected`
        #[arg(long, value_name = "OUTCOME", value_delimiter = ',', value_parser = outcome)]
        outcome: Vec<OutcomeCode>,
        /// How it is written
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    #[default]
    Ndjson,
    /// Comma-separated, with a header
    Csv,
}

fn outcome(word: &str) -> Result<OutcomeCode, String> {
    let known = || OutcomeCode::ALL.map(OutcomeCode::as_str).join(", ");
    OutcomeCode::ALL
        .into_iter()
        .find(|code| code.as_str() == word)
        .ok_or_else(|| format!("no such outcome; known: {}", known()))
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Deliveries) -> anyhow::Result<Exit> {
    match verb {
        Deliveries::Show { user, device, last } => {
            show(&ledger::open(config).await?, output, user, device, last).await
        }
        Deliveries::Direct { producer, text, since } => direct::run(config, &producer, text, since).await,
        Deliveries::Export { campaign, outcome, format } => {
            let ledger = ledger::open(config).await?;
            export(&ledger, &campaign, &outcome.into_iter().collect(), format).await
        }
    }
}

async fn show(
    ledger: &Ledger,
    output: Output,
    user: Option<UserId>,
    device: Option<uuid::Uuid>,
    last: u32,
) -> anyhow::Result<Exit> {
    let of = |record: DeviceRecord| {
        let Device { app, bucket, record, .. } = record.device;
        (app, FrozenDevice { bucket, record })
    };
    let devices: Vec<_> = match (&user, device) {
        (Some(user), _) => ledger.devices_of(None, user).await?.into_iter().map(of).collect(),
        // Also a forgotten one, of which nothing else is known.
        (None, Some(id)) => ledger.frozen_device(DeviceId::from_uuid(id)).await?.into_iter().collect(),
        (None, None) => bail!("name a person with --user, or a device with --device"),
    };
    if devices.is_empty() {
        return Err(With(Exit::NotFound, "no such device is registered".to_owned()).into());
    }
    let mut found = Vec::new();
    for (app, key) in devices {
        found.extend(ledger.deliveries_to(&app, key, last).await?);
    }
    match output {
        Output::Json | Output::Yaml => output.print(&found.iter().map(as_json).collect::<Vec<_>>())?,
        Output::Table if found.is_empty() => output::line("no campaign had any of these devices")?,
        Output::Table => {
            let rows: Vec<_> = found.iter().map(as_row).collect();
            let header = ["campaign", "device", "stage", "outcome", "reason", "at", "tries"];
            output::line(&output::table(&header, &rows))?;
        }
    }
    Ok(Exit::Ok)
}

async fn export(
    ledger: &Ledger,
    campaign: &Campaign,
    wanted: &BTreeSet<OutcomeCode>,
    format: Format,
) -> anyhow::Result<Exit> {
    let (campaign, rollout) = campaign.find(ledger).await?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = async {
        if format == Format::Csv {
            writeln!(out, "device,user,platform,stage,outcome,reason,at,tries")?;
        }
        let mut from = Some(0);
        while let Some(first) = from {
            let page = ledger.deliveries(&campaign, rollout.state, first, PAGE).await?;
            from = page.next;
            let told = |delivery: &&Delivery| wanted.is_empty() || wanted.contains(&delivery.outcome);
            for delivery in page.deliveries.iter().filter(told) {
                match format {
                    Format::Ndjson => writeln!(out, "{}", as_json(delivery))?,
                    Format::Csv => write_csv(&mut out, delivery)?,
                }
            }
        }
        out.flush()?;
        anyhow::Ok(())
    }
    .await;
    match written {
        // A reader that has seen enough (`| head`) is no error.
        Err(error) if broken_pipe(&error) => Ok(Exit::Ok),
        written => written.context("the export is not whole").map(|()| Exit::Ok),
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn as_json(delivery: &Delivery) -> serde_json::Value {
    let whose = delivery.whose.as_ref();
    json!({
        "campaign": delivery.campaign,
        "device": whose.map(|whose| whose.device),
        "user": whose.and_then(|whose| whose.user.as_ref()),
        "platform": whose.map(|whose| whose.platform),
        "stage": delivery.stage + 1,
        "outcome": delivery.outcome.as_str(),
        "reason": delivery.reason,
        "at": delivery.at,
        "tries": delivery.tries,
    })
}

fn cells(delivery: &Delivery) -> [String; 8] {
    let whose = delivery.whose.as_ref();
    [
        whose.map(|whose| whose.device.to_string()).unwrap_or_default(),
        whose.and_then(|whose| whose.user.as_ref()).map(|user| user.as_str().to_owned()).unwrap_or_default(),
        whose.map(|whose| whose.platform.as_str().to_owned()).unwrap_or_default(),
        (delivery.stage + 1).to_string(),
        delivery.outcome.as_str().to_owned(),
        delivery.reason.clone().unwrap_or_default(),
        delivery.at.map(|at| at.to_string()).unwrap_or_default(),
        delivery.tries.to_string(),
    ]
}

fn write_csv(out: &mut impl Write, delivery: &Delivery) -> anyhow::Result<()> {
    let mut line = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    line.write_record(cells(delivery))?;
    out.write_all(&line.into_inner().map_err(|error| anyhow::anyhow!("{error}"))?)?;
    Ok(())
}

fn as_row(delivery: &Delivery) -> Vec<String> {
    let [device, _, _, stage, outcome, reason, at, tries] = cells(delivery);
    vec![delivery.campaign.to_string(), device, stage, outcome, output::visible(&reason), at, tries]
}
