//! `bellwether demo`: a bank's afternoon against local providers, on an embedded ledger, without a network.
//!
//! On 5 August 2020 three test pushes went to every customer of a bank. The demo sends the same three texts
//! the same way, and shows that no customer's phone rings; then it sends what should be sent, to single people and, stage
//! by stage, to our own people, and shows that it arrives. Every count comes from the simulators' own record of each phone, never from what the service
//! believes of itself.

mod afternoon;
mod bank;
mod campaign;
pub(super) mod policy;
mod report;

use std::path::PathBuf;

use super::{Exit, Output, output};
use crate::clock::Clock;

/// What `demo` understands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many customers' phones there are
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=2_000_000))]
    phones: u64,
    /// Keep ledger and simulators running afterwards, so that other commands can be tried on them
    #[arg(long)]
    keep: bool,
    /// Where the ledger and the throw-away keys are kept; a temporary folder otherwise
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Plays the afternoon and prints who got what.
pub(super) async fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let clock = Clock::system();
    let began = clock.monotonic();
    let bank = bank::Bank::open(args.phones, args.folder.as_deref(), clock.clone()).await?;
    let seen = afternoon::play(&bank).await?;
    let seconds = clock.monotonic().duration_since(began).as_secs_f64();
    let report = report::Report::new(args.phones, &seen, seconds);
    match output {
        Output::Json | Output::Yaml => output.print(&report)?,
        Output::Table => output::line(&report.table(&seen))?,
    }
    if args.keep {
        bank.keep_until_interrupted().await?;
    }
    bank.close().await;
    Ok(if report.holds() { Exit::Ok } else { Exit::Error })
}
