//! The bare send path, measured: requests and connections as in service, without jobs, permits and a ledger.
//!
//! It rings nobody: it refuses every address but loopback, where only a simulator listens.

use std::{
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    CredentialError, Endpoint, Transport, TrustError, apns,
    credentials::ProviderToken,
    h2pool::{NoStream, Pool, Streams},
    tls::provider_tls,
};
use crate::{clock::Clock, model::Priority};

/// What is measured.
#[derive(Debug, Clone)]
pub struct SendBench {
    /// A simulator of APNs on loopback.
    pub endpoint: Endpoint,
    /// Its CA.
    pub ca_file: PathBuf,
    /// Its signing key.
    pub key_file: PathBuf,
    /// The key's id.
    pub key_id: String,
    /// The team's id.
    pub team: String,
    /// The topic.
    pub topic: String,
    /// How many notifications.
    pub count: u64,
    /// How many of them at once.
    pub in_flight: usize,
    /// How many tasks share them.
    pub tasks: usize,
    /// The body of each.
    pub body: Bytes,
    /// Device tokens that the simulator knows, used in turn.
    pub tokens: Vec<String>,
}

/// What it cost.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SendBenchReport {
    /// How many were sent.
    pub count: u64,
    /// How many were answered with 200.
    pub accepted: u64,
    /// Wall time.
    pub seconds: f64,
    /// Notifications a second.
    pub per_second: f64,
    /// CPU of this process, user and system, for each.
    pub cpu_micros_each: f64,
}

/// It could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum SendBenchError {
    /// The address may be a real provider's.
    #[error("{0} is not a loopback address; the benchmark sends to simulators only")]
    NotLoopback(Endpoint),
    /// The key cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The CA cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The topic or a token cannot stand in a request, or there is no token.
    #[error("the topic or a token cannot be sent, or there is no token")]
    Request,
    /// There is no connection.
    #[error("no connection to {0}")]
    NoConnection(Endpoint),
    /// The CPU time cannot be read (Linux only).
    #[error("reading CPU time: {0}")]
    CpuTime(#[from] io::Error),
}

/// How long the notifications are worth something.
const EXPIRY: Duration = Duration::from_hours(1);

/// The same requests for another client on the same machine, so that the two can be compared.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ReferenceRequest {
    /// The headers that are the same for every notification, in order; with the provider token, so only for
    /// a simulator.
    pub headers: Vec<(String, String)>,
    /// The path of each device.
    pub paths: Vec<String>,
}

/// What [`bench_send_path`] would send.
pub async fn reference_request(bench: &SendBench, clock: Clock) -> Result<ReferenceRequest, SendBenchError> {
    require_loopback(&bench.endpoint).await?;
    let token = ProviderToken::load(&bench.key_file, &bench.key_id, &bench.team, clock.clone())?;
    let topic = HeaderValue::from_str(&bench.topic).map_err(|_| SendBenchError::Request)?;
    let requests = apns::Requests::new(bench.endpoint.authority().clone(), topic);
    let authorization = token.authorization().map_err(|_| SendBenchError::Request)?;
    let ask = bench.ask(0, clock.now() + EXPIRY)?;
    let request = requests.build(&ask, authorization).map_err(|_| SendBenchError::Request)?;
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().map_err(|_| SendBenchError::Request)?;
        Ok((name.as_str().to_owned(), value.to_owned()))
    };
    let headers = request.headers().iter().map(header).collect::<Result<_, SendBenchError>>()?;
    let paths = bench.tokens.iter().map(|token| format!("/3/device/{token}")).collect();
    Ok(ReferenceRequest { headers, paths })
}

impl SendBench {
    fn ask(&self, number: u64, expires_at: Timestamp) -> Result<apns::Ask<'_>, SendBenchError> {
        let place = usize::try_from(number).unwrap_or_default().checked_rem(self.tokens.len());
        let token = place.and_then(|place| self.tokens.get(place)).ok_or(SendBenchError::Request)?;
        Ok(apns::Ask {
            token,
            message_id: Uuid::from_u128(u128::from(number)),
            collapse_id: "bench",
            priority: Priority::High,
            expires_at,
        })
    }
}

