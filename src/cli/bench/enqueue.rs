//! A load of jobs at a given rate, and how long each took to its provider.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use jiff::Timestamp;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{About, Exit, Phone, ledger, output};
use crate::{
    app,
    clock::Clock,
    config::Config,
    intake::{self, Enqueued},
    model::Lane,
};

/// A load of jobs.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct EnqueueArgs {
    /// The folder that `bellwether simulator --out` wrote
    #[arg(long, value_name = "DIR")]
    simulator: PathBuf,
    /// How many jobs; a phone gets one at most
    #[arg(long)]
    count: usize,
    /// Jobs a second; then it waits until all have arrived, and prints how long each took. As fast as possible
    /// otherwise, without waiting
    #[arg(long)]
    rate: Option<NonZeroU32>,
}

pub(super) async fn enqueue(config: &Path, args: &EnqueueArgs) -> anyhow::Result<Exit> {
    let (config, clock) = (ledger::configuration(config)?, Clock::system());
    let about = About::read(&args.simulator)?;
    refuse_elsewhere(&about.inspect()?).await?;
    refuse_elsewhere(&amqp_url(&config)?).await?;
    let phones = about.phones()?;
    ensure!(phones.len() >= args.count, "there are {} phones only", phones.len());
    let phones = &phones[..args.count];
    let run = clock.seed();
    let jobs: Vec<_> = phones.iter().enumerate().map(|(number, phone)| job(run, number, phone)).collect();
    let every = args.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
    let before = if args.rate.is_some() { requests(&about, 0).await?.len() } else { 0 };
    let broker = app::rabbitmq_config(&config)?;
    let enqueued = intake::enqueue_all(&broker, Lane::Direct, &jobs, every, &clock).await?;
    if args.rate.is_some() {
        let waits = waits(&about, before, phones, &enqueued, &clock).await?;
        output::print_json(&Latency::of(waits, &enqueued))?;
    }
    Ok(Exit::Ok)
}

fn job(run: u64, number: usize, phone: &Phone) -> Vec<u8> {
    // With the rest of the payload about as long as the body of `bench send`.
    let text = format!(
        "Kod do logowania: {number:06}. Nie podawaj go nikomu. {}",
        "Bank nigdy o niego nie pyta. ".repeat(5)
    );
    let job = json!({
        "v": 1, "id": format!("{run:016x}-{number}"), "app": phone.app, "intent": "production",
        "to": {"users": [phone.user_id]}, "notification": {"title": "Bank", "body": text.trim_end()},
    });
    job.to_string().into_bytes()
}

fn amqp_url(config: &Config) -> anyhow::Result<Url> {
    config.amqp.url.expose_secret().parse().context("amqp.url is no URL")
}

/// Every address of the host is this machine's own.
async fn refuse_elsewhere(url: &Url) -> anyhow::Result<()> {
    let host = url.host_str().unwrap_or_default();
    let addresses = tokio::net::lookup_host((host, url.port().unwrap_or_default())).await;
    let addresses: Vec<IpAddr> =
        addresses.map(|all| all.map(|address| address.ip()).collect()).unwrap_or_default();
    if addresses.is_empty() || !addresses.iter().all(IpAddr::is_loopback) {
        bail!("{host} is not a loopback address; the benchmark rings simulators only");
    }
    Ok(())
}

/// A request that a simulator has recorded, as far as it is needed.
#[derive(Debug, Deserialize)]
struct Request {
    at_micros: i64,
    token: Option<String>,
    taken: bool,
}

/// The requests since the one with that number.
async fn requests(about: &About, since: usize) -> anyhow::Result<Vec<Request>> {
    let mut url = about.inspect()?.join("requests")?;
    url.query_pairs_mut().append_pair("since", &since.to_string());
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// From each job's handing over to the provider's acceptance.
async fn waits(
    about: &About,
    before: usize,
    phones: &[Phone],
    enqueued: &Enqueued,
    clock: &Clock,
) -> anyhow::Result<Vec<Duration>> {
    /// After the last confirm; far above what is measured.
    const PATIENCE: Duration = Duration::from_secs(30);
    const LOOK_EVERY: Duration = Duration::from_millis(500);
    let until = clock.monotonic() + PATIENCE;
    let numbers: HashMap<&str, Timestamp> =
        phones.iter().map(|phone| phone.token.as_str()).zip(enqueued.at.iter().copied()).collect();
    loop {
        let mut waits = HashMap::with_capacity(phones.len());
        for Request { at_micros, token, taken } in requests(about, before).await? {
            let token = token.filter(|_| taken);
            if let Some((token, enqueued)) = token.as_deref().and_then(|token| numbers.get_key_value(token)) {
                let wait = at_micros.saturating_sub(enqueued.as_microsecond());
                // The first word counts: a repeat is no arrival.
                waits.entry(*token).or_insert(Duration::from_micros(u64::try_from(wait).unwrap_or_default()));
            }
        }
        if waits.len() == phones.len() {
            return Ok(waits.into_values().collect());
        }
        ensure!(clock.monotonic() < until, "{} of {} jobs have arrived", waits.len(), phones.len());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How long jobs took, in milliseconds.
#[derive(Debug, PartialEq, Serialize)]
struct Latency {
    jobs: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// How far the load itself ran behind its own plan, at the worst.
    load_late_ms: f64,
}

impl Latency {
    fn of(mut waits: Vec<Duration>, enqueued: &Enqueued) -> Self {
        waits.sort_unstable();
        // The smallest value that so many of a hundred do not exceed.
        let percentile = |percent: usize| {
            let rank = (waits.len() * percent).div_ceil(100).max(1);
            waits.get(rank - 1).copied().unwrap_or_default()
        };
        let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
        Self {
            jobs: waits.len(),
            p50_ms: ms(percentile(50)),
            p99_ms: ms(percentile(99)),
            max_ms: ms(percentile(100)),
            load_late_ms: ms(enqueued.latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Job;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let waits = (1..=200).rev().map(Duration::from_millis).collect();
        let enqueued = Enqueued { at: Vec::new(), latest: Duration::from_millis(3) };
        let latency = Latency::of(waits, &enqueued);
        let expected = Latency { jobs: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0, load_late_ms: 3.0 };
        assert_eq!(latency, expected);
    }

    #[test]
    fn the_load_is_of_real_jobs() {
        let [user_id, app, platform, token] =
            ["user-000001", "pl.example.bank", "ios", "aa"].map(ToOwned::to_owned);
        Job::parse(&job(7, 1, &Phone { user_id, app, platform, token })).expect("a job");
    }

    #[tokio::test]
    async fn it_enqueues_on_this_machine_only() {
        for (url, allowed) in
            [("amqp://u:p@127.0.0.1:5672/%2f", true), ("amqp://u:p@192.0.2.1:5672/%2f", false)]
        {
            assert_eq!(refuse_elsewhere(&url.parse().expect("a URL")).await.is_ok(), allowed, "{url}");
        }
    }
}
