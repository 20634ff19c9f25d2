//! `audience list` and `show`: what the files say.

use std::time::Duration;

use serde_json::{Value, json};

use super::heading;
use crate::{
    audience::{Audience, Country, Policy, Select, Tier, Timezone, Who},
    cli::{Exit, Output, output},
    model::{Locale, PlanName, Platform},
};

/// Every audience.
pub(super) fn list(policy: &Policy, output: Output) -> anyhow::Result<Exit> {
    match output {
        Output::Json | Output::Yaml => output.print(&policy.audiences().map(as_json).collect::<Vec<_>>())?,
        Output::Table => {
            let rows: Vec<_> = policy.audiences().map(as_row).collect();
            let header = ["audience", "class", "app", "who", "at most", "plan"];
            output::line(&output::table(&header, &rows))?;
        }
    }
    Ok(Exit::Ok)
}

/// One audience.
pub(super) fn show(audience: &Audience, output: Output) -> anyhow::Result<Exit> {
    if output != Output::Table {
        output.print(&as_json(audience))?;
        return Ok(Exit::Ok);
    }
    output::line(&heading(audience))?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(description) = &audience.description {
        row("description", output::visible(description));
    }
    match &audience.who {
        Who::Members(members) => row("members", format!("{} people", members.len())),
        Who::Select(select) => {
            for (name, value) in conditions(select) {
                row(name, output::visible(&value));
            }
        }
    }
    row("at most", format!("{} devices", audience.max_devices));
    let tier = |tier: &Tier| format!("{} above {}", tier.people, tier.above);
    match audience.approvals.iter().map(tier).collect::<Vec<_>>() {
        tiers if tiers.is_empty() => {}
        tiers => row("approvals", tiers.join(", ")),
    }
    row("proof", if audience.proof_required { "required" } else { "optional" }.to_owned());
    row("plan", plan(audience));
    for row in rows {
        output::line(&format!("  {:<18} {}", row[0], row[1]))?;
    }
    Ok(Exit::Ok)
}

fn plan(audience: &Audience) -> String {
    audience.default_plan().map_or("-", PlanName::as_str).to_owned()
}

fn as_row(audience: &Audience) -> Vec<String> {
    let who = match &audience.who {
        Who::Members(members) => format!("{} listed", members.len()),
        Who::Select(_) => "selected".to_owned(),
    };
    vec![
        audience.name.to_string(),
        audience.class.to_string(),
        audience.app().to_string(),
        who,
        audience.max_devices.to_string(),
        plan(audience),
    ]
}

/// As it could be written, in the largest unit that divides it.
fn span(within: Duration) -> String {
    let seconds = within.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, letter) = unit.unwrap_or((1, 's'));
    format!("{}{letter}", seconds / unit)
}

/// The conditions of a selection, as they could be written.
fn conditions(select: &Select) -> Vec<(&'static str, String)> {
    let words = |words: Vec<&str>| words.join(", ");
    let bounds = select.app_version.iter().map(|bound| bound.text.as_str());
    let attributes = select.attributes.iter().map(|(name, value)| format!("{name} = {}", json!(value)));
    let mut all = vec![
        ("country", words(select.country.iter().map(Country::as_str).collect())),
        ("platform", words(select.platform.iter().copied().map(Platform::as_str).collect())),
        ("language", words(select.language.iter().map(Locale::as_str).collect())),
        ("timezone", words(select.timezone.iter().map(Timezone::as_str).collect())),
        ("app_version", words(bounds.collect())),
        ("tags", words(select.tags.iter().map(String::as_str).collect())),
        ("tags_all", words(select.tags_all.iter().map(String::as_str).collect())),
        ("attributes", attributes.collect::<Vec<_>>().join(", ")),
        ("last_seen_within", select.last_seen_within.map(span).unwrap_or_default()),
        ("not_seen_within", select.not_seen_within.map(span).unwrap_or_default()),
        ("registered_within", select.registered_within.map(span).unwrap_or_default()),
        ("scan", select.scan.clone().unwrap_or_default()),
    ];
    all.retain(|(_, value)| !value.is_empty());
    all
}

/// What is not there is left out of `select`.
fn select_json(select: &Select) -> Value {
    let seconds = |within: Option<Duration>| within.map(|within| within.as_secs());
    let bounds: Vec<_> = select.app_version.iter().map(|bound| &bound.text).collect();
    let attributes: serde_json::Map<_, _> =
        select.attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let mut told = json!({
        "country": select.country.iter().map(Country::as_str).collect::<Vec<_>>(),
        "platform": select.platform, "language": select.language,
        "timezone": select.timezone.iter().map(Timezone::as_str).collect::<Vec<_>>(),
        "app_version": bounds, "tags": select.tags, "tags_all": select.tags_all, "attributes": attributes,
        "last_seen_within_seconds": seconds(select.last_seen_within),
        "not_seen_within_seconds": seconds(select.not_seen_within),
        "registered_within_seconds": seconds(select.registered_within),
        "scan": select.scan,
    });
    if let Value::Object(conditions) = &mut told {
        let is_empty = |value: &Value| match value {
            Value::Array(list) => list.is_empty(),
            Value::Object(object) => object.is_empty(),
            value => value.is_null(),
        };
        conditions.retain(|_, value| !is_empty(value));
    }
    told
}

fn as_json(audience: &Audience) -> Value {
    let tier = |tier: &Tier| json!({"above": tier.above, "people": tier.people});
    let (members, select) = match &audience.who {
        Who::Members(members) => (Some(members.len()), None),
        Who::Select(select) => (None, Some(select_json(select))),
    };
    json!({
        "audience": audience.name, "class": audience.class.as_str(), "app": audience.app(),
        "description": audience.description, "members": members, "select": select,
        "max_devices": audience.max_devices, "approvals": audience.approvals.iter().map(tier).collect::<Vec<_>>(),
        "proof_required": audience.proof_required, "default_plan": audience.default_plan(),
    })
}
