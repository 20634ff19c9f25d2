//! What a verdict costs, and what it costs to know beforehand whom a direct job's producer has reached.
//!
//! Everything is in memory, under the shipped policy: no ledger, no registry, no broker. What the ledger adds is in the
//! direct lane's own figures. A verdict renders the message, because its proof carries it; the direct lane would render it
//! anyhow, so that what the guard costs the lane is told without it.

use std::{hint::black_box, num::NonZeroU32, sync::Arc};

use anyhow::ensure;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Exit, demo::policy, output};
use crate::{
    audience::Policy,
    clock::Clock,
    deliver::cpu_micros,
    dispatch::{LaneBench, LaneJob},
    guard::{self, DirectReach, Facts, FoundRecipient, Past, Verdict},
    model::{
        Bucket, Device, DeviceId, Digest, Environment, Job, JobKey, Message, Platform, ProducerId,
        Recipients, RecordId, RenderError, Token, UserId,
    },
};

/// How often the guard is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct GuardArgs {
    /// How many verdicts of each kind. CPU is told in hundredths of a second, so few say little
    #[arg(long, default_value = "200000")]
    count: NonZeroU32,
}

/// Different jobs of a kind: more than the processor keeps at hand.
const JOBS: usize = 2_000;

/// Jobs of a batch of the direct lane at full load.
const BATCH: usize = 200;

/// Microseconds of CPU for each.
#[derive(Debug, PartialEq, Serialize)]
struct Report {
    count: u32,
    /// One user, a one-time code under its declared text.
    code_micros: f64,
    /// Twenty users, a text that is not declared.
    twenty_micros: f64,
    campaign_micros: f64,
    /// Rendering alone, of the code: part of its verdict.
    render_micros: f64,
    /// To count the one user and their device, before the verdict.
    reach_micros: f64,
    /// The code's verdict in a batch that is handed over to a watched thread.
    watched_micros: f64,
    /// What the guard costs the direct lane: the counting and the watched verdict, without the rendering.
    direct_lane_micros: f64,
    /// The reference: to read the code's JSON without looking at what it says.
    json_micros: f64,
    /// The code's verdict, in references.
    code_per_json: f64,
}

pub(super) async fn guard(args: &GuardArgs) -> anyhow::Result<Exit> {
    let policy = Arc::new(Policy::parse(&policy::shipped())?);
    output::print_json(&measure(args.count.get(), policy, &Clock::system()).await?).map(|()| Exit::Ok)
}

async fn measure(count: u32, policy: Arc<Policy>, clock: &Clock) -> anyhow::Result<Report> {
    let now = clock.now();
    let [codes, twenty, campaigns] = [Kind::Code, Kind::Twenty, Kind::Campaign].map(|kind| kind.jobs(now));
    let (codes, twenty, campaigns) = (codes?, twenty?, campaigns?);
    for one in codes.iter().chain(&twenty).chain(&campaigns) {
        let verdict = one.verdict(&policy, now);
        ensure!(
            matches!(verdict, Verdict::Clear(..)),
            "the guard stops {}: {:?}",
            one.key,
            verdict.findings()
        );
    }
    let verdict = |jobs: &[Prepared]| each(count, jobs, |one| one.verdict(&policy, now));
    let (code, twenty, campaign) = (verdict(&codes)?, verdict(&twenty)?, verdict(&campaigns)?);
    let render = each(count, &codes, |one| one.render(now))?;
    let json = each(count, &codes, |one| serde_json::from_str::<Value>(&one.text))?;
    let lane = LaneBench::new(Arc::clone(&policy), clock);
    let mut batches = batches(codes, now);
    let reach = reach(count, &lane, &batches, now)?;
    let watched = watched(count, &lane, &mut batches, now).await?;
    Ok(Report {
        count,
        code_micros: code,
        twenty_micros: twenty,
        campaign_micros: campaign,
        render_micros: render,
        reach_micros: reach,
        watched_micros: watched,
        direct_lane_micros: reach + watched - render,
        json_micros: json,
        code_per_json: code / json,
    })
}

/// CPU of doing it so often, with one job after the other, in microseconds for each.
fn each<T>(count: u32, jobs: &[Prepared], act: impl Fn(&Prepared) -> T) -> anyhow::Result<f64> {
    let began = cpu_micros()?;
    jobs.iter().cycle().zip(0..count).for_each(|(one, _)| drop(black_box(act(one))));
    Ok((cpu_micros()? - began) / f64::from(count))
}

fn batches(jobs: Vec<Prepared>, now: Timestamp) -> Vec<Vec<LaneJob>> {
    let mut jobs = jobs.into_iter().map(|one| LaneJob::new((one.key, one.job), one.found, now)).peekable();
    std::iter::from_fn(|| jobs.peek().is_some().then(|| jobs.by_ref().take(BATCH).collect())).collect()
}

