//! The bare send path, and the same requests for another client.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use serde_json::json;

use super::{About, Exit, output};
use crate::{
    clock::Clock,
    deliver::{Endpoint, SendBench, bench_send_path, reference_request},
};

/// A run over the bare send path.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SendArgs {
    /// The folder that `bellwether simulator --out` wrote
    #[arg(long, value_name = "DIR")]
    simulator: PathBuf,
    /// How many notifications
    #[arg(long, default_value_t = 200_000)]
    count: u64,
    /// How many at once
    #[arg(long, default_value_t = 500)]
    in_flight: usize,
    /// How many bytes each has
    #[arg(long, default_value_t = 289)]
    body_bytes: usize,
}

pub(super) async fn send(args: &SendArgs) -> anyhow::Result<Exit> {
    let report = bench_send_path(send_bench(args)?, Clock::system()).await?;
    ensure!(report.accepted == report.count, "{} of {} were accepted", report.accepted, report.count);
    output::print_json(&report).map(|()| Exit::Ok)
}

pub(super) async fn reference(args: &SendArgs, out: &Path) -> anyhow::Result<Exit> {
    let bench = send_bench(args)?;
    let request = reference_request(&bench, Clock::system()).await?;
    let headers: Vec<_> = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    // The simulator listens on IPv4 alone, and h2load takes the first address of a name.
    let root = format!("https://127.0.0.1:{}", bench.endpoint.port());
    let uris: Vec<_> = request.paths.iter().map(|path| format!("{root}{path}\n")).collect();
    for (file, bytes) in
        [("headers", headers.concat().as_bytes()), ("uris", uris.concat().as_bytes()), ("body", &bench.body)]
    {
        fs::write(out.join(file), bytes).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(Exit::Ok)
}

fn send_bench(args: &SendArgs) -> anyhow::Result<SendBench> {
    /// Enough that neither side keeps paths in a table, and few enough for h2load to read at once.
    const PHONES: usize = 5_000;
    let about = About::read(&args.simulator)?;
    let phones = about.phones()?.into_iter().filter(|phone| phone.platform == "ios").take(PHONES);
    Ok(SendBench {
        endpoint: Endpoint::parse(&about.apns)?,
        ca_file: about.ca,
        key_file: about.apns_key,
        key_id: about.apns_key_id,
        team: about.team,
        topic: about.topics.into_iter().next().context("the simulator has no topic")?,
        count: args.count,
        in_flight: args.in_flight,
        tasks: 1,
        body: body(args.body_bytes)?.into(),
        tokens: phones.map(|phone| phone.token).collect(),
    })
}

/// A payload for APNs of so many bytes.
fn body(bytes: usize) -> anyhow::Result<String> {
    let around = |text: &str| json!({"aps": {"alert": {"title": "Bank", "body": text}, "sound": "default"}});
    let empty = around("").to_string().len();
    let text = bytes.checked_sub(empty).with_context(|| format!("the smallest body has {empty} bytes"))?;
    Ok(around(&"x".repeat(text)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_of_the_size_asked_for() {
        assert_eq!(body(289).expect("a body").len(), 289);
        assert!(body(10).is_err());
    }
}