/// Sends, and reports the cost.
pub async fn bench_send_path(bench: SendBench, clock: Clock) -> Result<SendBenchReport, SendBenchError> {
    require_loopback(&bench.endpoint).await?;
    let token = ProviderToken::load(&bench.key_file, &bench.key_id, &bench.team, clock.clone())?;
    let topic = HeaderValue::from_str(&bench.topic).map_err(|_| SendBenchError::Request)?;
    let requests = apns::Requests::new(bench.endpoint.authority().clone(), topic);
    let tls = provider_tls(Some(&bench.ca_file))?;
    let transport = Transport::default();
    let pool = Pool::new(bench.endpoint.clone(), tls, Streams::OneUntilProven, transport, clock.clone());
    let run = Arc::new(Run {
        pool,
        requests,
        token,
        next: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        expires_at: clock.now() + EXPIRY,
        clock: clock.clone(),
        bench,
    });
    // The first one opens the connection and the door; it is not counted.
    run.one(0).await?;
    run.accepted.store(0, Ordering::Relaxed);

    let (cpu, start) = (cpu_micros()?, clock.monotonic());
    let tasks = run.bench.tasks.max(1);
    let each = run.bench.in_flight.div_ceil(tasks).max(1);
    let mut working = tokio::task::JoinSet::new();
    for _ in 0..tasks {
        let run = Arc::clone(&run);
        working.spawn(async move { run.work(each).await });
    }
    for worked in working.join_all().await {
        worked?;
    }
    let seconds = clock.monotonic().duration_since(start).as_secs_f64();
    let count = run.bench.count;
    Ok(SendBenchReport {
        count,
        accepted: run.accepted.load(Ordering::Relaxed),
        seconds,
        per_second: as_f64(count) / seconds,
        cpu_micros_each: (cpu_micros()? - cpu) / as_f64(count),
    })
}

struct Run {
    pool: Pool,
    requests: apns::Requests,
    token: ProviderToken,
    next: AtomicU64,
    accepted: AtomicU64,
    expires_at: Timestamp,
    clock: Clock,
    bench: SendBench,
}

impl Run {
    async fn work(&self, at_once: usize) -> Result<(), SendBenchError> {
        // Each sends one after another, and is made once: what holds a send in service is the lane's cost.
        let mut sending: FuturesUnordered<_> = (0..at_once).map(|_| self.one_after_another()).collect();
        while let Some(done) = sending.next().await {
            done?;
        }
        Ok(())
    }

    async fn one_after_another(&self) -> Result<(), SendBenchError> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.bench.count {
                return Ok(());
            }
            self.one(number).await?;
        }
    }

    async fn one(&self, number: u64) -> Result<(), SendBenchError> {
        let ask = self.bench.ask(number, self.expires_at)?;
        let authorization = self.token.authorization().map_err(|_| SendBenchError::Request)?;
        let request = self.requests.build(&ask, authorization).map_err(|_| SendBenchError::Request)?;
        let until = self.clock.monotonic() + Duration::from_mins(1);
        let mut lease = self
            .pool
            .lease(until)
            .await
            .map_err(|_: NoStream| SendBenchError::NoConnection(self.bench.endpoint.clone()))?;
        let Ok(asked) = lease.ask(request, self.bench.body.clone(), until) else { return Ok(()) };
        if let Ok(reply) = lease.answer(asked).await {
            let answer = apns::read_answer(reply.status, &reply.headers, &reply.body, self.clock.now());
            if answer.proves {
                lease.prove();
            }
            if reply.status == http::StatusCode::OK {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Every address of the endpoint's host is this machine's own.
async fn require_loopback(endpoint: &Endpoint) -> Result<(), SendBenchError> {
    let refuse = || SendBenchError::NotLoopback(endpoint.clone());
    let addresses: Vec<IpAddr> = tokio::net::lookup_host((endpoint.host(), endpoint.port()))
        .await
        .map_err(|_| refuse())?
        .map(|address| address.ip())
        .collect();
    let loopback = !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback);
    if loopback { Ok(()) } else { Err(refuse()) }
}

/// User and system time of this process in microseconds: proc(5), fields 14 and 15 of `/proc/self/stat`, in
/// ticks of a hundredth of a second on every Linux that is in use.
pub(crate) fn cpu_micros() -> io::Result<f64> {
    const MICROS_A_TICK: f64 = 10_000.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, the name, may contain spaces; it ends with the last parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(as_f64(ticks) * MICROS_A_TICK)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_sends_to_this_machine_only() {
        for (endpoint, allowed) in [
            ("https://127.0.0.1:1", true),
            ("https://localhost", true),
            ("https://[::1]:1", true),
            ("https://192.0.2.1", false),
        ] {
            let endpoint = Endpoint::parse(endpoint).expect("an endpoint");
            assert_eq!(require_loopback(&endpoint).await.is_ok(), allowed, "{endpoint}");
        }
    }
}
