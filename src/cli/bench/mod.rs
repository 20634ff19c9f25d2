//! `bellwether bench`: what `deploy/bench.sh` measures with. Hidden: it is of use beside a simulator only.
//!
//! It rings nobody: every address that it is given must be this machine's own, where only simulators listen; what is asked of
//! the guard stays in memory.

mod enqueue;
mod guard;
mod send;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context;
use reqwest::Url;
use serde::Deserialize;

use self::{
    enqueue::{EnqueueArgs, enqueue},
    guard::{GuardArgs, guard},
    send::{SendArgs, reference, send},
};
use super::{Exit, demo, ledger, output};

/// What can be measured.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Bench {
    /// Send to a simulator over the bare send path, and print what a notification cost
    Send(SendArgs),
    /// Write the same requests for h2load: headers, paths and body
    Reference {
        #[command(flatten)]
        send: SendArgs,
        /// Where to write `headers`, `uris` and `body`
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Enqueue jobs, one for each of a simulator's phones
    Enqueue(EnqueueArgs),
    /// Ask the guard of jobs in memory, and print what a verdict cost
    Guard(GuardArgs),
}

/// `simulator.json`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct About {
    apns: String,
    inspect: String,
    ca: PathBuf,
    apns_key: PathBuf,
    apns_key_id: String,
    team: String,
    topics: Vec<String>,
    devices: PathBuf,
}

/// A line of `devices.ndjson`, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Phone {
    user_id: String,
    app: String,
    platform: String,
    token: String,
}

/// Runs the measurement.
pub(super) async fn run(config: &Path, verb: Bench) -> anyhow::Result<Exit> {
    match verb {
        Bench::Send(args) => send(&args).await,
        Bench::Reference { send, out } => reference(&send, &out).await,
        Bench::Enqueue(args) => enqueue(config, &args).await,
        Bench::Guard(args) => guard(&args).await,
    }
}

impl About {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("simulator.json");
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not understood", file.display()))
    }

    fn inspect(&self) -> anyhow::Result<Url> {
        self.inspect.parse().context("the simulator's inspection endpoint is no URL")
    }

    fn phones(&self) -> anyhow::Result<Vec<Phone>> {
        let file = fs::File::open(&self.devices).context("the simulator's devices.ndjson cannot be read")?;
        let parse = |line: std::io::Result<String>| Ok(serde_json::from_str(&line?)?);
        BufReader::new(file).lines().map(parse).collect()
    }
}
