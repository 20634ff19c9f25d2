//! `audience count`.

use jiff::Timestamp;
use serde_json::json;

use super::heading;
use crate::{
    audience::Audience,
    cli::{Exit, Output, output},
    ledger::{AudienceCount, Basis, Estimate, Ledger},
};

/// Counts an audience.
pub(super) async fn run(
    ledger: &Ledger,
    audience: &Audience,
    output: Output,
    estimate: bool,
) -> anyhow::Result<Exit> {
    if output == Output::Table {
        output::line(&heading(audience))?;
    }
    let estimate = if estimate { Some(ledger.estimate_audience(audience).await?) } else { None };
    if let (Output::Table, Some(estimate)) = (output, &estimate) {
        // A large registry takes seconds to count: this line is there before.
        output::line(&estimated(estimate))?;
    }
    let count = ledger.count_audience(audience).await?;
    match output {
        Output::Table => output::line(&counted(audience, count))?,
        Output::Json | Output::Yaml => {
            let mut told = count_json(audience, count);
            if let Some(estimate) = estimate {
                told["estimate"] = estimate_json(&estimate);
            }
            output.print(&told)?;
        }
    }
    Ok(Exit::Ok)
}

/// The lines of an exact count.
pub(super) fn counted(audience: &Audience, count: AudienceCount) -> String {
    let AudienceCount { devices, people } = count;
    let most = audience.max_devices;
    let is_refused = if devices > most { ": a campaign would be refused" } else { "" };
    format!("counted    {devices} devices of {people} people\nallowed    {most} devices{is_refused}")
}

/// The fields of an exact count.
pub(super) fn count_json(audience: &Audience, count: AudienceCount) -> serde_json::Value {
    json!({
        "audience": audience.name, "app": audience.app(), "class": audience.class.as_str(),
        "devices": count.devices, "people": count.people, "max_devices": audience.max_devices,
    })
}

fn estimated(estimate: &Estimate) -> String {
    let basis = match estimate.basis {
        Basis::Members => "counted, since it lists its members".to_owned(),
        Basis::Statistics { gathered: Some(at) } => format!("by statistics gathered {}", to_the_second(at)),
        Basis::Statistics { gathered: None } => "a guess: no statistics were gathered yet".to_owned(),
        Basis::Sample => "from one bucket in a hundred".to_owned(),
    };
    format!("estimated  {} devices, {basis}", estimate.devices)
}

fn estimate_json(estimate: &Estimate) -> serde_json::Value {
    let (basis, gathered_at) = match estimate.basis {
        Basis::Members => ("members", None),
        Basis::Statistics { gathered } => ("statistics", gathered),
        Basis::Sample => ("sample", None),
    };
    json!({ "devices": estimate.devices, "basis": basis, "statistics_gathered_at": gathered_at })
}

/// Fractions would not fit the line.
pub(super) fn to_the_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
