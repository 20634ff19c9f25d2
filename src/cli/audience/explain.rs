//! `audience explain`.

use std::cmp::Reverse;

use serde_json::{Value, json};

use super::{
    count::{count_json, counted, to_the_second},
    heading,
};
use crate::{
    audience::Audience,
    cli::{Exit, Output, output},
    ledger::{Change, Explanation, Ledger, ReadBy, Shares},
};

/// Values of one thing that the table shows; JSON has them all.
const SHOWN: usize = 10;

/// Widest value that the table shows whole.
const WIDEST: usize = 32;

/// Explains an audience.
pub(super) async fn run(ledger: &Ledger, audience: &Audience, output: Output) -> anyhow::Result<Exit> {
    let explained = ledger.explain_audience(audience).await?;
    match output {
        Output::Json | Output::Yaml => output.print(&as_json(audience, &explained))?,
        Output::Table => {
            output::line(&heading(audience))?;
            output::line(&counted(audience, explained.count))?;
            output::line(&left_out(&explained))?;
            output::line(&format!("read       {}", read_by(&explained.read_by)))?;
            for line in changed(explained.change.as_ref()) {
                output::line(&line)?;
            }
            let rows = rows(&explained);
            if !rows.is_empty() {
                output::line(&format!("\n{}", output::table(&["by", "value", "devices", "share"], &rows)))?;
            }
        }
    }
    Ok(Exit::Ok)
}

fn left_out(explained: &Explanation) -> String {
    let left_out = &explained.left_out;
    let members = match explained.read_by {
        ReadBy::Members => format!(", members without a device: {}", left_out.members_without_device),
        ReadBy::Index(_) | ReadBy::EveryDevice => String::new(),
    };
    let (gone, builds) = (left_out.gone, left_out.development_builds);
    format!("left out   gone: {gone}, development builds: {builds}{members}")
}

fn read_by(read_by: &ReadBy) -> String {
    match read_by {
        ReadBy::Members => "each member is looked up".to_owned(),
        ReadBy::Index(index) => format!("by the index {index}"),
        ReadBy::EveryDevice => "every device of the registry, by no index".to_owned(),
    }
}

fn changed(change: Option<&Change>) -> Vec<String> {
    let Some(change) = change else { return vec!["changed    no campaign to it was frozen yet".to_owned()] };
    let Change { campaign, then, now, gained, lost, set_aside } = change;
    let since = to_the_second(campaign.received_at);
    let mut lines = vec![
        format!("changed    since campaign {}", campaign.id),
        format!("           of {since}, {then} devices then, {now} now"),
        format!("           gained: {gained}, lost: {lost}"),
    ];
    if *set_aside > 0 {
        lines.push(format!("           not compared, since another audience took them first: {set_aside}"));
    }
    lines
}

fn parts(explained: &Explanation) -> [(&'static str, &Shares); 4] {
    [
        ("platform", &explained.platforms),
        ("country", &explained.countries),
        ("version", &explained.versions),
        ("language", &explained.languages),
    ]
}

/// The largest first.
fn sorted(shares: &Shares) -> Vec<(Option<&str>, u64)> {
    let mut sorted: Vec<_> = shares.iter().map(|(value, devices)| (value.as_deref(), *devices)).collect();
    sorted.sort_by_key(|(_, devices)| Reverse(*devices));
    sorted
}

fn rows(explained: &Explanation) -> Vec<Vec<String>> {
    let whole = explained.count.devices;
    let row = |by: &str, value: String, devices: u64| {
        let whole = u128::from(whole.max(1));
        let tenths = (u128::from(devices) * 1_000 + whole / 2) / whole;
        let share = format!("{}.{} %", tenths / 10, tenths % 10);
        vec![by.to_owned(), value, devices.to_string(), share]
    };
    let mut rows = Vec::new();
    for (by, shares) in parts(explained) {
        let sorted = sorted(shares);
        for (value, devices) in sorted.iter().take(SHOWN) {
            rows.push(row(by, value.map_or_else(|| "-".to_owned(), short), *devices));
        }
        let others = sorted.get(SHOWN..).unwrap_or_default();
        if !others.is_empty() {
            let devices = others.iter().map(|(_, devices)| devices).sum();
            rows.push(row(by, format!("{} others", others.len()), devices));
        }
    }
    rows
}

/// Versions are whatever an app says.
fn short(value: &str) -> String {
    let value = output::visible(value);
    if value.chars().count() <= WIDEST {
        return value;
    }
    value.chars().take(WIDEST - 1).chain(['…']).collect()
}

fn as_json(audience: &Audience, explained: &Explanation) -> Value {
    let mut told = count_json(audience, explained.count);
    for (by, shares) in parts(explained) {
        let share = |(value, devices): (Option<&str>, u64)| json!({"value": value, "devices": devices});
        told["by"][by] = sorted(shares).into_iter().map(share).collect();
    }
    let left_out = &explained.left_out;
    told["left_out"] = json!({
        "gone": left_out.gone, "development_builds": left_out.development_builds,
        "members_without_device": left_out.members_without_device,
    });
    told["read_by"] = match &explained.read_by {
        ReadBy::Members => json!({"way": "members"}),
        ReadBy::Index(index) => json!({"way": "index", "index": index}),
        ReadBy::EveryDevice => json!({"way": "every-device"}),
    };
    told["change"] = explained.change.as_ref().map_or(Value::Null, |change| {
        json!({
            "campaign": change.campaign.id, "since": change.campaign.received_at, "then": change.then,
            "now": change.now, "gained": change.gained, "lost": change.lost, "set_aside": change.set_aside,
        })
    });
    told
}