/// The same of counting. Each round of the jobs is another day, so that everybody is new to their text.
fn reach(count: u32, lane: &LaneBench, batches: &[Vec<LaneJob>], now: Timestamp) -> anyhow::Result<f64> {
    const DAY: SignedDuration = SignedDuration::from_hours(24);
    let (mut today, mut counted) = (now, 0_u32);
    let began = cpu_micros()?;
    while counted < count {
        for batch in batches {
            let over = black_box(lane.count(batch, today));
            ensure!(over == 0, "{over} jobs meet a limit");
            counted += u32::try_from(batch.len())?;
        }
        today = today.checked_add(DAY)?;
    }
    Ok((cpu_micros()? - began) / f64::from(counted))
}

/// The same of the verdicts of batches.
async fn watched(
    count: u32,
    lane: &LaneBench,
    batches: &mut [Vec<LaneJob>],
    now: Timestamp,
) -> anyhow::Result<f64> {
    let mut judged = 0_u32;
    let began = cpu_micros()?;
    while judged < count {
        for batch in &mut *batches {
            let (back, stopped) = black_box(lane.judge(std::mem::take(batch), now).await);
            ensure!(stopped == 0, "the guard stops {stopped} jobs");
            *batch = back;
            judged += u32::try_from(batch.len())?;
        }
    }
    Ok((cpu_micros()? - began) / f64::from(judged))
}

/// A kind of job.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Code,
    Twenty,
    Campaign,
}

/// A job, and what the guard is told of it.
#[derive(Debug)]
struct Prepared {
    text: String,
    job: Job,
    key: JobKey,
    found: Vec<FoundRecipient>,
}

impl Kind {
    fn jobs(self, now: Timestamp) -> anyhow::Result<Vec<Prepared>> {
        (0..JOBS).map(|number| self.job(number, now)).collect()
    }

    fn job(self, number: usize, now: Timestamp) -> anyhow::Result<Prepared> {
        let (producer, to, body) = match self {
            Self::Code => {
                let body = format!("Kod do logowania: {number:06}. Nie podawaj go nikomu.");
                ("cards", json!({"users": [format!("user-{number:07}")]}), body)
            }
            Self::Twenty => {
                let users: Vec<_> = (0..20).map(|n| format!("user-{:07}", 20 * number + n)).collect();
                ("cards", json!({"users": users}), format!("Rachunek {number} jest gotowy w aplikacji."))
            }
            Self::Campaign => {
                let to = json!({"audience": "customers-pl", "at_most": 4_000_000});
                ("marketing", to, format!("Nowa aplikacja {number} jest gotowa. Zobacz, co się zmieniło."))
            }
        };
        let expires = now.checked_add(SignedDuration::from_hours(6))?;
        let text = json!({
            "v": 1, "id": format!("bench-{number}"), "app": policy::APP, "intent": "production", "to": to,
            "notification": {"title": "Bank", "body": body}, "expires_at": expires.to_string(),
        })
        .to_string();
        let job = Job::parse(text.as_bytes())?;
        let key = job.key(&ProducerId::parse(producer)?);
        let found = found(&job, now)?;
        Ok(Prepared { text, job, key, found })
    }
}

impl Prepared {
    fn verdict(&self, policy: &Policy, now: Timestamp) -> Verdict {
        let past = Past { proven: true, ..Past::default() };
        let reach = DirectReach::default();
        let facts = Facts { recipients: &self.found, max_recipients: 100, received_at: now, past, reach };
        guard::clear(&self.job, &self.key, policy, &facts, now)
    }

    fn render(&self, now: Timestamp) -> Result<Message, RenderError> {
        Message::render(self.job.notification(), &self.key, self.job.expires_at(now), now)
    }
}

/// Everybody has one phone.
fn found(job: &Job, now: Timestamp) -> anyhow::Result<Vec<FoundRecipient>> {
    let Some(Recipients::Users(users)) = job.to() else { return Ok(Vec::new()) };
    users.iter().map(|user| Ok(FoundRecipient::User(user.clone(), vec![phone(user, now)?]))).collect()
}

fn phone(user: &UserId, now: Timestamp) -> anyhow::Result<Device> {
    let bucket = Bucket::of(user);
    let address = Digest::of(user.as_str().as_bytes());
    let token = Token::parse(&address.to_string()).ok_or_else(|| anyhow::anyhow!("a digest is no token"))?;
    Ok(Device {
        record: RecordId::new(1),
        id: DeviceId::derive(bucket, user, &address),
        user: user.clone(),
        bucket,
        app: policy::APP.parse()?,
        platform: Platform::Android,
        environment: Environment::Production,
        token,
        language: None,
        registered_at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn measured(files: &[crate::audience::PolicyFile]) -> anyhow::Result<Report> {
        let noon = "2026-11-21T12:00:00Z".parse().expect("an instant");
        let policy = Policy::parse(files).expect("a sound policy");
        measure(1, Arc::new(policy), &Clock::manual(noon, 7)).await
    }

    #[tokio::test]
    async fn what_the_guard_stops_is_not_measured() {
        let mut files = policy::shipped();
        assert_eq!(measured(&files).await.expect("all is cleared").count, 1);
        for file in files.iter_mut().filter(|file| file.path == "producers.toml") {
            file.text = file.text.replacen("direct_limit = 20", "direct_limit = 19", 1);
        }
        let error = measured(&files).await.expect_err("twenty are too many").to_string();
        assert!(error.contains("producer-scope"), "{error}");
    }
}
