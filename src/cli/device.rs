//! `bellwether device`: import registrations, look devices up, forget them.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Exit, Output, exit::With, ledger, output};
use crate::{
    ledger::{DeviceFormat, DeviceReader, DeviceRecord, Erasure, ImportCounts, Ledger, RefusedLine},
    model::{AppId, DeviceId, NewDevice, OperatorName, UserId, registration_schema},
};

/// Devices of one transaction: large enough that its cost is spread, small enough that an interrupted import
/// loses a second of work.
const BATCH: usize = 5_000;

/// Refused lines that are printed; the rest is counted.
const SHOWN: u64 = 100;

/// What can be done with devices.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Device {
    /// Import registrations; lines that cannot be read are listed, the others are imported
    Import {
        /// NDJSON or CSV; `-` for standard input
        file: PathBuf,
        /// How it is written; by the file's ending otherwise
        #[arg(long, value_enum)]
        format: Option<Format>,
    },
    /// Print the JSON Schema of a registration, as producers publish it on `bellwether.devices`
    Schema,
    /// Show a person's devices, or one device; never its token
    Show {
        /// The person
        #[arg(long, value_name = "USER", required_unless_present = "device", conflicts_with = "device")]
        user: Option<UserId>,
        /// The device's id
        #[arg(long, value_name = "UUID")]
        device: Option<uuid::Uuid>,
    },
    /// Erase a person's devices, or one device: token and user go, what was sent still counts; there is no way back
    Forget(Forget),
}

/// What `forget` understands.
#[derive(Debug, clap::Args)]
pub(super) struct Forget {
    /// The person
    #[arg(long, value_name = "USER", required_unless_present = "device", conflicts_with = "device")]
    user: Option<UserId>,
    /// Only the person's devices of this app
    #[arg(long, value_name = "APP", requires = "user")]
    app: Option<AppId>,
    /// The device's id
    #[arg(long, value_name = "UUID")]
    device: Option<uuid::Uuid>,
    /// Who you are; it stands in the audit log
    #[arg(long = "by", value_name = "NAME", env = "USER")]
    by: Option<OperatorName>,
    /// Say how many it would be, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// How a file of devices is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line
    Ndjson,
    /// Comma-separated, with a header
    Csv,
}

impl From<Format> for DeviceFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv,
        }
    }
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Device) -> anyhow::Result<Exit> {
    match verb {
        Device::Import { file, format } => import(config, output, &file, format).await,
        Device::Schema => output::print_json(&registration_schema()).map(|()| Exit::Ok),
        Device::Show { user, device } => show(config, output, user, device).await,
        Device::Forget(args) => forget(config, output, args).await,
    }
}

async fn import(config: &Path, output: Output, file: &Path, format: Option<Format>) -> anyhow::Result<Exit> {
    let (input, bytes) = open(file)?;
    let format = match format {
        Some(format) => format.into(),
        None => format_of(file)?,
    };
    let ledger = ledger::open(config).await?;
    let progress = progress(bytes);
    let reader = DeviceReader::new(BufReader::new(progress.wrap_read(input)), format)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let mut imported = Imported::default();
    let ended = read_all(&ledger, reader, file, &mut imported).await;
    progress.finish_and_clear();
    imported.print(output)?;
    ended.with_context(|| format!("{}: the import stopped; what is counted above is in", file.display()))?;
    Ok(if imported.refused == 0 { Exit::Ok } else { Exit::Error })
}

/// What an import came to so far.
#[derive(Debug, Default)]
struct Imported {
    counts: ImportCounts,
    refused: u64,
}

impl Imported {
    fn refuse(&mut self, file: &Path, line: &RefusedLine) {
        self.refused += 1;
        if self.refused <= SHOWN {
            output::remark(&format!("{}: {}", file.display(), output::visible(&line.to_string())));
        } else if self.refused == SHOWN + 1 {
            output::remark("further refused lines are only counted");
        }
    }

    fn print(&self, output: Output) -> anyhow::Result<()> {
        let ImportCounts { new, updated, moved, repeated, displaced } = self.counts;
        let refused = self.refused;
        match output {
            Output::Json => output::print_json(&json!({
                "new": new, "updated": updated, "moved": moved, "repeated": repeated, "displaced": displaced,
                "refused": refused,
            })),
            Output::Table => output::line(&format!(
                "{new} new, {updated} updated, {moved} moved to another user, {repeated} repeated, {displaced} displaced, {refused} lines refused"
            )),
        }
    }
}

