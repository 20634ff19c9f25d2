//! `bellwether device import`: a thread reads, the ledger's connections write, this one shows how far they are.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::json;

use super::{
    progress::{Counted, Progress, ReadSoFar},
    refused::Refused,
};
use crate::{
    cli::{Exit, Output, ledger, output},
    clock::Clock,
    ledger::{DeviceFormat, DeviceReader, ImportCounts, Importer},
};

/// How much of the file is read at once: fewer calls than the default of 8 kB asks for, and still in the CPU's cache.
const READ_AHEAD: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ImportArgs {
    /// NDJSON or CSV; `-` for standard input
    file: PathBuf,
    /// How it is written; by the file's ending otherwise
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Where to write which lines were refused, as CSV: file, line, field, reason. Never what stood there
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
}

/// How a file of devices is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
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

type Reader = DeviceReader<BufReader<Counted<Box<dyn Read + Send>>>>;

pub(super) async fn run(config: &Path, output: Output, args: ImportArgs) -> anyhow::Result<Exit> {
    let ImportArgs { file, format, refused } = args;
    let (input, bytes) = open(&file)?;
    let format = match format {
        Some(format) => format.into(),
        None => format_of(&file)?,
    };
    let mut refused = Refused::new(&file, refused.as_deref())?;
    let ledger = ledger::open(config).await?;
    let (clock, read) = (Clock::system(), ReadSoFar::default());
    let input = BufReader::with_capacity(READ_AHEAD, read.count(input));
    let reader = DeviceReader::new(input, format).with_context(|| unreadable(&file))?;
    let mut importer = ledger.importer();
    let so_far = importer.progress();
    let progress = Progress::begin(bytes, clock.clone());
    let remarks = progress.remarks();
    let lines = read.clone();
    let work = async {
        let reading = tokio::task::spawn_blocking(move || {
            let ended = feed(reader, &lines, &mut importer, &mut refused, &|line| remarks.say(line));
            (importer, refused, ended)
        });
        let (importer, refused, ended) = reading.await.context("the reading broke off")?;
        // Whatever ended the reading, what was read before is written.
        let written = importer.finish().await.context("cannot write devices");
        anyhow::Ok((refused, written.and(ended)))
    };
    let mut work = std::pin::pin!(work);
    let (refused, ended) = loop {
        tokio::select! {
            ended = &mut work => break ended?,
            () = tokio::time::sleep(progress.every()) => progress.show(so_far.counts(), &read),
        }
    };
    progress.end();
    let took = progress.took();
    print(output, so_far.counts(), refused.count(), took)?;
    ended.with_context(|| format!("{}: the import stopped; what is counted above is in", file.display()))?;
    if refused.count() == 0 {
        return Ok(Exit::Ok);
    }
    output::remark(&refused.finish()?);
    Ok(Exit::Error)
}

/// Reads to the end, or to the first thing that ends it.
fn feed(
    reader: Reader,
    read: &ReadSoFar,
    importer: &mut Importer,
    refused: &mut Refused,
    remark: &dyn Fn(&str),
) -> anyhow::Result<()> {
    for line in reader {
        read.line();
        match line.with_context(|| unreadable(refused.file()))? {
            Ok(device) => {
                if importer.push(device).is_err() {
                    // Why it stopped is the importer's to say.
                    return Ok(());
                }
            }
            Err(line) => refused.add(&line, remark)?,
        }
    }
    Ok(())
}

fn unreadable(file: &Path) -> String {
    format!("cannot read {}", file.display())
}

/// The file and, if it is known, its size.
fn open(file: &Path) -> anyhow::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if file == Path::new("-") {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let opened = File::open(file).with_context(|| unreadable(file))?;
    let metadata = opened.metadata().with_context(|| unreadable(file))?;
    // A pipe has a size too, and it says nothing.
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(opened), bytes))
}

fn format_of(file: &Path) -> anyhow::Result<DeviceFormat> {
    match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("ndjson" | "jsonl" | "json") => Ok(DeviceFormat::Ndjson),
        Some("csv") => Ok(DeviceFormat::Csv),
        _ => bail!("{}: say how it is written with --format ndjson or --format csv", file.display()),
    }
}

fn print(output: Output, counts: ImportCounts, refused: u64, took: Duration) -> anyhow::Result<()> {
    let ImportCounts { new, updated, moved, repeated, displaced } = counts;
    let devices = counts.all();
    let rate = super::progress::rate(devices, took);
    match output {
        Output::Json | Output::Yaml => output.print(&json!({
            "new": new, "updated": updated, "moved": moved, "repeated": repeated, "displaced": displaced,
            "refused": refused,
            "devices": devices, "seconds": took.as_secs_f64(), "devices_per_second": rate,
        })),
        Output::Table => output::line(&format!(
            "{new} new, {updated} updated, {moved} moved to another user, {repeated} repeated, {displaced} displaced, {refused} {} refused\n\
             {devices} {} in {:.1} s, {rate} a second",
            if refused == 1 { "line" } else { "lines" },
            if devices == 1 { "device" } else { "devices" },
            took.as_secs_f64(),
        )),
    }
}
