//! The command line: nouns, then verbs; data on standard output, everything else on standard error.

mod afternoon;
mod api;
mod audience;
mod audit;
mod bench;
mod campaign;
mod check;
mod delivery;
mod demo;
mod device;
mod exit;
mod guard;
mod halt;
mod halts;
mod job;
mod ledger;
mod man;
mod migrate;
mod operator;
mod output;
mod policy;
mod rollout;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;
pub use output::Output;

use crate::{
    config::DEFAULT_FILE,
    simulator,
    telemetry::{self, LogFormat},
};

/// Push notifications that cannot reach the wrong people, and do not knock over the right ones.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
struct Common {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "BELLWETHER_CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service: take jobs, guard, send, record
    Serve(serve::ServeArgs),
    /// Bring the ledger's schema up to date, and grant the serving role what it needs
    Migrate(migrate::Args),
    /// Check configuration, policy, credentials, and that each dependency answers
    Check,
    /// Replay a bank's afternoon against local simulators: no services, no accounts, no network
    Demo(demo::Args),
    /// Play what a campaign does to a bank's login: unpaced, capped, and led by feedback
    Afternoon(afternoon::Args),
    /// Run APNs and FCM simulators
    Simulator(simulator::SimulatorArgs),
    /// Enqueue, look up and withdraw jobs
    #[command(subcommand)]
    Job(job::Job),
    /// Import, look up and forget devices
    #[command(subcommand)]
    Device(device::Device),
    /// Submit a campaign by hand
    #[command(subcommand)]
    Campaign(campaign::Campaign),
    /// Look at rollouts; approve, start, pause, promote and stop them
    #[command(subcommand)]
    Rollout(rollout::Rollout),
    /// Ask who was sent what, and export it
    #[command(subcommand)]
    Delivery(delivery::Deliveries),
    /// Check the policy files; list, count and explain audiences
    #[command(subcommand)]
    Audience(audience::Audience),
    /// Say what the guard would say of a job, and why
    #[command(subcommand)]
    Guard(guard::Guard),
    /// Show the policy in force, say what a folder would change, and put it in force by two people
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Read the log of decisions, and check that nobody rewrote it
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Make, confirm, revoke and list operators' tokens
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Say who you are to the operators' API, and what your token allows
    Whoami,
    /// Stop sending: everything, an app, an audience or a campaign
    Halt(halt::HaltArgs),
    /// Show what is halted now, by whom and why
    Halts,
    /// Send again after a halt
    Unhalt(halt::UnhaltArgs),
    /// Measure, beside a simulator: what deploy/bench.sh calls
    #[command(subcommand, hide = true)]
    Bench(bench::Bench),
    /// Print the JSON Schema of what is published on `bellwether.events`
    EventSchema,
    /// Print the `OpenAPI` document of the operators' API
    Openapi,
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page, in roff: `bellwether man rollout approve | man -l -`
    Man {
        /// Of which command; of the whole program without
        command: Vec<String>,
    },
}

/// Runs the command and answers with its exit code.
pub fn run(cli: Cli) -> ExitCode {
    let Cli { common, command } = cli;
    let (format, level) = match command {
        Command::Serve(_) => (LogFormat::Json, "info,lapin=off"),
        // Its lines say what is wrong, each once.
        Command::Check => (LogFormat::Text, "off"),
        _ => (LogFormat::Text, "warn,lapin=off"),
    };
    telemetry::start(format, level);
    telemetry::quiet_panics();
    // One provider of cryptography for every TLS client in the process; a second call only says that one is set.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Exit::Error.explain(&anyhow::anyhow!(error).context("no async runtime")),
    };
    match runtime.block_on(dispatch(&common, command)) {
        Ok(exit) => exit.into(),
        Err(error) => Exit::of(&error).explain(&error),
    }
}

async fn dispatch(common: &Common, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Serve(args) => serve::run(&common.config, &args).await,
        Command::Migrate(args) => migrate::run(&common.config, &args).await,
        Command::Check => check::run(&common.config).await,
        Command::Demo(args) => demo::run(args, common.output).await,
        Command::Afternoon(args) => afternoon::run(&args, common.output),
        Command::Simulator(args) => serve::simulator(args).await,
        Command::Job(job) => job::run(&common.config, common.output, job).await,
        Command::Device(device) => device::run(&common.config, common.output, device).await,
        Command::Campaign(campaign) => campaign::run(&common.config, common.output, campaign).await,
        Command::Rollout(rollout) => rollout::run(&common.config, common.output, rollout).await,
        Command::Delivery(delivery) => delivery::run(&common.config, common.output, delivery).await,
        Command::Audit(audit) => audit::run(&common.config, common.output, audit).await,
        Command::Audience(audience) => audience::run(&common.config, common.output, &audience).await,
        Command::Guard(guard) => guard::run(&common.config, common.output, &guard),
        Command::Policy(policy) => policy::run(&common.config, common.output, &policy).await,
        Command::Halt(args) => halt::halt(&common.config, args).await,
        Command::Halts => halts::run(&common.config, common.output).await,
        Command::Unhalt(args) => halt::unhalt(&common.config, args).await,
        Command::Bench(bench) => bench::run(&common.config, bench).await,
        Command::Operator(operator) => operator::run(&common.config, common.output, operator).await,
        Command::Whoami => operator::whoami(common.output).await,
        Command::Openapi => output::print_json(&crate::api::server::document()).map(|()| Exit::Ok),
        Command::EventSchema => output::print_json(&crate::model::Event::schema()).map(|()| Exit::Ok),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bellwether", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end()).map(|()| Exit::Ok)
        }
        Command::Man { command } => man::run(Cli::command(), &command),
    }
}
