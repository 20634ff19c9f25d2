//! `bellwether campaign plan`: what a campaign would come to, and what the guard would say of it, as if it were submitted now.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use serde_json::{Value, json};

use super::read;
use crate::{
    api::{views, wire::PlanPreview},
    audience::Policy,
    cli::{
        Exit, Output,
        exit::With,
        guard::{note_told, only_producer},
        ledger,
        output::{self, Colour, Paint, visible},
        rollout::planned as planned_boxes,
    },
    dispatch::{self, Prospect, Watched},
    guard::Rule,
    ledger::{Ledger, LedgerError},
    metrics::Metrics,
    model::{AudienceName, FindingNote, Job, ProducerId, Recipients},
    rollout::downstream::Looks,
};

/// Shows what a job's audience and plan come to, and the guard's verdict, by the ledger and the policy here. Nothing is stored.
pub(super) async fn run(
    config: &Path,
    output: Output,
    file: Option<&Path>,
    producer: Option<ProducerId>,
) -> anyhow::Result<Exit> {
    let job = Job::parse(&read(file)?).context("this is no job")?;
    let (policy, looks) = (ledger::policy(config)?, ledger::configuration(config)?.downstream.looks());
    let Some(Recipients::Audience { name, .. }) = job.to() else {
        let message = "this is no campaign: it names no audience".to_owned();
        return Err(With(Exit::Error, message).into());
    };
    let audience = policy.audience(name).ok_or_else(|| {
        With(Exit::NotFound, format!("there is no audience {name}; `bellwether audience list` shows them"))
    })?;
    let producer = producer.map_or_else(|| only_producer(&policy, &job), Ok)?;
    let audience = audience.name.clone();
    let (planned, prospect) =
        looked(&ledger::open(config).await?, policy, looks, (&job, &audience, &producer)).await?;
    match output {
        Output::Table => {
            output::line(&told(&job, &producer, planned.as_ref(), &prospect, Paint::stdout()))?;
        }
        Output::Json | Output::Yaml => output.print(&as_json(&producer, planned.as_ref(), &prospect)?)?,
    }
    Ok(ended(&prospect).1)
}

/// What it would come to, and what would become of it.
async fn looked(
    ledger: &Ledger,
    policy: Policy,
    looks: Looks,
    (job, audience, producer): (&Job, &AudienceName, &ProducerId),
) -> Result<(Option<PlanPreview>, Prospect), LedgerError> {
    let planned =
        policy.audience(audience).and_then(|known| Some((known, policy.plan_for(known, job.plan())?)));
    // A campaign without a plan has a verdict, and no stages.
    let planned = match planned {
        Some(planned) => Some(views::planned(ledger, &policy, looks, planned).await?),
        None => None,
    };
    let too_many = planned.as_ref().and_then(|planned| too_many(&policy, job, planned.devices));
    let guard = Watched::new(Arc::new(policy), Metrics::new());
    let prospect = dispatch::prospect(ledger, &guard, job, &job.key(producer)).await?;
    let prospect = match too_many {
        Some(note) => with(prospect, note),
        None => prospect,
    };
    Ok((planned, prospect))
}

/// What the freeze would say of so many devices: it refuses, though the guard could not know.
fn too_many(policy: &Policy, job: &Job, devices: u64) -> Option<FindingNote> {
    let Some(Recipients::Audience { name, at_most }) = job.to() else { return None };
    let audience = policy.audience(name)?;
    let note = FindingNote {
        rule: Rule::AudienceAboveLimit.id().to_owned(),
        verdict: "refuse".to_owned(),
        field: "to.at_most".to_owned(),
        span: None,
        reason: format!(
            "the audience has {devices} devices now; the job allows {at_most}, the audience {}",
            audience.max_devices
        ),
        fix: "raise at_most if so many are meant, or narrow the audience".to_owned(),
    };
    (devices > audience.max_devices.min(*at_most)).then_some(note)
}

/// The same, refused for one reason more. What is on record is so.
fn with(prospect: Prospect, note: FindingNote) -> Prospect {
    match prospect {
        Prospect::Known(_) => prospect,
        Prospect::Clear(mut findings) | Prospect::Held(mut findings) | Prospect::Refused(mut findings) => {
            findings.push(note);
            Prospect::Refused(findings)
        }
    }
}

/// As it is called, and how the command ends.
const fn ended(prospect: &Prospect) -> (&'static str, Exit) {
    match prospect {
        Prospect::Known(_) => ("known", Exit::Ok),
        Prospect::Clear(_) => ("clear", Exit::Ok),
        Prospect::Held(_) => ("held", Exit::Waits),
        Prospect::Refused(_) => ("refused", Exit::Refused),
    }
}

fn findings(prospect: &Prospect) -> &[FindingNote] {
    match prospect {
        Prospect::Known(_) => &[],
        Prospect::Clear(findings) | Prospect::Held(findings) | Prospect::Refused(findings) => findings,
    }
}

/// The plan, and under it what speaks against it, worst first, with the numbers that it would have on record.
fn told(
    job: &Job,
    producer: &ProducerId,
    planned: Option<&PlanPreview>,
    prospect: &Prospect,
    paint: Paint,
) -> String {
    let mut parts: Vec<String> = planned.iter().map(|planned| planned_boxes(planned, paint)).collect();
    let colour = match prospect {
        Prospect::Known(_) | Prospect::Clear(_) => Colour::Green,
        Prospect::Held(_) => Colour::Yellow,
        Prospect::Refused(_) => Colour::Red,
    };
    let would = match prospect {
        Prospect::Known(campaign) => format!("on record already, as {campaign}"),
        Prospect::Clear(_) => "the guard would clear it".to_owned(),
        Prospect::Held(_) => "the guard would hold it, until somebody answers for each finding".to_owned(),
        Prospect::Refused(_) => "the guard would refuse it".to_owned(),
    };
    parts.push(format!(
        "{} by {}: {}",
        visible(job.id().as_str()),
        visible(producer.as_str()),
        paint.with(colour, &would)
    ));
    let mut numbered: Vec<_> = findings(prospect).iter().enumerate().collect();
    numbered.sort_by_key(|(_, finding)| match finding.verdict.as_str() {
        "refuse" => 0,
        "hold" => 1,
        _ => 2,
    });
    parts.extend(numbered.into_iter().map(|(n, finding)| format!("{}  {}", n + 1, note_told(job, finding))));
    parts.join("\n\n")
}

fn as_json(
    producer: &ProducerId,
    planned: Option<&PlanPreview>,
    prospect: &Prospect,
) -> anyhow::Result<Value> {
    let mut told = match planned {
        Some(planned) => serde_json::to_value(planned).context("a preview has a JSON form")?,
        None => json!({}),
    };
    told["producer"] = json!(producer);
    told["verdict"] = json!(ended(prospect).0);
    told["findings"] = findings(prospect)
        .iter()
        .enumerate()
        .map(|(n, finding)| {
            let mut told = serde_json::to_value(finding)?;
            told["finding"] = json!(n + 1);
            Ok(told)
        })
        .collect::<Result<Vec<_>, serde_json::Error>>()?
        .into();
    Ok(told)
}

#[cfg(test)]
mod tests;