async fn read_all<R: BufRead>(
    ledger: &Ledger,
    reader: DeviceReader<R>,
    file: &Path,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    let mut batch: Vec<NewDevice> = Vec::with_capacity(BATCH);
    for line in reader {
        match line? {
            Ok(device) => batch.push(device),
            Err(refused) => imported.refuse(file, &refused),
        }
        if batch.len() == BATCH {
            imported.counts += ledger.import(std::mem::take(&mut batch)).await?;
        }
    }
    if !batch.is_empty() {
        imported.counts += ledger.import(batch).await?;
    }
    Ok(())
}

/// The file and, if it is known, its size.
fn open(file: &Path) -> anyhow::Result<(Box<dyn std::io::Read>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bytes = opened.metadata().ok().map(|metadata| metadata.len());
    Ok((Box::new(opened), bytes))
}

fn format_of(file: &Path) -> anyhow::Result<DeviceFormat> {
    match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("ndjson" | "jsonl" | "json") => Ok(DeviceFormat::Ndjson),
        Some("csv") => Ok(DeviceFormat::Csv),
        _ => bail!("{}: say how it is written with --format ndjson or --format csv", file.display()),
    }
}

fn progress(bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {bytes}/{total_bytes} {eta}";
    let bar = bytes.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) if bytes.is_some() => bar.with_style(style),
        _ => bar,
    }
}

async fn show(
    config: &Path,
    output: Output,
    user: Option<UserId>,
    device: Option<uuid::Uuid>,
) -> anyhow::Result<Exit> {
    let ledger = ledger::open(config).await?;
    let devices = match (&user, device) {
        (Some(user), _) => ledger.devices_of(None, user).await?,
        (None, Some(id)) => ledger.device(DeviceId::from_uuid(id)).await?.into_iter().collect(),
        (None, None) => bail!("name a person with --user, or a device with --device"),
    };
    if devices.is_empty() {
        return Err(With(Exit::NotFound, "no such device is registered".to_owned()).into());
    }
    match output {
        Output::Json => output::print_json(&devices.iter().map(as_json).collect::<Vec<_>>())?,
        Output::Table => {
            let rows: Vec<_> = devices.iter().map(as_row).collect();
            let header =
                ["device", "user", "app", "platform", "environment", "language", "registered", "gone"];
            output::line(&output::table(&header, &rows))?;
        }
    }
    Ok(Exit::Ok)
}

async fn forget(config: &Path, output: Output, args: Forget) -> anyhow::Result<Exit> {
    let erasure = match (args.user, args.device) {
        (Some(user), _) => Erasure::User(user, args.app),
        (None, Some(id)) => Erasure::Device(DeviceId::from_uuid(id)),
        (None, None) => bail!("name a person with --user, or a device with --device"),
    };
    let Some(by) = args.by else { bail!("say who you are with --by NAME; it stands in the audit log") };
    let ledger = ledger::open(config).await?;
    let devices = if args.dry_run {
        ledger.count_to_forget(&erasure).await?
    } else {
        ledger.forget_devices(&erasure, by.as_str()).await.context("nothing is forgotten")?
    };
    if devices == 0 {
        return Err(With(Exit::NotFound, "no such device is registered".to_owned()).into());
    }
    let noun = if devices == 1 { "device" } else { "devices" };
    match (output, args.dry_run) {
        (Output::Json, dry_run) => output::print_json(&json!({ "devices": devices, "dry_run": dry_run }))?,
        (Output::Table, true) => output::line(&format!("{devices} {noun} would be forgotten"))?,
        (Output::Table, false) => output::line(&format!("{devices} {noun} forgotten"))?,
    }
    Ok(Exit::Ok)
}

fn as_json(record: &DeviceRecord) -> serde_json::Value {
    let device = &record.device;
    json!({
        "device": device.id, "user": device.user, "app": device.app, "platform": device.platform,
        "environment": device.environment, "language": device.language, "country": record.country,
        "timezone": record.timezone, "app_version": record.app_version, "last_seen_at": record.last_seen_at,
        "registered_at": device.registered_at, "gone_at": record.gone_at,
    })
}

fn as_row(record: &DeviceRecord) -> Vec<String> {
    let device = &record.device;
    vec![
        device.id.to_string(),
        output::visible(device.user.as_str()),
        device.app.to_string(),
        device.platform.as_str().to_owned(),
        device.environment.as_str().to_owned(),
        device.language.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        device.registered_at.to_string(),
        record.gone_at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
    ]
}
