//! `bellwether guard`: what the guard would say of a job, rule by rule, with the text that gave rise to it. Whoever asks has
//! the job in their hands, so it may be quoted here; it is told nowhere else.
//!
//! Offline: nothing is known of the registry and of what was before, which is said.

mod underline;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use super::{
    Exit, Output,
    audience::policy_folder,
    campaign,
    exit::With,
    output::{self, Colour, Paint, visible},
};
use crate::{
    audience::Policy,
    clock::Clock,
    guard::{self, DirectReach, Facts, Finding, FoundRecipient, Past, Severity, Verdict},
    model::{FindingNote, Job, ProducerId, Recipients},
};

/// What can be asked of the guard.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Guard {
    /// Why the guard would clear, hold or refuse a job, with the place in its text: 0 clear, 3 refused, 7 held
    Explain {
        /// The job, as JSON; standard input if it is absent or `-`
        file: Option<PathBuf>,
        /// Who would enqueue it; needed if several producers may
        #[arg(long, value_name = "PRODUCER")]
        producer: Option<ProducerId>,
        /// The policy folder; the configuration's otherwise
        #[arg(long, value_name = "DIR")]
        policy: Option<PathBuf>,
    },
}

/// Runs the verb.
pub(super) fn run(config: &Path, output: Output, verb: &Guard) -> anyhow::Result<Exit> {
    let Guard::Explain { file, producer, policy } = verb;
    let job = Job::parse(&campaign::read(file.as_deref())?).context("this is no job")?;
    let folder = policy.clone().map_or_else(|| policy_folder(config), Ok)?;
    let policy = Policy::load(&folder)?;
    let producer = producer.clone().map_or_else(|| only_producer(&policy, &job), Ok)?;
    let verdict = judged(&job, &producer, &policy, Clock::system().now());
    match output {
        Output::Table => output::line(&told(&job, &producer, &verdict, Paint::stdout()))?,
        Output::Json | Output::Yaml => output.print(&as_json(&producer, &verdict))?,
    }
    Ok(ended(&verdict).1)
}

/// The one producer of the policy that may send such a job, by what the job says; what it does not say the guard has a word on.
pub(super) fn only_producer(policy: &Policy, job: &Job) -> anyhow::Result<ProducerId> {
    let able = policy.producers().filter(|producer| {
        job.app().is_none_or(|app| producer.may_use_app(app))
            && job.intent().is_none_or(|intent| producer.may_claim(intent))
            && match job.to() {
                Some(Recipients::Audience { name, .. }) => producer.may_use_audience(name),
                _ => producer.direct_limit > 0,
            }
    });
    let able: Vec<&ProducerId> = able.map(|producer| &producer.id).collect();
    match able[..] {
        [one] => Ok(one.clone()),
        [] => {
            Err(With(Exit::Usage, "no producer may send such a job; name one with --producer".to_owned())
                .into())
        }
        _ => {
            let names: Vec<_> = able.iter().map(ToString::to_string).collect();
            Err(With(Exit::Usage, format!("whose job is it? --producer {}", names.join(" or "))).into())
        }
    }
}

/// The guard's verdict on a job that arrives now; nobody is found in a registry, and nothing was before.
fn judged(job: &Job, producer: &ProducerId, policy: &Policy, now: Timestamp) -> Verdict {
    let recipients: Vec<FoundRecipient> = match job.to() {
        Some(Recipients::Users(users)) => {
            users.iter().map(|user| FoundRecipient::User(user.clone(), Vec::new())).collect()
        }
        Some(Recipients::Devices(devices)) => {
            devices.iter().map(|device| FoundRecipient::Device(*device, None)).collect()
        }
        Some(Recipients::Audience { .. }) | None => Vec::new(),
    };
    let facts = Facts {
        recipients: &recipients,
        max_recipients: usize::MAX,
        received_at: now,
        past: Past { proven: true, ..Past::default() },
        reach: DirectReach::default(),
    };
    guard::clear(job, &job.key(producer), policy, &facts, now)
}

const fn ended(verdict: &Verdict) -> (&'static str, Exit) {
    match verdict {
        Verdict::Clear(..) => ("clear", Exit::Ok),
        Verdict::Hold(_) => ("held", Exit::Waits),
        Verdict::Refuse(_) => ("refused", Exit::Refused),
    }
}

const NOT_KNOWN: [&str; 4] =
    ["whose devices these are", "what was sent before", "what was proven", "how many an audience has"];

/// The verdict, and each finding with its place, worst first.
fn told(job: &Job, producer: &ProducerId, verdict: &Verdict, paint: Paint) -> String {
    let (word, _) = ended(verdict);
    let colour = match verdict {
        Verdict::Clear(..) => Colour::Green,
        Verdict::Hold(_) => Colour::Yellow,
        Verdict::Refuse(_) => Colour::Red,
    };
    let mut parts = vec![format!(
        "{}: {} by {}, {}",
        paint.with(colour, word),
        visible(job.id().as_str()),
        visible(producer.as_str()),
        job.lane().as_str()
    )];
    let mut findings: Vec<&Finding> = verdict.findings().iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    parts.extend(findings.into_iter().map(|finding| told_of(job, finding)));
    let [head @ .., last] = NOT_KNOWN;
    parts.push(output::wrapped(&format!("Not known here: {}, and {last}.", head.join(", ")), 0));
    parts.join("\n\n")
}

fn told_of(job: &Job, finding: &Finding) -> String {
    finding_told(job, &finding.note(), finding.matched.as_deref())
}

/// A finding as it goes on record, with its place in the text of the job.
pub(super) fn note_told(job: &Job, note: &FindingNote) -> String {
    finding_told(job, note, None)
}

fn finding_told(job: &Job, note: &FindingNote, matched: Option<&str>) -> String {
    const INDENT: usize = 4;
    // What is told as clear decides nothing.
    let word = if note.verdict == Severity::Note.as_str() { "note" } else { &note.verdict };
    let mut lines = vec![format!("{word}  {}  {}", note.rule, visible(&note.field))];
    let span = note.span.map(|(start, end)| start..end);
    match (span, text_of(job, &note.field), matched) {
        (Some(span), Some(text), _) if text.get(span.clone()).is_some() => {
            let underlined = underline::underlined(text, &span);
            lines.extend(underlined.map(|line| format!("{}{line}", " ".repeat(INDENT))));
        }
        (_, _, Some(matched)) => {
            let quoted = output::shortened(&visible(matched), output::COLUMNS - INDENT - 2);
            lines.push(format!("{}“{quoted}”", " ".repeat(INDENT)));
        }
        _ => {}
    }
    lines.push(output::indented(&visible(&note.reason), INDENT));
    lines.push(output::indented(&format!("to mend it: {}", visible(&note.fix)), INDENT));
    lines.join("\n")
}

/// The text of a field that a span can point into.
fn text_of<'j>(job: &'j Job, field: &str) -> Option<&'j str> {
    let notification = job.notification();
    if field == "notification.link" {
        return notification.link.as_deref();
    }
    notification.texts().find(|(name, _)| name == field).map(|(_, text)| text)
}

fn as_json(producer: &ProducerId, verdict: &Verdict) -> serde_json::Value {
    let finding = |finding: &Finding| {
        let mut told = serde_json::to_value(finding.note()).expect("a note has a JSON form");
        told["matched"] = json!(finding.matched);
        told
    };
    json!({
        "verdict": ended(verdict).0, "producer": producer, "not_known": NOT_KNOWN,
        "findings": verdict.findings().iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
