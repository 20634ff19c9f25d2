//! From raw bytes through the reader of jobs and the guard: nothing panics, no rule breaks, no test reaches a stranger (I1), and
//! every span lies in its text.
//!
//! The seeds are changed by a generator with a fixed beginning, so that a failure is the same again. An ordinary run makes
//! twenty thousand; `BELLWETHER_FUZZ_SECONDS=300 cargo test --test fuzz` goes on for five minutes. What is found is printed, and
//! belongs into `tests/fuzz/seeds`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use bellwether::{
    audience::Policy,
    guard::{self, DirectReach, Facts, FoundRecipient, Past, Verdict},
    model::{
        AppId, Bucket, Device, DeviceId, Digest, Environment, Intent, Job, Platform, ProducerId, RecordId,
        Token, UserId,
    },
};
use jiff::Timestamp;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Enough to meet each change of each seed many times, in some seconds.
const ORDINARY: usize = 20_000;

/// What mistakes are made of.
const PIECES: &[&str] = &[
    "\"test\"",
    "\"production\"",
    "{{x}}",
    "%s",
    "null",
    "https://staging.bank.example.pl/",
    "http://[::1]:80/",
    "//x@y/",
    "\u{202e}",
    "e\u{301}",
    "\\u0000",
    "\\ud800",
    "-1",
    "1e400",
    "[",
    "}",
    "\"",
    ",",
    "\u{feff}",
    "您好",
    "\"audience\":\"customers-pl\"",
    "\"users\":[\"qa-1\"]",
    "9999999999999999999",
    "2026-02-30T25:61:61Z",
];

struct Seed {
    name: String,
    bytes: Vec<u8>,
}

fn seeds() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds");
    let files = fs::read_dir(&folder).expect("the seeds are there");
    let mut seeds: Vec<_> = files
        .map(|file| {
            let path = file.expect("a readable folder").path();
            let bytes = fs::read(&path).expect("a readable seed");
            Seed { name: path.file_name().expect("a name").to_string_lossy().into_owned(), bytes }
        })
        .collect();
    seeds.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    seeds
}

struct Guarded {
    policy: Policy,
    producers: Vec<ProducerId>,
    now: Timestamp,
}

impl Guarded {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("audiences");
        let policy = Policy::load(&folder).expect("the policy that is shipped");
        let producers = policy.producers().map(|producer| producer.id.clone()).collect();
        Self { policy, producers, now: "2026-11-21T12:00:00Z".parse().expect("an instant") }
    }

    /// What must hold for any bytes. True if they were a job.
    fn holds(&self, bytes: &[u8]) -> bool {
        let Ok(job) = Job::parse(bytes) else { return false };
        let again = Job::parse(job.canonical_json().as_bytes()).expect("what was read can be read again");
        assert_eq!(again.digest(), job.digest(), "the canonical form is canonical");
        let customer = UserId::parse("a-customer").expect("a user");
        let device = a_device(&customer);
        let past = Past { flagged: Some(self.now), ..Past::default() };
        for producer in &self.producers {
            for recipients in [&[][..], &[FoundRecipient::User(customer.clone(), vec![device.clone()])]] {
                let facts = Facts {
                    recipients,
                    max_recipients: 100,
                    received_at: self.now,
                    past,
                    reach: DirectReach::default(),
                };
                let verdict = guard::clear(&job, &job.key(producer), &self.policy, &facts, self.now);
                sound(&job, &verdict);
                if job.intent() == Some(Intent::Test) && !recipients.is_empty() {
                    assert!(matches!(verdict, Verdict::Refuse(_)), "I1");
                }
                if let Verdict::Clear(cleared, _) = verdict {
                    let admitted = cleared.admits(&device).is_ok();
                    assert!(!admitted || cleared.intent() == Intent::Production, "I1");
                }
            }
        }
        true
    }
}

fn sound(job: &Job, verdict: &Verdict) {
    for finding in verdict.findings() {
        assert_ne!(finding.field, "job", "a rule broke: {finding:?}");
        let Some(span) = &finding.span else { continue };
        let link = job.notification().link.as_deref().map(|link| ("notification.link".to_owned(), link));
        let text = job.notification().texts().chain(link).find(|(field, _)| *field == finding.field);
        let place = text.and_then(|(_, text)| text.get(span.clone()));
        assert!(place.is_some() && place == finding.matched.as_deref(), "{finding:?}");
    }
}

fn a_device(owner: &UserId) -> Device {
    let bucket = Bucket::of(owner);
    Device {
        record: RecordId::new(1),
        id: DeviceId::derive(bucket, owner, &Digest::of(b"1")),
        user: owner.clone(),
        bucket,
        app: AppId::parse("pl.example.bank").expect("an app"),
        platform: Platform::Ios,
        environment: Environment::Production,
        token: Token::parse("abc").expect("a token"),
        language: None,
        registered_at: Timestamp::UNIX_EPOCH,
    }
}

/// A job whose form stays: only its strings are changed, so that it reaches the guard.
fn reworded(seeds: &[Seed], rng: &mut StdRng) -> Option<Vec<u8>> {
    let seed = seeds.choose(rng).expect("there are seeds");
    let mut job: serde_json::Value = serde_json::from_slice(&seed.bytes).ok()?;
    reword(job.get_mut("notification")?, rng);
    Some(job.to_string().into_bytes())
}

fn reword(value: &mut serde_json::Value, rng: &mut StdRng) {
    match value {
        serde_json::Value::String(text) if rng.random_bool(0.5) => {
            let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let at = *borders.choose(rng).expect("a text has an end");
            text.insert_str(at, PIECES.choose(rng).expect("there are pieces"));
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(|value| reword(value, rng)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| reword(value, rng)),
        _ => {}
    }
}

/// One to four changes: bytes are flipped, cut, doubled, replaced by a piece, or by a part of another seed.
fn changed(seeds: &[Seed], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).expect("there are seeds").bytes.clone();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 24));
        match rng.random_range(0..6) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(end..end, part);
            }
            3 | 4 => {
                let piece = PIECES.choose(rng).expect("there are pieces");
                bytes.splice(at..end, piece.bytes());
            }
            _ => {
                let other = &seeds.choose(rng).expect("there are seeds").bytes;
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len().min(from + 60));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

#[test]
fn every_seed_goes_through_the_reader_and_the_guard() {
    let guarded = Guarded::new();
    let jobs = seeds().iter().filter(|seed| guarded.holds(&seed.bytes)).count();
    assert!(jobs >= 6, "the seeds reach the guard: {jobs}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long to go on is the caller's wish, and decides nothing else"
)]
fn what_is_changed_in_a_seed_breaks_nothing() {
    let seconds = std::env::var("BELLWETHER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (guarded, seeds) = (Guarded::new(), seeds());
    let mut rng = StdRng::seed_from_u64(5_082_020);
    let (mut tried, mut jobs) = (0_usize, 0_usize);
    while until.map_or(tried < ORDINARY, |until| Instant::now() < until) {
        let whole = tried.is_multiple_of(2).then(|| reworded(&seeds, &mut rng)).flatten();
        let bytes = whole.unwrap_or_else(|| changed(&seeds, &mut rng));
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| guarded.holds(&bytes)));
        let shown = || panic!("not for these bytes: {}", bytes.escape_ascii());
        jobs += usize::from(held.unwrap_or_else(|_| shown()));
        tried += 1;
    }
    assert!(jobs * 20 > tried, "of {tried} only {jobs} were jobs: the guard was hardly asked");
}
