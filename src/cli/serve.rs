//! `bellwether serve` and `bellwether simulator`: the commands that run until they are told to stop.

use std::path::Path;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, ledger, output};
use crate::{
    app::{self, Role, Roles},
    clock::Clock,
    simulator::{self, SimulatorArgs},
};

/// The exit status of a process that was ended by a second signal: 128 + SIGTERM, as shells count.
const ENDED_BY_SIGNAL: i32 = 143;

/// What `serve` understands.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// What this process does; several with commas, or repeated. Any number of processes may have each
    #[arg(long = "role", value_name = "ROLE", value_enum, value_delimiter = ',', default_value = "all")]
    roles: Vec<Role>,
}

/// Runs the service until SIGTERM or SIGINT, then drains it. A second signal ends it at once.
pub(super) async fn run(config: &Path, args: &ServeArgs) -> anyhow::Result<Exit> {
    let config = ledger::configuration(config)?;
    app::serve(config, Roles::of(&args.roles), Clock::system(), stop_on_signal()?).await?;
    Ok(Exit::Ok)
}

/// Runs the provider simulators until a signal.
pub(super) async fn simulator(args: SimulatorArgs) -> anyhow::Result<Exit> {
    simulator::run(args, Clock::system(), stop_on_signal()?, output::remark).await?;
    Ok(Exit::Ok)
}

/// A token that the first SIGTERM or SIGINT sets; the second ends the process.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        let mut either = async || {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        either().await;
        tracing::info!("stopping: taking nothing new, finishing what is begun; a second signal ends it now");
        stopping.cancel();
        either().await;
        tracing::warn!("ended by a second signal; what was not recorded is sent again, with the same ids");
        std::process::exit(ENDED_BY_SIGNAL);
    });
    Ok(stop)
}
